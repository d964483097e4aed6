/*
 * progress.h - the watchers' progress, saved with whatever commit comes next (contract W10): commits look only at what
 * has moved.
 *
 * A watcher moves its node with one atomic write and, once between two commits, puts it on a stack; a commit takes what
 * was there first, puts the numbers into its transaction and tells the nodes when it is durable. So it costs what
 * moved, not what there is, and however much that was, it takes a slice: who wants all saved commits until
 * vigia__progress_out() has reached what vigia__progress_in() was.
 *
 * A backend calls three functions in each commit: vigia__progress_take(), vigia__progress_each() with a function that
 * writes one checkpoint, vigia__progress_done().
 *
 * Threads: move, reset, saved and end belong to the watcher's thread; take and done to whoever commits.
 */
#ifndef VIGIA_STORE_PROGRESS_H
#define VIGIA_STORE_PROGRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vigia__progress {
	struct vigia__progress *next; /* owner: the stack or the queue, while `moved` */
	_Atomic uint64_t done;        /* worth saving: everything up to here */
	atomic_bool moved;            /* it is there, which is a reference */
	atomic_int refs;              /* the watcher, the stack or queue, and each commit under way that took it along */
	/* under the mutex */
	uint64_t saved; /* durable */
	uint64_t epoch; /* a seek made earlier readings of `done` worthless */
	bool removed;   /* no longer to be saved */
	char id[256];
};

/* Those of one file and process. */
struct vigia__progress_list {
	pthread_mutex_t mutex;
	struct vigia__progress *_Atomic moved; /* last in, first out */
	atomic_bool waits;                     /* there is something in the queue */
	/* under the mutex: what was on the stack, first in, first out */
	struct vigia__progress *first, **end;
	uint64_t in, out; /* nodes that came in, and that commits have taken out */
};

enum { VIGIA_PROGRESS_SLICE = 500 }; /* nodes that one commit takes along */

/* What one commit takes along. */
struct vigia__progress_taken {
	size_t count;
	struct {
		struct vigia__progress *progress;
		uint64_t done, epoch;
	} items[];
};

void vigia__progress_init(struct vigia__progress_list *list);
void vigia__progress_deinit(struct vigia__progress_list *list);

/* `saved` is what is durable now. NULL without memory. */
struct vigia__progress *vigia__progress_new(const char *id, uint64_t saved);
/* The watcher has stopped; a commit under way may still hold the node. */
void vigia__progress_end(struct vigia__progress_list *list, struct vigia__progress *progress);
/* Everything up to `done` is worth saving. */
void vigia__progress_move(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t done);
uint64_t vigia__progress_saved(struct vigia__progress_list *list, struct vigia__progress *progress);
/* Before a durable put by hand (seek, manual checkpoint): commits under way that read the old `done` must not put it
 * afterwards. */
void vigia__progress_reset(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t done,
                           uint64_t saved);

/* All that has moved is in; and how much commits have taken out. */
uint64_t vigia__progress_in(struct vigia__progress_list *list);
uint64_t vigia__progress_out(struct vigia__progress_list *list);

/* Inside a commit: what moved, a slice of it, NULL if nothing did. 0, or ENOMEM and all is left as it was. */
int vigia__progress_take(struct vigia__progress_list *list, struct vigia__progress_taken **taken);
/* Put them into the transaction, oldest first: `fn` for each, until one call returns something else than 0, which this
 * returns. Nothing for NULL. */
typedef int (*vigia__progress_fn)(void *ctx, const char *id, uint64_t done);
int vigia__progress_each(const struct vigia__progress_taken *taken, vigia__progress_fn fn, void *ctx);
/* It has ended; what was not committed travels with the next one. */
void vigia__progress_done(struct vigia__progress_list *list, struct vigia__progress_taken *taken, bool committed);

#endif
