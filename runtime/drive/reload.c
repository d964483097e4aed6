/*
 * reload.c - reloads a script that is running: loads the new code beside the old, and exchanges them between two
 * events. If the new code fails, the old one stays. bind/script.c tells whether a file has changed. Also ends the code
 * of a worker.
 */
#include <stdio.h>

#include "../core/error.h"
#include "worker_private.h"

/* How often a watcher at work asks whether there is new code. */
enum { LOOK_NS = 100000000 };

/* Log a failure that does not repeat by itself: it is told however soon after another. */
static void log_failure(struct vigia__worker *w, const char *what, const char *message)
{
	struct vigia__limit none = {0};
	vigia__log_failure(w->registry, &none, VIGIA_LOG_ERROR, "watcher '%s': %s%s", VIGIA_SHOWN(w->id), what, message);
}

void vigia__worker_end_job(struct vigia__worker *w)
{
	if (!w->begun) return;
	w->stop_error = (struct vigia_error){0};
	if (w->job.end(w->job.ctx, &w->stop_error) < 0) log_failure(w, "", w->stop_error.message);
	w->begun = false;
}

/* What cannot change under a watcher that has a place in the log. */
static int may_take(struct vigia__worker *w, const struct vigia_watch_options *options, struct vigia_error *err)
{
	const char *what = options->ephemeral != w->options.ephemeral                        ? "ephemeral"
	                   : options->checkpoint != w->options.checkpoint                    ? "checkpoint"
	                   : options->transactional != w->options.transactional              ? "transactional"
	                   : options->lanes != w->options.lanes                              ? "lanes"
	                   : w->lanes && !vigia__lanes_keyed_by(w->lanes, options->lane_key) ? "lane_key"
	                                                                                     : NULL;
	if (what == NULL) return VIGIA_OK;
	return vigia__error(err, VIGIA_ESCRIPT, "`%s` cannot change in a reload: stop the watcher and watch it again",
	                    what);
}

/* The new code beside the old, the old one's end, the new one's begin. Whatever fails, the old goes on. */
static int take_over(struct vigia__worker *w, struct vigia_error *err)
{
	char id[256];
	struct vigia_watch_options options;
	struct vigia__filter *filter = NULL;
	snprintf(id, sizeof id, "%s", w->id);
	int rc = w->job.load(w->job.ctx, w, id, &options, err);
	if (rc < 0) return rc;
	rc = may_take(w, &options, err);
	if (rc == VIGIA_OK) rc = vigia__filter_new_where(&options.filter, options.where, options.where_count, &filter, err);
	if (rc < 0) {
		w->job.discard(w->job.ctx);
		return rc;
	}
	bool begun = w->begun;
	vigia__worker_end_job(w);
	w->job.activate(w->job.ctx);
	if (begun) rc = w->job.begin(w->job.ctx, w->watcher, err);
	if (rc < 0) {
		struct vigia_error again = {0};
		vigia__filter_free(filter);
		w->job.activate(w->job.ctx);
		w->begun = w->job.begin(w->job.ctx, w->watcher, &again) == VIGIA_OK;
		if (!w->begun) {
			log_failure(w, "stops: the old code cannot be started again either: ", again.message);
			vigia_watcher_stop(w->watcher, 0, NULL);
		}
	} else {
		w->begun = begun;
		vigia__driver_renew(vigia__driver(w->watcher), &options, filter);
	}
	w->job.discard(w->job.ctx);
	return rc;
}

int vigia__worker_reload(struct vigia__worker *w, struct vigia_error *err)
{
	struct vigia_error own = {0};
	w->looked_mono_ns = vigia__mono_ns();
	w->registry->reload_soon = w->registry->between_events = false;
	int rc = take_over(w, &own);
	w->last_reload_error = own;
	if (rc < 0) {
		snprintf(w->last_reload_error.watcher_id, sizeof own.watcher_id, "%s", w->id);
		log_failure(w, "the new code cannot be used: ", own.message);
	} else {
		w->reloads++;
		vigia__log(w->registry, VIGIA_LOG_INFO, "watcher '%s': runs the new code", VIGIA_SHOWN(w->id));
	}
	if (err) *err = w->last_reload_error;
	return rc;
}

void vigia__worker_look_for_new_code(struct vigia__worker *w)
{
	if (!w->registry->reload_soon) {
		if (w->job.changed == NULL) return;
		int64_t now = vigia__mono_ns();
		if (now - w->looked_mono_ns < LOOK_NS) return;
		w->looked_mono_ns = now;
		if (!w->job.changed(w->job.ctx)) return;
		w->registry->reload_soon = w->registry->between_events = true;
	}
	if (!w->watcher->pending) vigia__worker_reload(w, NULL);
}
