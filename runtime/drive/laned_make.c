/*
 * laned_make.c - makes the lanes of a watcher on the registry's thread.
 */
#include "drive_private.h"

int vigia__laned_make(struct vigia__driver *first, const struct vigia_handler *handler,
                      const struct vigia_watch_options *options, struct vigia_error *err)
{
	struct vigia_registry *registry = first->base.registry;
	struct vigia__lanes *shared = NULL;
	struct vigia_watcher *last = &first->base;
	int rc = vigia__lanes_new(first->base.id, (unsigned)options->lanes, (uint64_t)options->lane_window,
	                          options->lane_key, vigia__inbox_poke, &shared, err);
	for (unsigned i = 0; i < (unsigned)options->lanes && rc == VIGIA_OK; i++) {
		struct vigia__driver *w = first;
		if (i > 0) rc = vigia__driver_new(registry, first->base.id, handler, options, &w, err);
		if (rc != VIGIA_OK) break;
		if (i > 0) {
			w->base.leader = &first->base;
			last->next_lane = &w->base;
			last = &w->base;
		}
		rc = vigia__driver_be_lane(w, shared, i, err);
	}
	if (shared) vigia__laned_join(&first->base, shared, first->base.driving); /* those that were made until then */
	vigia__lanes_unref(shared);                                               /* the lanes' from now on */
	return rc;
}
