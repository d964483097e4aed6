/*
 * limit.h - how often the same thing is told: once a minute, with the number of times that were left out.
 */
#ifndef VIGIA_CORE_LIMIT_H
#define VIGIA_CORE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define VIGIA_LIMIT_NS INT64_C(60000000000)

/* Zeroed: nothing was told yet. */
struct vigia__limit {
	int64_t told_mono_ns; /* when it was told last */
	unsigned left_out;    /* times since then */
};

/* It happened at the monotonic time `now`, which is not 0. True: tell it; *left_out is how often it was not told since
 * the last time. */
bool vigia__limit_take(struct vigia__limit *limit, int64_t now_mono_ns, unsigned *left_out);

#endif
