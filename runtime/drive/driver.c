/*
 * driver.c - a watcher that is driven on the registry's thread: how it comes and goes, where it starts, and how it is
 * moved. Its turns are in driver_run.c.
 */
#include <stdio.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

static const struct vigia__driving driving;

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
	};
}

static void destroy(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	vigia__driver_release(w);
	if (watcher->has_handler && watcher->handler.free) watcher->handler.free(watcher->handler.ctx);
	vigia__filter_free(watcher->filter);
	vigia__free(w);
}

int vigia__driver_new(struct vigia_registry *registry, const char *id, const struct vigia_handler *handler,
                      const struct vigia_watch_options *options, struct vigia__driver **out, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__calloc(sizeof *w);
	if (w == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(id));
	w->base.registry = registry;
	w->base.driving = &driving;
	snprintf(w->base.id, sizeof w->base.id, "%s", id);
	w->base.options = *options;
	w->base.options.filter = (struct vigia_filter){0}; /* the caller's memory; the copy is w->base.filter */
	int rc = vigia__filter_new(&options->filter, &w->base.filter, err);
	struct vigia__stepper_options decides = stepper_options(options);
	vigia__stepper_init(&w->stepper, &decides);
	/* Latest means what comes after the creation, also if the start is later. */
	uint64_t oldest, latest;
	struct vigia__backend *b = registry->store->backend;
	if (rc == VIGIA_OK) rc = b->bounds(b, &oldest, &latest, err);
	if (rc < 0) {
		destroy(&w->base);
		return rc;
	}
	w->start = vigia__iterator_resolve(options->initial_event_iterator, oldest, latest);
	if (vigia__iterator_first(w->start) > latest + 1) {
		char text[64];
		vigia__log(registry, VIGIA_LOG_WARN, "watcher '%s': %s is beyond the last event %llu: it starts after that one",
		           VIGIA_SHOWN(id), vigia__iterator_format(w->start, text, sizeof text), (unsigned long long)latest);
		w->start = vigia__iterator_after(latest);
	}
	w->stepper.next = w->start;
	if (handler) {
		w->base.handler = *handler;
		w->base.has_handler = true;
	}
	*out = w;
	return VIGIA_OK;
}

static void abandon(struct vigia_watcher *watcher)
{
	struct vigia__driver *w = vigia__driver(watcher);
	w->stepper.state = VIGIA_STOPPED;
	w->action = (struct vigia__action){.kind = VIGIA_ACTION_NONE};
	watcher->pending = false;
	vigia__driver_release(w);
}

static enum vigia_watcher_state state(const struct vigia_watcher *watcher)
{
	return vigia__driver(watcher)->stepper.state;
}

static bool rests(const struct vigia_watcher *watcher)
{
	return !vigia__watcher_active(watcher) && vigia__driver(watcher)->action.kind != VIGIA_ACTION_STOPPED;
}

/* ---- where it starts ---- */

/* The checkpoint, if there is one. VIGIA_NONE: there is none. */
static int checkpoint_of(struct vigia__driver *w, uint64_t *seq_num, struct vigia_error *err)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	int rc = b->checkpoint_get(b, w->base.id, seq_num, err);
	return rc == VIGIA_ENOCHECKPOINT ? VIGIA_NONE : rc;
}

/* A checkpoint beyond the end (a file put back from a backup): events to come must not be skipped, so it is drawn back
 * at once. */
static int draw_back(struct vigia__driver *w, uint64_t *checkpoint, struct vigia_error *err)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	uint64_t oldest, latest;
	int rc = b->bounds(b, &oldest, &latest, err);
	if (rc < 0 || *checkpoint <= latest) return rc;
	vigia__log(w->base.registry, VIGIA_LOG_WARN,
	           "watcher '%s': its checkpoint %llu is beyond the last event %llu: it starts after that one",
	           VIGIA_SHOWN(w->base.id), (unsigned long long)*checkpoint, (unsigned long long)latest);
	*checkpoint = latest;
	return b->checkpoint_put(b, w->base.id, latest, err);
}

int vigia__driver_hold(struct vigia__driver *w, struct vigia_error *err)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	if (w->base.options.ephemeral) return VIGIA_OK;
	/* Latest is where the log ended when the watcher was created, the trim horizon where it begins when nothing else is
	 * known. */
	enum vigia_iterator_kind kind = w->base.options.initial_event_iterator.kind;
	bool anew = kind == VIGIA_TRIM_HORIZON || (kind == VIGIA_LATEST && !w->created);
	uint64_t held = 0;
	int rc = b->hold(b, w->base.id, anew ? w->base.options.initial_event_iterator : w->start, &held, &w->begins, err);
	if (rc == VIGIA_EDISKFULL || rc == VIGIA_EFULL) {
		/* Reading on is worth more than the promise; its first checkpoint keeps it again. */
		vigia__log(w->base.registry, VIGIA_LOG_WARN,
		           "watcher '%s': cannot hold back garbage collection: the disk or map is full",
		           VIGIA_SHOWN(w->base.id));
		vigia__error_clear(err);
		if (kind != VIGIA_TRIM_HORIZON) return VIGIA_OK;
		uint64_t oldest, latest;
		rc = b->bounds(b, &oldest, &latest, err);
		if (rc == VIGIA_OK)
			held =
				vigia__iterator_first(vigia__iterator_resolve(w->base.options.initial_event_iterator, oldest, latest)) -
				1;
		w->begins = rc == VIGIA_OK;
	}
	if (rc == VIGIA_OK && (w->begins ? anew : held != vigia__iterator_first(w->start) - 1))
		w->start = vigia__iterator_after(held);
	if (rc == VIGIA_OK && w->stepper.state == VIGIA_IDLE) w->stepper.next = w->start;
	return rc < 0 ? rc : VIGIA_OK;
}

static int start(struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	struct vigia__backend *b = w->base.registry->store->backend;
	w->begins = false;
	if (w->base.options.ephemeral && !w->sought && w->base.options.initial_event_iterator.kind == VIGIA_TRIM_HORIZON) {
		uint64_t oldest, latest;
		w->begins = true;
		int rc = b->bounds(b, &oldest, &latest, err);
		if (rc < 0) return rc;
		w->start = vigia__iterator_resolve(w->base.options.initial_event_iterator, oldest, latest);
	}
	struct vigia_iterator next = w->start;
	uint64_t done = vigia__iterator_first(next) - 1;
	if (!w->base.options.ephemeral) {
		int rc = b->own(b, w->base.id, err);
		if (rc < 0) return rc;
		w->owned = true;
		uint64_t checkpoint;
		rc = vigia__driver_hold(w, err);
		next = w->start;
		done = vigia__iterator_first(next) - 1;
		struct vigia_error untouched = {0};
		if (rc == VIGIA_OK && b->touch(b, w->base.id, &untouched) < 0)
			vigia__log(w->base.registry, VIGIA_LOG_WARN, "watcher '%s': cannot renew its checkpoint: %s",
			           VIGIA_SHOWN(w->base.id), untouched.message);
		if (rc == VIGIA_OK) rc = checkpoint_of(w, &checkpoint, err);
		if (rc == VIGIA_OK) rc = draw_back(w, &checkpoint, err);
		if (rc == VIGIA_OK) {
			done = checkpoint;
			next = vigia__iterator_after(checkpoint);
		}
		if (rc >= 0 && w->base.options.checkpoint != VIGIA_CHECKPOINT_MANUAL) {
			w->progress = vigia__progress_new(w->base.id, done);
			if (w->progress == NULL)
				rc = vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(w->base.id));
		}
		if (rc < 0) {
			vigia__driver_release(w);
			return rc;
		}
	}
	w->stepper.saved = done;
	w->stop_error = (struct vigia_error){0};
	/* Who begins at the trim horizon begins at the oldest event that its first read finds: nobody missed what went
	 * before. */
	bool left_behind = w->sought || (w->begins && w->base.options.initial_event_iterator.kind == VIGIA_TRIM_HORIZON);
	vigia__driver_step(
		w, &(struct vigia__input){.kind = VIGIA_INPUT_START, .next = next, .seq_num = done, .sought = left_behind});
	return VIGIA_OK;
}

/* ---- from outside ---- */

void vigia__driver_tell(struct vigia__driver *w, enum vigia__input_kind kind, uint64_t seq_num)
{
	if (kind == VIGIA_INPUT_SEEK && w->base.options.ephemeral) { /* that is where it begins anew */
		w->start = vigia__iterator_after(seq_num);
		w->sought = true;
	}
	struct vigia__input input = {.kind = kind, .seq_num = seq_num};
	struct vigia__action action = vigia__stepper_step(&w->stepper, &input, vigia__time_now(w->base.registry->clock));
	/* NONE: an action is under way and its outcome will bring the next one. A handler or a read that was decided upon
	 * and has not begun must not begin now. */
	if (action.kind != VIGIA_ACTION_NONE) w->action = action;
	else if (w->action.kind == VIGIA_ACTION_HANDLE && !w->base.running_handler && !w->base.pending)
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_DEFERRED});
	else if (w->action.kind == VIGIA_ACTION_READ)
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_BATCH, .next = w->action.from});
}

static void stop(struct vigia_watcher *watcher)
{
	vigia__driver_tell(vigia__driver(watcher), VIGIA_INPUT_STOP, 0);
}

static void replaced(struct vigia_watcher *watcher, const struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	if (w->stepper.state != VIGIA_RUNNING) return;
	vigia__driver_keep_error(w, err);
	stop(watcher);
	vigia__driver_log_error(w, err, "stops");
}

/* Save n durably unless that moves back. A commit under way must neither undo it nor be undone. */
static int checkpoint(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	struct vigia__backend *b = watcher->registry->store->backend;
	uint64_t saved = 0, done = 0;
	int rc = b->checkpoint_get(b, watcher->id, &saved, err);
	if (rc == VIGIA_OK && seq_num <= saved) return VIGIA_OK;
	if (rc < 0 && rc != VIGIA_ENOCHECKPOINT) return rc;
	if (w->progress) {
		saved = vigia__progress_saved(&b->progress, w->progress);
		done = atomic_load(&w->progress->done);
		vigia__progress_reset(&b->progress, w->progress, done, seq_num > saved ? seq_num : saved);
	}
	/* A commit in between may have taken more along; at rest another process may run the id. */
	rc = b->checkpoint_advance(b, watcher->id, seq_num, err);
	if (w->progress && rc < 0) vigia__progress_reset(&b->progress, w->progress, done, saved);
	if (rc == VIGIA_OK && seq_num > w->stepper.saved) w->stepper.saved = seq_num;
	return rc;
}

/* The save is made here, so that the result tells of it; at rest under the id's ownership, while nobody else runs it.
 */
static int seek(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err)
{
	struct vigia__driver *w = vigia__driver(watcher);
	struct vigia__backend *b = watcher->registry->store->backend;
	bool owns = !vigia__watcher_active(watcher) && !watcher->options.ephemeral;
	int rc = owns ? b->own(b, watcher->id, err) : VIGIA_OK;
	if (rc < 0) return rc;
	vigia__driver_tell(w, VIGIA_INPUT_SEEK, seq_num);
	rc = vigia__driver_save(w, err);
	if (owns) b->disown(b, watcher->id);
	return rc;
}

/* In a script its own handler asks: it goes on with the old code until it returns. */
static int reload(struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct vigia_registry *registry = watcher->registry;
	if (registry->worker) {
		registry->reload_soon = registry->between_events = true;
		return VIGIA_OK;
	}
	int rc = vigia__error(err, VIGIA_EUNSUPPORTED,
	                      "watcher '%s' cannot be reloaded: its handler is a function, not a script",
	                      VIGIA_SHOWN(watcher->id));
	return vigia__error_watcher(err, watcher->id, rc);
}

static void stats(const struct vigia_watcher *watcher, struct vigia_watcher_stats *out)
{
	const struct vigia__driver *w = vigia__driver(watcher);
	*out = (struct vigia_watcher_stats){
		.state = w->stepper.state,
		.next = vigia__stepper_position(&w->stepper),
		.last_processed_seq_num = w->stepper.last_processed,
		.last_processed_at_ns = w->last_processed_at_ns,
		.last_listen_at_ns = w->last_listen_at_ns,
		.processed = w->stepper.processed,
		.failed = w->stepper.failed,
		.retried = w->stepper.retried,
		.skipped = w->stepper.skipped,
		.missed = w->stepper.missed,
		.fetch_errors = w->stepper.fetch_errors,
		.blocked_seq_num = vigia__stepper_blocked(&w->stepper),
		.last_error = w->last_error,
		.stop_error = w->stop_error,
	};
}

void vigia__driver_renew(struct vigia__driver *w, const struct vigia_watch_options *options,
                         struct vigia__filter *filter)
{
	vigia__filter_free(w->base.filter);
	w->base.filter = filter;
	w->base.options = *options;
	w->base.options.filter = (struct vigia_filter){0};
	w->stepper.options = stepper_options(options);
	struct vigia__input input = {.kind = VIGIA_INPUT_REREAD};
	struct vigia__action action = vigia__stepper_step(&w->stepper, &input, vigia__time_now(w->base.registry->clock));
	if (action.kind != VIGIA_ACTION_NONE) w->action = action;
	vigia__registry_listen(w->base.registry);
}

static void nothing(struct vigia_watcher *watcher)
{
	(void)watcher;
}

static const struct vigia__driving driving = {
	.here = true,
	.state = state,
	.rests = rests,
	.start = start,
	.stop = stop,
	.stats = stats,
	.seek = seek,
	.checkpoint = checkpoint,
	.reload = reload,
	.run = vigia__driver_run,
	.due = vigia__driver_due,
	.wake = vigia__driver_wake,
	.replaced = replaced,
	.dirty = vigia__driver_dirty,
	.end = nothing,
	.abandon = abandon,
	.free = destroy,
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
