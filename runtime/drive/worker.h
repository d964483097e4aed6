/*
 * worker.h - a thread that drives one watcher: it has a registry of its own over the same store. In the owner's
 * registry a watcher stands for it, so that stopping, seeking and statistics work alike. It goes on whether or not the
 * owner's registry is driven.
 *
 * What it runs is a job: code that can be loaded, begun, ended, and loaded again (bind/script.c is one). The two
 * threads meet in a mailbox only: the owner leaves a request there and waits for the reply. The worker leaves its
 * statistics. No function of the job runs on another thread but `free`.
 *
 * A request is looked at between two events. So a reply may be as late as the handler in progress. A stop waits for
 * nothing.
 *
 * All functions here belong to the owner's thread, unless they say otherwise.
 */
#ifndef VIGIA_DRIVE_WORKER_H
#define VIGIA_DRIVE_WORKER_H

#include "job.h"

/* How long a handler that can be killed may go on when its registry is freed. */
#define VIGIA_END_GRACE_NS INT64_C(5000000000)
/* How long a thread that was started ahead waits for its job. */
#define VIGIA_AHEAD_NS INT64_C(100000000)

/* Start a watcher of this job in the registry. `watcher_id` NULL: the job knows. On error the job is not freed.
 * Returns what vigia_registry_watch, load or begin do. */
int vigia__registry_watch_job(struct vigia_registry *registry, const char *watcher_id, const struct vigia__job *job,
                              struct vigia_watcher **out, struct vigia_error *err);

/* The worker that a watcher stands for. NULL: it is driven on the registry's thread. */
struct vigia__worker *vigia__watcher_worker(const struct vigia_watcher *watcher);

/* Start the thread. Wait until it has loaded the job and, if an id was given and `auto_start` is set, started it.
 * Without an id the caller reads the job's id, and starts it by a call. On error with *out set the start failed: free
 * it. */
int vigia__worker_new(struct vigia_registry *owner, const char *watcher_id, const struct vigia__job *job,
                      struct vigia__worker **out, struct vigia_error *err);
/* Start the thread of the registry's next worker ahead of time. It prepares the job, and waits VIGIA_AHEAD_NS at most
 * for vigia__registry_watch_job() with this ctx, or for vigia__worker_drop_ahead(), which frees the job. At most one is
 * there. False: without memory or threads there is none, and the job is still the caller's. */
bool vigia__worker_start_ahead(struct vigia_registry *owner, const struct vigia__job *job);
/* Its ctx. NULL: there is none. A forked child has none: the parent's thread may have been at work on that job. */
void *vigia__worker_job_ahead(const struct vigia_registry *owner);
void vigia__worker_drop_ahead(struct vigia_registry *owner);
/* If it waits for this job, end it: the job is the caller's again. */
void vigia__worker_forget_ahead(struct vigia_registry *owner, const struct vigia__job *job);
/* As the job set them when it was loaded. */
const char *vigia__worker_id(const struct vigia__worker *worker);
const struct vigia_watch_options *vigia__worker_options(const struct vigia__worker *worker);

/* What its lanes share. NULL: it has none. */
struct vigia__lanes *vigia__worker_lanes(const struct vigia__worker *worker);

enum vigia_watcher_state vigia__worker_state(struct vigia__worker *worker);
void vigia__worker_stats(struct vigia__worker *worker, struct vigia_watcher_stats *out);
/* Do this and wait for the reply. */
int vigia__worker_call(struct vigia__worker *worker, enum vigia__worker_request request, uint64_t seq_num,
                       struct vigia_error *err);
/* Handle nothing until it is released again. Starting, stopping and the rest work. */
void vigia__worker_hold(struct vigia__worker *worker, bool hold);
/* Let the handler in progress finish, then stop. Waits for nothing. Any thread. */
void vigia__worker_stop(struct vigia__worker *worker);
/* Its handler did not end in time: kill what it runs, if that can be done (false: it cannot). Waits for nothing. Any
 * thread. */
bool vigia__worker_kill(struct vigia__worker *worker);
/* Stop, and end the thread. Waits for the handler in progress, or a few seconds for one that can be killed. The
 * statistics stay. Safe twice. */
void vigia__worker_end(struct vigia__worker *worker);
/* The job is the caller's again once the worker is freed. */
void vigia__worker_disown_job(struct vigia__worker *worker);
/* End and free. NULL is fine. */
void vigia__worker_free(struct vigia__worker *worker);

/* ---- on the worker's thread, for its job ---- */

/* The registry that the thread drives. */
struct vigia_registry *vigia__worker_registry(struct vigia__worker *worker);
/* Was it asked to stop? For a read that waits. */
const atomic_bool *vigia__worker_stopping(const struct vigia__worker *worker);
/* Must what it runs be killed? True until the watcher rests. */
const atomic_bool *vigia__worker_killed(const struct vigia__worker *worker);
/* Wait until the time. False: it was asked to stop, now or before. */
bool vigia__worker_sleep(struct vigia__worker *worker, int64_t until_mono_ns);
#endif
