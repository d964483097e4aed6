/*
 * collect.h - garbage collection: one run in slices, and the thread that runs it each cadence.
 *
 * core/retention.c decides what may be removed, from what a slice's transaction sees. Between slices the writer's lock
 * is free for a moment for appends of other processes. Those of this process share the slice's commit. A slice's time
 * starts when it has the lock. Its size and its time depend on how much was appended since the previous one: however
 * rarely it gets the lock, it removes more than is added.
 *
 * The thread also makes the index of blocks that have none, once at its start and then every ten minutes.
 *
 * Each process has one thread per open file, while a handle with `collect` is open. It sleeps until the next cadence,
 * or until a setting changes. Of all processes the one that holds the lock on a byte of the side file collects. The
 * lock ends with the process. The thread is in this room and not in drive/ because only the store knows when the last
 * handle of a file is closed.
 */
#ifndef VIGIA_STORE_COLLECT_H
#define VIGIA_STORE_COLLECT_H

#include "backend.h"

/* Do one run. `stop` (may be NULL) ends it between two slices, with the reason BOUND. */
int vigia__collect(struct vigia__backend *b, const atomic_bool *stop, struct vigia_gc *out, struct vigia_error *err);

/* How many events a slice may remove when the last event is `latest`: few, or more than were appended since the
 * previous slice. */
uint64_t vigia__collect_share(const struct vigia__collect *slice, uint64_t latest);

/* How long such a slice may take: its own limit, and more where one commit appends as much as that limit removes. */
int64_t vigia__collect_ns(const struct vigia__collect *slice, uint64_t latest);

/* Has a log of so many events grown beyond max_events by twice what calls the collector? Then that does not get enough
 * of the lock or of the processor. False where no handle of the process collects. */
bool vigia__collect_is_late(struct vigia__backend *b, const struct vigia_store_options *settings, uint64_t count);

/* Count a handle that collects, and start the thread for the first one. 0, or EIO: the system gives no thread. */
int vigia__collector_add(struct vigia__backend *b, struct vigia_error *err);
/* Uncount it. With the last one, end the thread before returning. */
void vigia__collector_drop(struct vigia__backend *b);

#endif
