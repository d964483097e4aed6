/*
 * store.h - the door of this room: a handle on a store. The store*.c files do what all backends have in common: names
 * and sizes, iterators, the long poll, handles that are closed or come from before a fork.
 *
 * Life: vigia_store_open() makes a handle. All handles of a file in the process share its backend, which counts them. A
 * closed handle refuses calls. It is freed when its owner, and the last call, registry or thread using it, have
 * released it.
 */
#ifndef VIGIA_STORE_STORE_H
#define VIGIA_STORE_STORE_H

#include <stdatomic.h>

#include "backend.h"
#include "queue.h"
#include "steer.h"

struct vigia_store {
	struct vigia__backend *backend;
	struct vigia_store_options options;
	atomic_int refs; /* the owner, calls in progress, registries */
	atomic_bool closed;
	bool collects;             /* counted in the backend's collector */
	unsigned fork_generation;  /* of the process that opened it */
	struct vigia__bell bell;   /* rung when it is closed */
	_Atomic uint64_t appended; /* the highest number appended through this handle */
	char *path;
	char serializer[65]; /* the file's: appends write with it */
	bool recodes;        /* it is not msgpack */
};

/* Begin a call: 0 and a reference, or ECLOSED, EFORKED. Call leave once after every 0. */
int vigia__store_enter(struct vigia_store *store, struct vigia_error *err);
void vigia__store_leave(struct vigia_store *store);
/* The same as the last step of a call. Returns rc. */
int vigia__store_end(struct vigia_store *store, int rc);
/* Keep the handle's memory while something uses it. It may still be closed. */
void vigia__store_ref(struct vigia_store *store);
void vigia__store_unref(struct vigia_store *store);

/* 0, or EINVAL if the key does not have 1..255 bytes. No key is fine. */
int vigia__append_key_check(struct vigia_slice key, struct vigia_error *err);
/* Append bytes encoded with core/event (for C callers vigia_store_append encodes). */
int vigia__store_append(struct vigia_store *store, struct vigia__append *request, struct vigia_error *err);
/* Many, each with its key, in one commit. A key that is there, or earlier among them, is no failure: `existed`. */
int vigia__store_append_all(struct vigia_store *store, struct vigia__append *requests, size_t count,
                            struct vigia_error *err);
/* The same without blocking. */
struct vigia__pending {
	struct vigia_store *store;
	struct vigia__append request;
	struct vigia__transact *transact; /* in place of the request; NULL: the request */
	struct vigia_error err;
	int rc;
	_Atomic uint32_t done;        /* futex: 1 when rc, err and request.first_seq are set */
	struct vigia__ticket *ticket; /* NULL: no append is in progress */
};
/* Start to append pending->request. Its bytes and `pending` must not move until `done`. VIGIA_OK: in progress, or done
 * already. The wake word for anything is bumped when it is done. */
int vigia__store_submit(struct vigia_store *store, struct vigia__pending *pending, struct vigia_error *err);
/* Block until done, at once if it was never submitted. */
void vigia__store_await(struct vigia__pending *pending);
/* After `done`: return rc, and free what submit allocated. */
int vigia__store_settle(struct vigia__pending *pending);
/* What ends the wait of a read, beside an event and the timeout. */
struct vigia__cancel {
	const atomic_bool *flag;  /* set to true before the bell is rung; NULL: none */
	struct vigia__bell *bell; /* NULL only where `flag` is */
	bool (*asks)(void *ctx);  /* called when a signal may have interrupted the wait; NULL: none */
	void *ctx;
};
/* As vigia_store_explain, with a compiled filter. */
int vigia__store_explain(struct vigia_store *store, struct vigia_iterator from, const struct vigia__filter *filter,
                         struct vigia_explain *out, struct vigia_error *err);
/* As vigia_store_read, with a compiled filter. `cancel` may be NULL. */
int vigia__store_read(struct vigia_store *store, const struct vigia_read *request, const struct vigia__filter *filter,
                      const struct vigia__cancel *cancel, struct vigia_batch *batch, struct vigia_iterator *next,
                      struct vigia_error *err);
/* Make a number of the trim horizon or latest, as a read does. */
int vigia__store_resolve(struct vigia_store *store, struct vigia_iterator *it, struct vigia_error *err);
/* One look, which does not wait for an event; with an arrival (backend.h) not for a server either: VIGIA_PENDING. That
 * needs a request whose position is a number. */
int vigia__store_look(struct vigia_store *store, const struct vigia_read *request, const struct vigia__filter *filter,
                      struct vigia__arrival *arrival, struct vigia_batch *batch, struct vigia_iterator *next,
                      struct vigia_error *err);
/* Commit the queue, whichever handle filled it. Part of every close. */
int vigia__store_flush(struct vigia_store *store, struct vigia_error *err);
int vigia__store_stats(struct vigia_store *store, struct vigia__backend_stats *out, struct vigia_error *err);
/* Save all progress of this process now, with a commit for each slice. Progress in another thread's commit may still
 * fail to be saved: check vigia__progress_saved(). */
int vigia__store_save_progress(struct vigia_store *store, struct vigia_error *err);
/* The event of a dead letter. False: its bytes are none. */
bool vigia__letter_event(uint64_t seq_num, struct vigia_slice bytes, struct vigia_event *out);
/* 0, or EINVAL if the watcher id does not have 1..255 bytes, or holds a NUL. */
int vigia__watcher_id_check(const char *id, size_t len, struct vigia_error *err);
/* Have lanes of this watcher finished events above its checkpoint (lane_record.h)? */
int vigia__lanes_left(struct vigia__backend *b, const char *id, bool *any, struct vigia_error *err);
/* That no longer counts. Of an id that the caller owns. */
int vigia__lanes_forget(struct vigia__backend *b, const char *id, struct vigia_error *err);
/* The same as part of a transaction: `id` is a const char *. */
int vigia__lanes_forget_in(struct vigia__kv *kv, void *id, struct vigia_error *err);
/* EUNSUPPORTED: the progress of such a watcher is not saved by hand. */
int vigia__checkpoint_refuse(const char *id, bool has_lanes, bool transactional, struct vigia_error *err);
/* EPOSITION: it cannot `what` ("seek to") a number beyond the last event. */
int vigia__checkpoint_beyond(const char *id, const char *what, uint64_t seq_num, uint64_t latest,
                             struct vigia_error *err);

/* ---- store_wait.c ---- */

/* A watcher whose handler is on this thread's stack. drive/ keeps the list. */
struct vigia__handled {
	const struct vigia__backend *backend;
	const char *id;
	const struct vigia__handled *outer; /* further down the stack */
};
/* The innermost one, NULL: none. Of this model, because each event sets it. */
extern _Thread_local const struct vigia__handled *vigia__handled __attribute__((tls_model("initial-exec")));

/* Is the checkpoint of this id seq_num or more? VIGIA_OK, VIGIA_NONE: not yet, or an error. *saved is the checkpoint, 0
 * without one. `wants`: the owner must save soon, until vigia__checkpoint_unwant(). Call this again in each wait: after
 * a wake-up by the word for anything or the id's, and once a second. */
int vigia__checkpoint_look(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, bool wants,
                           uint64_t *saved, struct vigia_error *err);
void vigia__checkpoint_unwant(struct vigia_store *store, const char *watcher_id, uint64_t seq_num);
/* ETIMEOUT: it was not reached in time. */
int vigia__checkpoint_late(const char *watcher_id, uint64_t seq_num, uint64_t saved, struct vigia_error *err);
/* As vigia_checkpoint_wait(). VIGIA_NONE: `cancel`, which may be NULL, ended it. */
int vigia__checkpoint_wait(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, int64_t timeout_ns,
                           const struct vigia__cancel *cancel, uint64_t *saved, struct vigia_error *err);

/* Is the caller, further up or down the stack, a handler of this watcher? */
bool vigia__in_handler_of(const struct vigia_store *store, const char *watcher_id);

/* ---- store_steer.c ---- */

/* What a caller asks of a watcher (vigia_steer.h), from begin to its outcome. Zero-initialise. */
struct vigia__steering {
	struct vigia__steer steer; /* its kind; for others the outcome: `seq_num` */
	char id[256];
	int64_t timeout_ns;    /* < 0: no limit */
	int64_t until_mono_ns; /* set by begin */
	bool by_caller;        /* the calling thread drives it: it must go on to do that */
	struct vigia__runner runner;
};
/* Do it, or ask for it. `to`: of a seek. VIGIA_OK: it is done. VIGIA_PENDING: it is asked for. Then poll or wait, or
 * withdraw it. */
int vigia__steer_begin(struct vigia_store *store, struct vigia__steering *steering, const char *watcher_id,
                       struct vigia_iterator to, struct vigia_error *err);
/* VIGIA_OK: it is done. VIGIA_NONE: not yet. Call it again after a wake-up by the word of the id or for anything, and
 * every VIGIA_STEER_LOOK_NS: its owner may die. Any other result ends it. */
int vigia__steer_poll(struct vigia_store *store, struct vigia__steering *steering, struct vigia_error *err);
/* ETIMEOUT, or the outcome, if there is one by now. */
int vigia__steer_withdraw(struct vigia_store *store, struct vigia__steering *steering, struct vigia_error *err);
/* Wait for the outcome, until its time is over. VIGIA_NONE: `cancel`, which may be NULL, ended the wait: withdraw it,
 * or wait again. */
int vigia__steer_wait(struct vigia_store *store, struct vigia__steering *steering, const struct vigia__cancel *cancel,
                      struct vigia_error *err);
enum { VIGIA_STEER_LOOK_NS = 100000000 };

/* Something was asked for or answered: wake all that it may concern, in all processes. */
void vigia__steer_tell(struct vigia__backend *b);
int vigia__pause_look(struct vigia__backend *b, const char *id, bool *paused, struct vigia_error *err);

#endif
