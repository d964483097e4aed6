/*
 * store_clock.h - a store in memory whose events and timers go by a clock that is moved by hand: when the clock has
 * moved, what is due is appended before the call returns.
 */
#ifndef VIGIA_DRIVE_STORE_CLOCK_H
#define VIGIA_DRIVE_STORE_CLOCK_H

#include "clock.h"

struct vigia_error;
struct vigia_store;

struct vigia__store_clock {
	struct vigia__clock_user user; /* first */
	struct vigia__manual_clock *clock;
	struct vigia_store *store; /* referenced; NULL: not joined */
};

/* VIGIA_OK, EUNSUPPORTED (a file), ESTATE (it has a clock or timers already). Until leave, nothing may be moved or
 * freed. The clock must outlive the store's last handle. */
int vigia__store_clock_join(struct vigia__store_clock *joined, struct vigia__manual_clock *clock,
                            struct vigia_store *store, struct vigia_error *err);
/* Does nothing if it did not join. */
void vigia__store_clock_leave(struct vigia__store_clock *joined);

#endif
