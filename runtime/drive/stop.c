/*
 * stop.c - stopping one watcher or all of a registry: asking, driving them until they have stopped, killing programs.
 */
#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "drive_private.h"

/* Stopped and its id released, or the watcher whose handler asks: that one stops when its handler returns. */
static bool settled(const struct vigia_watcher *w)
{
	return w->driving->rests(w) || vigia__watcher_leader(w) == w->registry->current;
}

/* Drive these watchers until all have stopped: all (NULL) or one. While that one has not, the coroutines that wait have
 * turns, too. False: not in time, or `signalled`. Then *hope tells whether what is left can stop before the caller
 * returns. */
static bool drive_until_settled(struct vigia_registry *registry, struct vigia_watcher *only, int64_t timeout_ns,
                                bool *hope_out)
{
	int64_t until = vigia__time_after(NULL, timeout_ns);
	for (bool first_look = true;; first_look = false) {
		bool all = true, worked = false, hope = false;
		bool others = registry->depth == 0 && (only == NULL || !first_look);
		int64_t first = until;
		vigia__registry_poll(registry); /* before the look: a worker tells when it has stopped, and only once until the
		                   inbox was looked at */
		vigia__inbox_look(registry);
		if (others && registry->tasks) {
			worked = vigia__tasks_run(registry);
			if (only == NULL) all = registry->tasks == NULL;
			hope = !all;
			first = vigia__time_earlier(first, vigia__time_wait(registry->clock, vigia__tasks_due(registry)));
		}
		for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
			/* A handler that is in progress may start others meanwhile. */
			if (only == NULL && vigia__watcher_state(w) == VIGIA_RUNNING) vigia__watcher_ask_to_stop(w);
			bool asked = only == NULL || vigia__watcher_leader(w) == only;
			if (asked ? settled(w) : !(others && w->pending)) continue;
			worked |= w->driving->run(w);
			if (w->retired || w->detached) { /* by the log function: the rest of the list is not behind it any more */
				all = false;
				worked = hope = true;
				break;
			}
			if (asked && settled(w)) continue;
			if (asked) all = false;
			if (w->running_handler || w->in_source)
				continue; /* waits for the handler that asks: it cannot stop before */
			hope |= asked;
			first = vigia__time_earlier(first, vigia__time_wait(registry->clock, w->driving->due(w)));
		}
		if (hope_out) *hope_out = hope;
		if (all) return true;
		if (!hope || vigia__mono_ns() >= until || vigia__registry_signalled(registry)) return false;
		if (registry->signalled) first = vigia__signal_until(first);
		if (!worked) vigia__wake_wait(registry->store->backend->wake, &registry->listen, first);
	}
}

bool vigia__watcher_rests(const struct vigia_watcher *w)
{
	return w->retired || w->detached || settled(w);
}

bool vigia__watcher_kill(struct vigia_watcher *w)
{
	if (w->driving->kill == NULL || !w->driving->kill(w)) return false;
	vigia__log(w->registry, VIGIA_LOG_WARN, "watcher '%s': did not stop in time: its program is killed",
	           VIGIA_SHOWN(w->id));
	return true;
}

/* Of these watchers (NULL: all) kill what runs in programs of their own and did not end in time, and wait until they
 * have stopped. A timeout of 0 asked only. */
static void kill_unsettled(struct vigia_registry *registry, struct vigia_watcher *only, int64_t timeout_ns)
{
	bool any = false;
	for (struct vigia_watcher *w = registry->watchers; w && timeout_ns > 0; w = w->next) {
		if ((only == NULL || w == only) && !settled(w)) any |= vigia__watcher_kill(w);
	}
	if (!any) return;
	int64_t until = vigia__mono_ns() + VIGIA_KILL_NS;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if ((only == NULL || w == only) && w->driving->kill && w->driving->kill(w))
			drive_until_settled(registry, w, until - vigia__mono_ns(), NULL);
}

static void ask_all_to_stop(struct vigia_registry *registry)
{
	bool closed = atomic_load(&registry->store->closed);
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) vigia__watcher_ask_to_stop(w);
	registry->tasks_stopping = registry->tasks != NULL;
	if (!closed) vigia__registry_save_progress(registry, true);
}

/* ESTATE: which have not stopped. */
static int name_unsettled(struct vigia_registry *registry, struct vigia_error *err)
{
	char names[sizeof err->message - 80] = "";
	int count = 0, named = 0;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		if (w->leader || settled(w)) continue;
		size_t len = strlen(names), more = sizeof " and 1234567890 more";
		if (named == count && len + strlen(w->id) + sizeof ", ''" + more <= sizeof names)
			named += snprintf(names + len, sizeof names - len, "%s'%s'", count ? ", " : "", VIGIA_SHOWN(w->id)) > 0;
		count++;
	}
	if (named < count) {
		size_t len = strlen(names);
		snprintf(names + len, sizeof names - len, "%s%d more", named ? " and " : "", count - named);
	}
	if (count == 0) return vigia__error(err, VIGIA_ESTATE, "tasks did not end in time");
	return vigia__error(err, VIGIA_ESTATE, "%d watcher%s did not stop in time: %s", count, count == 1 ? "" : "s",
	                    names);
}

/* What a stop leaves to do, whether all have stopped or not. */
static void end_stop(struct vigia_registry *registry)
{
	vigia__inbox_look(registry); /* the last words */
	vigia__registry_forget_stopped(registry);
	vigia__registry_ring(registry);
}

int vigia_registry_stop(struct vigia_registry *registry, int64_t timeout_ns, struct vigia_error *err)
{
	ask_all_to_stop(registry);
	bool stopped = drive_until_settled(registry, NULL, timeout_ns, NULL);
	if (!stopped && vigia__registry_signalled(registry)) return VIGIA__SIGNALLED;
	int rc = stopped ? VIGIA_OK : name_unsettled(registry, err);
	if (!stopped) kill_unsettled(registry, NULL, timeout_ns);
	end_stop(registry);
	return rc;
}

int vigia__registry_stop_turn(struct vigia_registry *registry, bool first, struct vigia_error *err)
{
	bool hope;
	if (first) ask_all_to_stop(registry);
	bool stopped = drive_until_settled(registry, NULL, 0, &hope);
	int rc = stopped ? VIGIA_OK : name_unsettled(registry, err);
	end_stop(registry);
	return rc < 0 && hope ? VIGIA_PENDING : rc;
}

bool vigia__registry_kill(struct vigia_registry *registry)
{
	bool any = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next)
		if (!vigia__watcher_rests(w)) any |= vigia__watcher_kill(w);
	return any;
}

bool vigia__registry_stop_workers(struct vigia_registry *registry)
{
	bool any = false;
	for (struct vigia_watcher *w = registry->watchers; w; w = w->next) {
		if (w->here) continue;
		w->driving->stop(w);
		any |= vigia__watcher_active(w);
	}
	return any;
}

int vigia_watcher_stop(struct vigia_watcher *w, int64_t timeout_ns, struct vigia_error *err)
{
	if (w->retired || w->detached) return VIGIA_OK;
	vigia__watcher_ask_to_stop(w);
	bool stopped = drive_until_settled(w->registry, w, timeout_ns, NULL);
	if (!stopped && vigia__registry_signalled(w->registry)) return VIGIA__SIGNALLED;
	if (!stopped) kill_unsettled(w->registry, w, timeout_ns);
	if (!w->here) vigia__inbox_look(w->registry);
	vigia__registry_forget_stopped(w->registry);
	vigia__registry_ring(w->registry);
	return stopped ? VIGIA_OK : VIGIA_NONE;
}
