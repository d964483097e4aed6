/*
 * collect.h - garbage collection: one run in slices, and the thread that runs it each cadence.
 *
 * What may go is decided by core/retention.c from what a slice's transaction sees. Between slices the writer's lock is
 * free for a moment, so that appends of other processes come in; those of this one share the slice's commit. A slice's
 * time begins when it has the lock, and its size follows what was appended since the one before: however seldom it gets
 * the lock, it removes more than comes.
 *
 * One thread per open file and process, as long as a handle with `collect` is open. It sleeps until the next cadence,
 * or until a setting changes; of all processes the one that holds the lock on a byte of the side file collects, and the
 * lock ends with it. It lives in this room and not in drive/, because only the store knows when the last handle of a
 * file is gone.
 */
#ifndef VIGIA_STORE_COLLECT_H
#define VIGIA_STORE_COLLECT_H

#include "backend.h"

/* One run. `stop` (may be NULL) ends it between two slices; then the reason is BOUND. */
int vigia__collect(struct vigia__backend *b, const atomic_bool *stop, struct vigia_gc *out, struct vigia_error *err);

/* How many events a slice may remove that finds `latest`: few, or more than were appended since the one before. */
uint64_t vigia__collect_share(const struct vigia__collect *slice, uint64_t latest);

/* A handle that collects is there: start the thread for the first one. 0, or EIO: the system gives no thread. */
int vigia__collector_add(struct vigia__backend *b, struct vigia_error *err);
/* It is gone: with the last one the thread ends before this returns. */
void vigia__collector_drop(struct vigia__backend *b);

#endif
