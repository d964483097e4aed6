/*
 * backoff.h - how long to wait after a failure before the next attempt. Pure.
 */
#ifndef VIGIA_CORE_BACKOFF_H
#define VIGIA_CORE_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

struct vigia__backoff {
	int64_t initial_ns;
	int64_t max_ns;
	bool jitter; /* full jitter: anything between 0 and the delay */
};

/* Delay after the `failures`-th failure (from 1): initial * 2^(failures-1), at most max. `random` is any 64 random
 * bits. */
int64_t vigia__backoff_delay(const struct vigia__backoff *backoff, uint64_t failures, uint64_t random);

#endif
