/*
 * isolated.c - the program of an isolated script: one capped Lua state, fed over a socket. It never opens the store.
 *
 * It is started by process.c only, dies with the thread that started it, and ends by itself when the other end of the
 * socket is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <lualib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bind/cap.h"
#include "bind/module.h"
#include "bind/output.h"
#include "bind/process.h"

/* What the program itself needs beside the script's state: its own data, C modules. */
enum { OWN_BYTES = 64 << 20 };

static struct vigia__cap *cap;
static struct vigia__output output;

static bool transfer(bool writing, uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = writing ? write(VIGIA_ISOLATED_SOCKET, data, len) : read(VIGIA_ISOLATED_SOCKET, data, len);
		if (n == 0 || (n < 0 && errno != EINTR)) return false;
		if (n > 0) data += n, len -= (size_t)n; /* else it was interrupted */
	}
	return true;
}

/* The host is gone. */
static void leave_program(void)
{
	_exit(EXIT_SUCCESS);
}

/* The conversation makes no sense any more. */
static void give_up_program(const char *why)
{
	fprintf(stderr, "vigia: an isolated script's program ends: %s\n", why);
	_exit(VIGIA_ISOLATED_BROKEN);
}

static uint64_t request;   /* the number of the one in hand */
static uint64_t calls;     /* made so far */
static int64_t object_max; /* most bytes of an object that the script passes. 0: not known */

static struct vigia__frame receive(struct vigia__message *message)
{
	struct vigia__frame frame;
	if (!transfer(false, (uint8_t *)&frame, sizeof frame)) leave_program();
	if (frame.magic != VIGIA_FRAME_MAGIC || frame.size > VIGIA_MESSAGE_MAX)
		give_up_program("it was sent something that is not a message");
	if (vigia__buf_reserve(&message->in, frame.size) != 0) give_up_program("there is no memory for a message");
	if (!transfer(false, message->in.data, frame.size)) leave_program();
	message->in.len = frame.size;
	return frame;
}

/* What the script printed is the supervisor's to write. */
static int say(const void *bytes, size_t len, bool *kept)
{
	struct vigia__frame frame = {VIGIA_FRAME_MAGIC, (uint32_t)len, VIGIA_FRAME_OUTPUT, request, 0};
	if (!transfer(true, (uint8_t *)&frame, sizeof frame) || !transfer(true, (uint8_t *)(uintptr_t)bytes, len))
		leave_program();
	if (!transfer(false, (uint8_t *)&frame, sizeof frame)) leave_program();
	if (frame.magic != VIGIA_FRAME_MAGIC || frame.kind != VIGIA_FRAME_TAKEN)
		give_up_program("there was no reply to its output");
	*kept = frame.call;
	return (int)frame.of;
}

static void send_message(struct vigia__message *message, enum vigia__frame_kind kind, uint64_t call)
{
	vigia__message_number(message, kind, request, call);
	vigia__output_flush(&output);
	fflush(stdout); /* of C modules */
	if (!transfer(true, message->out.data, message->out.len)) leave_program();
	vigia__buf_deinit(&message->out);
}

static int push_message(lua_State *L, struct vigia__message *message)
{
	int count = vigia__message_push(L, message);
	if (count < 0) give_up_program("a message to it cannot be read");
	return count;
}

/* In both, no Lua code runs between the first byte sent and the last one received. What finalizers and hooks have to
 * say is said before or after, and gets its reply at once. They raise what cannot be carried, before anything of it is
 * sent. */

/* call(header, ...) -> header, ...: ask the supervisor */
static int channel_call(lua_State *L)
{
	struct vigia__message *message = vigia__message_encode(L, 1, object_max);
	uint64_t number = ++calls;
	send_message(message, VIGIA_FRAME_CALL, number);
	struct vigia__frame frame = receive(message);
	if (frame.kind != VIGIA_FRAME_REPLY || frame.of != number) give_up_program("it was sent the reply to another call");
	return push_message(L, message);
}

/* next(header, ...) -> header, ...: the end of the request in hand, and the next one. Without arguments: the first
 * one */
static int channel_next(lua_State *L)
{
	bool ends = lua_gettop(L) > 0;
	struct vigia__message *message = vigia__message_encode(L, 1, VIGIA_MESSAGE_MAX);
	if (ends) send_message(message, VIGIA_FRAME_END, 0);
	struct vigia__frame frame = receive(message);
	if (frame.kind != VIGIA_FRAME_REQUEST || frame.of != request + 1)
		give_up_program("it was sent a message that is not a request");
	request = frame.of;
	return push_message(L, message);
}

/* fits(header, ...): raises if the message cannot be carried */
static int channel_fits(lua_State *L)
{
	vigia__message_encode(L, 1, object_max);
	return 0;
}

/* limit(bytes | nil): of each object of a call. nil: what a message can hold */
static int channel_limit(lua_State *L)
{
	object_max = luaL_optinteger(L, 1, 0);
	return 0;
}

/* flush() -> nil | the message about output that cannot be written */
static int channel_flush(lua_State *L)
{
	char problem[160];
	int number = vigia__output_flush(&output);
	if (number == 0) number = output.refused;
	if (number == 0) return 0;
	lua_pushstring(L, vigia__output_problem(number, problem, sizeof problem));
	return 1;
}

static void flush_at_exit(void)
{
	vigia__output_flush(&output);
}

/* begin(): a piece of work with a budget of its own */
static int channel_begin(lua_State *L)
{
	vigia__output_begin(&output);
	if (cap) vigia__cap_begin(cap);
	return 0;
}

/* guard(): the last thing before the script's code is let in */
static int channel_guard(lua_State *L)
{
	vigia__lua_shared(L)->script = true;
	if (cap) vigia__cap_guard(L, cap);
	else vigia__cap_text_only(L);
	return 0;
}

/* `arg`: the folder of our Lua files. */
static int run_program(lua_State *L, void *arg)
{
	static const luaL_Reg channel[] = {
		{"call", channel_call},   {"next", channel_next},   {"fits", channel_fits},   {"limit", channel_limit},
		{"flush", channel_flush}, {"begin", channel_begin}, {"guard", channel_guard}, {NULL, NULL}};
	luaL_openlibs(L);
	vigia__output_install(L, &output);
	vigia__lua_add_path(L, arg);
	vigia__lua_preload_core(L, luaopen_vigia_core);
	vigia__lua_require(L, "vigia.isolated_program");
	luaL_newlib(L, channel);
	lua_call(L, 1, 0);
	return 0; /* GCOVR_EXCL_LINE: its loop never returns. */
}

static void limit_memory(int64_t bytes)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return; /* their shadow memory counts as data */
#endif
	struct rlimit limit;
	if (getrlimit(RLIMIT_DATA, &limit) != 0) return;
	rlim_t most = (rlim_t)bytes + OWN_BYTES;
	if (limit.rlim_max == RLIM_INFINITY || most < limit.rlim_max) limit = (struct rlimit){most, most};
	setrlimit(RLIMIT_DATA, &limit);
}

static void pass_over(int number) /* GCOVR_EXCL_LINE: a signal for all of its group. */
{
}

/*
 * A terminal and a service manager send the signals that end a program to the whole group: the supervisor stops, and
 * lets the handler in progress finish. Not SIG_IGN, which the programs that the script starts would inherit. What was
 * ignored at the start stays ignored.
 */
static void leave_stopping_to_supervisor(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGXFSZ}; /* the last: a write too far only fails */
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		struct sigaction before, action = {.sa_handler = pass_over, .sa_flags = SA_RESTART};
		if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(numbers[i], &action, NULL);
	}
}

int vigia__isolated_main(int argc, char **argv, const char *lua_dir)
{
	if (argc != 7 || lua_dir == NULL) return 2;
	/* It ends with the thread that started it, also if that was killed before the next line. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != (pid_t)atol(argv[2])) return EXIT_FAILURE;
	fcntl(VIGIA_ISOLATED_SOCKET, F_SETFD, FD_CLOEXEC);
	if (fcntl(VIGIA_ISOLATED_LOCK, F_GETFD) >= 0) fcntl(VIGIA_ISOLATED_LOCK, F_SETFD, FD_CLOEXEC);
	leave_stopping_to_supervisor();
	struct rlimit no_core = {0, 0};
	setrlimit(RLIMIT_CORE, &no_core);
	struct vigia__cap_limits limits = {.memory_bytes = atoll(argv[3]),
	                                   .cpu_ns = atoll(argv[4]),
	                                   .choose = atoi(argv[5]) != 0,
	                                   .libraries = (unsigned)atol(argv[6])};
	if (limits.memory_bytes > 0) limit_memory(limits.memory_bytes);

	if (!vigia__output_init(&output)) return EXIT_FAILURE;
	output.sink = say;
	atexit(flush_at_exit);
	lua_State *L = NULL;
	struct vigia_error err = {0};
	if (!vigia__cap_wanted(&limits)) L = luaL_newstate();
	else if (vigia__cap_open(&limits, NULL, &cap, &L, &err) == VIGIA_OK) {
		vigia__cap_begin(cap);
		if (vigia__cap_enter(cap, L, &err) < 0) L = NULL;
	}
	if (L == NULL) return EXIT_FAILURE;
	/* Its loop never returns: what ends it is an error. */
	(void)vigia__lua_pcall(L, run_program, (void *)(uintptr_t)lua_dir, 0, 0);
	enum vigia__cap_trip trip = cap ? vigia__cap_leave(cap) : VIGIA_CAP_HELD;
	/* Nothing is closed or finalized: what a script left behind ends with the process. */
	vigia__output_flush(&output);
	fflush(stdout);
	if (trip == VIGIA_CAP_CPU) _exit(VIGIA_ISOLATED_CPU);
	if (trip == VIGIA_CAP_MEMORY) _exit(VIGIA_ISOLATED_MEMORY);
	fprintf(stderr, "vigia: an isolated script's program failed: %s\n",
	        lua_isstring(L, -1) ? lua_tostring(L, -1) : "?");
	_exit(EXIT_FAILURE);
}
