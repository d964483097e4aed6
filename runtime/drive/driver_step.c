/*
 * driver_step.c - the floor of the driver: inputs to core/stepper, errors, and events that are given up.
 */
#include <stdio.h>

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

void vigia__driver_cancel(struct vigia__driver *w)
{
	if ((w->reading || w->starting) && vigia__source(w)->cancel) vigia__source(w)->cancel(&w->base);
	w->reading = false;
}

void vigia__driver_release(struct vigia__driver *w)
{
	const struct vigia__source *source = vigia__source(w);
	vigia__driver_cancel(w);
	if (source->end_progress) source->end_progress(&w->base);
	if (w->owned) source->disown(&w->base);
	w->owned = false;
	vigia__fetch_deinit(&w->fetch);
}

void vigia__driver_disown_at_rest(struct vigia__driver *w)
{
	if (!w->owned || vigia__watcher_active(&w->base) || w->action.kind == VIGIA_ACTION_STOPPED) return;
	vigia__source(w)->disown(&w->base);
	w->owned = false;
}
