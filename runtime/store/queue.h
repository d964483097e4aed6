/*
 * queue.h - appends that wait in memory for the next commit (durability "interval", contract D2).
 *
 * An append copies its events to the end of the queue and returns. Whatever commit of this process comes next, of any
 * kind, takes the queue along: first the watchers' progress is read, then the queue is taken, so that no checkpoint
 * gets ahead of what its handler had queued, and nothing that is stored at once overtakes what was queued before. When
 * no commit comes within `commit_interval` of the oldest one, a thread of the queue, started with the first append,
 * makes one. What a crash loses is therefore always a suffix.
 *
 * A commit that failed leaves its events at the front; until one succeeds, appends are refused with its error. A full
 * queue is emptied by the append that finds it full. What frees room in a full file goes before the queue; a checkpoint
 * and a close take it along into a map that is larger for that commit, and from then on an append is stored before it
 * is acknowledged, until one finds room. On a full disk a close may use up the reserve for it (lmdb_reserve.c).
 *
 * Threads: any. take and done are called by backends, under the writer's lock and behind it; nothing else is between
 * them.
 */
#ifndef VIGIA_STORE_QUEUE_H
#define VIGIA_STORE_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>

#include "../core/buf.h"
#include "backend.h"

/* Events back to back, and where each ends (size_t). */
struct vigia__events {
	struct vigia__buf bytes, ends;
	size_t count;
};

struct vigia__queue {
	struct vigia__backend *backend;
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* for the thread */
	struct vigia__events waiting;
	int64_t since_mono_ns; /* when the oldest one came, or the last commit failed */
	bool thread_runs, quit;
	pthread_t thread;
	int failed;                  /* code of the last commit's failure, 0 = it succeeded */
	_Atomic size_t bytes, count; /* of all that is not committed */

	pthread_mutex_t taking;     /* from take to done */
	struct vigia__events taken; /* also what a failed commit left */
	int64_t taken_mono_ns;
	uint64_t taken_seq; /* the number the first one got in a commit that is in doubt, 0 = none is */

	/* the settings of the file, as of `word` */
	_Atomic uint32_t word;
	_Atomic bool wanted;
	_Atomic int64_t interval_ns;
};

void vigia__queue_init(struct vigia__queue *queue, struct vigia__backend *backend);
/* End the thread, before anything that a commit needs is torn down. */
void vigia__queue_stop(struct vigia__queue *queue);
/* Behind the last commit. What is still queued is gone. */
void vigia__queue_deinit(struct vigia__queue *queue);

/* Does the file say "interval"? Follows its settings. 0/1 or an error. */
int vigia__queue_wanted(struct vigia__queue *queue, struct vigia_error *err);
/* Copy the request's events into the queue. 0; ENOMEM; the error of a commit that failed; VIGIA_NONE: the last commit
 * found no room, and this request is to be stored before it is acknowledged. */
int vigia__queue_put(struct vigia__queue *queue, const struct vigia__append *request, int64_t bytes_max,
                     struct vigia_error *err);
/* Commit what is queued, if anything is. With `keep` even if a full map has to be exceeded and the reserve of a full
 * disk used up: the last chance. */
int vigia__queue_flush(struct vigia__queue *queue, bool keep, struct vigia_error *err);
/* What was queued went into a map that is full: more of it must not be promised until an append finds room by itself.
 * And one did. */
void vigia__queue_exceeded(struct vigia__queue *queue);
void vigia__queue_has_room(struct vigia__queue *queue);

/* In a writer's transaction: is the event of this number the one with exactly these bytes, is it another one or none
 * yet, or was the event of this number removed? */
enum vigia__queue_seen { VIGIA_SEEN_OTHER, VIGIA_SEEN_STORED, VIGIA_SEEN_REMOVED };
typedef enum vigia__queue_seen (*vigia__queue_look_fn)(void *ctx, uint64_t seq_num, const void *bytes, size_t len);

/* In a commit: the queued events into *out (count 0: none). `look` finds out what became of a commit before that failed
 * while it was being published. 0 or -1 without memory; every call is followed by one of done. */
int vigia__queue_take(struct vigia__queue *queue, struct vigia__append *out, vigia__queue_look_fn look, void *ctx);
/* Find that out without taking anything: soon after the failure, before another process removes what is looked for. */
void vigia__queue_settle(struct vigia__queue *queue, vigia__queue_look_fn look, void *ctx);
/* What became of the commit: VIGIA_OK, or any error. */
void vigia__queue_done(struct vigia__queue *queue, const struct vigia__append *taken, int rc);
/* The commit could not begin: while that lasts, appends fail with the same error. */
void vigia__queue_not_begun(struct vigia__queue *queue, int rc);

#endif
