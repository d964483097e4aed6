/*
 * progress.h - the watchers' progress, saved with the next commit of any kind (contract W10). A commit handles only the
 * watchers that moved.
 *
 * A watcher updates its node with one atomic write and, once between two commits, pushes it on a stack. A commit takes
 * the oldest nodes, writes their numbers in its transaction, and marks them saved once it is durable. So a commit's
 * cost depends on the watchers that moved, not on all, and is limited to a slice of them. To save all, commit until
 * vigia__progress_counts() gives an `out` that has reached the earlier `in`.
 *
 * A backend calls three functions in each commit: vigia__progress_commit_begin(), vigia__progress_each() with a
 * function that writes one checkpoint, vigia__progress_commit_end().
 *
 * Threads: move, reset, saved and end are called on the watcher's thread, commit_begin and commit_end on the committing
 * one.
 */
#ifndef VIGIA_STORE_PROGRESS_H
#define VIGIA_STORE_PROGRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vigia__progress {
	struct vigia__progress *next; /* owner: the stack or the queue while `moved` */
	_Atomic uint64_t done;        /* to be saved: everything up to here is finished */
	atomic_bool moved;            /* it is on the stack or in the queue, which count as a reference */
	atomic_int refs;              /* the watcher, the stack or queue, and each commit in progress that took it */
	/* under the mutex */
	uint64_t saved; /* durable */
	uint64_t epoch; /* incremented by a seek, which makes earlier reads of `done` invalid */
	bool removed;   /* do not save it any more */
	char id[256];
};

/* The nodes of one file in this process. */
struct vigia__progress_list {
	pthread_mutex_t mutex;
	struct vigia__progress *_Atomic moved; /* last in, first out */
	atomic_bool waits;                     /* the queue is not empty */
	/* under the mutex: the queue, filled from the stack, first in, first out */
	struct vigia__progress *first, **end;
	uint64_t in, out; /* nodes added, and nodes taken by commits */
};

enum { VIGIA_PROGRESS_SLICE = 500 }; /* nodes that one commit takes */

/* What one commit takes. */
struct vigia__progress_taken {
	size_t count;
	struct {
		struct vigia__progress *progress;
		uint64_t done, epoch;
	} items[];
};

void vigia__progress_init(struct vigia__progress_list *list);
void vigia__progress_deinit(struct vigia__progress_list *list);

/* `saved` is the durable checkpoint. NULL without memory. */
struct vigia__progress *vigia__progress_new(const char *id, uint64_t saved);
/* The watcher has stopped. A commit in progress may still hold the node. */
void vigia__progress_end(struct vigia__progress_list *list, struct vigia__progress *progress);
/* Everything up to `done` is finished and may be saved. */
void vigia__progress_move(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t done);
uint64_t vigia__progress_saved(struct vigia__progress_list *list, struct vigia__progress *progress);
/* Call it around a checkpoint stored directly (seek, manual checkpoint), so that a commit in progress that read the old
 * `done` does not mark it as saved. */
void vigia__progress_reset(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t done,
                           uint64_t saved);
/* The same from any thread, for a checkpoint stored by hand, which only moves forward: `done` stays. Returns what was
 * saved before, for unraise: it was not stored. */
uint64_t vigia__progress_raise(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t saved);
void vigia__progress_unraise(struct vigia__progress_list *list, struct vigia__progress *progress, uint64_t saved,
                             uint64_t before);

/* How many nodes were added, including those on the stack, and how many commits have taken. */
void vigia__progress_counts(struct vigia__progress_list *list, uint64_t *in, uint64_t *out);

/* Inside a commit: take a slice of what moved, NULL if nothing did. 0, or ENOMEM with nothing changed. */
int vigia__progress_commit_begin(struct vigia__progress_list *list, struct vigia__progress_taken **taken);
/* Call `fn` for each, oldest first, to write it in the transaction. Stops at the first result that is not 0, and
 * returns it. NULL has no items. */
typedef int (*vigia__progress_fn)(void *ctx, const char *id, uint64_t done);
int vigia__progress_each(const struct vigia__progress_taken *taken, vigia__progress_fn fn, void *ctx);
/* After the commit: what was not committed is taken by the next one. */
void vigia__progress_commit_end(struct vigia__progress_list *list, struct vigia__progress_taken *taken, bool committed);

#endif
