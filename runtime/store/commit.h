/*
 * commit.h - group commit: callers that append at the same time share one sync.
 *
 * The first caller to arrive in an empty queue leads: it waits for the writer's lock, takes along all that queued up meanwhile,
 * commits once and hands out the results. While it syncs, the next batch forms behind a leader of its own. Alone, a caller commits
 * at once. No thread of its own.
 */
#ifndef VIGIA_STORE_COMMIT_H
#define VIGIA_STORE_COMMIT_H

#include <stdatomic.h>
#include <pthread.h>

#include "store.h"

struct vigia__ticket; /* one caller in a batch */

/* Commits a batch. lock: take the writer's lock (may block long); then `take` is called by commit.c; write: store all tickets' requests,
 * durable when it returns, or fail them all; it also drops the lock. */
struct vigia__commit_ops {
	int (*lock)(void *ctx, void **txn, struct vigia_error *err);
	int (*write)(void *ctx, void *txn, struct vigia__ticket *tickets, struct vigia_error *err);
};

enum vigia__ticket_kind { VIGIA_TICKET_APPEND, VIGIA_TICKET_CALL };

struct vigia__ticket {
	struct vigia__ticket *next;         /* order of arrival */
	struct vigia__append *append;       /* APPEND */
	int (*call)(void *txn, void *arg, struct vigia_error *err); /* CALL: something else inside the same commit (a checkpoint) */
	void *call_arg;
	enum vigia__ticket_kind kind;
	int rc;                             /* set by write for this ticket alone; a failure of the whole batch overrides it */
	struct vigia_error *err;            /* the caller's, may be NULL */
};

struct vigia__commit {
	pthread_mutex_t mutex;
	struct vigia__group *forming; /* the batch that callers join; NULL: the next caller leads */
	struct vigia__group *spare;   /* used ones, for reuse */
	unsigned last_count;          /* callers of the batch before: how many a leader waits for */
	const struct vigia__commit_ops *ops;
	void *ctx;
};

void vigia__commit_init(struct vigia__commit *commit, const struct vigia__commit_ops *ops, void *ctx);
void vigia__commit_deinit(struct vigia__commit *commit);
/* Blocks until the ticket is durable or failed. */
int vigia__commit_run(struct vigia__commit *commit, struct vigia__ticket *ticket);

#endif
