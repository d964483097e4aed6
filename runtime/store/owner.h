/*
 * owner.h - owner locks: of all processes of a store, only one registry at a time runs a watcher id.
 *
 * The lock is on a byte of the side file, and the kernel releases it however its owner dies. The kernel does not name
 * the owner, so the side file also holds its pid, for messages. Locks of one process do not exclude each other, so the
 * ids that this process runs are also in a table.
 *
 * Threads: any. The side file stays open from init to deinit, except in a forked child.
 */
#ifndef VIGIA_STORE_OWNER_H
#define VIGIA_STORE_OWNER_H

#include <pthread.h>

#include "../core/table.h"
#include "side.h"

struct vigia__backend;

struct vigia__owners {
	struct vigia__side *side;
	pthread_mutex_t mutex;    /* of the following */
	struct vigia__table here; /* ids that this process runs, by their hash */
	int starting;             /* threads of this process that wait to run an id, while another has it for a moment */
	bool full;                /* all entries for pids belong to running watchers */
};

void vigia__owners_init(struct vigia__owners *owners, struct vigia__side *side);
void vigia__owners_deinit(struct vigia__owners *owners);

/* Become the owner of this watcher id. 0, EIO, or EOWNED naming the pid. */
int vigia__owner_take(struct vigia__owners *owners, const char *id, struct vigia_error *err);
/* The same for a moment, to change what is stored of the id. vigia__owner_take() waits for the end of that, up to five
 * seconds, and meanwhile nobody takes it for a moment again. The pid of the last one that ran it stays. */
int vigia__owner_take_briefly(struct vigia__owners *owners, const char *id, struct vigia_error *err);
void vigia__owner_release(struct vigia__owners *owners, const char *id);
/* Does any process, this one included, run this watcher id now? */
bool vigia__owner_is_held(struct vigia__owners *owners, const char *id);
/* The same, and its pid: 0 where it is not known. */
bool vigia__owner_find(struct vigia__owners *owners, const char *id, int32_t *pid);
/* Block until no other process runs this watcher id, or cancel_fd (-1: none) is readable: EINTERRUPTED. Another waiter
 * may become the owner first. `there` is called once a second. Its error ends the wait. */
int vigia__owner_wait(struct vigia__owners *owners, const char *id, int cancel_fd,
                      int (*there)(struct vigia__backend *backend, struct vigia_error *err),
                      struct vigia__backend *backend, struct vigia_error *err);

#endif
