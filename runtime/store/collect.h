/*
 * collect.h - garbage collection: one run in slices, and the thread that runs it each cadence.
 *
 * What may go is decided by core/retention.c from what a slice's transaction sees. Between slices the writer's lock is free for a moment,
 * so that appends of other processes come in; those of this one share the slice's commit.
 *
 * One thread per open file and process, as long as a handle with `collect` is open. It sleeps until the next cadence, or until a setting
 * changes; of all processes the one that holds the lock on a byte of the side file collects, and the lock ends with it.
 * It lives in this room and not in drive/, because only the store knows when the last handle of a file is gone.
 */
#ifndef VIGIA_STORE_COLLECT_H
#define VIGIA_STORE_COLLECT_H

#include "store.h"

/* One run. `stop` (may be NULL) ends it between two slices; then the reason is BOUND. */
int vigia__collect(struct vigia__backend *b, const atomic_bool *stop, struct vigia_gc *out, struct vigia_error *err);

/* A handle that collects is there: start the thread for the first one. 0, or EIO: the system gives no thread. */
int vigia__collector_add(struct vigia__backend *b, struct vigia_error *err);
/* It is gone: with the last one the thread ends before this returns. */
void vigia__collector_drop(struct vigia__backend *b);

#endif
