/*
 * clock.h - the time that watchers live by: the system's monotonic clock, or one that is moved by hand.
 *
 * Backoff, sleeps, long polls in coroutines and checkpoint_interval go by it. What only paces the driving (how long a
 * turn is, when to compare commit numbers, the timeout of a stop) stays with the system's clock.
 *
 * It also has a time of day, which moves with it and can be set. A store in memory may go by that (store_clock.h).
 *
 * A clock may be read, advanced and set from any thread. It must outlive the registries that have it.
 */
#ifndef VIGIA_DRIVE_CLOCK_H
#define VIGIA_DRIVE_CLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* Told when the clock was advanced or set, on the thread that does. */
struct vigia__clock_user {
	struct vigia__clock_user *next; /* owner: the clock, under its mutex */
	void (*advanced)(struct vigia__clock_user *user);
};

/* One that is moved by hand. Where a pointer to it is taken, NULL is the system's clock. */
struct vigia__manual_clock {
	_Atomic int64_t now_ns;       /* never goes back */
	_Atomic int64_t wall_from_ns; /* the time of day when now_ns was 0 */
	pthread_mutex_t mutex;
	struct vigia__clock_user *users; /* under the mutex */
};

/* Needs no deinit. Its time of day is the system's. */
void vigia__manual_clock_init(struct vigia__manual_clock *clock, int64_t now_ns);
void vigia__manual_clock_join(struct vigia__manual_clock *clock, struct vigia__clock_user *user);
void vigia__manual_clock_leave(struct vigia__manual_clock *clock, struct vigia__clock_user *user);

int64_t vigia__time_now(const struct vigia__manual_clock *clock);
/* `ns` from now, INT64_MAX (never) where that is too far or `ns` is negative. */
int64_t vigia__time_after(const struct vigia__manual_clock *clock, int64_t ns);
/* When a wait for `due_ns` of this clock ends on the system's: 0 at once, INT64_MAX never. A clock that stands still
 * makes nothing due. */
int64_t vigia__time_wait(const struct vigia__manual_clock *clock, int64_t due_ns);
/* Tells the users. `ns` is 0 or more. Stops at INT64_MAX - 1, so that "never" never
 * comes. */
void vigia__manual_clock_advance(struct vigia__manual_clock *clock, int64_t ns);

/* The time of day. Set tells the users. */
int64_t vigia__manual_clock_wall(const struct vigia__manual_clock *clock);
void vigia__manual_clock_set_wall(struct vigia__manual_clock *clock, int64_t at_ns);

static inline int64_t vigia__time_earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

#endif
