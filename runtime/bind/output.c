/*
 * output.c - the buffer behind a script's print: writing it, and its functions in a Lua state.
 *
 * A script's io.stdout is an ordinary Lua file over a FILE whose writes come here (fopencookie), so all of its methods,
 * io.write and io.output work as usual. That FILE itself does not buffer.
 */
#include "output.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/buf.h"
#include "../store/clock.h"
#include "../store/fd.h"
#include "../store/file_limit.h"
#include "interrupt.h"
#include "lua_state.h"

enum {
	MOMENT_NS = 20000000, /* a line this long after the last write is written at once, because its handler may run on
	                         for long */
	LARGE = 64 * 1024,    /* a larger buffer is written before the event ends */
	PIECE = 4096,         /* bytes that a ready pipe accepts without blocking */
	LOOK_MS = 50,         /* how often a wait checks whether the watcher must stop */
	GRACE_MS = 500        /* how long the output may accept nothing when it must */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* held while writing */
static struct vigia__buf rest; /* under the mutex: the rest of a partly written line. The next write begins with it. */
static atomic_bool gone;

bool vigia__output_gone(void)
{
	return atomic_load(&gone);
}

/* ---- writing ---- */

/* When the watcher must stop, end a wait that has lasted for a while, and each wait after that. */
static bool gives_up(struct vigia__output *o, int waited_ms)
{
	if (o->killed && atomic_load(o->killed)) return true;
	bool stopping = o->stopping && atomic_load(o->stopping);
	o->tired = stopping && (o->tired || waited_ms >= GRACE_MS);
	return o->tired;
}

static int lock_output(struct vigia__output *o)
{
	for (int waited_ms = 0;; waited_ms += LOOK_MS) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += LOOK_MS * 1000000;
		if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
		if (pthread_mutex_timedlock(&mutex, &until) == 0) return 0;
		if (gives_up(o, waited_ms)) return ECANCELED;
	}
}

/* Wait until the output accepts bytes. 0, or the errno that ends the wait. */
static int wait_ready(struct vigia__output *o)
{
	for (int waited_ms = 0;; waited_ms += LOOK_MS) {
		if (!vigia__fd_permits(STDOUT_FILENO, true)) return 0;
		struct pollfd fd = {.fd = STDOUT_FILENO, .events = POLLOUT};
		int n = poll(&fd, 1, LOOK_MS);
		if (n > 0) return 0; /* also for an error, which the write returns */
		if (n < 0 && errno != EINTR) return errno;
		if (gives_up(o, waited_ms)) return ECANCELED;
	}
}

/* Under the mutex: write, and set *done to the number of bytes written. */
static int write_bytes(struct vigia__output *o, const uint8_t *bytes, size_t len, size_t *done)
{
	struct stat st;
	bool file = fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode); /* always ready */
	for (*done = 0; *done < len;) {
		int number = file ? 0 : wait_ready(o);
		if (number) return number;
		size_t size = len - *done;
		ssize_t n = vigia__file_write(STDOUT_FILENO, bytes + *done, file || size < PIECE ? size : PIECE);
		if (n >= 0) *done += (size_t)n;
		else if (errno == EAGAIN && file) poll(NULL, 0, 1);
		else if (errno != EAGAIN && errno != EINTR) return errno;
	}
	return 0;
}

/* Remove the first `count` bytes. */
static void take_off(struct vigia__buf *buf, size_t count)
{
	buf->len -= count;
	if (buf->len > 0) memmove(buf->data, buf->data + count, buf->len);
	else vigia__buf_clear(buf, LARGE);
}

static size_t line_len(const uint8_t *bytes, size_t len)
{
	const uint8_t *end = memchr(bytes, '\n', len);
	return end ? (size_t)(end + 1 - bytes) : len;
}

static int write_rest_of_line(struct vigia__output *o)
{
	size_t done;
	if (rest.len > 0) {
		int number = write_bytes(o, rest.data, rest.len, &done);
		take_off(&rest, done);
		if (number) return number;
	}
	o->owes = false;
	return 0;
}

/* Under the mutex: write the first `len` bytes of the buffer. */
static int write_first(struct vigia__output *o, size_t len)
{
	size_t done;
	int number = write_rest_of_line(o);
	if (number) return number;
	number = write_bytes(o, o->buf.data, len, &done);
	bool half = number && done > 0 && o->buf.data[done - 1] != '\n';
	take_off(&o->buf, done);
	if (half && o->buf.len > 0) {
		size_t line = line_len(o->buf.data, o->buf.len);
		if (vigia__buf_add(&rest, o->buf.data, line) == 0) {
			take_off(&o->buf, line);
			o->owes = true;
		}
	}
	return number;
}

/* Write what the application itself has printed so far first, as if both used the same stream. */
static void flush_stdout(void)
{
	if (ftrylockfile(stdout) != 0) return;
	fflush_unlocked(stdout);
	funlockfile(stdout);
}

/* The reader has closed the output and the program ends: discard everything. */
static void leave_without_reader(struct vigia__output *o)
{
	atomic_store(&gone, true);
	vigia__buf_clear(&o->buf, LARGE);
	vigia__buf_clear(&rest, 0);
	o->owes = false;
}

/* Give the bytes to the sink, which keeps what it cannot write, and is called again for that. */
static int pour(struct vigia__output *o, size_t len)
{
	int number;
	do {
		bool kept = true;
		size_t piece = len < VIGIA_OUTPUT_KEEP ? len : VIGIA_OUTPUT_KEEP;
		number = o->sink(o->buf.data, piece, &kept);
		if (!kept) o->refused = number;
		take_off(&o->buf, piece);
		len -= piece;
	} while (len > 0);
	o->owes = number != 0;
	return number;
}

static int write_out(struct vigia__output *o, size_t len)
{
	if (len == 0 && !o->owes) return 0;
	o->written_ns = vigia__coarse_ns();
	if (o->sink) return pour(o, len);
	int number = lock_output(o);
	if (number) return number;
	flush_stdout();
	number = write_first(o, len);
	if (number == EPIPE && atomic_load(&vigia__ends_with_output)) leave_without_reader(o);
	pthread_mutex_unlock(&mutex);
	return number;
}

int vigia__output_flush(struct vigia__output *o)
{
	return write_out(o, o->buf.len);
}

/* Write whole lines. Other outputs may write between them. */
static int flush_whole_lines(struct vigia__output *o)
{
	const uint8_t *end = o->buf.len ? memrchr(o->buf.data, '\n', o->buf.len) : NULL;
	if (end == NULL && o->buf.len < VIGIA_OUTPUT_KEEP) return 0;
	return write_out(o, end ? (size_t)(end + 1 - o->buf.data) : o->buf.len);
}

int vigia__output_add(struct vigia__output *o, const void *bytes, size_t len)
{
	if (!o->sink && atomic_load(&gone)) return o->refused = EPIPE;
	if (o->buf.len > 0 && o->buf.len + len > VIGIA_OUTPUT_KEEP) {
		int number = flush_whole_lines(o);
		if (number && o->buf.len + len > VIGIA_OUTPUT_KEEP) return o->refused = number;
	}
	if (o->sink && o->refused) return o->refused;
	if (vigia__buf_add(&o->buf, bytes, len) != 0) return o->refused = ENOMEM;
	bool line = len > 0 && ((const char *)bytes)[len - 1] == '\n';
	if (o->mode == VIGIA_OUTPUT_AT_ONCE) write_out(o, o->buf.len);
	else if (o->mode == VIGIA_OUTPUT_LINE
	             ? memchr(bytes, '\n', len) != NULL /* GCOVR_EXCL_LINE: a terminal. */
	             : o->buf.len >= LARGE || (line && vigia__coarse_ns() - o->written_ns >= MOMENT_NS))
		flush_whole_lines(o);
	return 0; /* what could not be written is kept. The flush at the end returns the error */
}

/* ---- life ---- */

static ssize_t cookie_write(void *cookie, const char *bytes, size_t len)
{
	int number = vigia__output_add(cookie, bytes, len);
	if (number == 0) return (ssize_t)len;
	errno = number;
	return 0; /* fopencookie's way to fail */
}

bool vigia__output_init(struct vigia__output *o)
{
	*o = (struct vigia__output){0};
	o->file = fopencookie(o, "w", (cookie_io_functions_t){.write = cookie_write});
	if (o->file == NULL) return false;
	setvbuf(o->file, NULL, _IONBF, 0);
	if (isatty(STDOUT_FILENO) == 1) o->mode = VIGIA_OUTPUT_LINE;
	return true;
}

void vigia__output_deinit(struct vigia__output *o)
{
	if (o->file) fclose(o->file);
	vigia__buf_deinit(&o->buf);
	*o = (struct vigia__output){0};
}

void vigia__output_begin(struct vigia__output *o)
{
	o->refused = 0;
}

const char *vigia__output_problem(int number, char *out, size_t size)
{
	char text[128];
	const char *reason = number == ECANCELED ? "its reader accepts nothing, and the watcher must stop"
	                                         : strerror_r(number, text, sizeof text);
	snprintf(out, size, "the output cannot be written: %s", reason);
	return out;
}

/* ---- in a Lua state ---- */

static const char
	output_key; /* registry[&output_key]: the output. Not an upvalue, which debug.setupvalue could change */

static struct vigia__output *output_of(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &output_key);
	struct vigia__output *o = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return o;
}

/* As the standard function, but raises an error if the text cannot be written. */
static int print_line(lua_State *L)
{
	luaL_Buffer line;
	int count = lua_gettop(L);
	luaL_buffinit(L, &line);
	for (int i = 1; i <= count; i++) {
		if (i > 1) luaL_addchar(&line, '\t');
		luaL_tolstring(L, i, NULL);
		luaL_addvalue(&line);
	}
	luaL_addchar(&line, '\n');
	luaL_pushresult(&line);
	size_t len;
	const char *text = lua_tolstring(L, -1, &len);
	int number = vigia__output_add(output_of(L), text, len);
	if (number == 0) return 0;
	char problem[160];
	return luaL_error(L, "%s", vigia__output_problem(number, problem, sizeof problem));
}

/* Is the first argument, or without one io.output(), the script's standard output? */
static bool is_script_output(lua_State *L)
{
	luaL_Stream *stream = luaL_testudata(L, 1, LUA_FILEHANDLE);
	if (lua_isnone(L, 1)) {
		lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
		stream = luaL_testudata(L, -1, LUA_FILEHANDLE);
		lua_pop(L, 1);
	}
	return stream && stream->closef && stream->f == output_of(L)->file;
}

/* file:flush, io.flush */
static int flush_file(lua_State *L)
{
	if (!is_script_output(L)) return vigia__lua_call_original(L);
	int number = vigia__output_flush(output_of(L));
	errno = number;
	return luaL_fileresult(L, number == 0, NULL);
}

/* file:setvbuf */
static int set_buffer(lua_State *L)
{
	static const char *const names[] = {"full", "line", "no", NULL};
	if (!is_script_output(L)) return vigia__lua_call_original(L);
	output_of(L)->mode = (enum vigia__output_mode)luaL_checkoption(L, 2, NULL, names);
	lua_pushboolean(L, 1);
	return 1;
}

/* os.execute, io.popen, os.exit: write the script's output before that of another program. */
static int write_first_of_all(lua_State *L)
{
	vigia__output_flush(output_of(L));
	return vigia__lua_call_original(L);
}

static int keep_open(lua_State *L)
{
	luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
	stream->closef = keep_open;
	luaL_pushfail(L);
	lua_pushliteral(L, "cannot close standard file");
	return 2;
}

void vigia__output_install(lua_State *L, struct vigia__output *o)
{
	static const luaL_Reg os[] = {{"execute", write_first_of_all}, {"exit", write_first_of_all}, {NULL, NULL}};
	static const luaL_Reg io[] = {{"popen", write_first_of_all}, {"flush", flush_file}, {NULL, NULL}};
	static const luaL_Reg methods[] = {{"flush", flush_file}, {"setvbuf", set_buffer}, {NULL, NULL}};
	int top = lua_gettop(L);
	luaL_checkstack(L, 6, NULL);
	lua_pushlightuserdata(L, o);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &output_key);
	lua_pushcfunction(L, print_line);
	lua_setglobal(L, "print");
	vigia__lua_push_library(L, LUA_OSLIBNAME);
	vigia__lua_replace_functions(L, os);
	vigia__lua_push_library(L, LUA_IOLIBNAME);
	vigia__lua_replace_functions(L, io);
	luaL_Stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
	*stream = (luaL_Stream){.f = o->file, .closef = NULL};
	luaL_setmetatable(L, LUA_FILEHANDLE);
	stream->closef = keep_open;
	lua_pushvalue(L, -1);
	lua_setfield(L, -3, "stdout");
	lua_setfield(L, LUA_REGISTRYINDEX, "_IO_output"); /* as io.output(it) does */
	luaL_getmetatable(L, LUA_FILEHANDLE);
	lua_getfield(L, -1, "__index");
	vigia__lua_replace_functions(L, methods);
	lua_settop(L, top);
}
