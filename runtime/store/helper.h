/*
 * helper.h - a thread that works for others, started when there is work for it. What it shares with them is under its
 * mutex, and a change that it waits for is signalled.
 */
#ifndef VIGIA_STORE_HELPER_H
#define VIGIA_STORE_HELPER_H

#include <pthread.h>
#include <stdbool.h>

struct vigia_error;

struct vigia__helper {
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* on CLOCK_MONOTONIC */
	pthread_t thread;
	bool runs, quit;
};

void vigia__helper_init(struct vigia__helper *helper);
/* Under the mutex: start the thread, unless it runs. Fails as vigia__thread_error() says. */
int vigia__helper_start(struct vigia__helper *helper, void *(*fn)(void *), void *arg, const char *purpose,
                        struct vigia_error *err);
/* Set `quit`, and wait until the thread has ended. Does nothing if it does not run. */
void vigia__helper_stop(struct vigia__helper *helper);
void vigia__helper_deinit(struct vigia__helper *helper);

#endif
