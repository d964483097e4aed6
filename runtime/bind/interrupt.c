/*
 * interrupt.c - the process-wide flag "end now" and the list of those who are told.
 */
#include "interrupt.h"

#include <pthread.h>
#include <stddef.h>

atomic_bool vigia__interrupted;
int vigia__interrupt_fd = -1;
atomic_bool vigia__ends_with_output;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct vigia__interrupt_hook *hooks;

void vigia__interrupt_add(struct vigia__interrupt_hook *hook) {
	pthread_mutex_lock(&mutex);
	hook->next = hooks;
	hooks = hook;
	/* A flag that went up before this lock was taken may have had its round already. */
	if (atomic_load(&vigia__interrupted))
		hook->fn(hook->ctx);
	pthread_mutex_unlock(&mutex);
}

void vigia__interrupt_remove(struct vigia__interrupt_hook *hook) {
	pthread_mutex_lock(&mutex);
	for (struct vigia__interrupt_hook **at = &hooks; *at; at = &(*at)->next) {
		if (*at == hook) {
			*at = hook->next;
			break;
		}
	}
	pthread_mutex_unlock(&mutex);
}

void vigia__interrupt_all(void) {
	atomic_store(&vigia__interrupted, true);
	pthread_mutex_lock(&mutex);
	for (struct vigia__interrupt_hook *hook = hooks; hook; hook = hook->next)
		hook->fn(hook->ctx);
	pthread_mutex_unlock(&mutex);
}
