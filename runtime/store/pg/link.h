/*
 * link.h - one connection to the server, which is made when it is needed, and again after it broke.
 *
 * All of it is asynchronous, with a deadline: no call hangs, whatever becomes of the server. A call that finds the
 * connection broken makes it again; whether what was sent before is done again is the caller's to know (`sent`). While
 * the server was found to be away, calls fail at once for a moment, so that nothing spins and no one queues.
 *
 * A commit whose wait for the standbys was cancelled counts as one whose answer was lost.
 *
 * A link is used by one thread at a time: call under its mutex.
 */
#ifndef VIGIA_STORE_PG_LINK_H
#define VIGIA_STORE_PG_LINK_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "param.h"
#include "search.h"
#include "statements.h"
#include "vigia.h"

struct pg_link {
	pthread_mutex_t mutex;
	const struct pg_location *location;
	struct pg_known *known; /* about the servers, by all links of a backend */
	char *const *texts;     /* of the statements */
	PGconn *conn;           /* NULL: not connected */
	uint64_t prepared;      /* a bit for each statement */
	int64_t away_until_mono_ns;
	int away_code;                    /* why it was found to be away */
	int64_t called_mono_ns;           /* when the call began */
	int64_t survey_mono_ns;           /* the next one */
	unsigned reign;                   /* under which server the connection was made (pg_known) */
	unsigned connections;             /* counts them */
	bool sent;                        /* the last call reached the server, perhaps */
	bool owed;                        /* the answer to the last `then` has not been read yet */
	bool cancelled;                   /* the server did not wait for its standbys */
	bool doubts;                      /* it does not answer, or cannot commit: there may be another primary */
	char state[6];                    /* SQLSTATE of the last failure; "" : it is the connection's */
	struct pg_search *_Atomic search; /* under way */
};

void vigia__pg_link_init(struct pg_link *link, const struct pg_location *location, struct pg_known *known,
                         char *const *texts);
void vigia__pg_link_deinit(struct pg_link *link);
/* In a forked child: the connection is the parent's. */
void vigia__pg_link_forked(struct pg_link *link);
/* Connect, unless it is. */
int vigia__pg_link_ready(struct pg_link *link, int64_t until_mono_ns, struct vigia_error *err);
void vigia__pg_link_close(struct pg_link *link);
/* One statement, on a connection that is ready. `what` it is for goes into the error. *out is the caller's to
 * PQclear(); NULL: the result is not wanted. After EUNREACHABLE the link is closed. */
int vigia__pg_call(struct pg_link *link, enum pg_statement statement, const struct pg_param *params, PGresult **out,
                   int64_t until_mono_ns, const char *what, struct vigia_error *err);
/* The same, with texts without parameters sent before and behind it, in one round trip: what follows a failure is not
 * done. And with a call of `then`, a transaction of its own, for which nobody waits: it is done also where this one
 * fails, and what comes of it is not told. NULL: nothing. */
struct pg_round {
	const char *before, *behind;
	enum pg_statement then;
	const struct pg_param *then_params;
};
int vigia__pg_call_round(struct pg_link *link, enum pg_statement statement, const struct pg_param *params,
                         const struct pg_round *round, PGresult **out, int64_t until_mono_ns, const char *what,
                         struct vigia_error *err);
/* The same of a text without parameters, which may hold several statements. */
int vigia__pg_exec(struct pg_link *link, const char *text, PGresult **out, int64_t until_mono_ns, const char *what,
                   struct vigia_error *err);
/* The end of a transaction that failed, if it has not ended with the connection. The link's state stays that of the
 * failure. */
void vigia__pg_rollback(struct pg_link *link, int64_t until_mono_ns, const char *what);
/* Call once in a while: where the primary lacks standbys, look whether one of these has taken over. Connections to a
 * server of the past are then made again when they are used next, those that wait for it at once. */
void vigia__pg_link_survey(struct pg_link *link);
/* Is what failed like this to be tried again: the connection broke, no server takes writes, or this one gave up in
 * favour of others? Then wait a moment first. False also when the time is over: who has not got a lock by
 * then has EUNREACHABLE. */
bool vigia__pg_again(const struct pg_link *link, int *rc, int64_t until_mono_ns, struct vigia_error *err);
/* The deadline of a call that begins now. */
int64_t vigia__pg_until(const struct pg_link *link);

/* Fields of a result, in binary. */
int64_t vigia__pg_int(const PGresult *result, int row, int column);
bool vigia__pg_bool(const PGresult *result, int row, int column);
struct vigia_slice vigia__pg_bytes(const PGresult *result, int row, int column);
/* A list of bigint: how many, and one of them. */
size_t vigia__pg_list_count(const PGresult *result, int row, int column);
int64_t vigia__pg_list_item(const PGresult *result, int row, int column, size_t index);

#endif
