/*
 * driver.c - a watcher that is driven on the registry's thread: making and freeing it, start, stop and seek. Its turns
 * are in driver_run.c.
 */
#include <stdio.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

static const struct vigia__driving driver_driving;

/* ---- life ---- */

/* What the decisions depend on. */
static struct vigia__stepper_options stepper_options(const struct vigia_watch_options *options)
{
	return (struct vigia__stepper_options){
		.backoff = {options->initial_backoff_ns, options->max_backoff_ns, options->jitter},
		.max_retries = (uint64_t)options->max_retries,
		.retry_strategy = options->retry_strategy,
		.on_gap = options->on_gap,
		.on_damage = options->on_damage,
		.checkpoint = options->checkpoint,
		.ephemeral = options->ephemeral,
		.transactional = options->transactional,
	};
}

static void driver_free(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	vigia__driver_release(w);
	vigia__driver_errands_end(w);
	vigia__driver_lane_free(w);
	if (vigia__source(w)->forget) vigia__source(w)->forget(watcher);
	if (watcher->has_handler && watcher->handler.free && watcher->leader == NULL)
		watcher->handler.free(watcher->handler.ctx);
	vigia__filter_free(watcher->filter);
	vigia__free(w);
}

int vigia__driver_new(struct vigia_registry *registry, const char *id, const struct vigia_handler *handler,
                      const struct vigia_watch_options *options, struct vigia__driver **out, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__calloc(sizeof *w);
	if (w == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(id));
	w->base.registry = registry;
	vigia__driver_steer_init(w);
	w->base.driving = &driver_driving;
	w->base.here = true;
	snprintf(w->base.id, sizeof w->base.id, "%s", id);
	w->base.options = *options;
	vigia__forget_filter(&w->base.options); /* the caller's memory. The copy is w->base.filter */
	int rc = VIGIA_OK;
	bool of_store = vigia__source(w) == &vigia__store_source;
	if (options->transactional && !of_store)
		rc = vigia__error(err, VIGIA_EUNSUPPORTED, "watcher '%s': a store in Lua has no transactions", VIGIA_SHOWN(id));
	else if (options->retry_strategy == VIGIA_RETRY_DEAD_LETTER && !of_store)
		rc = vigia__error(err, VIGIA_EUNSUPPORTED, "watcher '%s': a store in Lua has no dead letters", VIGIA_SHOWN(id));
	if (rc == VIGIA_OK)
		rc = vigia__filter_new_where(&options->filter, options->where, options->where_count, &w->base.filter, err);
	if (rc == VIGIA_OK && of_store) rc = vigia__driver_errands_begin(w, err);
	struct vigia__stepper_options decides = stepper_options(options);
	vigia__stepper_init(&w->stepper, &decides);
	if (rc == VIGIA_OK && !(w->waits && registry->starts_later)) rc = vigia__driver_place(w, err);
	if (rc < 0) {
		driver_free(&w->base);
		return rc;
	}
	if (handler) {
		w->base.handler = *handler;
		w->base.has_handler = true;
	}
	*out = w;
	return VIGIA_OK;
}

static void driver_abandon(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	w->stepper.state = VIGIA_STOPPED;
	w->action = (struct vigia__action){.kind = VIGIA_ACTION_NONE};
	watcher->pending = w->starting = false;
	vigia__driver_release(w);
}

static enum vigia_watcher_state driver_state(const struct vigia_watcher *watcher)
{
	const struct vigia__driver *w = vigia__driver(watcher);
	return w->starting ? VIGIA_RUNNING : w->stepper.state;
}

static bool driver_rests(const struct vigia_watcher *watcher)
{
	return !vigia__watcher_active(watcher) && vigia__driver(watcher)->action.kind != VIGIA_ACTION_STOPPED;
}

/* ---- where it starts ---- */

/* What is pending goes on in the rounds. What fails then is in the stats. */
static int driver_start(struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	vigia__driver_end_stop(w);
	w->start_failed = false;
	w->start_awaited = watcher->registry->starts_later;
	int rc = vigia__driver_start(w, err);
	while (rc == VIGIA_PENDING && !w->start_awaited && vigia__driver_await(w)) rc = vigia__driver_start(w, err);
	return rc == VIGIA_PENDING ? VIGIA_OK : rc;
}

/* ---- from outside ---- */

static void driver_stop(struct vigia_watcher *watcher)
{
	if (vigia__driver_stops_later(vigia__driver(watcher))) return;
	vigia__driver_tell(vigia__driver(watcher), VIGIA_INPUT_STOP, 0);
}

static void driver_replaced(struct vigia_watcher *watcher, const struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	if (w->stepper.state != VIGIA_RUNNING) return;
	vigia__driver_keep_error(w, err);
	driver_stop(watcher);
	vigia__driver_log_error(w, err, "stops");
}

/* The save is made here, so that the caller learns of its failure. At rest the id is owned meanwhile, so that no other
 * process runs it.
 */
static int driver_seek(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	const struct vigia__source *source = vigia__source(w);
	vigia__driver_finish_steer(w);
	vigia__driver_end_stop(w);
	if (!vigia__watcher_active(watcher) && !watcher->options.ephemeral && !w->owned) {
		int rc = source->own(watcher, err);
		if (rc < 0) return rc;
		w->owned = true;
	}
	vigia__driver_tell(w, VIGIA_INPUT_SEEK, seq_num);
	int rc = vigia__driver_save(w, err);
	while (rc == VIGIA_PENDING && vigia__driver_await(w)) rc = vigia__driver_save(w, err);
	if (rc != VIGIA_PENDING) vigia__driver_disown_at_rest(w);
	return rc;
}

static int driver_checkpoint(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	int rc = vigia__source(w)->checkpoint(watcher, seq_num, err);
	if (rc == VIGIA_OK && seq_num > w->stepper.saved) w->stepper.saved = seq_num;
	return rc;
}

/* In a script its own handler asks: it goes on with the old code until it returns. */
static int driver_reload(struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct vigia_registry *registry = watcher->registry;
	if (registry->worker) {
		registry->reload_soon = registry->between_events = true;
		return VIGIA_OK;
	}
	return vigia__error_watcher(err, watcher->id,
	                            vigia__error(err, VIGIA_EUNSUPPORTED,
	                                         "watcher '%s' cannot be reloaded: its handler is a function, not a script",
	                                         VIGIA_SHOWN(watcher->id)));
}

static void driver_stats(const struct vigia_watcher *watcher, struct vigia_watcher_stats *out)
{
	const struct vigia__driver *w = vigia__driver(watcher);
	*out = (struct vigia_watcher_stats){
		.state = driver_state(watcher),
		.next = vigia__stepper_position(&w->stepper),
		.last_processed_seq_num = w->stepper.last_processed,
		.last_processed_at_ns = w->last_processed_at_ns,
		.last_listen_at_ns = w->last_listen_at_ns,
		.processed = w->stepper.processed,
		.failed = w->stepper.failed,
		.retried = w->stepper.retried,
		.skipped = w->stepper.skipped,
		.dead_lettered = w->stepper.dead_lettered,
		.missed = w->stepper.missed,
		.fetch_errors = w->stepper.fetch_errors,
		.blocked_seq_num = vigia__stepper_blocked(&w->stepper),
		.last_error = w->last_error,
		.stop_error = w->stop_error,
		.paused = w->paused,
	};
}

void vigia__driver_renew(struct vigia__driver *w, const struct vigia_watch_options *options,
                         struct vigia__filter *filter)
{
	vigia__driver_finish_steer(w);
	vigia__driver_await(w); /* a save looks at the options */
	vigia__filter_free(w->base.filter);
	w->base.filter = filter;
	w->base.options = *options;
	vigia__forget_filter(&w->base.options);
	w->stepper.options = stepper_options(options);
	vigia__driver_cancel(w);
	struct vigia__input input = {.kind = VIGIA_INPUT_REREAD};
	struct vigia__action action = vigia__stepper_step(&w->stepper, &input, vigia__time_now(w->base.registry->clock));
	if (action.kind != VIGIA_ACTION_NONE) w->action = action;
	vigia__registry_listen(w->base.registry);
}

static void driver_attend(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	enum { SAVES = 4 }; /* of a transaction, of a seek */
	for (int i = 0; i < SAVES; i++) {
		w->steer_later_mono_ns = 0;
		do vigia__driver_steer(w);
		while (vigia__driver_await_steer(w)); /* its caller waits in this thread */
		if (w->action.kind != VIGIA_ACTION_SAVE) break;
		int rc = vigia__driver_save(w, NULL);
		while (rc == VIGIA_PENDING && vigia__driver_await(w)) rc = vigia__driver_save(w, NULL);
		if (rc != VIGIA_OK) break;
	}
	vigia__registry_ring(watcher->registry);
}

static void driver_end(struct vigia_watcher *watcher)
{
}

static const struct vigia__driving driver_driving = {
	.state = driver_state,
	.rests = driver_rests,
	.start = driver_start,
	.stop = driver_stop,
	.stats = driver_stats,
	.seek = driver_seek,
	.checkpoint = driver_checkpoint,
	.reload = driver_reload,
	.attend = driver_attend,
	.run = vigia__driver_run,
	.due = vigia__driver_due,
	.wake = vigia__driver_wake,
	.replaced = driver_replaced,
	.dirty = vigia__driver_dirty,
	.end = driver_end,
	.abandon = driver_abandon,
	.free = driver_free,
};

/* ---- for handlers ---- */

uint64_t vigia__watcher_seq_num(const struct vigia_watcher *watcher)
{
	return vigia__driver(watcher)->action.seq_num;
}

int vigia__watcher_event(const struct vigia_watcher *watcher, struct vigia_event *event, struct vigia_error *err)
{
	const struct vigia__driver *w = vigia__driver(watcher);
	return vigia_batch_event(&w->fetch.batch, w->stepper.index, event, err);
}

bool vigia__watcher_stopping(const struct vigia_watcher *watcher)
{
	return vigia__driver(watcher)->stepper.state == VIGIA_STOPPING;
}

/* ---- for sources ---- */

void vigia__source_ready(struct vigia_watcher *watcher)
{
	vigia__driver(watcher)->ready = true;
	vigia__registry_ring(watcher->registry);
}

struct vigia__in_source vigia__source_enter(struct vigia_watcher *watcher)
{
	struct vigia__in_source before = {watcher->registry->current, watcher->in_source};
	watcher->registry->current = watcher;
	watcher->registry->depth++;
	watcher->in_source = true;
	return before;
}

void vigia__source_leave(struct vigia_watcher *watcher, struct vigia__in_source before)
{
	watcher->in_source = before.in_source;
	watcher->registry->depth--;
	watcher->registry->current = before.current;
}
