/*
 * thread.h - the threads that Vigia starts, and the signals they take: none.
 *
 * A signal sent to the process must not run the application's handler on a thread of ours: Lua's own handler calls
 * lua_sethook, which only the thread that runs the state may do. So every thread of ours is started here, with all
 * signals blocked but those that what the thread itself does sends to it and to no other: faults (SIGSEGV, SIGBUS,
 * ...), and SIGPIPE of a write. A mask is inherited by the programs a thread starts. Scripts run on threads of ours, so
 * each thread remembers the mask of the application that it was started for, and programs get that one: by fork() on
 * its own, by posix_spawn from bind/program.c. Any thread may call these functions.
 */
#ifndef VIGIA_STORE_THREAD_H
#define VIGIA_STORE_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

struct vigia_error;

/* Start a thread; stack_bytes on top of what the system needs, 0: the system's default. Returns 0, or an errno: ENOMEM
 * also where the system says EAGAIN because there is no room for the stack. */
int vigia__thread_start(pthread_t *thread, size_t stack_bytes, void *(*fn)(void *), void *arg);

/* What a start returned that failed: "cannot PURPOSE", with the system's reason as the cause. ENOMEM or EIO. */
int vigia__thread_error(struct vigia_error *err, int failed, const char *purpose, ...)
	__attribute__((format(printf, 3, 4)));

/* The mask that a program started by the calling thread should have: the application's. */
void vigia__thread_program_mask(sigset_t *out);

#endif
