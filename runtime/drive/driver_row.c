/*
 * driver_row.c - what a driver tells other processes of itself, in a row of the store (store/rows.h).
 */
#include "../core/error.h"
#include "drive_private.h"

static struct vigia__rows *rows_of(const struct vigia__driver *w)
{
	return &w->base.registry->store->backend->rows;
}

static uint32_t flags_of(const struct vigia__driver *w)
{
	uint32_t flags = (uint32_t)w->stepper.state;
	if (w->base.options.ephemeral) flags |= VIGIA_ROW_EPHEMERAL;
	if (w->lane) flags |= VIGIA_ROW_LANE;
	if (w->paused) flags |= VIGIA_ROW_PAUSED;
	return flags;
}

/* When the event is tried again, as a time of day. 0: it is not, or at once. */
static int64_t next_attempt(const struct vigia__driver *w)
{
	bool later =
		w->stepper.state == VIGIA_RUNNING && (w->action.kind == VIGIA_ACTION_WAIT || w->stepper.retry_after_save);
	int64_t wait = w->stepper.retry_mono_ns - vigia__time_now(w->base.registry->clock);
	int64_t now = vigia__backend_wall_ns(w->base.registry->store->backend);
	if (!later || wait <= 0) return 0;
	return wait > INT64_MAX - now ? INT64_MAX : now + wait;
}

static void write_row(struct vigia__driver *w, uint64_t blocked)
{
	struct vigia__row *row = w->row;
	const struct vigia__stepper *s = &w->stepper;
	w->told.state = s->state;
	w->told.paused = w->paused;
	w->told.blocked = blocked;
	w->told.attempts = s->failures;
	vigia__row_begin(row);
	atomic_store_explicit(&row->flags, flags_of(w), memory_order_release);
	vigia__row_set(&row->failed, s->failed);
	vigia__row_set(&row->retried, s->retried);
	vigia__row_set(&row->skipped, s->skipped);
	vigia__row_set(&row->dead_lettered, s->dead_lettered);
	vigia__row_set(&row->missed, s->missed);
	vigia__row_set(&row->fetch_errors, s->fetch_errors);
	vigia__row_set(&row->blocked, blocked);
	vigia__row_set(&row->attempts, blocked ? s->failures : 0);
	vigia__row_set_time(&row->next_attempt_at_ns, blocked ? next_attempt(w) : 0);
	if (w->row_due) {
		vigia__row_set_error(row, w->last_error.message);
		vigia__row_set_time(&row->failed_at_ns, vigia__backend_wall_ns(w->base.registry->store->backend));
	}
	vigia__row_end(row);
	w->row_due = false;
}

void vigia__driver_row_begin(struct vigia__driver *w)
{
	if (vigia__source(w) != &vigia__store_source || w->row || w->row_missing) return;
	w->row = vigia__row_take(rows_of(w), w->base.id);
	w->row_missing = w->row == NULL;
	if (w->row == NULL) return;
	vigia__row_begin(w->row);
	vigia__row_set_time(&w->row->started_at_ns, w->lane ? w->lane->shared->began_at_ns : vigia__wall_ns());
	vigia__row_end(w->row);
	w->row_due = false; /* what it failed with in an earlier run */
	vigia__driver_row_move(w);
	write_row(w, 0);
}

void vigia__driver_row_show(struct vigia__driver *w)
{
	if (w->row == NULL || vigia__rows_closed(rows_of(w))) return;
	const struct vigia__stepper *s = &w->stepper;
	vigia__driver_row_move(w);
	uint64_t blocked = vigia__stepper_blocked(s);
	if (!w->row_due && s->state == w->told.state && w->paused == w->told.paused && blocked == w->told.blocked &&
	    (blocked == 0 || s->failures == w->told.attempts))
		return;
	write_row(w, blocked);
}

void vigia__driver_row_sample(struct vigia__driver *w)
{
	if (w->row) vigia__row_sample(w->row, w->last_listen_at_ns);
}

void vigia__driver_row_end(struct vigia__driver *w)
{
	struct vigia__rows *rows = rows_of(w);
	if (w->row && !vigia__rows_closed(rows)) {
		vigia__driver_row_move(w);
		write_row(w, vigia__stepper_blocked(&w->stepper));
		vigia__row_release(rows, w->row);
	}
	if (w->row_missing) vigia__row_unshown_ends(rows);
	w->row = NULL;
	w->row_missing = false;
}
