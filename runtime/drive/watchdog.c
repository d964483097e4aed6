/*
 * watchdog.c - looks at the pulses of a registry's workers.
 */
#include "watchdog.h"

#include "../store/clock.h"
#include "worker.h"
#include "worker_private.h"

bool vigia__registry_goes_on(struct vigia_registry *registry, int64_t limit_ns)
{
	int64_t now = vigia__mono_ns();
	bool stands = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		struct vigia__worker *worker = vigia__watcher_worker(w);
		if (worker && vigia__pulse_stands(&worker->registry->pulse, now, limit_ns)) stands = true;
	}
	return !stands;
}
