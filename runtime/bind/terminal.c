/*
 * terminal.c - the terminal of the program: single keys, its size, and waiting for either. One command at a time.
 */
#include "terminal.h"

#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "../store/clock.h"
#include "interrupt.h"
#include "lua_state.h"

static struct {
	bool open, reads; /* it is ours; its keys are read */
	struct termios before;
	struct sigaction resized_before;
} terminal;

static volatile sig_atomic_t resized;

/* Its wait ends by itself: poll() is not restarted. */
static void on_resize(int signo)
{
	resized = 1;
}

int vigia__lua_terminal_open(lua_State *L)
{
	vigia__lua_check_program(L, "terminal_open");
	struct sigaction action = {.sa_handler = on_resize, .sa_flags = SA_RESTART};
	if (terminal.open) return vigia__lua_boolean(L, terminal.reads);
	terminal.open = true;
	sigaction(SIGWINCH, &action, &terminal.resized_before);
	terminal.reads = tcgetattr(STDIN_FILENO, &terminal.before) == 0;
	if (terminal.reads) {
		struct termios keys = terminal.before;
		keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		keys.c_cc[VMIN] = 1;
		keys.c_cc[VTIME] = 0;
		keys.c_cc[VSUSP] = _POSIX_VDISABLE;
		terminal.reads = tcsetattr(STDIN_FILENO, TCSAFLUSH, &keys) == 0;
	}
	return vigia__lua_boolean(L, terminal.reads);
}

int vigia__lua_terminal_close(lua_State *L)
{
	vigia__lua_check_program(L, "terminal_close");
	if (terminal.reads) tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal.before);
	if (terminal.open) sigaction(SIGWINCH, &terminal.resized_before, NULL);
	terminal.open = terminal.reads = false;
	return 0;
}

int vigia__lua_terminal_size(lua_State *L)
{
	struct winsize size;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0) return 0;
	lua_pushinteger(L, size.ws_col);
	lua_pushinteger(L, size.ws_row);
	return 2;
}

/* The next byte. A terminal that is gone ends the program as a signal does. */
static int push_key(lua_State *L)
{
	char key;
	ssize_t got = read(STDIN_FILENO, &key, 1);
	if (got == 1) lua_pushlstring(L, &key, 1);
	else lua_pushliteral(L, "interrupted");
	return 1;
}

int vigia__lua_terminal_wait(lua_State *L)
{
	vigia__lua_check_program(L, "terminal_wait");
	double seconds = luaL_checknumber(L, 1);
	luaL_argcheck(L, seconds >= 0 && seconds <= 86400, 1, "seconds: from 0 to 86400");
	int64_t until = vigia__mono_ns() + (int64_t)(seconds * 1e9);
	struct pollfd fds[2] = {{.fd = vigia__interrupt_fd, .events = POLLIN},
	                        {.fd = terminal.reads ? STDIN_FILENO : -1, .events = POLLIN}};
	for (;;) {
		if (atomic_load(&vigia__interrupted)) {
			lua_pushliteral(L, "interrupted");
			return 1;
		}
		if (resized) {
			resized = 0;
			lua_pushliteral(L, "resized");
			return 1;
		}
		int64_t left = until - vigia__mono_ns();
		int ready = poll(fds, 2, left > 0 ? (int)(left / 1000000 + 1) : 0);
		if (ready > 0 && fds[1].revents) return push_key(L);
		if (ready == 0 && vigia__mono_ns() >= until) break;
	}
	lua_pushnil(L);
	return 1;
}
