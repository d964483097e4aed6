/*
 * clock.h - the system's clocks, and whether this process is a forked child. Any thread.
 */
#ifndef VIGIA_STORE_CLOCK_H
#define VIGIA_STORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "../core/retention.h"

int64_t vigia__mono_ns(void);   /* CLOCK_MONOTONIC */
int64_t vigia__coarse_ns(void); /* the same, at most a tick (a few milliseconds) behind; very cheap */
/* Has the coarse clock ticked since the last call with this word? For checks that need not run more often. */
bool vigia__clock_ticked(_Atomic int64_t *tick);
int64_t vigia__wall_ns(void); /* CLOCK_REALTIME */
/* The clocks that a mark keeps (core/retention.h). */
void vigia__clock_now(struct vigia__clock *out);

/* The number of forks between the first process and this one. What was opened in another generation belongs to a
 * parent. */
unsigned vigia__fork_generation(void);

#endif
