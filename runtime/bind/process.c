/*
 * process.c - the class vigia.Process: a script's program, started, fed and watched by the state that supervises it.
 *
 * It never forks: posix_spawn runs the program `vigia` with one end of a socket pair. What the program used of the
 * processor is looked at while it waits for a reply. One that is over its cap is killed, as is every one whose
 * userdata goes.
 */
#include "process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../drive/worker.h"
#include "../store/fd.h"
#include "../store/thread.h"
#include "../core/buf.h"
#include "../store/clock.h"
#include "cap.h"
#include "decode.h"
#include "encode.h"
#include "error.h"
#include "interrupt.h"
#include "lua_state.h"
#include "output.h"
#include "store_handle.h"

extern char **environ;

const char *vigia__program;

static const struct vigia__lua_class process_class;

enum {
	LOOK_MS = 20,       /* how often to look at the processor time, and whether it must be killed */
	STALL_S = 30,       /* how long the rest of a message may be missing */
	GRACE_NS = 70000000 /* what it may be over: its own cap should have ended it. With the looks it is below 100 ms */
};

#define START_GRACE_NS INT64_C(5000000000) /* how long loading or init may go on when the watcher must stop */

struct process {
	pid_t pid; /* 0: none, or gone */
	int pidfd, fd;
	struct vigia__output *output; /* what it prints goes there */
	uint64_t request;             /* the number of the last one */
	uint64_t call;                /* the number of the call in hand */
	int64_t cpu_ns;               /* the cap, 0: none */
	int64_t since_ns;             /* what it had used when the piece of work began */
	bool killed;                  /* by us, over its cap */
	const atomic_bool *kill;      /* its watcher stops, and did not in time. NULL: never */
	const atomic_bool *stop;      /* its watcher must stop */
	bool waited_for;              /* the thread that sets `kill` waits for this piece of work: loading, init */
	int64_t stop_mono_ns;         /* since when `stop` was seen during it, 0: it was not */
	char end[96];                 /* how it ended, "" while it runs */
};

/* ---- messages ---- */

static void free_message(lua_State *L, void *object)
{
	struct vigia__message *message = object;
	vigia__buf_deinit(&message->out);
	vigia__buf_deinit(&message->in);
}

static const struct vigia__lua_class message_class = {.name = "vigia.message", .free = free_message};

struct vigia__message *vigia__message_new(lua_State *L)
{
	return vigia__lua_new(L, sizeof(struct vigia__message), &message_class);
}

struct vigia__message *vigia__message_encode(lua_State *L, int first, int64_t object_max)
{
	int last = lua_gettop(L);
	struct vigia__message *message = vigia__message_new(L);
	struct vigia_error err = {0};
	struct vigia__buf *buf = &message->out;
	struct vigia__frame frame = {0};
	luaL_checkstack(L, 1, NULL);
	if (object_max <= 0 || object_max > VIGIA_MESSAGE_MAX) object_max = VIGIA_MESSAGE_MAX;
	lua_pushliteral(L, "vigia.message"); /* the last call that may run a finalizer */
	int name = lua_gettop(L);
	vigia__buf_clear(buf, 0);
	int rc = vigia__buf_add(buf, &frame, sizeof frame) == 0 ? VIGIA_OK : VIGIA_ENOMEM;
	for (int i = first; i <= last && rc == VIGIA_OK; i++) {
		size_t at = buf->len;
		uint32_t len = 0;
		if (vigia__buf_add(buf, &len, sizeof len) != 0) rc = VIGIA_ENOMEM;
		else rc = vigia__lua_encode_event(L, name, name, i, buf, i == first ? VIGIA_MESSAGE_MAX : object_max, &err);
		if (rc == VIGIA_OK) {
			len = (uint32_t)(buf->len - at - sizeof len);
			memcpy(buf->data + at, &len, sizeof len);
		}
	}
	lua_settop(L, name - 1);
	if (rc == VIGIA_OK && buf->len - sizeof frame > VIGIA_MESSAGE_MAX) {
		/* GCOVR_EXCL_START: a message of gigabytes. */
		rc = vigia__error(&err, VIGIA_ETOOBIG, "the message is too large: %zu bytes, and at most %d can be sent",
		                  buf->len - sizeof frame, VIGIA_MESSAGE_MAX);
		/* GCOVR_EXCL_STOP */
	}
	if (rc == VIGIA_ETOOBIG) vigia__lua_push_error(L, &err), lua_error(L);
	if (rc < 0) luaL_error(L, "%s", rc == VIGIA_ENOMEM ? "not enough memory" : err.message);
	return message;
}

void vigia__message_number(struct vigia__message *message, enum vigia__frame_kind kind, uint64_t of, uint64_t call)
{
	struct vigia__frame frame = {VIGIA_FRAME_MAGIC, (uint32_t)(message->out.len - sizeof frame), kind, of, call};
	memcpy(message->out.data, &frame, sizeof frame);
}

int vigia__message_push(lua_State *L, struct vigia__message *message)
{
	const uint8_t *bytes = message->in.data;
	size_t len = message->in.len;
	int count = 0, first = lua_gettop(L) + 1;
	while (len > 0) {
		uint32_t size;
		if (len < sizeof size) return -1;
		memcpy(&size, bytes, sizeof size);
		bytes += sizeof size;
		len -= sizeof size;
		if (size > len || !lua_checkstack(L, 4) || vigia__lua_push_object(L, bytes, size, NULL) < 0) return -1;
		bytes += size;
		len -= size;
		count++;
	}
	vigia__buf_deinit(&message->in);
	return count > 0 && lua_istable(L, first) ? count : -1;
}

/* ---- the program ---- */

static bool is_program(const char *path)
{
	return path[0] && access(path, X_OK) == 0;
}

/* This program, if it is vigia. Else the one beside the module as it was built, or in ../../bin of the folders that the
 * module was installed in. NULL: look in PATH. */
static const char *find_program(char *out, size_t size)
{
	Dl_info info;
	if (vigia__program) return vigia__program;
	if (dladdr((void *)find_program, &info) && info.dli_fname) {
		static const char *const places[] = {"../../vigia", "../../../../bin/vigia", "../../../../../bin/vigia"};
		const char *slash = strrchr(info.dli_fname, '/');
		int folder = slash ? (int)(slash - info.dli_fname) : 1;
		for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
			int n = snprintf(out, size, "%.*s/%s", folder, slash ? info.dli_fname : ".", places[i]);
			if (n > 0 && (size_t)n < size && is_program(out)) return out;
		}
	}
	return NULL;
}

/* What it used of the processor so far, in all its threads. */
static int64_t used_ns(const struct process *p)
{
	clockid_t clock;
	struct timespec ts;
	if (clock_getcpuclockid(p->pid, &clock) != 0 || clock_gettime(clock, &ts) != 0) return 0;
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* How it ended, from what waitid returned. */
static void tell_end(struct process *p, int rc, const siginfo_t *info)
{
	if (rc < 0) snprintf(p->end, sizeof p->end, "its program ended"); /* the application waits for all its children */
	else if (info->si_code == CLD_EXITED && info->si_status == VIGIA_ISOLATED_CPU) p->killed = true;
	else if (info->si_code == CLD_EXITED && info->si_status == VIGIA_ISOLATED_MEMORY)
		snprintf(p->end, sizeof p->end, "memory");
	else if (info->si_code == CLD_EXITED && info->si_status == VIGIA_ISOLATED_BROKEN)
		snprintf(p->end, sizeof p->end, "its program was sent an unexpected message");
	else if (info->si_code == CLD_EXITED)
		snprintf(p->end, sizeof p->end, "its program ended with status %d", info->si_status);
	else
		snprintf(p->end, sizeof p->end, "its program was ended by signal %d (%s)", info->si_status,
		         strsignal(info->si_status));
}

/* Kill it, and wait until it is gone. */
static void end_program(struct process *p)
{
	if (p->pid == 0) return;
	siginfo_t info = {0};
	pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0);
	int rc;
	while ((rc = waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED)) < 0 && errno == EINTR) continue;
	if (!p->killed && p->end[0] == '\0') tell_end(p, rc, &info);
	if (info.si_code == CLD_KILLED && info.si_status == SIGPIPE && atomic_load(&vigia__ends_with_output))
		raise(SIGPIPE); /* GCOVR_EXCL_LINE: what it printed went nowhere: as if we had. */
	close(p->pidfd);
	close(p->fd);
	p->pidfd = p->fd = -1;
	p->pid = 0;
}

static struct process *check_process(lua_State *L)
{
	return vigia__lua_check(L, 1, &process_class);
}

/* nil and how it ended: "cpu", "memory" for a cap, else a sentence. It is gone then. */
static int fail_ended(lua_State *L, struct process *p)
{
	/* A program that is about to end says so by closing its socket first: let it come to its end by itself. */
	if (p->pid) {
		struct pollfd fd = {.fd = p->pidfd, .events = POLLIN};
		if (!p->killed && p->end[0] == '\0') poll(&fd, 1, 1000);
		end_program(p);
	}
	lua_pushnil(L);
	lua_pushstring(L, p->killed ? "cpu" : p->end);
	return 2;
}

/* Was it told to stop, and given the time for it? */
static bool to_be_killed(struct process *p)
{
	if (p->kill == NULL) return false;
	if (atomic_load(p->kill)) return true;
	if (!p->waited_for || !atomic_load(p->stop)) return false;
	int64_t now = vigia__mono_ns();
	if (p->stop_mono_ns == 0) p->stop_mono_ns = now;
	return now - p->stop_mono_ns > START_GRACE_NS;
}

/* Wait until the socket can be read or written. False: it is gone, or over its cap and killed, or to be killed, or in
 * the `middle` of a message that does not go on. */
static bool wait_socket(struct process *p, short events, bool middle)
{
	int look_ms = p->cpu_ns > 0 || p->kill ? LOOK_MS : middle ? 1000 : -1;
	for (int64_t waited_ms = 0;; waited_ms += look_ms) {
		struct pollfd fds[2] = {{.fd = p->fd, .events = events}, {.fd = p->pidfd, .events = POLLIN}};
		int n = poll(fds, 2, look_ms);
		if (n < 0 && errno != EINTR) return false;
		if (to_be_killed(p)) {
			snprintf(p->end, sizeof p->end, "it was killed: its watcher had to stop, and it did not end in time");
			return false;
		}
		if (n > 0 && fds[0].revents) return true;
		if (n > 0 && fds[1].revents) return false; /* GCOVR_EXCL_LINE: its socket hangs up first. */
		if (p->cpu_ns > 0 && used_ns(p) - p->since_ns > p->cpu_ns + GRACE_NS) {
			p->killed = true;
			return false;
		}
		if (middle && waited_ms >= STALL_S * 1000) { /* counted in looks: time that it was suspended for is none */
			/* GCOVR_EXCL_START: it stands still for seconds. */
			snprintf(p->end, sizeof p->end, "it stopped in the middle of a message");
			return false;
			/* GCOVR_EXCL_STOP */
		}
	}
}

static bool send_bytes(struct process *p, const void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(p->fd, (const uint8_t *)bytes + done, len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) done += (size_t)n;
		else if (errno == EAGAIN && wait_socket(p, POLLOUT, false)) continue;
		else if (errno != EINTR) return false;
	}
	return true;
}

/* Send the message in the arguments from 2 on: true | nil, how it ended. Raises what cannot be carried, before anything
 * of it is sent. */
static int send_to_program(lua_State *L, struct process *p, enum vigia__frame_kind kind)
{
	if (p->pid == 0) return fail_ended(L, p);
	struct vigia__message *message = vigia__message_encode(L, 2, VIGIA_MESSAGE_MAX);
	vigia__message_number(message, kind, kind == VIGIA_FRAME_REQUEST ? ++p->request : p->call, 0);
	if (!send_bytes(p, message->out.data, message->out.len)) return fail_ended(L, p);
	vigia__buf_deinit(&message->out);
	return vigia__lua_boolean(L, true);
}

/* ask(header, ...): the next request */
static int process_ask(lua_State *L)
{
	return send_to_program(L, check_process(L), VIGIA_FRAME_REQUEST);
}

/* reply(header, ...): to the call that was received last */
static int process_reply(lua_State *L)
{
	return send_to_program(L, check_process(L), VIGIA_FRAME_REPLY);
}

/* Read until `in` holds this many bytes. */
static bool fill_message(struct process *p, struct vigia__buf *in, size_t size, bool middle)
{
	while (in->len < size) {
		if (vigia__buf_reserve(in, size - in->len) != 0) {
			/* GCOVR_EXCL_START: want of memory. */
			snprintf(p->end, sizeof p->end, "there is no memory for its message");
			return false;
			/* GCOVR_EXCL_STOP */
		}
		ssize_t n = recv(p->fd, in->data + in->len, size - in->len, MSG_DONTWAIT);
		if (n > 0) in->len += (size_t)n, middle = true;
		else if (n == 0 || (errno != EAGAIN && errno != EINTR)) return false;
		else if (errno == EAGAIN && !wait_socket(p, POLLIN, middle)) return false;
	}
	return true;
}

/* A whole message: its frame, and its bytes without that. False: the conversation is over, and p->end may say why. */
static bool fetch(struct process *p, struct vigia__frame *frame, struct vigia__buf *in)
{
	const uint32_t magic = VIGIA_FRAME_MAGIC;
	in->len = 0;
	if (!fill_message(p, in, sizeof magic, false)) return false;
	bool ours = memcmp(in->data, &magic, sizeof magic) == 0;
	if (ours && !fill_message(p, in, sizeof *frame, true)) return false;
	if (ours) memcpy(frame, in->data, sizeof *frame);
	in->len = 0;
	bool kind = ours && (frame->kind == VIGIA_FRAME_CALL || frame->kind == VIGIA_FRAME_END ||
	                     frame->kind == VIGIA_FRAME_OUTPUT);
	if (!ours || frame->size > VIGIA_MESSAGE_MAX) snprintf(p->end, sizeof p->end, "it wrote into its socket");
	else if (!kind || frame->of != p->request) snprintf(p->end, sizeof p->end, "it sent an unexpected message");
	else return fill_message(p, in, frame->size, true);
	return false;
}

/* What the script printed. False: the program is gone. */
static bool print_output(struct process *p, const struct vigia__buf *bytes)
{
	struct vigia__frame frame = {.magic = VIGIA_FRAME_MAGIC, .kind = VIGIA_FRAME_TAKEN};
	int number = vigia__output_add(p->output, bytes->data, bytes->len);
	frame.call = number == 0;
	if (number == 0) number = vigia__output_flush(p->output);
	frame.of = (uint64_t)number;
	return send_bytes(p, &frame, sizeof frame);
}

/* receive() -> is it a call, header, ... | nil, how it ended */
static int process_receive(lua_State *L)
{
	struct process *p = check_process(L);
	lua_settop(L, 1);
	if (p->pid == 0) return fail_ended(L, p);
	struct vigia__message *message = vigia__message_new(L);
	struct vigia__frame frame;
	do {
		if (!fetch(p, &frame, &message->in)) return fail_ended(L, p);
		if (frame.kind == VIGIA_FRAME_OUTPUT && !print_output(p, &message->in)) return fail_ended(L, p);
	} while (frame.kind == VIGIA_FRAME_OUTPUT);
	p->call = frame.call;
	lua_pushboolean(L, frame.kind == VIGIA_FRAME_CALL);
	int count = vigia__message_push(L, message);
	if (count > 0) return 1 + count;
	snprintf(p->end, sizeof p->end, "it wrote into its socket");
	return fail_ended(L, p);
}

/* begin(waited_for): a piece of work with a processor time of its own begins. waited_for: the thread that would stop it
 * waits for it */
static int process_begin(lua_State *L)
{
	struct process *p = check_process(L);
	p->waited_for = lua_toboolean(L, 2);
	p->stop_mono_ns = 0;
	if (p->pid && p->cpu_ns > 0) p->since_ns = used_ns(p);
	return 0;
}

/* Method kill, __gc, __close: safe twice. */
static int process_kill(lua_State *L)
{
	end_program(check_process(L));
	return 0;
}

/* ---- spawn ---- */

struct arguments {
	char parent[24], memory[24], cpu[24], choose[4], libraries[16];
};

static int spawn(struct process *p, const char *program, int socket, int lock_fd, struct arguments *a)
{
	char *const argv[] = {"vigia", "--isolated", a->parent, a->memory, a->cpu, a->choose, a->libraries, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t set;
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	/* Descriptors below 5 may be the targets of each other: `socket` and `lock_fd` were moved above them. */
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, socket, VIGIA_ISOLATED_SOCKET);
	if (lock_fd >= 0) posix_spawn_file_actions_adddup2(&actions, lock_fd, VIGIA_ISOLATED_LOCK);
	posix_spawn_file_actions_addclosefrom_np(&actions, lock_fd >= 0 ? VIGIA_ISOLATED_LOCK + 1 : VIGIA_ISOLATED_LOCK);
	vigia__thread_program_mask(&set);
	posix_spawnattr_setsigmask(&attr, &set);
	/* What the application ignores is not passed on, but for what a shell or nohup made it ignore. */
	sigfillset(&set);
	sigdelset(&set, SIGINT);
	sigdelset(&set, SIGQUIT);
	sigdelset(&set, SIGHUP);
	posix_spawnattr_setsigdefault(&attr, &set);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int rc = program ? posix_spawn(&p->pid, program, &actions, &attr, argv, environ)
	                 : posix_spawnp(&p->pid, "vigia", &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return rc;
}

/* A copy above the descriptors that the program gets. */
static int move_up(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, VIGIA_ISOLATED_LOCK + 1);
}

static lua_Integer number_field(lua_State *L, const char *name)
{
	lua_getfield(L, 2, name);
	lua_Integer n = lua_tointeger(L, -1);
	lua_pop(L, 1);
	return n;
}

int vigia__lua_spawn(lua_State *L)
{
	const char *program = luaL_optstring(L, 1, NULL);
	luaL_checktype(L, 2, LUA_TTABLE);
	struct vigia_store *store = vigia__lua_check_store(L, 3);
	if (vigia__lua_shared(L)->output == NULL || vigia__cap_here())
		return luaL_error(L, "only a script's own thread can spawn its program, and no limited script");
	struct arguments a;
	snprintf(a.parent, sizeof a.parent, "%ld", (long)getpid());
	snprintf(a.memory, sizeof a.memory, "%lld", (long long)number_field(L, "memory"));
	snprintf(a.cpu, sizeof a.cpu, "%lld", (long long)number_field(L, "cpu"));
	snprintf(a.choose, sizeof a.choose, "%d", (int)number_field(L, "choose"));
	snprintf(a.libraries, sizeof a.libraries, "%u", (unsigned)number_field(L, "libraries"));
	int64_t cpu_ns = number_field(L, "cpu");
	struct process *p = vigia__lua_new(L, sizeof *p, &process_class);
	p->pidfd = p->fd = -1;
	p->cpu_ns = cpu_ns;
	struct vigia__worker *worker = vigia__lua_shared(L)->worker;
	p->output = vigia__lua_shared(L)->output;
	p->kill = worker ? vigia__worker_killed(worker) : NULL;
	p->stop = worker ? vigia__worker_stopping(worker) : NULL;

	store =
		vigia__lua_check_store(L, 3); /* again: what was asked for above may have run Lua code, and that closed it */
	char path[4096];
	int pair[2];
	if (program == NULL) program = find_program(path, sizeof path);
	bool connected = VIGIA_FD(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) == 0;
	int rc = connected ? 0 : errno;
	if (connected) {
		int theirs = move_up(pair[1]), lock_fd = move_up(store ? store->backend->lock_fd : -1);
		rc = theirs < 0 ? errno : spawn(p, program, theirs, lock_fd, &a);
		if (theirs >= 0) close(theirs);
		if (lock_fd >= 0) close(lock_fd);
		close(pair[1]);
		p->fd = pair[0];
	}
	if (rc == 0 && (p->pidfd = VIGIA_FD(pidfd_open(p->pid, 0))) < 0) {
		/* GCOVR_EXCL_START: no descriptor for it. */
		rc = errno;
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
		/* GCOVR_EXCL_STOP */
	}
	if (rc == 0) return 1;
	p->pid = 0;
	if (p->fd >= 0) close(p->fd);
	p->fd = -1;
	lua_pushnil(L);
	lua_pushfstring(L, "cannot run the program %s for an isolated script: %s (option worker_program says where it is)",
	                program ? program : "vigia", strerror(rc));
	return 2;
}

static const struct vigia__lua_class process_class = {
	.name = "vigia.Process",
	.metamethods = (const luaL_Reg[]){{"__gc", process_kill}, {"__close", process_kill}, {NULL, NULL}},
	.methods = (const luaL_Reg[]){{"ask", process_ask},
                                  {"reply", process_reply},
                                  {"receive", process_receive},
                                  {"begin", process_begin},
                                  {"kill", process_kill},
                                  {NULL, NULL}},
};
