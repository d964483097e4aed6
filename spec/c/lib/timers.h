/*
 * timers.h - what the tests of timers share: scheduling, reading, listing. To be included by a test, once.
 */
#ifndef VIGIA_SPEC_TIMERS_H
#define VIGIA_SPEC_TIMERS_H

#include "state.h"

#include <time.h>

#include "store/clock.h"

#define MS INT64_C(1000000)

/* ---- events with a number as their object ---- */

static inline uint64_t schedule(struct vigia_store *store, int64_t at_ns, int64_t number, const char *key,
                                bool *existed, uint64_t *seq_num)
{
	uint8_t room[9];
	struct vigia_error err = {0};
	uint64_t id = 0;
	struct vigia_new_event event = {SLICE("REMIND"), SLICE("Job"), number_value(room, number)};
	struct vigia_schedule_options options = {.size = sizeof options};
	if (key) options.key = slice_of(key);
	ok(vigia_schedule(store, at_ns, &event, &options, &id, existed, seq_num, &err), &err);
	return id;
}

static inline uint64_t latest_of(struct vigia_store *store)
{
	struct vigia_error err = {0};
	uint64_t latest;
	ok(vigia_store_latest(store, &latest, &err), &err);
	return latest;
}

static inline void read_one(struct vigia_store *store, uint64_t seq_num, int64_t *number, int64_t *at_ns)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_read request = {.size = sizeof request, .from = {.kind = VIGIA_AT, .seq_num = seq_num}, .limit = 1};
	struct vigia_iterator next;
	struct vigia_event event;
	struct vigia_error err = {0};
	ok(vigia_store_read(store, &request, batch, &next, &err), &err);
	assert_int_equal(vigia_batch_count(batch), 1);
	ok(vigia_batch_event(batch, 0, &event, &err), &err);
	assert_int_equal(event.seq_num, seq_num);
	*number = number_of(event.object);
	*at_ns = event.at_ns;
	vigia_batch_free(batch);
}

struct listed {
	size_t count;
	uint64_t ids[700];
};

static inline int add_listed(void *ctx, const struct vigia_timer *timer)
{
	struct listed *listed = ctx;
	assert_in_range(listed->count, 0, COUNT_OF(listed->ids) - 1);
	listed->ids[listed->count++] = timer->id;
	assert_int_equal(timer->event.at_ns, timer->at_ns);
	return VIGIA_OK;
}

/* While others may store some. */
static inline size_t timers_left(struct vigia_store *store)
{
	struct vigia_error err = {0};
	struct vigia__backend_stats stats;
	ok(vigia__store_stats(store, &stats, &err), &err);
	return stats.timers;
}

static inline size_t count_timers(struct vigia_store *store)
{
	struct listed listed = {0};
	struct vigia_error err = {0};
	ok(vigia_timers(store, NULL, add_listed, &listed, &err), &err);
	assert_int_equal(timers_left(store), listed.count);
	return listed.count;
}

static inline int64_t real_ns(void)
{
	return vigia__wall_ns();
}

static inline void wait_for(struct vigia_store *store, uint64_t latest)
{
	int64_t until = vigia__mono_ns() + 20000 * MS;
	while (latest_of(store) < latest) {
		if (vigia__mono_ns() > until) fail_msg("event %llu did not come", (unsigned long long)latest);
		nanosleep(&(struct timespec){.tv_nsec = MS}, NULL);
	}
}

#endif
