/*
 * waits.c - tells when a thread waits for a PostgreSQL server. Preloaded into a stock lua5.4, where `require "waits"`
 * watches the thread that calls it: waits.begin(); waits.found() -> a list of what it has waited in since, each as the
 * functions on its stack, and forgets them.
 *
 * What counts is each thing that libvigia-pg sends with libpq, and each wait for a job that another of its threads
 * does.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <lauxlib.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default"), used))

enum { FOUND_MAX = 64, DEPTH = 24, TEXT = 1024 };

static _Thread_local bool watched __attribute__((tls_model("initial-exec")));
static char found[FOUND_MAX][TEXT]; /* the watched thread's */
static int found_count;

static void note(void)
{
	if (!watched) return;
	watched = false; /* backtrace() may allocate, and wait */
	void *frames[DEPTH];
	int count = backtrace(frames, DEPTH);
	if (found_count < FOUND_MAX) {
		char *text = found[found_count++];
		size_t len = 0;
		text[0] = '\0';
		for (int i = 2; i < count; i++) {
			Dl_info info;
			if (dladdr(frames[i], &info) == 0 || info.dli_fname == NULL) continue;
			const char *file = strrchr(info.dli_fname, '/');
			file = file ? file + 1 : info.dli_fname;
			if (strncmp(file, "libvigia", 8) != 0 && strncmp(file, "core.so", 7) != 0) continue;
			uintptr_t offset = (uintptr_t)frames[i] - (uintptr_t)info.dli_fbase;
			int n = snprintf(text + len, TEXT - len, " %s+%#jx(%s)", file, (uintmax_t)offset,
			                 info.dli_sname ? info.dli_sname : "");
			if (n < 0 || (size_t)n >= TEXT - len) break;
			len += (size_t)n;
		}
	}
	watched = true;
}

/* Of the function that this one stands for. */
#define REAL(name)                 \
	static _Atomic(void *) real;   \
	void *fn = atomic_load(&real); \
	if (fn == NULL) atomic_store(&real, fn = dlsym(RTLD_NEXT, name))

EXPORT int PQsendQuery(PGconn *conn, const char *query)
{
	REAL("PQsendQuery");
	note();
	return ((int (*)(PGconn *, const char *))fn)(conn, query);
}

EXPORT int PQsendPrepare(PGconn *conn, const char *name, const char *query, int count, const Oid *types)
{
	REAL("PQsendPrepare");
	note();
	return ((int (*)(PGconn *, const char *, const char *, int, const Oid *))fn)(conn, name, query, count, types);
}

EXPORT int PQsendQueryPrepared(PGconn *conn, const char *name, int count, const char *const *values, const int *lengths,
                               const int *formats, int format)
{
	REAL("PQsendQueryPrepared");
	note();
	return ((int (*)(PGconn *, const char *, int, const char *const *, const int *, const int *, int))fn)(
		conn, name, count, values, lengths, formats, format);
}

EXPORT PGconn *PQconnectStartParams(const char *const *keywords, const char *const *values, int expand)
{
	REAL("PQconnectStartParams");
	note();
	return ((PGconn * (*)(const char *const *, const char *const *, int)) fn)(keywords, values, expand);
}

EXPORT int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	static _Atomic(void *) real;
	void *fn = atomic_load(&real);
	if (fn == NULL) {
		fn = dlvsym(RTLD_NEXT, "pthread_cond_wait", "GLIBC_2.3.2"); /* where an older one is there, too */
		if (fn == NULL) fn = dlsym(RTLD_NEXT, "pthread_cond_wait");
		atomic_store(&real, fn);
	}
	Dl_info info;
	bool ours = watched && dladdr(__builtin_return_address(0), &info) && info.dli_fname;
	if (ours && strstr(info.dli_fname, "libvigia")) note();
	return ((int (*)(pthread_cond_t *, pthread_mutex_t *))fn)(cond, mutex);
}

static int begin(lua_State *L)
{
	watched = PQlibVersion() > 0; /* so that this is linked with libpq, where RTLD_NEXT looks */
	found_count = 0;
	return 0;
}

static int list(lua_State *L)
{
	lua_createtable(L, found_count, 0);
	for (int i = 0; i < found_count; i++) {
		lua_pushstring(L, found[i]);
		lua_rawseti(L, -2, i + 1);
	}
	found_count = 0;
	return 1;
}

EXPORT int luaopen_waits(lua_State *L);

EXPORT int luaopen_waits(lua_State *L)
{
	luaL_newlib(L, ((const luaL_Reg[]){{"begin", begin}, {"found", list}, {NULL, NULL}}));
	return 1;
}
