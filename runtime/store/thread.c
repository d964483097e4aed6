/*
 * thread.c - the only file that starts threads. See thread.h.
 */
#include "thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"

struct start {
	void *(*fn)(void *arg);
	void *arg;
	sigset_t programs;
};

static _Thread_local bool ours;
static _Thread_local sigset_t programs; /* of a thread of ours: the mask for programs it starts */

/* A forked child usually becomes another program, so give it the application's mask. */
static void thread_after_fork_child(void)
{
	if (ours) pthread_sigmask(SIG_SETMASK, &programs, NULL);
}

static void thread_watch_forks(void)
{
	pthread_atfork(NULL, NULL, thread_after_fork_child);
}

static void *run(void *arg)
{
	struct start start = *(struct start *)arg;
	vigia__free(arg);
	programs = start.programs;
	ours = true;
	return start.fn(start.arg);
}

void vigia__thread_program_mask(sigset_t *out)
{
	if (ours) *out = programs;
	else pthread_sigmask(SIG_SETMASK, NULL, out);
}

/* The part of a stack that the C library uses. glibc puts the thread-local variables of the program and its libraries
 * there, and has a function of its own for their size (which Rust and Java use too). Other libraries have none. */
static size_t stack_min(const pthread_attr_t *attr)
{
	size_t (*get)(const pthread_attr_t *attr) = NULL;
	void *found = dlsym(RTLD_DEFAULT, "__pthread_get_minstack");
	memcpy(&get, &found, sizeof get);
	size_t bytes = get ? get(attr) : 0;
	return bytes > (size_t)PTHREAD_STACK_MIN ? bytes : (size_t)PTHREAD_STACK_MIN;
}

/* pthread_create returns EAGAIN both for too many threads and for want of memory. Besides the stack it needs a guard
 * page and allocates memory, for which malloc may map more. */
static bool has_room(const pthread_attr_t *attr)
{
	enum { MALLOC_BYTES = 2 * 1024 * 1024 };
	size_t bytes = 0, guard = 0;
	pthread_attr_getstacksize(attr, &bytes);
	pthread_attr_getguardsize(attr, &guard);
	bytes += guard + MALLOC_BYTES;
	void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) return false;
	munmap(at, bytes);
	return true;
}

int vigia__thread_start(pthread_t *thread, size_t stack_bytes, void *(*fn)(void *), void *arg)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGPIPE};
	struct start *start = vigia__alloc(sizeof *start);
	pthread_attr_t attr;
	sigset_t most, before;
	if (start == NULL) return ENOMEM;
	pthread_once(&once, thread_watch_forks);
	*start = (struct start){.fn = fn, .arg = arg};
	vigia__thread_program_mask(&start->programs);
	sigfillset(&most);
	for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&most, own[i]);
	pthread_attr_init(&attr);
	if (stack_bytes > 0) pthread_attr_setstacksize(&attr, stack_min(&attr) + stack_bytes);
	pthread_sigmask(SIG_SETMASK, &most, &before);
	int failed = pthread_create(thread, &attr, run, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed == EAGAIN && !has_room(&attr)) failed = ENOMEM;
	pthread_attr_destroy(&attr);
	if (failed) vigia__free(start);
	return failed;
}

int vigia__thread_error(struct vigia_error *err, int failed, const char *purpose, ...)
{
	char text[sizeof err->message];
	va_list args;
	va_start(args, purpose);
	vsnprintf(text, sizeof text, purpose, args);
	va_end(args);
	int code = failed == ENOMEM ? VIGIA_ENOMEM : VIGIA_EIO;
	return vigia__error_caused(err, code, strerror(failed), "cannot %s", text);
}
