/*
 * clock.c - the system's monotonic clock, or one that is moved by hand.
 */
#include "clock.h"

#include <stddef.h>

#include "../store/clock.h"

int64_t vigia__time_now(const struct vigia__manual_clock *clock)
{
	return clock ? atomic_load(&clock->now_ns) : vigia__mono_ns();
}

int64_t vigia__time_after(const struct vigia__manual_clock *clock, int64_t ns)
{
	int64_t now = vigia__time_now(clock);
	return ns < 0 || ns > INT64_MAX - now ? INT64_MAX : now + ns;
}

int64_t vigia__time_wait(const struct vigia__manual_clock *clock, int64_t due_ns)
{
	if (clock == NULL) return due_ns;
	return due_ns <= atomic_load(&clock->now_ns) ? 0 : INT64_MAX;
}

static void tell_users(struct vigia__manual_clock *clock)
{
	pthread_mutex_lock(&clock->mutex);
	for (struct vigia__clock_user *user = clock->users; user; user = user->next) user->advanced(user);
	pthread_mutex_unlock(&clock->mutex);
}

void vigia__manual_clock_advance(struct vigia__manual_clock *clock, int64_t ns)
{
	int64_t now = atomic_load(&clock->now_ns), then;
	do {
		then = ns > INT64_MAX - 1 - now ? INT64_MAX - 1 : now + ns;
	} while (!atomic_compare_exchange_weak(&clock->now_ns, &now, then));
	tell_users(clock);
}

int64_t vigia__manual_clock_wall(const struct vigia__manual_clock *clock)
{
	int64_t now = atomic_load(&clock->now_ns), from = atomic_load(&clock->wall_from_ns);
	return now > INT64_MAX - from ? INT64_MAX : from + now;
}

void vigia__manual_clock_set_wall(struct vigia__manual_clock *clock, int64_t at_ns)
{
	int64_t now = atomic_load(&clock->now_ns);
	atomic_store(&clock->wall_from_ns, at_ns > now ? at_ns - now : 0); /* so that the sum stays in range */
	tell_users(clock);
}

void vigia__manual_clock_init(struct vigia__manual_clock *clock, int64_t now_ns)
{
	atomic_init(&clock->now_ns, now_ns);
	atomic_init(&clock->wall_from_ns, vigia__wall_ns() - now_ns);
	pthread_mutex_init(&clock->mutex, NULL);
	clock->users = NULL;
}

void vigia__manual_clock_join(struct vigia__manual_clock *clock, struct vigia__clock_user *user)
{
	pthread_mutex_lock(&clock->mutex);
	user->next = clock->users;
	clock->users = user;
	pthread_mutex_unlock(&clock->mutex);
}

void vigia__manual_clock_leave(struct vigia__manual_clock *clock, struct vigia__clock_user *user)
{
	pthread_mutex_lock(&clock->mutex);
	struct vigia__clock_user **at = &clock->users;
	while (*at != user) at = &(*at)->next;
	*at = user->next;
	pthread_mutex_unlock(&clock->mutex);
}
