/*
 * listen.c - which wake words a registry waits for: those that the filters of its watchers name, together.
 */
#include "drive_private.h"

/* To those too, and to the words from now on. */
void vigia__registry_listen_to_bells(struct vigia_registry *registry)
{
	vigia__listen_bell(&registry->listen, &registry->bell);
	vigia__listen_bell(&registry->listen, &registry->store->bell);
	registry->listening = false;
}

/* What every waiter of this registry listens to together. */
void vigia__registry_listen(struct vigia_registry *registry)
{
	struct vigia__listen all = {0};
	bool elsewhere = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		size_t count;
		elsewhere |= !w->here;
		if (!w->here || !vigia__watcher_active(w)) continue;
		const struct vigia_slice *types = vigia__filter_types(w->filter, &count);
		vigia__listen_add(&all, types, count);
	}
	/* Watchers on other threads wait for events themselves. To be woken by them any word serves: choose one that no
	 * event type uses. */
	static const struct vigia_slice nobody = {"\1 no type", 9};
	registry->listen_in_vain = all.count == 0;
	registry->listen_for_inbox = elsewhere;
	if (all.count == 0 && elsewhere) vigia__listen_add(&all, &nobody, 1);
	if (all.count == 0 || registry->listen_anything) vigia__listen_init(&all, NULL, 0);
	registry->listen = all;
	vigia__registry_listen_to_bells(registry);
}

/* It was added or started: the words of the others stay. What it reads first needs no word. */
void vigia__registry_listen_also(struct vigia_registry *registry, const struct vigia_watcher *w)
{
	struct vigia__listen more = registry->listen;
	size_t count;
	const struct vigia_slice *types = vigia__filter_types(w->filter, &count);
	bool wants = w->here && vigia__watcher_active(w);
	bool alone = registry->watchers->next == NULL;
	if (alone || (registry->listen_in_vain && (wants || (!w->here && !registry->listen_for_inbox)))) {
		vigia__registry_listen(registry);
		return;
	}
	if (!wants) return;
	vigia__listen_add(&more, types, count);
	if (more.count == registry->listen.count && more.index[0] == registry->listen.index[0]) return;
	registry->listen = more;
	registry->listening = false;
}

/* The looks before the next prepare do not count: vigia__registry_poll() wakes all once it has prepared. */
void vigia__registry_listen_anything(struct vigia_registry *registry)
{
	if (registry->listen_anything) return;
	registry->listen_anything = true;
	vigia__registry_listen(registry);
}
