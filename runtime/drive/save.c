/*
 * save.c - saves the progress of a registry's watchers that no other commit takes along.
 */
#include "../core/error.h"
#include "drive_private.h"

int64_t vigia__registry_save_due(const struct vigia_registry *registry)
{
	if (registry->saving) return INT64_MAX; /* its end pokes the registry */
	return registry->dirty_mono_ns ? registry->dirty_mono_ns + registry->checkpoint_interval_ns : INT64_MAX;
}

/* The outcome of a save of all. */
static void saved(struct vigia_registry *registry, int rc, const struct vigia_error *err)
{
	if (rc < 0) {
		vigia__log_failure(registry, &registry->limit, VIGIA_LOG_ERROR, "cannot save progress: %s", VIGIA_TOLD(err));
		registry->dirty_mono_ns = vigia__time_now(registry->clock);
		return;
	}
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (w->driving->dirty(w))
			registry->dirty_mono_ns = vigia__time_now(registry->clock); /* moved on, or is still under way */
}

bool vigia__registry_save_progress(struct vigia_registry *registry, bool now)
{
	registry->save_again |= now;
	if (registry->saving) { /* by an errand, which may not take along what is finished by now */
		struct vigia_error err = {0};
		int rc = vigia__registry_save_errand(registry, &err);
		if (rc == VIGIA_PENDING) return false;
		saved(registry, rc, &err);
		if (rc < 0) registry->save_again = false; /* after checkpoint_interval */
	}
	now = registry->save_again;
	registry->save_again = false;
	if (registry->dirty_mono_ns == 0) return false;
	if (!now && vigia__time_now(registry->clock) < vigia__registry_save_due(registry)) return false;
	bool dirty = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) dirty |= w->driving->dirty(w);
	registry->dirty_mono_ns = 0;
	if (!dirty) return false;
	for (struct vigia_watcher *w = registry->watchers, *next; w && !now; w = next) { /* a stop saves by itself */
		next = w->next;
		if (w->here && w->driving->dirty(w)) vigia__driver_save_alone(vigia__driver(w));
		if (!w->retired && !w->detached) continue;
		/* GCOVR_EXCL_START: its handler, which runs meanwhile, let it go. */
		registry->dirty_mono_ns = vigia__time_now(registry->clock); /* the rest of the list is not behind it */
		break;
		/* GCOVR_EXCL_STOP */
	}
	if (registry->source->begin_progress == NULL) return true;
	struct vigia_error err = {0};
	int rc = vigia__registry_save_errand(registry, &err);
	if (rc != VIGIA_PENDING) saved(registry, rc, &err);
	return true;
}
