/*
 * edit.c - reads lines from a user, and handles Ctrl-C. Only this file includes libedit's header.
 *
 * libedit is loaded before the first line is edited, so that an application without a REPL does not pay for a terminal
 * library. Without it lines are read without editing. While a REPL runs it handles SIGINT. At the prompt SIGINT drops
 * the line. In an expression it sets a hook that raises an error, and ends waits in C on the REPL's thread
 * (interrupt.h). The hook raises repeatedly, so that a pcall in a loop does not swallow it, and is removed when the
 * expression has ended. Hooks are per coroutine, so code that resumes one calls vigia__edit_switch: the registry for
 * its handlers, and the REPL's replacements for the functions of the library "coroutine".
 *
 * The history is a text file, one entry a line. Lines are only appended, so that two REPLs do not overwrite each
 * other's.
 */
#include "edit.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <editline/readline.h>

#include "../store/fd.h"
#include "../store/thread.h"
#include "interrupt.h"
#include "lua_state.h"

enum { HISTORY_MAX = 1000, GIVE_UP = 3, CTRL_D = 4 };

/* The functions and variables of libedit that are used. */
static struct {
	void *handle;
	__typeof__(readline) *readline;
	__typeof__(add_history) *add_history;
	__typeof__(stifle_history) *stifle_history;
	__typeof__(rl_completion_matches) *completion_matches;
	__typeof__(&rl_line_buffer) line_buffer;
	__typeof__(&rl_attempted_completion_function) completion;
	__typeof__(&rl_attempted_completion_over) completion_over;
	__typeof__(&rl_basic_word_break_characters) breaks;
	__typeof__(&rl_completion_append_character) append;
	__typeof__(&rl_getc_function) getc;
	__typeof__(&rl_readline_name) name;
} lib;

/* One REPL at a time, on one thread, because signals and the terminal belong to the process. */
static struct {
	bool running, edits;
	pthread_t owner;      /* the thread it runs on */
	lua_State *_Atomic L; /* the coroutine that reads or runs */
	char *history;        /* path, or NULL */
	struct sigaction before_int, before_term, before_hup;
	int before_fd; /* vigia__interrupt_fd */
	int level_fd;  /* readable until it is cleared */
	int line_fd;   /* the same for the prompt, which concerns no other thread */
	sem_t told;    /* wakes the thread once per signal */
	pthread_t thread;
	atomic_int signals; /* SIGINTs since the expression began */
	atomic_bool terminated, calling, quit;
	bool cut_off; /* a signal dropped the current line */
	int ahead;    /* bytes typed before libedit took the terminal, still to be read; -1: not counted yet */
	char **words; /* the completions */
	size_t word;
} repl;

/* ---- Signals ---- */

static void raise_interrupted(lua_State *L, lua_Debug *ar)
{
	lua_pushliteral(L, "interrupted"); /* the traceback says where */
	lua_error(L);
}

/* Do what the signal would do by default. */
/* GCOVR_EXCL_START: ends the process, whose counters are lost. */
static void end_by(int signo)
{
	signal(signo, SIG_DFL);
	raise(signo);
}
/* GCOVR_EXCL_STOP */

static void arm_expression(lua_State *L)
{
	lua_sethook(L, raise_interrupted, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

bool vigia__edit_hooked(lua_State *co)
{
	return lua_gethook(co) == raise_interrupted;
}

static void disarm_expression(lua_State *L)
{
	if (vigia__edit_hooked(L)) lua_sethook(L, NULL, 0, 0);
}

static void on_prompt_signal(int signo)
{
	int before = errno;
	uint64_t one = 1;
	if (!pthread_equal(pthread_self(), repl.owner)) { /* never touch the hooks of another thread */
		/* GCOVR_EXCL_START: the system gave it to another thread. */
		pthread_kill(repl.owner, signo);
		errno = before;
		return;
		/* GCOVR_EXCL_STOP */
	}
	if (signo != SIGINT && atomic_exchange(&repl.terminated, true) && signo == SIGTERM) end_by(signo);
	/* A C function that does not return to Lua notices neither hook nor flag: repeated Ctrl-C ends the process. */
	if (atomic_fetch_add(&repl.signals, 1) + 1 >= GIVE_UP && atomic_load(&repl.calling)) end_by(signo);
	if (!atomic_load(&repl.calling)) {
		if (write(repl.line_fd, &one, sizeof one) < 0) end_by(signo);
	} else {
		arm_expression(atomic_load(&repl.L));
		atomic_store(&vigia__interrupted, true);
		if (write(repl.level_fd, &one, sizeof one) < 0 || sem_post(&repl.told) != 0) end_by(signo);
	}
	errno = before;
}

/* End waits in C. This takes locks, which a signal handler must not do. */
static void *tell_prompt_waiters(void *arg)
{
	for (;;) {
		if (sem_wait(&repl.told) != 0) continue;
		if (atomic_load(&repl.quit)) return NULL;
		vigia__interrupt_thread(repl.owner);
	}
}

static void clear(void)
{
	uint64_t count;
	disarm_expression(repl.L);
	atomic_store(&repl.signals, 0);
	while (read(repl.line_fd, &count, sizeof count) > 0) continue;
	while (read(repl.level_fd, &count, sizeof count) > 0) continue;
	vigia__interrupt_over();
}

lua_State *vigia__edit_switch(lua_State *co)
{
	if (co == NULL || !atomic_load(&repl.calling) || !pthread_equal(pthread_self(), repl.owner)) return NULL;
	lua_State *before = atomic_exchange(&repl.L, co);
	disarm_expression(before); /* it may be resumed long after this expression */
	if (atomic_load(&repl.signals) > 0) arm_expression(co);
	else disarm_expression(co); /* inherited from its creator, or left over */
	return before;
}

/* Keep ignoring a signal that a shell or nohup made us ignore. */
static void take_signal(int signo, const struct sigaction *action, struct sigaction *before)
{
	sigaction(signo, NULL, before);
	if (before->sa_handler != SIG_IGN) sigaction(signo, action, NULL);
}

static int prompt_signals_start(void)
{
	repl.owner = pthread_self();
	repl.level_fd = VIGIA_FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	sem_init(&repl.told, 0, 0);
	repl.line_fd = VIGIA_FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	bool open = repl.level_fd >= 0 && repl.line_fd >= 0;
	int rc = open ? vigia__thread_start(&repl.thread, 0, tell_prompt_waiters, NULL) : errno;
	if (rc != 0) {
		/* GCOVR_EXCL_START: no descriptors, or no thread. */
		close(repl.level_fd);
		close(repl.line_fd);
		return rc;
		/* GCOVR_EXCL_STOP */
	}
	repl.before_fd = vigia__interrupt_fd;
	vigia__interrupt_fd = repl.level_fd;
	struct sigaction action = {.sa_handler = on_prompt_signal}; /* no SA_RESTART: a read at the prompt must end */
	take_signal(SIGINT, &action, &repl.before_int);
	take_signal(SIGHUP, &action, &repl.before_hup);
	sigaction(SIGTERM, &action, &repl.before_term);
	return 0;
}

static void prompt_signals_stop(void)
{
	sigaction(SIGINT, &repl.before_int, NULL);
	sigaction(SIGHUP, &repl.before_hup, NULL);
	sigaction(SIGTERM, &repl.before_term, NULL);
	clear();
	vigia__interrupt_fd = repl.before_fd;
	atomic_store(&repl.quit, true);
	sem_post(&repl.told);
	pthread_join(repl.thread, NULL);
	close(repl.level_fd);
	close(repl.line_fd);
}

/* ---- libedit ---- */

/* The flags to load it with. Stock lua5.4 is linked with readline, which has the same names, so libedit would use
 * readline's variables unless it searches itself first (RTLD_DEEPBIND). Then it also uses libc's malloc, which is wrong
 * if the host has another one: one would free what the other allocated. Returns -1 if it must not be loaded. */
static int load_flags(void)
{
	Dl_info info;
	void *theirs = dlsym(RTLD_DEFAULT, "rl_line_buffer");
	if (theirs == NULL || (dladdr(theirs, &info) && info.dli_fname && strstr(info.dli_fname, "libedit")))
		return RTLD_NOW | RTLD_LOCAL;
#ifdef RTLD_DEEPBIND
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	if (libc) {
		bool same = dlsym(libc, "malloc") == dlsym(RTLD_DEFAULT, "malloc");
		dlclose(libc);
		if (same) return RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
	}
#endif
	return -1;
}

static bool load_libedit(void)
{
	if (lib.handle) return true;
	int flags = load_flags();
	if (flags < 0) return false;
	void *handle = dlopen("libedit.so.2", flags);
	if (handle == NULL) handle = dlopen("libedit.so.0", flags); /* its name on other systems */
	if (handle == NULL) return false;                           /* GCOVR_EXCL_LINE: libedit is there. */
	struct {
		void **to;
		const char *name;
	} symbols[] = {
		{(void **)&lib.readline, "readline"},
		{(void **)&lib.add_history, "add_history"},
		{(void **)&lib.stifle_history, "stifle_history"},
		{(void **)&lib.completion_matches, "rl_completion_matches"},
		{(void **)&lib.line_buffer, "rl_line_buffer"},
		{(void **)&lib.completion, "rl_attempted_completion_function"},
		{(void **)&lib.completion_over, "rl_attempted_completion_over"},
		{(void **)&lib.breaks, "rl_basic_word_break_characters"},
		{(void **)&lib.append, "rl_completion_append_character"},
		{(void **)&lib.getc, "rl_getc_function"},
		{(void **)&lib.name, "rl_readline_name"},
	};
	for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
		*symbols[i].to = dlsym(handle, symbols[i].name);
		if (*symbols[i].to == NULL) {
			/* GCOVR_EXCL_START: another library of that name. */
			dlclose(handle);
			return false;
			/* GCOVR_EXCL_STOP */
		}
	}
	lib.handle = handle;
	return true;
}

/* Use the user's character set during a call into libedit. Returns the locale to restore. */
static char *locale_enter(void)
{
	const char *known = setlocale(LC_CTYPE, NULL);
	char *before = known ? strdup(known) : NULL;
	const char *mine = setlocale(LC_CTYPE, "");
	if (mine == NULL || strcmp(mine, "C") == 0 || strcmp(mine, "POSIX") == 0) setlocale(LC_CTYPE, "C.UTF-8");
	return before;
}

static void locale_leave(char *before)
{
	setlocale(LC_CTYPE, before ? before : "C");
	free(before);
}

/* A Ctrl-D typed while the terminal still cooks its input ends a line of its own, which is a NUL for libedit. libedit
 * takes a NUL for "quote the next key", and turns signals off until that key comes. So a NUL typed before is a Ctrl-D
 * again, and one typed at the prompt (Ctrl-Space) is nothing. */
static bool is_key(unsigned char *byte)
{
	if (!repl.edits) return true;
	bool ahead = repl.ahead > 0;
	if (ahead) repl.ahead--;
	if (*byte != '\0') return true;
	*byte = CTRL_D;
	return ahead;
}

static int next_byte(void)
{
	if (repl.edits && repl.ahead < 0 && ioctl(STDIN_FILENO, FIONREAD, &repl.ahead) != 0) repl.ahead = 0;
	for (;;) {
		struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = repl.line_fd, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0 && errno != EINTR) return EOF;
		if (atomic_load(&repl.signals) > 0 || atomic_load(&repl.terminated)) {
			repl.cut_off = true;
			return EOF;
		}
		unsigned char byte;
		if (fds[0].revents == 0) continue;
		ssize_t n = read(STDIN_FILENO, &byte, 1);
		if (n == 1 && is_key(&byte)) return byte;
		if (n == 1) continue;
		if (n == 0 || errno != EINTR) return EOF;
	}
}

/* libedit expects a wide character: decode UTF-8. */
static int next_character(FILE *in)
{
	int c = next_byte();
	if (c < 0xc0) return c;
	int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
	c &= 0x3f >> more;
	while (more--) {
		int next = next_byte();
		if (next == EOF) return EOF;
		c = c << 6 | (next & 0x3f);
	}
	return c;
}

/* ---- Completion ---- */

static const char complete_key; /* registry[&complete_key]: the function */

static void words_free(void)
{
	for (size_t i = 0; repl.words && repl.words[i]; i++) free(repl.words[i]);
	free(repl.words);
	repl.words = NULL;
	repl.word = 0;
}

static char *next_word(const char *text, int state)
{
	if (state == 0) repl.word = 0;
	return repl.words && repl.words[repl.word] ? strdup(repl.words[repl.word++]) : NULL;
}

struct asking {
	const char *line;
	int from, to;
};

/* Under pcall: the words as C strings. */
static int ask_completions(lua_State *L, void *arg)
{
	struct asking *a = arg;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &complete_key);
	lua_pushstring(L, a->line);
	lua_pushinteger(L, a->from);
	lua_pushinteger(L, a->to);
	lua_call(L, 3, 1);
	if (!lua_istable(L, -1)) return 0;
	size_t count = lua_rawlen(L, -1);
	repl.words = calloc(count + 1, sizeof *repl.words);
	for (size_t i = 0; repl.words && i < count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		const char *word = lua_tostring(L, -1);
		repl.words[i] = strdup(word ? word : "");
		lua_pop(L, 1);
		if (repl.words[i] == NULL) break;
	}
	return 0;
}

static char **complete(const char *text, int from, int to)
{
	*lib.completion_over = 1; /* no file names */
	struct asking a = {*lib.line_buffer, from, to};
	words_free();
	vigia__lua_protected(repl.L, ask_completions, &a);
	return repl.words && repl.words[0] ? lib.completion_matches(text, next_word) : NULL;
}

/* ---- What Lua calls ---- */

/* Open the history for appending, and create its folders. */
static FILE *history_open(const char *path)
{
	char folder[4096];
	if ((size_t)snprintf(folder, sizeof folder, "%s", path) >= sizeof folder) return NULL;
	for (char *at = folder + 1; (at = strchr(at, '/')) != NULL; at++) {
		*at = '\0';
		mkdir(folder, 0700);
		*at = '/';
	}
	int fd = VIGIA_FD(open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
	struct stat st;
	if (fd < 0) return NULL;
	FILE *file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? fdopen(fd, "a+") : NULL;
	if (file == NULL) close(fd);
	return file;
}

static void line_write(FILE *file, const char *line)
{
	fwrite(line, 1, strlen(line), file);
	fwrite("\n", 1, 1, file);
}

/* Give the stored lines to libedit. A file that has become long is rewritten with the newest of them. */
static void history_read(const char *path)
{
	char *line = NULL, *kept[HISTORY_MAX] = {0};
	size_t size = 0, count = 0;
	FILE *file = history_open(path);
	if (file == NULL) return;
	rewind(file);
	for (ssize_t n; (n = getline(&line, &size, file)) > 0;) {
		if (line[n - 1] == '\n') line[--n] = '\0';
		if (n == 0) continue;
		free(kept[count % HISTORY_MAX]);
		kept[count++ % HISTORY_MAX] = line;
		line = NULL;
		size = 0;
	}
	free(line);
	size_t first = count > HISTORY_MAX ? count - HISTORY_MAX : 0;
	if (count > 2 * HISTORY_MAX && ftruncate(fileno(file), 0) == 0) {
		for (size_t i = first; i < count; i++) line_write(file, kept[i % HISTORY_MAX]);
	}
	fclose(file);
	for (size_t i = first; i < count; i++) {
		lib.add_history(kept[i % HISTORY_MAX]);
		free(kept[i % HISTORY_MAX]);
	}
}

static void history_add(const char *path, const char *line)
{
	FILE *file = history_open(path);
	if (file == NULL) return;
	line_write(file,
	           line); /* written at once when the file is closed, so that another REPL's line cannot be mixed in */
	fclose(file);
}

/* Does the REPL run on this thread? Its terminal and coroutine must not be used on another. */
static bool here(void)
{
	return repl.running && pthread_equal(pthread_self(), repl.owner);
}

int vigia__lua_edit_start(lua_State *L)
{
	vigia__lua_check_program(L, "edit_start");
	const char *history = luaL_optstring(L, 1, NULL);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	if (repl.running) return luaL_error(L, "a REPL is running in this process already");
	lua_pushvalue(L, 2);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &complete_key);
	memset(&repl, 0, sizeof repl);
	repl.L = L;
	if (prompt_signals_start() != 0) return luaL_error(L, "cannot start a REPL: %s", strerror(errno));
	repl.running = true;
	repl.edits = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && load_libedit();
	if (repl.edits) {
		*lib.name = "vigia";
		*lib.completion = complete;
		*lib.append = '\0'; /* a dot or a parenthesis follows a name more often than a space */
		*lib.breaks = " \t\n\"'`@$><=;|&{}()[]+-*/%^~#,";
		*lib.getc = next_character;
		char *before = locale_enter(); /* libedit determines here which bytes are letters */
		lib.stifle_history(HISTORY_MAX);
		if (history && (repl.history = strdup(history)) != NULL) history_read(history);
		locale_leave(before);
	}
	return vigia__lua_boolean(L, repl.edits);
}

/* Read without editing, byte by byte, so that input which the expression itself reads is not consumed. False: the
 * end. */
static bool read_plain(lua_State *L, const char *prompt)
{
	luaL_Buffer line;
	fflush(stdout);
	/* Show the prompt to a user only: redirected output holds nothing but values. */
	if (isatty(STDIN_FILENO) &&
	    /* GCOVR_EXCL_START: a terminal, and no libedit. */
	    write(isatty(STDOUT_FILENO) ? STDOUT_FILENO : STDERR_FILENO, prompt, strlen(prompt)) < 0)
		/* GCOVR_EXCL_STOP */
		return false;
	luaL_buffinit(L, &line);
	bool any = false;
	int c;
	while ((c = next_byte()) != EOF && c != '\n') {
		luaL_addchar(&line, (char)c);
		any = true;
	}
	luaL_pushresult(&line);
	return any || c == '\n';
}

static int no_line(lua_State *L)
{
	lua_pushnil(L);
	lua_pushstring(L, atomic_load(&repl.terminated) ? "terminated" : repl.cut_off ? "interrupted" : "end");
	clear();
	return 2;
}

int vigia__lua_edit_line(lua_State *L)
{
	vigia__lua_check_program(L, "edit_line");
	const char *prompt = luaL_checkstring(L, 1);
	if (!here()) return luaL_error(L, "there is no REPL");
	lua_settop(L, 1);
	repl.L = L;
	repl.cut_off = false;
	clear();
	if (!repl.edits) {
		if (read_plain(L, prompt) && !repl.cut_off) return 1;
		return no_line(L);
	}
	repl.ahead = -1;
	char *before = locale_enter();
	char *line = lib.readline(prompt);
	locale_leave(before);
	words_free();
	if (line && repl.cut_off) {
		/* GCOVR_EXCL_START: Ctrl-C just as the line was entered. */
		free(line);
		line = NULL;
		/* GCOVR_EXCL_STOP */
	}
	if (line) {
		if (line[0]) {
			lib.add_history(line);
			if (repl.history) history_add(repl.history, line); /* at once, so that a kill does not lose the line */
		}
		lua_pushstring(L, line); /* if memory runs out here the line leaks, once */
		free(line);
		return 1;
	}
	return no_line(L);
}

int vigia__lua_edit_call(lua_State *L)
{
	vigia__lua_check_program(L, "edit_call");
	luaL_checktype(L, 1, LUA_TFUNCTION);
	if (!here()) return luaL_error(L, "there is no REPL");
	lua_State *outer = repl.L;
	repl.L = L;
	lua_pushcfunction(L, vigia__lua_traceback);
	lua_insert(L, 1);
	atomic_store(&repl.signals, 0);
	atomic_store(&repl.calling, true);
	int rc = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 1);
	atomic_store(&repl.calling, false);
	clear();
	repl.L = outer;
	lua_pushboolean(L, rc == LUA_OK);
	lua_replace(L, 1);
	return lua_gettop(L);
}

int vigia__lua_edit_stop(lua_State *L)
{
	vigia__lua_check_program(L, "edit_stop");
	if (here()) {
		repl.L = L;
		prompt_signals_stop();
		free(repl.history);
		repl.running = false;
		lua_pushnil(L);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &complete_key);
	}
	return 0;
}
