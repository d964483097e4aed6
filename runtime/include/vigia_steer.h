/*
 * vigia_steer.h - watchers of all processes: seen and steered from outside. Included by vigia.h.
 */
#ifndef VIGIA_STEER_H
#define VIGIA_STEER_H

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Seen ---- */

/* What is known of a watcher from outside, of this process or another one. */
struct vigia_watcher_status {
	const char *watcher_id;
	enum vigia_watcher_state state; /* VIGIA_STOPPED: it does not run */
	bool died;                      /* its process ended before it stopped */
	bool ephemeral;                 /* it has no checkpoint, and may run several times under one id */
	bool told; /* it runs and tells of itself. Otherwise its checkpoint or hold is its position, and no more is known */
	int64_t pid;                         /* of the process that runs it, or died. 0: it does not run, or is not known */
	bool has_checkpoint, has_hold;       /* `checkpoint` is one, or a hold */
	uint64_t checkpoint, position;       /* it has finished all events up to its position */
	uint64_t lag;                        /* events stored behind that, before its filter */
	int64_t lag_ns;                      /* how old the first of them is */
	double rate;                         /* events that it handles in a second */
	uint64_t blocked_seq_num, attempts;  /* the event it retries or stopped for, 0 = none; how often it failed */
	int64_t next_attempt_at_ns;          /* 0 = none */
	const char *last_error;              /* "" = none; at most 511 bytes. A watcher that died or stopped keeps it */
	int64_t failed_at_ns, started_at_ns; /* when it came, 0 = never; when it was started */
	uint64_t processed, failed, retried, skipped, dead_lettered, missed, fetch_errors; /* as in its stats */
	bool paused;         /* it begins no event, now or when it is started */
	const char *request; /* "seek", "pause", "resume" or "retry": it was asked to, and has not done it yet. "" = none */
	const char *host;    /* the machine of the process `pid`, of a store that several machines share. "" = not known */
};
/* Called for each watcher. It may use the store. Not VIGIA_OK ends it, and is returned. */
typedef int (*vigia_watcher_fn)(void *ctx, const struct vigia_watcher_status *status);
/**
 * All watchers that run in any process, or have a checkpoint or hold, in the order of their ids: without a commit or a
 * wake-up. *unshown (may be NULL): how many run that are not known, or not `told`, for want of room for their rows.
 *
 * Returns:   VIGIA_OK, what fn returned, or the errors of vigia_store_read(). Threads: any
 */
VIGIA_API int vigia_store_watchers(struct vigia_store *store, vigia_watcher_fn fn, void *ctx, uint64_t *unshown,
                                   struct vigia_error *err);

/* ---- Steered ---- */

/* The functions below are for a watcher of any process. Where none runs it, what they ask for is done at once. Where
 * one does, they leave a request in the store, which that process carries out between two events: a handler in progress
 * ends first. If it does not within timeout_ns, the request is withdrawn. What was carried out is durable.
 *
 * Returns:   VIGIA_OK. ETIMEOUT, naming the process: it did not carry the request out, which was withdrawn. ENOWATCHER:
 *            no watcher of this id runs, or has a checkpoint or hold. EEPHEMERAL: nothing of it is stored. ESTATE: not
 *            possible in its state, or its own handler asks, or this thread drives it and its handler is in progress.
 *            EREADONLY, ECLOSED, EINVAL, EIO, ...
 * Threads:   any. Holds no transaction while it waits. A watcher that the calling thread drives does it at once. Others
 *            that this thread drives do not run meanwhile
 */

enum { VIGIA_STEER_TIMEOUT_S = 10 }; /* what the program `vigia` and Lua wait if nothing else is said */

/* Let it continue at another place, back or ahead: its checkpoint becomes *seq_num (NULL: not asked for), and the event
 * behind that comes next. A place among removed events is the oldest one that is left. EPOSITION: it is beyond the last
 * event, or for VIGIA_AT beyond the number behind it. */
VIGIA_API int vigia_store_seek(struct vigia_store *store, const char *watcher_id, struct vigia_iterator to,
                               int64_t timeout_ns, uint64_t *seq_num, struct vigia_error *err);
/* Let it begin no event until it is resumed, after restarts too. It keeps its id and its place, and holds back garbage
 * collection as before. Of one that is paused already: nothing. */
VIGIA_API int vigia_store_pause(struct vigia_store *store, const char *watcher_id, int64_t timeout_ns,
                                struct vigia_error *err);
VIGIA_API int vigia_store_resume(struct vigia_store *store, const char *watcher_id, int64_t timeout_ns,
                                 struct vigia_error *err);
/* Let it try again now the event that it waits to try again, *seq_num (NULL: not asked for). ESTATE: it waits for none,
 * is paused, or does not run. */
VIGIA_API int vigia_store_retry(struct vigia_store *store, const char *watcher_id, int64_t timeout_ns,
                                uint64_t *seq_num, struct vigia_error *err);
/* Remove all that is stored of a watcher, as if it had never run: its checkpoint or hold, its pause, its dead letters.
 * EOWNED: it runs. */
VIGIA_API int vigia_store_forget(struct vigia_store *store, const char *watcher_id, struct vigia_error *err);

#ifdef __cplusplus
}
#endif
#endif
