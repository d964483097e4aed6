/*
 * job.h - what a worker runs, and what may be asked of it (worker.h).
 */
#ifndef VIGIA_DRIVE_JOB_H
#define VIGIA_DRIVE_JOB_H

#include "drive.h"

struct vigia__lanes;

/* What a worker runs. `changed` may be NULL: its code never changes. So may `prepare` and `meanwhile`. */
struct vigia__job {
	/* Load the code, beside what is loaded already: it is exchanged for it by `activate`, or freed by `discard`. An
	 * empty id must be filled in. options->filter must last until then. */
	int (*load)(void *ctx, struct vigia__worker *worker, char id[256], struct vigia_watch_options *options,
	            struct vigia_error *err);
	/* On a thread that was started ahead (worker.h): do what needs nothing of the order. */
	void (*prepare)(void *ctx);
	/* On the owner's thread, while the first `load` runs on the worker's: must not change what that reads. The time to
	 * start the next thread ahead. */
	void (*meanwhile)(void *ctx);
	void (*activate)(void *ctx); /* exchanges the two */
	void (*discard)(void *ctx);
	/* The watcher was started, no event was handled yet. A failure stops it again. */
	int (*begin)(void *ctx, struct vigia_watcher *watcher, struct vigia_error *err);
	/* The watcher has stopped, or new code is about to begin. */
	int (*end)(void *ctx, struct vigia_error *err);
	/* Is there something new to load? Cheap. */
	bool (*changed)(void *ctx);
	/* As in struct vigia_handler. */
	int (*handle)(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
	              int64_t *resume_mono_ns, struct vigia_error *err);
	int (*resume)(void *ctx, bool stopping, int64_t *resume_mono_ns, struct vigia_error *err);
	void (*close)(void *ctx); /* the thread's last call */
	void (*free)(void *ctx);  /* on the owner's thread, when the thread is gone */
	/* Another job of the same code, for a lane on a thread of its own. NULL: it has no lanes. ENOMEM. */
	int (*again)(void *ctx, struct vigia__job *out);
	void *ctx;
	struct vigia__lanes *lanes; /* of a lane that is not the first: what they share. Else NULL */
	unsigned lane;
	bool killable; /* it heeds vigia__worker_killed(), wherever it is: a program of its own */
};

enum vigia__worker_request {
	VIGIA_WORKER_NOTHING,
	VIGIA_WORKER_START,
	VIGIA_WORKER_CHECKPOINT,
	VIGIA_WORKER_SEEK,
	VIGIA_WORKER_RELOAD
};

#endif
