/*
 * pulse.c - looks at the pulse of a loop.
 */
#include "pulse.h"

bool vigia__pulse_stands(struct vigia__pulse *pulse, int64_t now_mono_ns, int64_t limit_ns)
{
	unsigned beats = atomic_load_explicit(&pulse->beats, memory_order_relaxed);
	bool rests = atomic_load_explicit(&pulse->rests, memory_order_relaxed);
	if (rests || beats != pulse->seen || pulse->since_mono_ns == 0) {
		pulse->seen = beats;
		pulse->since_mono_ns = now_mono_ns;
		return false;
	}
	return now_mono_ns - pulse->since_mono_ns >= limit_ns;
}
