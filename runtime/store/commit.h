/*
 * commit.h - group commit: callers that append at the same time share one sync.
 *
 * The first caller that finds no batch forming becomes its leader: it waits for the writer's lock, takes all callers
 * that joined meanwhile, commits once and distributes the results. While it syncs, the next batch forms with a leader
 * of its own. A single caller commits at once. No other thread is involved.
 *
 * A leader waits for those that were in the batch before, if they come back sooner than a sync takes: one full batch is
 * then faster than two that take turns. Where many callers have few processors to come back on, it is the other way
 * round: the next batch is written at once, and those of the previous one are woken during its sync, when nothing else
 * needs the processors.
 *
 * A caller that must not block (a coroutine) submits its ticket and gets a call when it is finished. If it is the first
 * of a batch, a helper thread leads in its place. The first submit starts that thread.
 */
#ifndef VIGIA_STORE_COMMIT_H
#define VIGIA_STORE_COMMIT_H

#include <stdatomic.h>

#include "helper.h"
#include "vigia.h"

struct vigia__append;   /* backend.h */
struct vigia__transact; /* backend.h */
struct vigia__import;   /* backend.h */
struct vigia__ticket;   /* one caller in a batch */
struct vigia__wake_set; /* wake.h */

/* The steps of committing a batch. lock: take the writer's lock (may block long). write: store all tickets' requests,
 * durable when it returns, or fail some (ticket->rc) or all of them, release the lock, and add to `types` the
 * wake words to bump. publish: bump them, and the word for anything. */
struct vigia__commit_ops {
	int (*lock)(void *ctx, void **txn, struct vigia_error *err);
	int (*write)(void *ctx, void *txn, struct vigia__ticket *tickets, struct vigia__wake_set *types,
	             struct vigia_error *err);
	void (*publish)(void *ctx, const struct vigia__wake_set *types);
};

/* FREE: a call that frees room in the file. */
enum vigia__ticket_kind {
	VIGIA_TICKET_APPEND,
	VIGIA_TICKET_CALL,
	VIGIA_TICKET_FREE,
	VIGIA_TICKET_TRANSACTION,
	VIGIA_TICKET_IMPORT
};

/* A call inside the transaction of a commit. 0, or an error: a Vigia code or the backend's. */
typedef int (*vigia__commit_fn)(void *txn, void *arg, struct vigia_error *err);

struct vigia__ticket {
	struct vigia__ticket *next;   /* order of arrival */
	struct vigia__append *append; /* APPEND */
	vigia__commit_fn call;        /* CALL, FREE: another change inside the same commit (a checkpoint) */
	void *call_arg;
	struct vigia__transact *transact; /* TRANSACTION */
	struct vigia__import *import;     /* IMPORT */
	enum vigia__ticket_kind kind;
	bool aside; /* a batch of such tickets alone leaves what else waits for a commit to the next one */
	bool inner; /* CALL, FREE: changes nothing that users see, so that an unfinished import does not refuse it */
	int rc;     /* set by write for this ticket; a failure that write returns overrides it */
	struct vigia_error *err; /* the caller's, may be NULL */
	/* Submitted tickets: called by the leader, with rc and err set, before the wake words are published. The leader
	 * does not touch the ticket afterwards. NULL: the caller waits. */
	void (*finished)(struct vigia__ticket *ticket);
};

/* What the commits of this process took, for who watches: histograms, each bound included. Counts only grow. */
enum { VIGIA_METER_BOUNDS = 12 };
struct vigia__meter {
	_Atomic uint64_t took[VIGIA_METER_BOUNDS + 1];   /* commits by how long they took; the last: longer */
	_Atomic uint64_t events[VIGIA_METER_BOUNDS + 1]; /* and by how many events they stored */
	_Atomic uint64_t took_ns, events_count;          /* sums */
};
extern const int64_t vigia__meter_took_ns[VIGIA_METER_BOUNDS];
extern const uint64_t vigia__meter_events[VIGIA_METER_BOUNDS];

struct vigia__commit {
	struct vigia__helper helper;  /* leads for submitted tickets. Its mutex is that of the following */
	struct vigia__group *forming; /* the batch that callers join; NULL: the next caller leads */
	struct vigia__group *spare;   /* used groups, for reuse */
	atomic_uint last_count;       /* callers of the previous batch */
	unsigned pause;               /* batches for which leaders will not wait after the next wait in vain */
	atomic_uint paused;           /* the same, those left */
	_Atomic int64_t last_ns;      /* how long the previous batch with more than one caller took to write */
	atomic_uint writing, closed;  /* batches being written, and all that stopped forming */
	atomic_bool metered;          /* commits are counted in */
	struct vigia__meter meter;
	const struct vigia__commit_ops *ops;
	void *ctx;

	struct vigia__group *to_lead; /* by the helper, under the mutex */
};

void vigia__commit_init(struct vigia__commit *commit, const struct vigia__commit_ops *ops, void *ctx);
void vigia__commit_deinit(struct vigia__commit *commit);
/* Block until the ticket is durable or failed. */
int vigia__commit_run(struct vigia__commit *commit, struct vigia__ticket *ticket);
/* Run `call` inside a commit shared with concurrent appends. Durable when it returns VIGIA_OK. It may run several
 * times, each time in another transaction: the last run's results in `arg` count. FREE: a call that frees room in the
 * file, or lets others do so. When the file is full, it goes first. */
int vigia__commit_call(struct vigia__commit *commit, enum vigia__ticket_kind kind, vigia__commit_fn call, void *arg,
                       struct vigia_error *err);
/* The same for work that no caller asked for (collection, the index, a doubt). While events are queued it commits
 * neither them nor the watchers' progress: if that failed, appends would before a commit of their own does. */
int vigia__commit_aside(struct vigia__commit *commit, enum vigia__ticket_kind kind, vigia__commit_fn call, void *arg,
                        struct vigia_error *err);
/* Do not block: ticket->finished is called, on another thread, once it is durable or failed. Until then ticket, request
 * and err must stay valid. 0, or ENOMEM, EIO (no thread could be started): then finished is not called. */
int vigia__commit_submit(struct vigia__commit *commit, struct vigia__ticket *ticket);

#endif
