/*
 * worker_private.h - what worker.c and reload.c share.
 */
#ifndef VIGIA_DRIVE_WORKER_PRIVATE_H
#define VIGIA_DRIVE_WORKER_PRIVATE_H

#include "../store/helper.h"
#include "drive_private.h"
#include "job.h"

struct vigia__worker {
	struct vigia_registry *owner;
	struct vigia__job job;
	bool owns_job;
	struct vigia__helper helper; /* the thread: `runs` until it is joined. `changed`: anything below */
	char id[256];                /* written once, before `loaded` */
	struct vigia_watch_options options;
	struct vigia__lanes *lanes; /* of a script with lanes; written before `loaded` */
	bool start_loaded;          /* start once it has loaded, if the options say so. Written before it is handed over */
	unsigned fork_generation;

	/* under the mutex */
	bool handed_over;                   /* the job is complete, and its watcher's id is known */
	bool expired;                       /* the thread waited for that in vain, and ends */
	bool loaded;                        /* load, and the start after it, came to an end. The outcome is in rc and err */
	bool usable;                        /* load went well: the thread goes on, whatever became of the start */
	enum vigia__worker_request request; /* NOTHING: done, the reply is in rc and err */
	uint64_t request_seq_num;
	int rc;
	struct vigia_error err;
	bool stop;
	bool hold;                        /* started or not, drive no event */
	struct vigia_watcher_stats stats; /* as of the last turn */
	atomic_bool stopping;             /* stop or quit, until the next start. Written under the mutex */
	atomic_bool killed;               /* what it runs must be killed, until the watcher rests. Likewise */
	bool ended;                       /* the thread does nothing more */

	/* the thread's own */
	struct vigia_registry *registry;
	struct vigia_watcher *watcher;
	bool begun;
	int64_t looked_mono_ns; /* for new code */
	uint64_t reloads;
	struct vigia_error last_reload_error, stop_error;
	uint64_t told; /* what the owner knows of the progress */
};

/* ---- reload.c, on the worker's thread ---- */

/* If the job has begun, end it. */
void vigia__worker_end_job(struct vigia__worker *worker);
/* Load the code again and let it take over. Whatever fails, the old code goes on. */
int vigia__worker_reload(struct vigia__worker *worker, struct vigia_error *err);
/* Between two turns: reload if somebody asked, or if there is new code. */
void vigia__worker_look_for_new_code(struct vigia__worker *worker);

#endif
