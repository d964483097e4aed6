/*
 * pulse.h - whether a loop that drives watchers goes on.
 *
 * Each such thread counts its rounds and the handlers that it calls, and says when it only waits. A
 * loop that is at work, and whose count stood still for the limit, hangs: its handler does not return, or the store
 * does not.
 */
#ifndef VIGIA_DRIVE_PULSE_H
#define VIGIA_DRIVE_PULSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of one loop. Zero-initialise. */
struct vigia__pulse {
	atomic_uint beats;
	atomic_bool rests;
	/* of those who look */
	unsigned seen;
	int64_t since_mono_ns; /* since when `beats` is `seen`. 0: not looked at yet */
};

/* On the loop's thread. */
static inline void vigia__pulse_beat(struct vigia__pulse *pulse)
{
	unsigned beats = atomic_load_explicit(&pulse->beats, memory_order_relaxed);
	atomic_store_explicit(&pulse->beats, beats + 1, memory_order_relaxed);
}

static inline void vigia__pulse_rest(struct vigia__pulse *pulse, bool rests)
{
	vigia__pulse_beat(pulse);
	atomic_store_explicit(&pulse->rests, rests, memory_order_relaxed);
}

/* Has the loop stood still, without resting, for limit_ns? On one thread. */
bool vigia__pulse_stands(struct vigia__pulse *pulse, int64_t now_mono_ns, int64_t limit_ns);

#endif
