/*
 * queue.h - appends that wait in memory for the next commit (durability "interval", contract D2).
 *
 * An append copies its events to the end of the queue and returns. The next commit of this process stores the queue: it
 * reads the watchers' progress first and takes the queue second, so that no checkpoint gets ahead of what its handler
 * queued. A commit that no caller asked for, such as the collector's, leaves both where they are (vigia__commit_aside).
 * Events stored directly never overtake queued ones. If no commit comes within `commit_interval` of the oldest event,
 * the queue's thread, started with the first append, makes one. So a crash loses only the newest events.
 *
 * A failed commit leaves its events at the front. Until one succeeds, appends fail with its error. An append that finds
 * the queue full commits it. In a full file, calls that free room go before the queue. A checkpoint and a close store
 * it in a map that is enlarged for that commit. After that each append is stored before it is acknowledged, until one
 * finds room. On a full disk a close may use up the reserve (lmdb_reserve.c).
 *
 * Threads: any. Backends call commit_begin under the writer's lock and commit_end after the commit.
 */
#ifndef VIGIA_STORE_QUEUE_H
#define VIGIA_STORE_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>

#include "../core/buf.h"
#include "backend.h"
#include "helper.h"

/* Events back to back, and the offset behind each (size_t). */
struct vigia__events {
	struct vigia__buf bytes, ends;
	size_t count;
};

struct vigia__queue {
	struct vigia__backend *backend;
	struct vigia__helper helper; /* its mutex is that of the following */
	struct vigia__events waiting;
	int64_t since_mono_ns;       /* when the oldest event came, or the last commit failed */
	int failed;                  /* code of the last commit's failure, 0 = it succeeded */
	_Atomic size_t bytes, count; /* of all events that are not committed */

	pthread_mutex_t taking;     /* from commit_begin to commit_end */
	struct vigia__events taken; /* also those of a failed commit */
	int64_t taken_mono_ns;
	uint64_t taken_seq; /* the first one's number in a commit that is in doubt, 0 = none */

	/* the settings of the file, as of `word` */
	_Atomic uint32_t word;
	_Atomic bool wanted;
	_Atomic int64_t interval_ns;
};

void vigia__queue_init(struct vigia__queue *queue, struct vigia__backend *backend);
/* End the thread. Call it before anything that a commit needs is freed. */
void vigia__queue_stop(struct vigia__queue *queue);
/* Call it after the last commit. Frees what is still queued. */
void vigia__queue_deinit(struct vigia__queue *queue);

/* Is the file's durability "interval"? Reads changed settings. 0, 1 or an error. */
int vigia__queue_wanted(struct vigia__queue *queue, struct vigia_error *err);
/* Copy the request's events into the queue. 0, ENOMEM, the error of a failed commit, or VIGIA_NONE: the last commit
 * found no room, so store this request before acknowledging it. */
int vigia__queue_put(struct vigia__queue *queue, const struct vigia__append *request, int64_t bytes_max,
                     struct vigia_error *err);
/* Commit the queue unless it is empty. `keep`, for the last chance: exceed a full map and use up a full disk's reserve
 * if necessary. */
int vigia__queue_flush(struct vigia__queue *queue, bool keep, struct vigia_error *err);
/* The queue was stored in a full map, so do not acknowledge more queued events until an append finds room. has_room: an
 * append did. */
void vigia__queue_exceeded(struct vigia__queue *queue);
void vigia__queue_has_room(struct vigia__queue *queue);

/* In a writer's transaction: is the event of this number stored with exactly these bytes, was it removed, or is it
 * another one or missing? */
enum vigia__queue_seen { VIGIA_SEEN_OTHER, VIGIA_SEEN_STORED, VIGIA_SEEN_REMOVED };
typedef enum vigia__queue_seen (*vigia__queue_look_fn)(void *ctx, uint64_t seq_num, const void *bytes, size_t len);

/* Is an event queued that is not stored yet? Each of those that were acknowledged before the call counts. */
bool vigia__queue_any(const struct vigia__queue *queue);
/* In a commit: take the queued events into *out (count 0: none). `look` finds the outcome of an earlier commit in
 * doubt. NULL where none ever is. 0, or -1 without memory. Call commit_end after each call. */
int vigia__queue_commit_begin(struct vigia__queue *queue, struct vigia__append *out, vigia__queue_look_fn look,
                              void *ctx);
/* Find that outcome without taking anything. Call it soon after the failure, before another process removes the
 * events. */
void vigia__queue_settle(struct vigia__queue *queue, vigia__queue_look_fn look, void *ctx);
/* After the commit, with its result: VIGIA_OK or any error. */
void vigia__queue_commit_end(struct vigia__queue *queue, const struct vigia__append *taken, int rc);
/* Instead: it does not take the queue after all. What was taken is first in the next commit. */
void vigia__queue_commit_skip(struct vigia__queue *queue);
/* The commit could not begin: until one can, appends fail with the same error. */
void vigia__queue_not_begun(struct vigia__queue *queue, int rc);

#endif
