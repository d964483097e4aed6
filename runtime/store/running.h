/*
 * running.h - the watchers of a store that this process runs: what a call on the store must know of one, and how it
 * reaches one whose registry belongs to the calling thread.
 *
 * A watcher joins when it has started and leaves before it gives up its id. With lanes each lane joins. One that is
 * ephemeral does not: nothing of it is stored.
 *
 * Threads: any. The one that joined also leaves, and is the only one that calls `attend`.
 */
#ifndef VIGIA_STORE_RUNNING_H
#define VIGIA_STORE_RUNNING_H

#include <pthread.h>
#include <stdbool.h>

#include "../core/table.h"
#include "progress.h"

struct vigia__running {
	struct vigia__node entry; /* of the list; first */
	const char *id;           /* outlives the entry, as all that it points to */
	bool transactional, has_lanes;
	struct vigia__progress *progress; /* NULL: no commit of others takes its progress along */
	pthread_t thread;                 /* its registry's */
	/* On that thread: carry out what the records ask for (steer.h), unless its handler is in progress. */
	void (*attend)(void *ctx);
	void *ctx;
};

struct vigia__running_list {
	pthread_mutex_t mutex;
	struct vigia__table table; /* by the hash of the id */
};

/* What is known of an id. */
struct vigia__runs {
	bool here;      /* this process runs it */
	bool by_caller; /* a registry of the calling thread does */
	bool transactional, has_lanes;
};

void vigia__running_init(struct vigia__running_list *list);
void vigia__running_deinit(struct vigia__running_list *list);
/* On the registry's thread, with all but `entry` and `thread` filled in. */
void vigia__running_join(struct vigia__running_list *list, struct vigia__running *running);
/* Nothing if it has not joined. */
void vigia__running_leave(struct vigia__running_list *list, struct vigia__running *running);

struct vigia__runs vigia__running_find(struct vigia__running_list *list, const char *id);
/* Let those that the calling thread drives carry out what is asked for. */
void vigia__running_attend(struct vigia__running_list *list, const char *id);
/* A checkpoint is about to be stored by hand: no commit that takes along the progress of this id must undo it. Returns
 * what was known to be saved, for unraise: it was not stored. */
uint64_t vigia__running_raise(struct vigia__running_list *list, struct vigia__progress_list *progress, const char *id,
                              uint64_t seq_num);
void vigia__running_unraise(struct vigia__running_list *list, struct vigia__progress_list *progress, const char *id,
                            uint64_t seq_num, uint64_t before);

#endif
