/*
 * tell.c - failures on standard error. What it promises is in tell.h.
 */
#include "tell.h"

#include <errno.h>
#include <lauxlib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../store/file_limit.h"
#include "../core/limit.h"
#include "../store/clock.h"
#include "log_format.h"
#include "lua_state.h"
#include "output.h"

static bool known;
static dev_t dev;
static ino_t ino;

static void remember_stderr(void)
{
	struct stat st;
	known = fstat(STDERR_FILENO, &st) == 0;
	if (!known) return;
	dev = st.st_dev;
	ino = st.st_ino;
}

void vigia__tell_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, remember_stderr);
}

static bool is_stderr_there(void)
{
	struct stat st;
	return known && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/* In one call, so that lines stay whole. A reader that left does not end the application by SIGPIPE. */
static void write_line(const char *line, size_t len)
{
	static const struct timespec now = {0, 0};
	sigset_t pipe, before, pending;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);
	bool waited = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE);
	ssize_t n;
	while ((n = vigia__file_write(STDERR_FILENO, line, len)) < 0 && errno == EINTR) continue;
	if (n < 0 && errno == EPIPE && !waited)
		while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR) continue;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A line of its own: what would begin another one, or move the cursor, is shown as spaces. */
static size_t flatten(char *out, const char *text, size_t size)
{
	size_t len = 0;
	for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
		unsigned char c = (unsigned char)*text;
		n = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
		if (n > left || !vigia__utf8_valid(text, n)) n = 1;
		if (len + n > size) break;
		bool stray = n == 1 && c >= 0x80 && c < 0xa0; /* of no UTF-8: a terminal may take it for one of C1 */
		if (!stray && vigia__is_plain(text, n, 0, true)) {
			memcpy(out + len, text, n);
			len += n;
		} else if (len > 0 && out[len - 1] != ' ') {
			out[len++] = ' ';
		}
	}
	return len;
}

void vigia__tell_record(enum vigia_log_level level, const char *text, size_t len)
{
	struct vigia__buf line = {0};
	if (!is_stderr_there()) return;
	if (vigia__log_format(&line, level, text, len) == 0) write_line((const char *)line.data, line.len);
	else write_line(text, len); /* GCOVR_EXCL_LINE: no memory. */
	vigia__buf_deinit(&line);
}

void vigia__tell(struct vigia__limit *limit, enum vigia_log_level level, const char *text)
{
	int before = errno;
	unsigned left_out;
	bool gone = !is_stderr_there() || (level < VIGIA_LOG_ERROR && vigia__output_gone());
	if (!gone && vigia__limit_take(limit, vigia__mono_ns(), &left_out)) {
		char line[2400];
		char more[80] = "";
		if (left_out > 0) snprintf(more, sizeof more, " [%u more since the last line]", left_out);
		size_t len = flatten(line, text, sizeof line - sizeof more);
		len += (size_t)snprintf(line + len, sizeof line - len, "%s", more);
		vigia__tell_record(level, line, len);
	}
	errno = before;
}

int vigia__lua_log(lua_State *L)
{
	vigia__lua_check_program(L, "log");
	int level = luaL_checkoption(L, 1, NULL, vigia__log_levels);
	size_t len;
	const char *text = luaL_checklstring(L, 2, &len);
	vigia__tell_record((enum vigia_log_level)level, text, len);
	return 0;
}
