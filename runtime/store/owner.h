/*
 * owner.h - owner locks: a watcher id is run by one registry at a time, of all processes of a store.
 *
 * The lock is on a byte of the side file, and the kernel releases it however its owner dies. It does not tell who holds
 * it: the pid in the side file is for messages. Locks of one process do not exclude each other, so the ids that this
 * process runs are in a table, too.
 *
 * Threads: any. The side file stays open from init to deinit, unless the process is forked.
 */
#ifndef VIGIA_STORE_OWNER_H
#define VIGIA_STORE_OWNER_H

#include <pthread.h>

#include "../core/table.h"
#include "side.h"

struct vigia__owners {
	struct vigia__side *side;
	pthread_mutex_t mutex;    /* of what follows */
	struct vigia__table here; /* ids that this process runs, by their hash */
	bool full;                /* all entries for pids are of watchers that run */
};

void vigia__owners_init(struct vigia__owners *owners, struct vigia__side *side);
void vigia__owners_deinit(struct vigia__owners *owners);

/* Become the one who runs this watcher id. 0; EOWNED naming the pid; EIO. */
int vigia__owner_take(struct vigia__owners *owners, const char *id, struct vigia_error *err);
void vigia__owner_release(struct vigia__owners *owners, const char *id);
/* Does anybody, here or elsewhere, run this watcher id now? */
bool vigia__owner_is_held(struct vigia__owners *owners, const char *id);
/* Block until no other process runs this watcher id, or cancel_fd (-1: never) is readable: EINTERRUPTED. Another waiter
 * may become its owner first. `still` is called once a second, and ends the wait with its error. */
int vigia__owner_wait(struct vigia__owners *owners, const char *id, int cancel_fd,
                      int (*still)(void *ctx, struct vigia_error *err), void *ctx, struct vigia_error *err);

#endif
