/*
 * wanted.c - whether somebody waits until the progress of a registry's watchers is saved (store/wants.h).
 */
#include <string.h>

#include "drive_private.h"

/* Of a store, whose commits tell who waits. */
static struct vigia__wants *wants_of(const struct vigia_registry *registry)
{
	return registry->source->begin_progress ? registry->store->backend->wants : NULL;
}

bool vigia__driver_wants(struct vigia__driver *w, uint64_t reached)
{
	bool saves = w->progress || w->base.options.transactional;
	const struct vigia__wants *wants = saves ? wants_of(w->base.registry) : NULL;
	if (wants == NULL) return false;
	uint32_t changes = atomic_load(&wants->changes);
	if (changes != w->wants_seen) {
		w->wants_seen = changes;
		w->wanted = vigia__wants_lowest(wants, vigia__table_hash(w->base.id, strlen(w->base.id)));
	}
	if (w->wanted == 0 || reached < w->wanted) return false;
	w->wanted = 0; /* one try at once. A save that fails is made again after checkpoint_interval */
	return true;
}

/* The watcher has moved its progress before. */
bool vigia__driver_wanted(struct vigia__driver *w)
{
	if (w->stepper.in_tx > 0 || !vigia__driver_wants(w, w->stepper.done)) return false;
	struct vigia__progress_list *list = &w->base.registry->store->backend->progress;
	return w->stepper.done > (w->progress ? vigia__progress_saved(list, w->progress) : w->stepper.saved);
}

bool vigia__registry_wanted(struct vigia_registry *registry)
{
	const struct vigia__wants *wants = wants_of(registry);
	if (registry->dirty_mono_ns == 0 || wants == NULL) return false;
	uint32_t changes = atomic_load(&wants->changes);
	if (changes == registry->wants_seen) return false;
	registry->wants_seen = changes;
	bool wanted = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (w->here) wanted |= vigia__driver_wanted(vigia__driver(w));
	return wanted;
}

bool vigia__registry_listen_wants(const struct vigia_registry *registry, struct vigia__listen *listen)
{
	struct vigia__wants *wants = wants_of(registry);
	if (registry->dirty_mono_ns == 0 || wants == NULL) return true;
	vigia__listen_bell(listen, &wants->bell);
	return atomic_load(&wants->changes) == registry->wants_seen;
}
