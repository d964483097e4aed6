/*
 * verify.c - core.verify(path): look at all of a store in a child process, so that damaged LMDB pages that crash LMDB are a finding.
 *
 * The child writes records to a pipe; the iterator that Lua gets reads them. Fork without exec is for the program `vigia`, which has no
 * other threads that matter; so this is not part of the module's public names.
 */
#include "bind.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/error.h"
#include "../store/verify.h"
#include "interrupt.h"

static const char child_key;

enum kind { PROGRESS, DAMAGED, DONE, FAILED };

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
	uint64_t at; /* how far it came */
};

/* ---- In the child ---- */

static void send_record(int fd, enum kind kind, uint64_t a, uint64_t b, uint64_t c, const char *text) {
	struct record record = {.kind = kind, .numbers = {a, b, c}};
	snprintf(record.text, sizeof record.text, "%s", text);
	while (write(fd, &record, sizeof record) < 0)
		if (errno != EINTR)
			_Exit(1); /* of the child: nobody reads any more */
}

static void found(void *ctx, uint64_t seq_num, const char *text) {
	send_record(*(int *)ctx, DAMAGED, seq_num, 0, 0, text);
}

static void progress(void *ctx, uint64_t seq_num, uint64_t first, uint64_t last) {
	send_record(*(int *)ctx, PROGRESS, seq_num, first, last, "");
}

static void verify_in_child(const char *path, int fd) {
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC); /* LMDB's last words: the parent has better ones */
	if (nowhere >= 0)
		dup2(nowhere, STDERR_FILENO);
	for (const int *s = (const int[]){SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, 0}; *s; s++) signal(*s, SIG_DFL);
	struct vigia_store_options options;
	struct vigia_store *store;
	struct vigia_error err = {0};
	struct vigia__verify verify = {.ctx = &fd, .found = found, .progress = progress};
	vigia_store_options_init(&options);
	options.readonly = true;
	options.create = options.collect = false;
	int rc = vigia_store_open(path, &options, &store, &err);
	if (rc < 0)
		send_record(fd, FAILED, (uint64_t)-rc, 0, 0, err.message);
	else if (vigia__store_verify(store, &verify, &err) < 0) {
		char text[sizeof err.message + sizeof err.cause + 4];
		snprintf(text, sizeof text, "%s (%s)", err.message, err.cause);
		found(&fd, 0, text);
	}
	if (rc == VIGIA_OK)
		send_record(fd, DONE, verify.events, verify.checkpoints, verify.keys, "");
	_Exit(0);
}

/* ---- In the parent ---- */

static int end_child(struct child *child) {
	int status = 0;
	if (child->fd >= 0)
		close(child->fd);
	child->fd = -1;
	if (child->pid > 0)
		while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
			;
	child->pid = 0;
	return status;
}

static int child_gc(lua_State *L) {
	struct child *child = lua_touserdata(L, 1);
	if (child->pid > 0)
		kill(child->pid, SIGKILL);
	end_child(child);
	return 0;
}

/* 1: a record, 0: the end, -1: interrupted or failed. */
static int next_record(struct child *child, struct record *record) {
	size_t have = 0;
	while (have < sizeof *record) {
		struct pollfd fds[2] = {{.fd = child->fd, .events = POLLIN}, {.fd = vigia__interrupt_fd, .events = POLLIN}};
		if (atomic_load(&vigia__interrupted))
			return -1;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -1;
		if (!fds[0].revents)
			continue;
		ssize_t n = read(child->fd, (char *)record + have, sizeof *record - have);
		if (n == 0)
			return 0;
		if (n > 0)
			have += (size_t)n;
		else if (errno != EINTR)
			return -1;
	}
	return 1;
}

static int push(lua_State *L, const char *what, const struct record *record) {
	lua_pushstring(L, what);
	for (int i = 0; i < 3; i++)
		lua_pushinteger(L, (lua_Integer)record->numbers[i]);
	lua_pushstring(L, record->text);
	if (record->kind != FAILED)
		return 5;
	lua_pushstring(L, vigia_error_name(-(int)record->numbers[0]));
	return 6;
}

static int next(lua_State *L) {
	static const char *const names[] = {"progress", "damaged", "done", "failed"};
	struct child *child = lua_touserdata(L, lua_upvalueindex(1));
	struct record record = {0};
	if (child->done)
		return 0;
	int rc = next_record(child, &record);
	if (rc > 0 && record.kind <= FAILED) {
		record.text[sizeof record.text - 1] = '\0';
		child->done = record.kind == DONE || record.kind == FAILED;
		if (record.kind == PROGRESS)
			child->at = record.numbers[0];
		return push(L, names[record.kind], &record);
	}
	child->done = true;
	if (rc < 0) {
		kill(child->pid, SIGKILL);
		end_child(child);
		return push(L, "interrupted", &record);
	}
	int status = end_child(child);
	record.numbers[0] = child->at;
	snprintf(record.text, sizeof record.text, "%s", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it ended before its time");
	return push(L, "crashed", &record);
}

int vigia__lua_verify(lua_State *L) {
	const char *path = vigia__lua_check_cstring(L, 1, "path");
	static const luaL_Reg metamethods[] = {{"__gc", child_gc}, {NULL, NULL}};
	vigia__lua_class(L, "vigia.verify", &child_key, metamethods, NULL);
	lua_pop(L, 1);
	struct child *child = vigia__lua_new(L, sizeof *child, &child_key);
	struct vigia_error err = {0};
	int fds[2];
	child->fd = -1;
	if (pipe(fds) == 0) {
		child->fd = fds[0];
		child->pid = fork();
		if (child->pid == 0) {
			close(fds[0]);
			verify_in_child(path, fds[1]);
		}
		int number = errno;
		close(fds[1]);
		errno = number;
	}
	if (child->fd < 0 || child->pid < 0) {
		child->pid = 0;
		vigia__error(&err, VIGIA_EIO, "cannot start a process to verify in");
		vigia__error_cause(&err, "%s", strerror(errno));
		return vigia__lua_fail(L, VIGIA_EIO, &err);
	}
	lua_pushcclosure(L, next, 1);
	return 1;
}
