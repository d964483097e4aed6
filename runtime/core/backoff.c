/*
 * backoff.c - the delay before a retry: it doubles with each failure, up to a maximum.
 */
#include "backoff.h"

int64_t vigia__backoff_delay(const struct vigia__backoff *backoff, uint64_t failures, uint64_t random)
{
	if (failures == 0) return 0;
	int64_t delay = backoff->initial_ns < backoff->max_ns ? backoff->initial_ns : backoff->max_ns;
	/* at most 63 rounds: a delay of 1 ns has passed any ceiling by then, and 0 stays 0 */
	for (uint64_t i = 1; i < failures && delay > 0 && delay < backoff->max_ns; i++)
		delay = delay > backoff->max_ns / 2 ? backoff->max_ns : delay * 2;
	if (backoff->jitter && delay > 0) delay = (int64_t)(random % ((uint64_t)delay + 1));
	return delay;
}
