/*
 * program.c - os.execute and io.popen for scripts.
 *
 * They do what the standard ones do, but for the signals: threads of ours block them all (store/thread.h), system() and
 * popen() would hand that down, and a program that gets no SIGTERM cannot be stopped. posix_spawn takes the mask as an
 * argument, so the thread itself never unblocks a signal. Unlike system(), os.execute leaves SIGINT alone while it
 * waits: a Ctrl-C stops the process as it always does.
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../store/fd.h"
#include "../store/thread.h"
#include "lua_state.h"

extern char **environ;

/* A file of Lua's own library, and the program behind it. */
struct program_file {
	luaL_Stream stream;
	pid_t pid;
};

/* Start /bin/sh -c command. With its descriptor `theirs` as `number`, unless `theirs` is -1. Returns 0, or an errno. */
static int spawn_shell(const char *command, int theirs, int number, pid_t *pid)
{
	char *const argv[] = {"sh", "-c", (char *)command, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t mask;
	vigia__thread_program_mask(&mask);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	if (theirs >= 0) posix_spawn_file_actions_adddup2(&actions, theirs, number);
	posix_spawnattr_setsigmask(&attr, &mask);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	int rc = posix_spawn(pid, "/bin/sh", &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return rc;
}

/* The status of a program that was started, or -1 and errno. */
static int wait_program(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR) return -1; /* GCOVR_EXCL_LINE: interrupted. */
	return status;
}

static int os_execute(lua_State *L)
{
	const char *command = luaL_optstring(L, 1, NULL);
	if (command == NULL) {
		lua_pushboolean(L, access("/bin/sh", X_OK) == 0);
		return 1;
	}
	pid_t pid;
	errno = spawn_shell(command, -1, -1, &pid);
	return luaL_execresult(L, errno ? -1 : wait_program(pid));
}

static int close_program(lua_State *L)
{
	struct program_file *file = luaL_checkudata(L, 1, LUA_FILEHANDLE);
	bool good = fclose(file->stream.f) == 0;
	int number = errno, status = wait_program(file->pid);
	if (status == 0 && !good) {
		/* GCOVR_EXCL_START: its pipe broke, and it ended well. */
		errno = number; /* what was written last did not get there */
		return luaL_fileresult(L, 0, NULL);
		/* GCOVR_EXCL_STOP */
	}
	return luaL_execresult(L, status);
}

/* Returns 0, or an errno. */
static int open_program(struct program_file *file, const char *command, const char *mode)
{
	bool reads = mode[0] == 'r';
	int ends[2];
	if (VIGIA_FD(pipe2(ends, O_CLOEXEC)) != 0) return errno;
	int ours = ends[!reads], theirs = ends[reads];
	FILE *f = fdopen(ours, mode);
	int failed = f ? spawn_shell(command, theirs, reads, &file->pid) : errno;
	close(theirs);
	if (failed == 0) {
		file->stream.f = f;
		file->stream.closef = close_program;
		/* GCOVR_EXCL_START: it was not started. */
	} else if (f) fclose(f);
	else close(ours);
	/* GCOVR_EXCL_STOP */
	return failed;
}

static int io_popen(lua_State *L)
{
	const char *command = luaL_checkstring(L, 1), *mode = luaL_optstring(L, 2, "r");
	luaL_argcheck(L, (mode[0] == 'r' || mode[0] == 'w') && mode[1] == '\0', 2, "invalid mode");
	struct program_file *file = lua_newuserdatauv(L, sizeof *file, 0);
	file->stream.closef = NULL; /* closed, until it is open */
	luaL_setmetatable(L, LUA_FILEHANDLE);
	fflush(NULL);
	errno = open_program(file, command, mode);
	return errno ? luaL_fileresult(L, 0, command) : 1;
}

void vigia__lua_open_programs(lua_State *L)
{
	static const luaL_Reg os[] = {{"execute", os_execute}, {NULL, NULL}};
	static const luaL_Reg io[] = {{"popen", io_popen}, {NULL, NULL}};
	vigia__lua_push_library(L, LUA_OSLIBNAME);
	vigia__lua_replace_functions(L, os);
	vigia__lua_push_library(L, LUA_IOLIBNAME);
	vigia__lua_replace_functions(L, io);
	lua_pop(L, 2);
}
