/*
 * interrupt.c - the process-wide flag "end now" and the list of waits that it ends.
 */
#include "interrupt.h"

#include <pthread.h>
#include <stddef.h>

#include "../store/wake.h"

atomic_bool vigia__interrupted;
int vigia__interrupt_fd = -1;
atomic_bool vigia__ends_with_output;

void vigia__interrupt_ring(void *interrupt_bell)
{
	struct vigia__interrupt_bell *bell = interrupt_bell;
	vigia__bell_ring(&bell->bell, bell->wake);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct vigia__interrupt_hook *hooks;

/* Under the mutex: those called already. */
static bool all_told, one_told;
static pthread_t one;

static bool told(const struct vigia__interrupt_hook *hook)
{
	return one_told && pthread_equal(one, hook->thread);
}

void vigia__interrupt_add(struct vigia__interrupt_hook *hook)
{
	pthread_mutex_lock(&mutex);
	hook->thread = pthread_self();
	hook->next = hooks;
	if (hooks) hooks->link = &hook->next;
	hook->link = &hooks;
	hooks = hook;
	/* The round may have been before this lock was taken. */
	if (all_told || told(hook)) hook->fn(hook->ctx);
	pthread_mutex_unlock(&mutex);
}

void vigia__interrupt_remove(struct vigia__interrupt_hook *hook)
{
	pthread_mutex_lock(&mutex);
	if (hook->link) {
		*hook->link = hook->next;
		if (hook->next) hook->next->link = hook->link;
		hook->link = NULL;
	}
	pthread_mutex_unlock(&mutex);
}

void vigia__interrupt_all(void)
{
	atomic_store(&vigia__interrupted, true);
	pthread_mutex_lock(&mutex);
	all_told = true;
	for (struct vigia__interrupt_hook *hook = hooks; hook; hook = hook->next) hook->fn(hook->ctx);
	pthread_mutex_unlock(&mutex);
}

void vigia__interrupt_thread(pthread_t thread)
{
	pthread_mutex_lock(&mutex);
	if (atomic_load(&vigia__interrupted)) {
		one_told = true;
		one = thread;
		for (struct vigia__interrupt_hook *hook = hooks; hook; hook = hook->next)
			if (told(hook)) hook->fn(hook->ctx);
	}
	pthread_mutex_unlock(&mutex);
}

void vigia__interrupt_over(void)
{
	pthread_mutex_lock(&mutex);
	atomic_store(&vigia__interrupted, false);
	for (struct vigia__interrupt_hook *hook = hooks; hook; hook = hook->next)
		if (told(hook) && hook->undo) hook->undo(hook->ctx);
	one_told = false;
	pthread_mutex_unlock(&mutex);
}
