/*
 * inbox.c - messages from other threads to a registry: log records, and that there is something to look at.
 */
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "drive_private.h"
#include "poller.h"

enum { RECORDS_MAX = 1000 };

struct vigia__record {
	struct vigia__record *next; /* owner: the inbox */
	enum vigia_log_level level;
	char text[];
};

void vigia__inbox_init(struct vigia__inbox *inbox)
{
	pthread_mutex_init(&inbox->mutex, NULL);
	inbox->end = &inbox->first;
}

static void free_records(struct vigia__record *record)
{
	while (record) {
		struct vigia__record *next = record->next;
		vigia__free(record);
		record = next;
	}
}

void vigia__inbox_deinit(struct vigia__inbox *inbox)
{
	free_records(inbox->first);
	pthread_mutex_destroy(&inbox->mutex);
}

void vigia__inbox_poke(struct vigia_registry *registry)
{
	/* One that is poked and has not looked yet needs no second one: it looks after it took the flag down. */
	if (atomic_exchange(&registry->inbox.poked, true)) return;
	vigia__bell_ring(&registry->bell, registry->store->backend->wake);
	struct vigia__poller *poller = atomic_load(&registry->poller);
	if (poller) vigia__poller_ring(poller);
}

void vigia__inbox_log(struct vigia_registry *registry, enum vigia_log_level level, const char *text)
{
	struct vigia__inbox *inbox = &registry->inbox;
	size_t size = strlen(text) + 1;
	struct vigia__record *record = vigia__calloc(sizeof *record + size);
	if (record) {
		record->level = level;
		memcpy(record->text, text, size);
	}
	pthread_mutex_lock(&inbox->mutex);
	if (record == NULL || inbox->count >= RECORDS_MAX) {
		inbox->dropped++;
	} else {
		inbox->count++;
		*inbox->end = record;
		inbox->end = &record->next;
		record = NULL;
	}
	pthread_mutex_unlock(&inbox->mutex);
	vigia__free(record);
	vigia__inbox_poke(registry);
}

void vigia__inbox_progress(struct vigia_registry *registry)
{
	/* Count, then look whether the owner waits. It says so, then looks at the count. */
	atomic_fetch_add(&registry->inbox.progress, 1);
	if (atomic_load(&registry->inbox.wants_progress)) vigia__inbox_poke(registry);
}

bool vigia__inbox_look(struct vigia_registry *registry)
{
	struct vigia__inbox *inbox = &registry->inbox;
	bool news = atomic_load(&inbox->poked) && atomic_exchange(&inbox->poked, false);
	uint64_t progress = atomic_load(&inbox->progress);
	if (progress != inbox->seen) {
		inbox->seen = progress;
		news = news || atomic_load(&inbox->wants_progress);
	}
	if (!news) return false;
	vigia__registry_rested(registry); /* a script may have stopped */
	if (atomic_exchange(&inbox->answered, false)) vigia__registry_look_at_waits(registry);
	pthread_mutex_lock(&inbox->mutex);
	struct vigia__record *first = inbox->first;
	unsigned dropped = inbox->dropped;
	inbox->first = NULL;
	inbox->end = &inbox->first;
	inbox->count = inbox->dropped = 0;
	pthread_mutex_unlock(&inbox->mutex);
	for (const struct vigia__record *record = first; record && registry->log; record = record->next)
		vigia__log_text(registry, record->level, record->text);
	free_records(first);
	if (dropped)
		vigia__log(registry, VIGIA_LOG_WARN,
		           "%u log records of watchers on threads were dropped: their registry was not driven in time",
		           dropped);
	return true;
}
