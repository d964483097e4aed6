/*
 * clock.h - the time that watchers live by: the system's monotonic clock, or one that is moved by hand.
 *
 * Backoff, sleeps, long polls in coroutines and checkpoint_interval go by it. What only paces the driving (how long a
 * turn is, when to compare commit numbers, the timeout of a stop) stays with the system's clock.
 *
 * A clock may be read and advanced from any thread. It must outlive the registries that have it.
 */
#ifndef VIGIA_DRIVE_CLOCK_H
#define VIGIA_DRIVE_CLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* Told when the clock was advanced, on the thread that does. */
struct vigia__clock_user {
	struct vigia__clock_user *next; /* owner: the clock, under its mutex */
	void (*advanced)(struct vigia__clock_user *user);
};

/* One that is moved by hand. Where a pointer to it is taken, NULL is the system's clock. */
struct vigia__manual_clock {
	_Atomic int64_t now_ns; /* never goes back */
	pthread_mutex_t mutex;
	struct vigia__clock_user *users; /* under the mutex */
};

/* Needs no deinit. */
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

static inline int64_t vigia__time_earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

#endif
