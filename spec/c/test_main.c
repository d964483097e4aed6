/*
 * test_main.c - the program `vigia` where it cannot even begin: what it says, and that it ends with a failure.
 *
 * The product's own main.c is included, so that single calls of it can fail. Each run is a process of its own.
 */
#include "test.h"

#include <errno.h>
#include <lauxlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bind/module.h"
#include "store/thread.h"

enum failing { NOTHING, THREAD, STATE, FILES };
static enum failing failing;

#define vigia__thread_start(...) (failing == THREAD ? EAGAIN : vigia__thread_start(__VA_ARGS__))
#define luaL_newstate()          (failing == STATE ? NULL : luaL_newstate())
#define access(path, mode)       (failing == FILES ? -1 : access(path, mode))
#define main                     vigia_main
int vigia_main(int argc, char **argv);
#include "../../runtime/main.c"
#undef main
#undef access
#undef luaL_newstate
#undef vigia__thread_start

int vigia__isolated_main(int argc, char **argv, const char *lua_dir)
{
	return EXIT_FAILURE;
}

/* What `vigia --version` wrote to standard error; its exit status. */
static int run_vigia(enum failing what, char *text, size_t size)
{
	char name[] = "vigia", option[] = "--version", *argv[] = {name, option, NULL};
	int fds[2], status = 0;
	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		failing = what;
		_exit(vigia_main(2, argv));
	}
	close(fds[1]);
	ssize_t n, len = 0;
	while ((n = read(fds[0], text + len, size - 1 - (size_t)len)) > 0) len += n;
	text[len] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void it_says_why_it_cannot_begin(void **state)
{
	(void)state;
	static const struct {
		enum failing what;
		const char *said;
	} rows[] = {
		{THREAD, "vigia: cannot start: "},
		{STATE, "vigia: not enough memory\n"},
		{FILES, "vigia: the Lua files of vigia are missing: "},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char text[2000];
		assert_int_equal(run_vigia(rows[i].what, text, sizeof text), EXIT_FAILURE);
		if (strncmp(text, rows[i].said, strlen(rows[i].said)) != 0) fail_msg("%s", text);
	}
}

static void what_main_returns_is_the_status(void **state)
{
	(void)state;
	lua_State *L = luaL_newstate();
	assert_non_null(L);
	static const struct {
		const char *value;
		int status;
	} rows[] = {{"nil", 0},   {"true", 0}, {"false", 1}, {"0", 0},  {"3", 3},
	            {"255", 255}, {"256", 1},  {"-1", 1},    {"'0'", 1}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char code[32];
		snprintf(code, sizeof code, "return %s", rows[i].value);
		assert_int_equal(luaL_dostring(L, code), LUA_OK);
		assert_int_equal(status_of(L, -1), rows[i].status);
	}
	lua_close(L);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_why_it_cannot_begin),
		cmocka_unit_test(what_main_returns_is_the_status),
	};
	return cmocka_run_group_tests_name("main", tests, NULL, NULL);
}
