/*
 * store_timers.h - timers of a store: schedule, unschedule, list.
 */
#ifndef VIGIA_STORE_STORE_TIMERS_H
#define VIGIA_STORE_STORE_TIMERS_H

#include "store.h"
#include "timer_records.h"

/* One event to be appended later. */
struct vigia__schedule {
	int64_t at_ns;
	uint8_t *event; /* encoded with core/event; stamped in place */
	size_t len;
	struct vigia_slice key; /* len 0: none */
	/* out */
	uint64_t id;      /* 0: the event of the key is stored already */
	uint64_t seq_num; /* then its number */
	bool existed;     /* the key was known: nothing was changed */
	/* while it is stored */
	struct vigia__backend *backend;
	struct vigia__append stored; /* of the key */
	struct vigia__timer_put done;
	uint32_t announced; /* 0: nobody was told */
	struct vigia__transact transact;
};

/* VIGIA_OK, EINVAL (the time is before 1970), or the errors of an append. */
int vigia__store_schedule(struct vigia_store *store, struct vigia__schedule *schedule, struct vigia_error *err);
/* The same without blocking: submits `pending` (store.h). Neither may move or be freed before it is done. */
int vigia__store_schedule_submit(struct vigia_store *store, struct vigia__schedule *schedule,
                                 struct vigia__pending *pending, struct vigia_error *err);
/* The timers that a query wants, in the order of their times. `intact`. fn runs outside of transactions. Not VIGIA_OK
 * ends it, and is returned; VIGIA_NONE as VIGIA_OK. */
typedef int (*vigia__timer_fn)(void *ctx, const struct vigia__timer *timer);
int vigia__store_timers(struct vigia_store *store, const struct vigia_timer_query *query, vigia__timer_fn fn, void *ctx,
                        struct vigia_error *err);
/* The time of day that the store's timers and events go by. */
int64_t vigia__store_wall_ns(const struct vigia_store *store);
/* Timers and events of a store in memory go by this clock from now on. It has no thread then: call run when the clock
 * has moved. The clock must outlive the store. */
int vigia__store_use_wall(struct vigia_store *store, int64_t (*wall)(void *ctx), void *ctx, struct vigia_error *err);
/* Append all that is due. */
int vigia__store_run_timers(struct vigia_store *store, struct vigia_error *err);

#endif
