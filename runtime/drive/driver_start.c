/*
 * driver_start.c - where a watcher starts: its checkpoint, or what initial_event_iterator says.
 */
#include "../core/error.h"
#include "../core/iterator.h"
#include "drive_private.h"

/* Latest means what comes after the creation, also if the start is later. PENDING: the rounds go on with it. */
int vigia__driver_place(struct vigia__driver *w, struct vigia_error *err)
{
	struct vigia__look look;
	int rc = vigia__source(w)->look(&w->base, VIGIA_LOOK_BOUNDS, &look, err);
	if (rc < 0 || rc == VIGIA_PENDING) return rc;
	struct vigia_iterator wanted = w->base.options.initial_event_iterator;
	w->start = vigia__iterator_resolve(wanted, look.oldest, look.latest);
	if (vigia__iterator_first(w->start) > look.latest + 1) {
		char text[64];
		vigia__log(w->base.registry, VIGIA_LOG_WARN,
		           "watcher '%s': %s is beyond the last event %llu: the watcher starts after that event",
		           VIGIA_SHOWN(w->base.id), vigia__iterator_format(w->start, text, sizeof text),
		           (unsigned long long)look.latest);
		w->start = vigia__iterator_after(look.latest);
	}
	w->placed = true;
	if (!w->starting) w->stepper.next = w->start;
	return VIGIA_OK;
}

int vigia__driver_hold(struct vigia__driver *w, struct vigia_error *err)
{
	if (w->base.options.ephemeral || vigia__source(w)->hold == NULL) return VIGIA_OK;
	int rc = vigia__source(w)->hold(&w->base, err);
	if (rc == VIGIA_OK && !w->starting && w->stepper.state == VIGIA_IDLE) w->stepper.next = w->start;
	return rc;
}

/* Where it has come to, if it has a checkpoint. One beyond the end (a file put back from a backup) is drawn back at
 * once: events to come must not be skipped. */
static int find_checkpoint(struct vigia__driver *w, struct vigia_iterator *next, struct vigia_error *err)
{
	struct vigia__look look;
	int rc = vigia__source(w)->look(&w->base, VIGIA_LOOK_CHECKPOINT, &look, err);
	if (rc != VIGIA_OK || !look.has_checkpoint) return rc;
	if (look.checkpoint > look.latest) {
		vigia__log(
			w->base.registry, VIGIA_LOG_WARN,
			"watcher '%s': its checkpoint %llu is beyond the last event %llu: the watcher starts after that event",
			VIGIA_SHOWN(w->base.id), (unsigned long long)look.checkpoint, (unsigned long long)look.latest);
		do rc = vigia__source(w)->save(&w->base, look.latest, true, err);
		while (rc == VIGIA_PENDING && vigia__driver_await(w));
	}
	*next = vigia__iterator_after(look.checkpoint < look.latest ? look.checkpoint : look.latest);
	return rc;
}

/* A process that was killed may have left a commit that no reader sees yet (backend.h, heal). What is to happen once
 * begins behind it. */
static void see_all_commits(struct vigia__driver *w)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	if (w->base.options.transactional && vigia__source(w) == &vigia__store_source && b->heal) b->heal(b);
}

/* The first lane does it for all. */
static int take_lane(struct vigia__driver *w, struct vigia_iterator *next, struct vigia_error *err)
{
	struct vigia__backend *b = w->base.registry->store->backend;
	uint64_t checkpoint;
	int rc = vigia__driver_hold(w, err);
	if (rc == VIGIA_OK) rc = vigia__lane_begin(w->lane, b, vigia__iterator_first(w->start) - 1, &checkpoint, err);
	if (rc != VIGIA_OK) return rc;
	w->owned = true;
	*next = vigia__iterator_after(checkpoint);
	return VIGIA_OK;
}

/* Own the id, and find where it begins. */
static int take_place(struct vigia__driver *w, struct vigia_iterator *next, struct vigia_error *err)
{
	const struct vigia__source *source = vigia__source(w);
	int rc = w->lane || w->owned ? VIGIA_OK : vigia__laned_continue(w, err);
	if (rc < 0) return rc;
	if (w->lane) return take_lane(w, next, err);
	rc = w->owned ? VIGIA_OK : source->own(&w->base, err);
	if (rc < 0) return rc;
	w->owned = true;
	see_all_commits(w);
	rc = vigia__driver_hold(w, err);
	*next = w->start;
	if (rc == VIGIA_OK) rc = find_checkpoint(w, next, err);
	bool with_others = w->base.options.checkpoint != VIGIA_CHECKPOINT_MANUAL && !w->base.options.transactional;
	if (rc == VIGIA_OK && source->begin_progress && with_others)
		rc = source->begin_progress(&w->base, vigia__iterator_first(*next) - 1, err);
	return rc;
}

/* All that the source is asked. With a store that waits for a server that is an errand: meanwhile nothing else uses the
 * watcher. */
static int find_start(struct vigia__driver *w, const struct vigia__asked *asked, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	if (!w->placed || w->begins) rc = vigia__driver_place(w, err);
	w->found = w->start;
	if (rc == VIGIA_OK && w->only_places) rc = w->base.registry->holds_late ? VIGIA_OK : vigia__driver_hold(w, err);
	else if (rc == VIGIA_OK && !w->base.options.ephemeral) rc = take_place(w, &w->found, err);
	if (rc < 0 && w->waits && w->owned && w->lane == NULL) {
		vigia__source(w)->disown(&w->base);
		w->owned = false;
	}
	return rc;
}

int vigia__driver_start(struct vigia__driver *w, struct vigia_error *err)
{
	const struct vigia_watch_options *options = &w->base.options;
	bool from_horizon = options->initial_event_iterator.kind == VIGIA_TRIM_HORIZON;
	if (!w->starting || w->waits == NULL) /* the oldest event may be another one by now */
		w->begins = options->ephemeral && !w->sought && from_horizon;
	w->starting = true;
	int rc = vigia__driver_errand(w, find_start, (struct vigia__asked){0}, err);
	struct vigia_iterator next = w->found;
	bool stopped = !w->starting; /* from within a call of its source */
	if (rc == VIGIA_PENDING && !stopped) return rc;
	w->starting = false;
	if (rc < 0 || stopped) {
		vigia__driver_release(w);
		return rc < 0 ? rc : VIGIA_OK;
	}
	if (w->stepper.state == VIGIA_IDLE) w->stepper.next = w->start;
	if (w->only_places) {
		w->only_places = false;
		return VIGIA_OK;
	}
	uint64_t done = vigia__iterator_first(next) - 1;
	w->stepper.saved = done;
	w->stop_error = (struct vigia_error){0};
	/* A watcher that begins at the trim horizon begins at the oldest event that its first read finds: it missed nothing
	 * of what went before. */
	bool left_behind = w->sought || (w->begins && from_horizon);
	vigia__driver_step(
		w, &(struct vigia__input){.kind = VIGIA_INPUT_START, .next = next, .seq_num = done, .sought = left_behind});
	vigia__driver_steer_begin(w);
	vigia__driver_row_begin(w);
	return VIGIA_OK;
}
