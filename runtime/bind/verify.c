/*
 * verify.c - core.verify(path, from, upto, piece): look at a store in a child process, so that damaged LMDB pages that
 * crash LMDB are a finding, and the caller can go on behind them with another child (lua/vigia/cli/verify.lua).
 *
 * The child writes records to a pipe. The iterator that Lua gets reads them. Fork without exec is for the program
 * `vigia`, which has no other threads that matter. So this is not part of the module's public names.
 */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/error.h"
#include "../core/location.h"
#include "../store/fd.h"
#include "../store/verify.h"
#include "../store/backend.h"
#include "error.h"
#include "interrupt.h"
#include "lua_state.h"

static const struct vigia__lua_class child_class;

/* Processor time for one piece of the file, which takes milliseconds, and for each 64 MiB that an event may have: LMDB
 * may never come back from a damaged page. */
enum { PIECE_SECONDS = 2, SECOND_SHIFT = 26 };

static time_t piece_seconds = PIECE_SECONDS; /* in the child */

enum kind { PROGRESS, DAMAGED, BESIDE, DONE, UNREADABLE, FAILED };

/* Smaller than PIPE_BUF, so that it comes whole. */
struct record {
	enum kind kind;
	uint64_t numbers[3];
	char text[900];
};

struct child {
	pid_t pid; /* 0: waited for */
	int fd;    /* -1: closed */
	bool done;
};

/* ---- In the child ---- */

static void send_record(int fd, enum kind kind, uint64_t a, uint64_t b, uint64_t c, const char *text)
{
	struct record record = {.kind = kind, .numbers = {a, b, c}};
	snprintf(record.text, sizeof record.text, "%s", text);
	while (write(fd, &record, sizeof record) < 0)
		if (errno != EINTR) _Exit(1); /* GCOVR_EXCL_LINE: in the child, whose reader is gone. */
}

static void found(void *ctx, uint64_t seq_num, const char *text)
{
	send_record(*(int *)ctx, DAMAGED, seq_num, 0, 0, text);
}

/* A new piece begins. SIGPROF ends the child when it takes too long. */
static void wind_up(void)
{
	setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {.tv_sec = piece_seconds}}, NULL);
}

static void progress(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last)
{
	wind_up();
	send_record(*(int *)ctx, PROGRESS, seq_num, first, last, "");
}

static void beside(void *ctx)
{
	wind_up();
	send_record(*(int *)ctx, BESIDE, 0, 0, 0, "");
}

static void verify_in_child(const char *path, const uint64_t range[3], int fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	int nowhere = VIGIA_FD(open("/dev/null", O_WRONLY | O_CLOEXEC)); /* LMDB's last words: the parent has better ones */
	if (nowhere >= 0) dup2(nowhere, STDERR_FILENO);
	sigset_t all;
	sigemptyset(&all);
	for (const int *s = (const int[]){SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPROF, 0}; *s; s++) {
		signal(*s, SIG_DFL);
		sigaddset(&all, *s);
	}
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	wind_up();
	struct vigia_store_options options;
	struct vigia_store *store;
	struct vigia_error err = {0};
	struct vigia__verify verify = {.ctx = &fd,
	                               .found = found,
	                               .progress = progress,
	                               .beside = beside,
	                               .from = range[0],
	                               .upto = range[1],
	                               .piece = range[2]};
	vigia_store_options_init(&options);
	options.readonly = true;
	options.create = options.collect = false;
	char text[sizeof err.message + sizeof err.cause + 4];
	int rc = vigia_store_open(path, &options, &store, &err), opened = rc;
	if (rc == VIGIA_OK) {
		piece_seconds += store->backend->max_event_size >> SECOND_SHIFT;
		wind_up();
		rc = vigia__store_verify(store, &verify, &err);
	}
	snprintf(text, sizeof text, "%s%s%s%s", err.message, err.cause[0] ? " (" : "", err.cause, err.cause[0] ? ")" : "");
	/* A server that fails meanwhile is no damage; and it has to be told that this process ends. */
	bool server = vigia__location_is_postgresql(path);
	if (server && opened == VIGIA_OK) vigia_store_free(store);
	if (opened < 0 || (server && rc < 0)) send_record(fd, FAILED, (uint64_t)-rc, 0, 0, text);
	else if (rc < 0) send_record(fd, UNREADABLE, 0, 0, 0, text);
	else {
		snprintf(text, sizeof text, "%llu %llu", (unsigned long long)verify.values, (unsigned long long)verify.timers);
		send_record(fd, DONE, verify.events, verify.checkpoints, verify.keys, text);
	}
	_Exit(0);
}

/* ---- In the parent ---- */

static int end_child(struct child *child)
{
	int status = 0;
	if (child->fd >= 0) close(child->fd);
	child->fd = -1;
	if (child->pid > 0)
		while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
			;
	child->pid = 0;
	return status;
}

static int child_gc(lua_State *L)
{
	struct child *child = vigia__lua_check(L, 1, &child_class);
	child->done = true;
	if (child->pid > 0) kill(child->pid, SIGKILL);
	end_child(child);
	return 0;
}

static const struct vigia__lua_class child_class = {
	.name = "vigia.verify", .metamethods = (const luaL_Reg[]){{"__gc", child_gc}, {"__close", child_gc}, {NULL, NULL}}};

/* 1: a record, 0: the end, -1: interrupted or failed. */
static int next_record(struct child *child, struct record *record)
{
	size_t have = 0;
	while (have < sizeof *record) {
		struct pollfd fds[2] = {{.fd = child->fd, .events = POLLIN}, {.fd = vigia__interrupt_fd, .events = POLLIN}};
		if (atomic_load(&vigia__interrupted)) return -1;
		if (poll(fds, 2, -1) < 0 && errno != EINTR) return -1;
		if (!fds[0].revents) continue;
		ssize_t n = read(child->fd, (char *)record + have, sizeof *record - have);
		if (n == 0) return 0;
		if (n > 0) have += (size_t)n;
		else if (errno != EINTR) return -1; /* GCOVR_EXCL_LINE: an interrupt. */
	}
	return 1;
}

static int push_finding(lua_State *L, const char *what, const struct record *record)
{
	lua_pushstring(L, what);
	for (int i = 0; i < 3; i++) lua_pushinteger(L, (lua_Integer)record->numbers[i]);
	lua_pushstring(L, record->text);
	if (record->kind != FAILED) return 5;
	lua_pushstring(L, vigia_error_name(-(int)record->numbers[0]));
	return 6;
}

static int next_finding(lua_State *L)
{
	static const char *const names[] = {"progress", "damaged", "beside", "done", "unreadable", "failed"};
	struct child *child = vigia__lua_test(L, lua_upvalueindex(1), &child_class);
	struct record record = {0};
	if (child == NULL || child->done) return 0;
	int rc = next_record(child, &record);
	if (rc > 0 && record.kind <= FAILED) {
		record.text[sizeof record.text - 1] = '\0';
		child->done = record.kind >= DONE;
		return push_finding(L, names[record.kind], &record);
	}
	child->done = true;
	if (rc < 0) {
		/* GCOVR_EXCL_START: an interrupt. */
		kill(child->pid, SIGKILL);
		end_child(child);
		return push_finding(L, "interrupted", &record);
		/* GCOVR_EXCL_STOP */
	}
	int status = end_child(child);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
		snprintf(record.text, sizeof record.text, "reading did not end");
	else
		snprintf(record.text, sizeof record.text, "reading ended with: %s",
		         WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it ended too early");
	return push_finding(L, "unreadable", &record);
}

int vigia__lua_verify(lua_State *L)
{
	vigia__lua_check_program(L, "verify");
	const char *path = vigia__lua_check_cstring(L, 1, "path");
	uint64_t range[3] = {0};
	for (int i = 0; i < 3; i++) range[i] = (uint64_t)luaL_optinteger(L, 2 + i, 0);
	struct child *child = vigia__lua_new(L, sizeof *child, &child_class);
	struct vigia_error err = {0};
	int fds[2];
	child->fd = -1;
	if (VIGIA_FD(pipe2(fds, O_CLOEXEC)) == 0) {
		child->fd = fds[0];
		child->pid = fork();
		if (child->pid == 0) {
			close(fds[0]);
			verify_in_child(path, range, fds[1]);
		}
		int number = errno;
		close(fds[1]);
		errno = number;
	}
	if (child->fd < 0 || child->pid < 0) {
		/* GCOVR_EXCL_START: no process, no descriptor. */
		child->pid = 0;
		vigia__error_caused(&err, VIGIA_EIO, strerror(errno), "cannot start a process to verify in");
		return vigia__lua_fail(L, VIGIA_EIO, &err);
		/* GCOVR_EXCL_STOP */
	}
	int self = lua_gettop(L);
	lua_pushvalue(L, self);
	lua_pushcclosure(L, next_finding, 1);
	lua_pushnil(L);
	lua_pushnil(L);
	lua_pushvalue(L, self); /* for a loop that is left early */
	return 4;
}
