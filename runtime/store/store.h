/*
 * store.h - the door of the room that remembers: a handle on a store. What is the same for all backends is done once,
 * in store.c: names and sizes, iterators, the long poll, handles that are closed or were forked away.
 *
 * Life: vigia_store_open() makes a handle; the backend of a file is shared by all its handles in the process and
 * counted. A handle that is closed refuses calls; it is freed when its owner and the last call, registry or thread
 * using it are gone.
 */
#ifndef VIGIA_STORE_STORE_H
#define VIGIA_STORE_STORE_H

#include <stdatomic.h>

#include "backend.h"
#include "queue.h"

struct vigia_store {
	struct vigia__backend *backend;
	struct vigia_store_options options;
	atomic_int refs; /* the owner, calls under way, registries */
	atomic_bool closed;
	bool collects;             /* counted in the backend's collector */
	unsigned fork_generation;  /* of the process that opened it */
	struct vigia__bell bell;   /* rung when it is closed */
	_Atomic uint64_t appended; /* the highest number appended through this handle */
	char *path;
	char serializer[65]; /* of the file: what appends write with */
	bool recodes;        /* and that is not msgpack */
};

/* A call begins: 0 and a reference, or ECLOSED, EFORKED. Every 0 is followed by one leave. */
int vigia__store_enter(struct vigia_store *store, struct vigia_error *err);
void vigia__store_leave(struct vigia_store *store);
/* Keep the handle's memory (not its service) while something uses it. */
void vigia__store_ref(struct vigia_store *store);
void vigia__store_unref(struct vigia_store *store);

/* 0, or EINVAL: a key of 1..255 bytes, or none. */
int vigia__append_key_check(struct vigia_slice key, struct vigia_error *err);
/* Append bytes that were encoded with core/event (vigia_store_append does the encoding for C callers). */
int vigia__store_append(struct vigia_store *store, struct vigia__append *request, struct vigia_error *err);
/* The same without blocking. */
struct vigia__pending {
	struct vigia_store *store;
	struct vigia__append request;
	struct vigia_error err;
	int rc;
	_Atomic uint32_t done;        /* futex: 1 when rc, err and request.first_seq are set */
	struct vigia__ticket *ticket; /* NULL: nothing is under way */
};
/* Start to append pending->request; its bytes and `pending` must stay where they are until `done`. VIGIA_OK: under way,
 * or done at once. The wake word for anything is bumped when it is done. */
int vigia__store_submit(struct vigia_store *store, struct vigia__pending *pending, struct vigia_error *err);
/* Block until done. Fine for one that was never submitted. */
void vigia__store_await(struct vigia__pending *pending);
/* Done: take the result. Returns rc, and frees what submit allocated. */
int vigia__store_settle(struct vigia__pending *pending);
/* What ends the wait of a read, beside an event and the time. */
struct vigia__cancel {
	const atomic_bool *flag;  /* turned true, after which the bell is rung; NULL: none */
	struct vigia__bell *bell; /* NULL only where `flag` is */
	bool (*asks)(void *ctx);  /* looked at when a signal may have interrupted the wait; NULL: none */
	void *ctx;
};
/* As vigia_store_read, with a filter made before, into a batch; `cancel` may be NULL. */
int vigia__store_read(struct vigia_store *store, const struct vigia_read *request, const struct vigia__filter *filter,
                      const struct vigia__cancel *cancel, struct vigia_batch *batch, struct vigia_iterator *next,
                      struct vigia_error *err);
/* Commit what is queued, by this handle or another; part of every close. */
int vigia__store_flush(struct vigia_store *store, struct vigia_error *err);
int vigia__store_stats(struct vigia_store *store, struct vigia__backend_stats *out, struct vigia_error *err);
/* Save all progress of this process now, by a commit for each slice of it. What somebody else's commit has under way
 * may still fail: vigia__progress_saved() tells. */
int vigia__store_save_progress(struct vigia_store *store, struct vigia_error *err);
/* 0, or EINVAL: a watcher id of 1..255 bytes without a NUL. */
int vigia__watcher_id_check(const char *id, size_t len, struct vigia_error *err);

#endif
