/*
 * commit.h - group commit: callers that append at the same time share one sync.
 *
 * The first caller to arrive in an empty queue leads: it waits for the writer's lock, takes along all that queued up
 * meanwhile, commits once and hands out the results. While it syncs, the next batch forms behind a leader of its own.
 * Alone, a caller commits at once, without a thread of ours.
 *
 * A caller that must not block (a coroutine) submits its ticket and is told when it is finished. If it came first, a
 * helper thread, started on the first such need, leads in its place.
 */
#ifndef VIGIA_STORE_COMMIT_H
#define VIGIA_STORE_COMMIT_H

#include <stdatomic.h>
#include <pthread.h>

#include "vigia.h"

struct vigia__append; /* backend.h */
struct vigia__ticket; /* one caller in a batch */

/* Commits a batch. lock: take the writer's lock (may block long). write: store all tickets' requests, durable when it
 * returns, or fail some (ticket->rc) or all of them; it also drops the lock; *types becomes the wake words to bump.
 * publish: bump them, and the word for anything. */
struct vigia__commit_ops {
	int (*lock)(void *ctx, void **txn, struct vigia_error *err);
	int (*write)(void *ctx, void *txn, struct vigia__ticket *tickets, uint64_t *types, struct vigia_error *err);
	void (*publish)(void *ctx, uint64_t types);
};

/* FREE: a call that frees room in the file. */
enum vigia__ticket_kind { VIGIA_TICKET_APPEND, VIGIA_TICKET_CALL, VIGIA_TICKET_FREE };

/* A call inside the transaction of a commit. 0 or an error, of ours or of the one who commits. */
typedef int (*vigia__commit_fn)(void *txn, void *arg, struct vigia_error *err);

struct vigia__ticket {
	struct vigia__ticket *next;   /* order of arrival */
	struct vigia__append *append; /* APPEND */
	vigia__commit_fn call;        /* CALL, FREE: something else inside the same commit (a checkpoint) */
	void *call_arg;
	enum vigia__ticket_kind kind;
	int rc; /* set by write for this ticket alone; what write itself returns as a failure overrides it */
	struct vigia_error *err; /* the caller's, may be NULL */
	/* Submitted tickets: called by whoever leads, with rc and err set, before the wake words are published. The ticket
	 * is not touched afterwards. NULL: the caller waits. */
	void (*finished)(struct vigia__ticket *ticket);
};

struct vigia__commit {
	pthread_mutex_t mutex;
	struct vigia__group *forming; /* the batch that callers join; NULL: the next caller leads */
	struct vigia__group *spare;   /* used ones, for reuse */
	unsigned last_count;          /* callers of the batch before: how many a leader waits for */
	const struct vigia__commit_ops *ops;
	void *ctx;

	/* the helper that leads for those who may not block; under the mutex */
	pthread_t helper;
	pthread_cond_t wanted;
	struct vigia__group *to_lead;
	bool helper_runs, quit;
};

void vigia__commit_init(struct vigia__commit *commit, const struct vigia__commit_ops *ops, void *ctx);
void vigia__commit_deinit(struct vigia__commit *commit);
/* Blocks until the ticket is durable or failed. */
int vigia__commit_run(struct vigia__commit *commit, struct vigia__ticket *ticket);
/* Run `call` inside a commit shared with all that append now; durable when it returns VIGIA_OK. It may run several
 * times, each time in another transaction: what it leaves in `arg` is of the last one. FREE: a call that frees room in
 * the file, or lets others do so; where there is none left it goes first. */
int vigia__commit_call(struct vigia__commit *commit, enum vigia__ticket_kind kind, vigia__commit_fn call, void *arg,
                       struct vigia_error *err);
/* Does not block: ticket->finished is called, on another thread, once it is durable or failed; until then ticket,
 * request and err must stay where they are. 0, or ENOMEM, EIO (no thread can be made): then finished is not called. */
int vigia__commit_submit(struct vigia__commit *commit, struct vigia__ticket *ticket);

#endif
