/*
 * helper.c - a thread that works for others. See helper.h.
 */
#include "helper.h"

#include <time.h>

#include "thread.h"
#include "vigia.h"

void vigia__helper_init(struct vigia__helper *helper)
{
	pthread_condattr_t monotonic;
	*helper = (struct vigia__helper){.runs = false};
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&helper->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&helper->mutex, NULL);
}

int vigia__helper_start(struct vigia__helper *helper, void *(*fn)(void *), void *arg, const char *purpose,
                        struct vigia_error *err)
{
	int failed = helper->runs ? 0 : vigia__thread_start(&helper->thread, 0, fn, arg);
	helper->runs = failed == 0;
	return failed ? vigia__thread_error(err, failed, "%s", purpose) : VIGIA_OK;
}

void vigia__helper_stop(struct vigia__helper *helper)
{
	if (!helper->runs) return;
	pthread_mutex_lock(&helper->mutex);
	helper->quit = true;
	pthread_cond_signal(&helper->changed);
	pthread_mutex_unlock(&helper->mutex);
	pthread_join(helper->thread, NULL);
	helper->runs = false;
}

void vigia__helper_deinit(struct vigia__helper *helper)
{
	pthread_cond_destroy(&helper->changed);
	pthread_mutex_destroy(&helper->mutex);
}
