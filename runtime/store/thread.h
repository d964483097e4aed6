/*
 * thread.h - starts Vigia's threads, with all signals blocked.
 *
 * A signal sent to the process must not run the application's handler on a thread of ours: Lua's own handler calls
 * lua_sethook, which only the thread that runs the state may do. So every thread of ours is started here, and blocks
 * all signals except those that its own actions raise: faults (SIGSEGV, SIGBUS, ...), and SIGPIPE of a write. A program
 * inherits the mask of the thread that starts it. Scripts run on threads of ours, so each thread remembers the
 * application's mask, and programs get that one: after fork() by itself, with posix_spawn from bind/program.c. Any
 * thread may call these functions.
 */
#ifndef VIGIA_STORE_THREAD_H
#define VIGIA_STORE_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

struct vigia_error;

/* Start a thread. stack_bytes on top of what the system needs, 0: the system's default. Returns 0, or an errno: ENOMEM
 * also if the system reports EAGAIN because there is no room for the stack. */
int vigia__thread_start(pthread_t *thread, size_t stack_bytes, void *(*fn)(void *), void *arg);

/* The error of a failed start: "cannot PURPOSE", with the system's reason as the cause. Returns ENOMEM or EIO. */
int vigia__thread_error(struct vigia_error *err, int failed, const char *purpose, ...)
	__attribute__((format(printf, 3, 4)));

/* The mask for a program started by the calling thread: the application's. */
void vigia__thread_program_mask(sigset_t *out);

#endif
