/*
 * fd_wait.c - waits for a descriptor, for the program's commands that read or write events.
 */
#include "fd_wait.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../core/error.h"
#include "../store/fd.h"
#include "error.h"
#include "interrupt.h"
#include "lua_state.h"

int vigia__fd_error(struct vigia_error *err, int number, const char *what)
{
	int code = number == ENOSPC || number == EDQUOT ? VIGIA_EDISKFULL : VIGIA_EIO;
	return vigia__error_caused(err, code, strerror(number), "%s", what);
}

int vigia__fd_wait(int fd, short events, int timeout_ms, struct vigia_error *err)
{
	struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = vigia__interrupt_fd, .events = POLLIN}};
	for (;;) {
		if (atomic_load(&vigia__interrupted)) return VIGIA_EINTERRUPTED;
		if (!vigia__fd_permits(fd, events == POLLOUT)) return 1; /* the read or write returns the error */
		int n = poll(fds, 2, timeout_ms);
		if (n < 0 && errno != EINTR) return vigia__fd_error(err, errno, "cannot wait for input or output");
		if (n < 0 && timeout_ms != 0) continue;
		if (n <= 0) return 0;
		if (fds[0].revents & POLLNVAL) return vigia__fd_error(err, EBADF, "cannot read or write");
		if (fds[0].revents) return 1;
	}
}

/* Consumes no input: reads a file at its position, asks the system how much a pipe or terminal has. */
int vigia__lua_has_input(lua_State *L)
{
	vigia__lua_check_program(L, "has_input");
	int fd = (int)luaL_checkinteger(L, 1);
	struct vigia_error err = {0};
	int rc = vigia__fd_wait(fd, POLLIN, -1, &err);
	if (rc == VIGIA_EINTERRUPTED) vigia__error(&err, rc, "interrupted while waiting for input");
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	char byte;
	int waiting = 0;
	off_t at = lseek(fd, 0, SEEK_CUR);
	ssize_t n = at >= 0 ? pread(fd, &byte, 1, at) : ioctl(fd, FIONREAD, &waiting);
	if (n < 0) return vigia__lua_fail(L, vigia__fd_error(&err, errno, "cannot read the input"), &err);
	return vigia__lua_boolean(L, n > 0 || waiting > 0);
}
