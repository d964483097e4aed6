/*
 * limit.h - report a repeated event at most once a minute, with the number of reports left out. Caps of scripts are in
 * bind/cap.h.
 */
#ifndef VIGIA_CORE_LIMIT_H
#define VIGIA_CORE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define VIGIA_LIMIT_NS INT64_C(60000000000)

/* Zero-initialise. */
struct vigia__limit {
	int64_t told_mono_ns; /* the last report */
	unsigned left_out;    /* suppressed since then */
};

/* It happened at this monotonic time, which is not 0. True: report it. *left_out is how many reports were suppressed
 * since the last one. */
bool vigia__limit_take(struct vigia__limit *limit, int64_t now_mono_ns, unsigned *left_out);

#endif
