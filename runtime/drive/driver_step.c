/*
 * driver_step.c - the floor of the driver: inputs to core/stepper, errors, and events that are given up.
 */
#include <stdio.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "drive_private.h"

/* xorshift*: for jitter only. */
static uint64_t random_bits(void)
{
	static _Thread_local uint64_t x;
	if (x == 0) x = (uint64_t)vigia__mono_ns() | 1;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	return x * UINT64_C(2685821657736338717);
}

void vigia__driver_step(struct vigia__driver *w, struct vigia__input *input)
{
	/* The way of an event that is handled needs neither the time nor chance: keep it short. */
	bool good = input->kind == VIGIA_INPUT_HANDLED || input->kind == VIGIA_INPUT_BATCH;
	if (!good) input->random = random_bits();
	w->action = vigia__stepper_step(&w->stepper, input, good ? 0 : vigia__time_now(w->base.registry->clock));
}

void vigia__driver_keep_error(struct vigia__driver *w, const struct vigia_error *err)
{
	w->last_error = *err;
	w->row_due = true;
	snprintf(w->last_error.watcher_id, sizeof w->last_error.watcher_id, "%s", w->base.id);
}

bool vigia__error_is_end(const struct vigia_error *err)
{
	return err->code == VIGIA_ESTOPPING || err->code == VIGIA_EINTERRUPTED || err->code == VIGIA_ECLOSED;
}

void vigia__driver_log_error(struct vigia__driver *w, const struct vigia_error *err, const char *doing)
{
	static const char format[] = "watcher '%s': %s: %s";
	if (vigia__error_is_end(err))
		vigia__log(w->base.registry, VIGIA_LOG_WARN, format, VIGIA_SHOWN(w->base.id), doing, VIGIA_TOLD(err));
	else
		vigia__log_failure(w->base.registry, &w->base.limit, VIGIA_LOG_WARN, format, VIGIA_SHOWN(w->base.id), doing,
		                   VIGIA_TOLD(err));
}

bool vigia__driver_is_replaced(struct vigia__driver *w, int rc)
{
	if ((rc != VIGIA_EREPLACED && rc != VIGIA_EOWNED) || w->stepper.state != VIGIA_RUNNING) return false;
	vigia__stepper_step(&w->stepper, &(struct vigia__input){.kind = VIGIA_INPUT_STOP},
	                    vigia__time_now(w->base.registry->clock));
	return true;
}

void vigia__driver_save_failed(struct vigia__driver *w, int rc, struct vigia__input *input,
                               const struct vigia_error *err)
{
	unsigned long long seq_num = w->action.seq_num;
	vigia__driver_keep_error(w, err);
	vigia__driver_is_replaced(w, rc);
	vigia__driver_step(w, input);
	if (w->stepper.state == VIGIA_STOPPED) { /* there is no other try */
		w->stop_error = w->last_error;
		vigia__error_prefix(&w->stop_error, "watcher '%s': cannot save its checkpoint %llu: ", VIGIA_SHOWN(w->base.id),
		                    seq_num);
	}
	vigia__driver_log_error(w, err, "cannot save its checkpoint");
}

void vigia__driver_cancel(struct vigia__driver *w)
{
	if ((w->reading || w->starting) && vigia__source(w)->cancel) vigia__source(w)->cancel(&w->base);
	w->reading = false;
}

/* Of one that others ask nothing of. */
static const _Atomic uint32_t no_requests;

void vigia__driver_steer_init(struct vigia__driver *w)
{
	w->steer_requests = &no_requests;
}

static void end_steer(struct vigia__driver *w)
{
	vigia__running_leave(&w->base.registry->store->backend->running, &w->running);
	w->steer_requests = &no_requests;
	w->steer_seen = 0;
	w->held = w->paused = false;
}

static void free_letter(struct vigia__driver *w)
{
	w->letters_looked = false;
	if (w->letter == NULL) return;
	vigia__buf_deinit(&w->letter->texts);
	vigia__buf_deinit(&w->letter->known);
	vigia__free(w->letter);
	w->letter = NULL;
}

static int disown(struct vigia__driver *w, const struct vigia__asked *asked, struct vigia_error *err)
{
	if (w->lane) vigia__lane_end(w->lane, w->base.registry->store->backend);
	else vigia__source(w)->disown(&w->base);
	return VIGIA_OK;
}

/* No commit takes its progress along any more. */
bool vigia__driver_give_up_id(struct vigia__driver *w)
{
	struct vigia_error err;
	if (w->waits == NULL || (!w->owned && !w->writing)) return true;
	vigia__questions_forget(w->base.registry, w, w->base.id); /* of its progress */
	if (vigia__source(w)->end_progress) vigia__source(w)->end_progress(&w->base);
	w->owned = false;
	int rc = vigia__driver_errand(w, disown, (struct vigia__asked){0}, &err);
	if (rc < 0) disown(w, NULL, NULL); /* without a thread */
	return rc != VIGIA_PENDING;
}

void vigia__driver_end_stop(struct vigia__driver *w)
{
	while (w->action.kind == VIGIA_ACTION_STOPPED && w->writing && !w->base.running_handler && !w->base.in_source &&
	       vigia__driver_await(w))
		w->base.driving->run(&w->base);
}

void vigia__driver_release(struct vigia__driver *w)
{
	const struct vigia__source *source = vigia__source(w);
	if (w->waits) vigia__questions_forget(w->base.registry, w, w->base.id);
	vigia__driver_drop_errand(w);
	vigia__driver_drop_steer(w);
	vigia__driver_cancel(w);
	end_steer(w);
	if (source->end_progress) source->end_progress(&w->base);
	vigia_transaction_free(w->tx);
	w->tx = NULL;
	free_letter(w);
	if (w->owned) disown(w, NULL, NULL);
	w->owned = false;
	vigia__driver_row_end(w);
	vigia__fetch_deinit(&w->fetch);
}

void vigia__driver_tell(struct vigia__driver *w, enum vigia__input_kind kind, uint64_t seq_num)
{
	if (kind == VIGIA_INPUT_SEEK && w->base.options.ephemeral) { /* where its next start begins */
		w->start = vigia__iterator_after(seq_num);
		w->sought = true;
	}
	vigia__driver_cancel(w);
	if (w->starting && kind == VIGIA_INPUT_STOP) {
		w->starting = false;
		vigia__driver_release(w);
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
	vigia__driver_row_show(w);
}

void vigia__driver_disown_at_rest(struct vigia__driver *w)
{
	if (!w->owned || vigia__watcher_active(&w->base) || w->action.kind == VIGIA_ACTION_STOPPED) return;
	vigia__source(w)->disown(&w->base);
	w->owned = false;
}
