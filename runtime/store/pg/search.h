/*
 * search.h - finds the server of a location that takes writes.
 *
 * Each host is a connection of its own, which is made beside the others: one that hangs holds up nobody. The one that
 * was found last is asked first, the others when it fails, or after a moment. While one hangs, the others are asked
 * again and again: a standby may be promoted meanwhile.
 *
 * A primary of the past may still run and call itself one, as when its guard was stopped: what is sent to it is never
 * confirmed. Its timeline is behind, since each promotion begins a new one. So what the connections of a backend know
 * of the highest timeline is kept, and a server behind it is none. Where a server does not answer, all are asked.
 *
 * A search is used by one thread, `pg_known` by any.
 */
#ifndef VIGIA_STORE_PG_SEARCH_H
#define VIGIA_STORE_PG_SEARCH_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "location.h"

struct pg_known {
	pthread_mutex_t mutex; /* a small one: under it nothing is sent */
	int64_t timeline;      /* the highest that was seen, */
	int64_t system;        /* of this cluster */
	size_t host;           /* found last */
	/* Counts servers that took over. A connection with a lower count is to one of the past. */
	_Atomic unsigned reign;
};

struct pg_try {
	PGconn *conn;
	enum { PG_TRY_NOT, PG_TRY_CONNECTS, PG_TRY_ASKS, PG_TRY_FOUND, PG_TRY_FAILED } state;
	short events; /* what is waited for */
	int64_t timeline, system;
	int64_t again_mono_ns; /* after a failure: when it may be tried again */
	int code;              /* of a failure, and why */
	char sqlstate[6], why[160];
};

struct pg_search {
	const struct pg_location *location;
	struct pg_known *known;
	bool all;            /* ask all, and take the highest timeline */
	bool again;          /* ask those again that failed, while another one has not answered */
	int64_t all_mono_ns; /* how long those are waited for that do not answer */
	int64_t next_mono_ns;
	size_t count, begun, first;
	struct pg_try tries[VIGIA_PG_HOSTS_MAX];
};

/* The line of a message of libpq's that says why, and its length. */
const char *vigia__pg_why(const char *text, size_t *len);

void vigia__pg_known_init(struct pg_known *known);
void vigia__pg_known_deinit(struct pg_known *known);

void vigia__pg_search_begin(struct pg_search *search, const struct pg_location *location, struct pg_known *known,
                            bool all, int64_t until_mono_ns);
/* Look for one. NULL: there is none, or the time is over; why is in *failure. Else the caller's, and *reign. */
PGconn *vigia__pg_search_run(struct pg_search *search, int64_t until_mono_ns, unsigned *reign,
                             const struct pg_try **failure);
/* Look which there are, for `known`. False: one did not answer. */
bool vigia__pg_search_survey(struct pg_search *search, int64_t until_mono_ns);
/* Close what is left of it. */
void vigia__pg_search_end(struct pg_search *search);
/* In a forked child: the connections are the parent's. */
void vigia__pg_search_forked(struct pg_search *search);

#endif
