/*
 * drive.h - the interface of drive/, which runs watchers: it carries out what core/stepper decides, on the thread that
 * owns the registry.
 *
 *     registry.c   watchers by id: adding, removing and freeing them
 *     save.c       saves progress that no other commit takes along
 *     wanted.c     whether somebody waits for that
 *     round.c      rounds over all watchers, and waiting when none has work
 *     listen.c     the wake words that a registry waits for
 *     stop.c       stopping one watcher or all
 *     watcher.c    the functions of vigia.h for one watcher: statistics, checkpoints, seeks
 *     driver.c     a watcher that is driven on this thread
 *     driver_start.c where it starts
 *     driver_step.c the floor of these
 *     source_store.c a store as the source of a watcher
 *     driver_run.c reads, calls the handler, saves, and tells the outcomes to core/stepper
 *     driver_transaction.c the transaction of a transactional watcher
 *     driver_letters.c     dead letters
 *     driver_row.c what other processes see of it
 *     driver_steer.c what others ask of it
 *     laned.c      a watcher with lanes: one for all of them
 *     lanes.c      whose an event is, and what the lanes have finished
 *     lanes_save.c saving that
 *     errand.c     calls of a store that waits for a server, which the registry does not wait for
 *     question.c   such calls of coroutines
 *     fetch.c      memory of batches, lent to the watchers that read
 *     remote.c     a watcher that stands for one that a worker drives
 *     task.c       coroutines beside the watchers
 *     log.c        records for the log function, and failures
 *     inbox.c      what other threads have to tell a registry: log records, "look at your workers"
 *     worker.c     a thread that drives a registry of its own with one watcher
 *     reload.c     how new code takes over on it
 *     clock.c      the time that watchers live by: the system's, or one moved by hand
 *     poller.c     a file descriptor that becomes readable when a round has work
 *
 * A registry and its watchers belong to one thread. Only vigia_registry_interrupt() and the inbox may come from
 * another. What only the files of this room share is in drive_private.h.
 */
#ifndef VIGIA_DRIVE_DRIVE_H
#define VIGIA_DRIVE_DRIVE_H

#include "../core/table.h"
#include "../core/limit.h"
#include "../core/stepper.h"
#include "../store/store.h"
#include "clock.h"
#include "pulse.h"

struct vigia__errands;
struct vigia__lanes;
struct vigia__poller;
struct vigia__worker;

/* A batch, and the numbers of its events. */
struct vigia__fetch {
	struct vigia_batch batch;
	uint64_t *seqs;
	size_t seqs_cap;
};

/* What a watcher may know of its log before it reads. */
struct vigia__look {
	uint64_t oldest, latest; /* 0: no event, or the look failed */
	uint64_t checkpoint;
	bool has_checkpoint; /* false for one that is ephemeral */
};

enum vigia__look_for {
	VIGIA_LOOK_BOUNDS,
	VIGIA_LOOK_CHECKPOINT, /* and the bounds, if there is one */
	VIGIA_LOOK_BOTH
};

/* Where the watchers of a registry read, and keep their checkpoints. source_store.c fills this in for a store, which
 * finishes each call at once. Another source may return VIGIA_PENDING where that is said: it then goes on by itself,
 * and calls vigia__source_ready(). The driver makes the same call again and gets the outcome, or VIGIA_PENDING once
 * more. Of each watcher at most one read or wait is pending, and beside it at most one look and one save. A source
 * whose functions run code that may call back in here runs it between vigia__source_enter() and vigia__source_leave().
 *
 * All on the registry's thread. `err` is filled in when a call fails. */
struct vigia__source {
	/* May be pending. */
	int (*look)(struct vigia_watcher *watcher, enum vigia__look_for what, struct vigia__look *out,
	            struct vigia_error *err);
	/* Events from request->from on that the watcher's filter wants, in order, into the batch, in place of what is
	 * there. *next is behind what was looked at. It does not check the bytes: damage is found when the event is
	 * handled. ECLOSED, while there is nothing else to do, ends a step or run. May be pending: the batch is filled in
	 * by the call that returns VIGIA_OK, and not if it was cancelled from within. */
	int (*read)(struct vigia_watcher *watcher, const struct vigia_read *request, struct vigia_batch *batch,
	            struct vigia_iterator *next, struct vigia_error *err);
	/* Pending until an event at `from` or later may have come, then VIGIA_OK. Failures are the next read's to tell.
	 * NULL: the wake words of the registry's store tell. */
	int (*wait)(struct vigia_watcher *watcher, struct vigia_iterator from);
	/* The outcome of the read, wait or look that is pending is not wanted any more: end it soon. The next call is a new
	 * one. NULL where none is ever pending. */
	void (*cancel)(struct vigia_watcher *watcher);
	/* Save the checkpoint. `backwards` also if there is a higher one. Durable when it returns VIGIA_OK. May be
	 * pending. */
	int (*save)(struct vigia_watcher *watcher, uint64_t seq_num, bool backwards, struct vigia_error *err);
	/* As save by hand: never moves back, and commits under way neither undo it nor are undone. May be pending. */
	int (*checkpoint)(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err);
	/* Become the only owner of the watcher id, until disown. EOWNED: there is another one. */
	int (*own)(struct vigia_watcher *watcher, struct vigia_error *err);
	void (*disown)(struct vigia_watcher *watcher);
	/* Keep what it has not seen from being collected, and its checkpoint from expiring. May move where it starts.
	 * NULL: nothing is collected. */
	int (*hold)(struct vigia_watcher *watcher, struct vigia_error *err);
	/* The watcher is about to be freed, whatever is pending. NULL: nothing is kept for it. */
	void (*forget)(struct vigia_watcher *watcher);
	/* A round begins: look whether what `wait` is pending for has come, where nothing else tells. May set the
	 * registry's checkpoint_interval_ns. NULL: there is nothing to look at. */
	void (*round)(struct vigia_registry *registry);
	/* Start and end to save progress by itself, with other commits. NULL: the driver saves it (checkpoint_interval). */
	int (*begin_progress)(struct vigia_watcher *watcher, uint64_t done, struct vigia_error *err);
	void (*end_progress)(struct vigia_watcher *watcher);
};

/* How a watcher is driven: what driver.c and remote.c fill in, and a registry and the calls of vigia.h go by. All on
 * the registry's thread. */
struct vigia__driving {
	enum vigia_watcher_state (*state)(const struct vigia_watcher *watcher);
	/* Nothing of it is under way, and its id is free. */
	bool (*rests)(const struct vigia_watcher *watcher);
	int (*start)(struct vigia_watcher *watcher, struct vigia_error *err);
	/* Ask it to stop. Waits for nothing. */
	void (*stop)(struct vigia_watcher *watcher);
	/* Kill what it runs, which did not stop in time. False: that cannot be done, or it rests. NULL: never. */
	bool (*kill)(struct vigia_watcher *watcher);
	/* What the watcher itself knows. Not what is in the store: checkpoint and lag. */
	void (*stats)(const struct vigia_watcher *watcher, struct vigia_watcher_stats *out);
	int (*seek)(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err);
	int (*checkpoint)(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err);
	int (*reload)(struct vigia_watcher *watcher, struct vigia_error *err);
	/* Carry out what is asked of it from outside (driver_steer.c). NULL: it is asked elsewhere. */
	void (*attend)(struct vigia_watcher *watcher);
	/* Take one turn, at most about a slice of events. Returns whether anything was done. */
	bool (*run)(struct vigia_watcher *watcher);
	/* The time of its next turn if nothing wakes it: 0 now, INT64_MAX never. */
	int64_t (*due)(const struct vigia_watcher *watcher);
	/* Something may have been appended. */
	void (*wake)(struct vigia_watcher *watcher);
	/* The store is not what was opened, or another process runs the id: stop with this error. */
	void (*replaced)(struct vigia_watcher *watcher, const struct vigia_error *err);
	/* Is there progress that no commit has taken along yet? */
	bool (*dirty)(struct vigia_watcher *watcher);
	/* It left its registry for good. */
	void (*end)(struct vigia_watcher *watcher);
	/* Give up by force: no save, no more calls of the handler. For freeing a registry whose handler is pending. */
	void (*abandon)(struct vigia_watcher *watcher);
	/* Free the watcher and its handler. It must be stopped or idle. */
	void (*free)(struct vigia_watcher *watcher);
};

/* What is alike for all watchers. The first member of struct vigia__local and struct vigia__remote (drive_private.h).
 */
struct vigia_watcher {
	struct vigia__node node;     /* in the registry's `ids`. First */
	struct vigia_watcher *next;  /* owner: the registry's list of watchers, or of retired ones */
	struct vigia_watcher **link; /* what points to it in that list */
	struct vigia_registry *registry;
	const struct vigia__driving *driving;
	/* Its events are read on this thread: an append may be work for it. False: another thread reads them, and tells of
	 * itself through the inbox. */
	bool here;
	char id[256];
	bool retired;    /* another watcher has its id now, or it was removed. Kept for handles that still point here */
	bool removed;    /* retired by a call to remove it */
	bool detached;   /* out of the registry, but a start brings it back. Kept as above */
	bool stop_asked; /* by a call, since its last start. Seen by forget_stopped() */
	bool released;   /* no handle points here: free it when it is retired */
	struct vigia_watch_options options;
	struct vigia__filter *filter;  /* NULL: all events, or not read here */
	void *source_ctx;              /* what its source keeps for it, until forget */
	bool in_source;                /* a call of its source, which may call back, is on the stack */
	struct vigia__handled handled; /* while its handler is on the stack */

	/* the handler, where it runs on this thread */
	struct vigia_handler handler;
	bool has_handler;
	bool running_handler;      /* a call of handle or resume is on the stack */
	bool pending;              /* the handler goes on later */
	bool resume_now;           /* an event came */
	struct vigia__limit limit; /* of its failures */

	/* With lanes each is one in the registry's list, which knows them by the first alone (laned.c). */
	struct vigia_watcher *leader;     /* of a lane that is not the first: that one. NULL: it is the first, or alone */
	struct vigia_watcher *next_lane;  /* of the same watcher. Owned by the first */
	struct vigia__lanes *lanes;       /* what they share, of the first */
	const struct vigia__driving *one; /* of the first: how each lane by itself is driven */
};

/* The watcher that users know. */
static inline struct vigia_watcher *vigia__watcher_leader(const struct vigia_watcher *watcher)
{
	return watcher->leader ? watcher->leader : (struct vigia_watcher *)watcher;
}
/* Is a handler of it on the stack, of any lane? */
static inline bool vigia__watcher_in_handler(const struct vigia_watcher *watcher)
{
	while (watcher && !watcher->running_handler) watcher = watcher->next_lane;
	return watcher != NULL;
}

/* What the options point to is the caller's memory. */
static inline void vigia__forget_filter(struct vigia_watch_options *options)
{
	options->filter = (struct vigia_filter){0};
	options->where = NULL;
	options->where_count = 0;
}

/* From vigia_registry_run, _step, _stop and vigia_watcher_stop: `signalled` said so. Call again to go on. */
enum { VIGIA__SIGNALLED = 1000 };

/* What other threads tell a registry. The mutex guards the records. */
struct vigia__inbox {
	pthread_mutex_t mutex;
	struct vigia__record *first, **end; /* log records, oldest first */
	unsigned count, dropped;            /* there are; there was no room for */
	atomic_bool poked;                  /* there is something to look at */
	atomic_bool answered;               /* a coroutine's question, too (question.c) */
	_Atomic uint64_t progress;          /* counts when a worker that got on has nothing more to do */
	atomic_bool wants_progress;         /* somebody waits for that */
	uint64_t seen;                      /* the count at the last look. The registry's thread's */
};

struct vigia_registry {
	struct vigia_store *store;
	const struct vigia__source *source; /* of all its watchers. A store's unless another is set before the first */
	void *source_ctx;                   /* what that keeps for all */
	struct vigia_watcher *watchers, **watchers_end;
	struct vigia_watcher *retired;
	struct vigia__table ids; /* of `watchers` */
	bool any_released;       /* a retired watcher may be freed */
	/* Called after an ephemeral watcher left the registry, as it does once a stop by a call is done. The rules of a log
	 * function hold. NULL: all stay. */
	void (*forgotten)(void *ctx, struct vigia_watcher *watcher);
	void *forgotten_ctx;
	bool stops_asked;                    /* of some watcher */
	struct vigia__manual_clock *clock;   /* NULL: the system's. Times called mono_ns are its own */
	struct vigia__clock_user clock_user; /* in the list of `clock` */
	vigia_log_fn log;
	void *log_ctx;
	/* Takes failures in place of `log`. Inherited by the registries of workers, and called on their threads. NULL:
	 * `log` takes them. */
	void (*tell)(struct vigia__limit *limit, enum vigia_log_level level, const char *text);
	struct vigia__limit limit; /* of the failures of tasks */
	char *trace;               /* where the handler failed that failed last, until that is logged. NULL: not known */
	bool failed_at_end;        /* that error says only that the watcher stops or the store was closed */
	int depth;                 /* handlers on the stack: a handler may stop other watchers */
	struct vigia_watcher *current; /* whose handler is on top of it */
	atomic_bool interrupted;
	bool (*signalled)(
		void *ctx); /* does a signal handler of the application want a call that waits to return? NULL: no */
	void *signalled_ctx;
	/* Has other code ended this handler's wait (coroutine.close)? Then the registry resumes it within a second, so that
	 * it learns of it. Or was its question answered? Then at once. `handler` NULL: a task's wait. NULL: nothing can end
	 * one. */
	bool (*wait_ended)(const struct vigia_handler *handler, void *ctx);
	bool one_watcher;             /* turns are counted by time, not by events */
	bool between_events;          /* begin no handler: something waits until none runs */
	bool reload_soon;             /* of a worker: load its code again between two events */
	bool starts_later;            /* by a coroutine, which yields until a store that waits has told where that begins */
	bool holds_late;              /* a watcher holds back garbage collection from its start on, not from its creation */
	struct vigia__worker *worker; /* whose thread this registry belongs to. NULL: an application's */
	struct vigia__worker *ahead;  /* the next one, whose thread waits for its job. NULL: none */
	struct vigia__fetch spare;    /* memory for the next watcher that reads */
	struct vigia__inbox inbox;
	bool told_closed; /* the handlers that wait know that the store was closed */

	/* waiting */
	struct vigia__bell bell;              /* interrupted, or the inbox was poked */
	struct vigia__listen listen;          /* the words as they were before the last look */
	bool listen_in_vain;                  /* no watcher of this thread wants an event */
	bool listen_for_inbox;                /* some are driven by workers, and ring a word */
	bool listen_anything;                 /* a handler polls with a filter of its own */
	bool listening;                       /* listen was prepared and not yet seen changed */
	uint64_t commits;                     /* of the store, at the last look */
	uint32_t heals;                       /* commits that were not announced */
	int64_t heal_mono_ns;                 /* when to compare them */
	int64_t there_mono_ns;                /* when to ask whether the store is still what was opened */
	int64_t dirty_mono_ns;                /* since when there is progress to save. 0: none */
	int64_t checkpoint_interval_ns;       /* how long that waits for a commit to take it along */
	uint32_t wants_seen;                  /* what is waited for was looked at as of this change (wants.h) */
	struct vigia__errands *errands;       /* calls of a store that waits for a server (errand.c). NULL: none yet */
	bool saving;                          /* one of them saves the progress of all watchers */
	bool save_again;                      /* save in the next round, or once that has ended */
	struct vigia_error closed;            /* what the last read returned, if that was ECLOSED */
	struct vigia__poller *_Atomic poller; /* NULL: there is no descriptor yet */
	bool stepping;                        /* a step is under way: it looks at everything before it ends */

	struct vigia__task *tasks, **tasks_end; /* oldest first. NULL: there was none yet */
	bool tasks_stopping;                    /* a wait of a task ends at once */
	unsigned stop_waits;                    /* coroutines that wait until a watcher has stopped */

	struct vigia__pulse pulse; /* of the loop that drives it */
	void (*every)(void *ctx);  /* called every every_ns, next at every_mono_ns. NULL: nothing */
	void *every_ctx;
	int64_t every_ns, every_mono_ns;
};

/* ---- registry.c ---- */

/* A registry that has just been made lives by this clock until it is freed. */
void vigia__registry_use_clock(struct vigia_registry *registry, struct vigia__manual_clock *clock);
/* As vigia_registry_remove(), but the memory stays until vigia_watcher_release(). */
int vigia__registry_retire(struct vigia_registry *registry, struct vigia_watcher *watcher, struct vigia_error *err);

/* ---- round.c ---- */

/* While the registry is stepped or run: call fn that often, on its thread. The rules of a log function hold. */
void vigia__registry_every(struct vigia_registry *registry, int64_t every_ns, void (*fn)(void *ctx), void *ctx);

/* ---- listen.c ---- */

/* Be woken by every append from now on, not only by those that the watchers' filters want. */
void vigia__registry_listen_anything(struct vigia_registry *registry);

/* ---- driver.c: of a watcher whose handler is called on this thread ---- */

/* The event in hand, and its number. EDAMAGED: its bytes are bad. */
uint64_t vigia__watcher_seq_num(const struct vigia_watcher *watcher);
int vigia__watcher_event(const struct vigia_watcher *watcher, struct vigia_event *event, struct vigia_error *err);
/* Of a lane with a function for its key: need it not be asked for the event in hand? Then *mine: it is this lane's. */
bool vigia__watcher_lane_is_known(const struct vigia_watcher *watcher, bool *mine);
/* It is that of this hash, or, without one, not known: this lane handles it, alone. *mine: it does. ENOMEM. */
int vigia__watcher_assign(const struct vigia_watcher *watcher, const uint64_t *hash, bool *mine);
bool vigia__watcher_stopping(const struct vigia_watcher *watcher);
/* What a call of its source was pending for has come. */
void vigia__source_ready(struct vigia_watcher *watcher);
/* Around code that a source runs for the watcher and that may call back in here: meanwhile it has no turn, and its
 * registry neither steps nor is freed. What it was called for may be cancelled when it returns. Pass what enter
 * returned to leave. */
struct vigia__in_source {
	struct vigia_watcher *current;
	bool in_source;
};
struct vigia__in_source vigia__source_enter(struct vigia_watcher *watcher);
void vigia__source_leave(struct vigia_watcher *watcher, struct vigia__in_source before);

/* ---- watcher.c ---- */

/* What the store says of a watcher, for vigia_watcher_stats() in three steps: on the registry's thread, on any, and on
 * the registry's again. */
struct vigia__watcher_known {
	char id[256];
	bool ephemeral, asks_pause;
	/* out */
	bool open, paused; /* open: it was asked */
	int rc;            /* of the look */
	struct vigia__look look;
};
void vigia__watcher_known_begin(const struct vigia_watcher *watcher, struct vigia__watcher_known *known);
int vigia__watcher_known_ask(struct vigia_store *store, struct vigia__watcher_known *known);
void vigia__watcher_known_stats(struct vigia_watcher *watcher, const struct vigia__watcher_known *known,
                                struct vigia_watcher_stats *out);

/* vigia_watcher_seek() in two steps, likewise: is the number within the log? Any thread. Then the seek. */
int vigia__watcher_seek_ask(struct vigia_store *store, const char *id, uint64_t seq_num, struct vigia_error *err);
int vigia__watcher_seek_within(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err);

/* Is a start of it under way (`starts_later`)? */
bool vigia__watcher_starts(const struct vigia_watcher *watcher);
/* How that ended: VIGIA_OK, or why it failed. */
int vigia__watcher_started(const struct vigia_watcher *watcher, struct vigia_error *err);

/* vigia_watcher_checkpoint() in the same steps, of a watcher on its registry's thread. */
int vigia__watcher_checkpoint_begin(struct vigia_watcher *watcher, struct vigia_error *err);
int vigia__watcher_checkpoint_ask(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err);
void vigia__watcher_checkpoint_saved(struct vigia_watcher *watcher, uint64_t seq_num);

/* ---- stop.c ---- */

/* How long to wait for a watcher whose program was killed. */
enum { VIGIA_KILL_NS = 1000000000 };
/* Stopped, or its own handler asks: do not wait. */
bool vigia__watcher_rests(const struct vigia_watcher *watcher);
/* It did not stop in time: kill its program, if it has one (false: it has not), and log that. */
bool vigia__watcher_kill(struct vigia_watcher *watcher);
/* One turn of vigia_registry_stop(), for a caller that waits somewhere else: with `first` ask all to stop, and give
 * each a turn. VIGIA_OK: all have stopped. VIGIA_PENDING, with what is left in err: call again. ESTATE: what is left
 * cannot stop before the caller returns. */
int vigia__registry_stop_turn(struct vigia_registry *registry, bool first, struct vigia_error *err);
/* vigia__watcher_kill() for all that have not stopped. Was there any to kill? */
bool vigia__registry_kill(struct vigia_registry *registry);
/* Ask the threads of scripts to stop. Does one still run? */
bool vigia__registry_stop_workers(struct vigia_registry *registry);

/* ---- log.c ---- */

void vigia__log(struct vigia_registry *registry, enum vigia_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for the failure of a handler, task or fetch. */
void vigia__log_failure(struct vigia_registry *registry, struct vigia__limit *limit, enum vigia_log_level level,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- task.c ---- */

/* Call `resume` in the rounds to come, first at `first_mono_ns` (0: in the next one), until it returns something else
 * than VIGIA_PENDING. *resume_mono_ns then says when to call again at the latest. An append or a stop is a reason,
 * too. */
int vigia__registry_spawn(struct vigia_registry *registry,
                          int (*resume)(void *ctx, bool stopping, int64_t *resume_mono_ns), void *ctx,
                          int64_t first_mono_ns, struct vigia_error *err);
void vigia__tasks_wake(struct vigia_registry *registry);

/* ---- question.c: what a coroutine asks a store, while it yields ---- */

struct vigia__question;
/* With room for what is asked, zeroed, and the function that frees what that points to, on any thread (NULL: nothing).
 * NULL without memory. */
struct vigia__question *vigia__question_new(size_t size, void (*free)(void *body));
void *vigia__question_body(struct vigia__question *question);
/* Call fn on the registry's thread for that: VIGIA_PENDING, or it could not begin. Until the answer the body is fn's.
 */
int vigia__question_ask(struct vigia_registry *registry, struct vigia__question *question, struct vigia_store *store,
                        int (*fn)(struct vigia_store *store, void *body, struct vigia_error *err),
                        struct vigia_error *err);
/* Before that: it uses the watcher, whose progress does not go before the answer. */
void vigia__question_use(struct vigia__question *question, const struct vigia_watcher *watcher);
/* Then `wait_ended` may say that the coroutine goes on. `rc` and `err` may be NULL. */
bool vigia__question_answered(const struct vigia__question *question, int *rc, struct vigia_error *err);
/* Wait for the answer. For a question that uses what its asker is about to free. */
void vigia__question_await(struct vigia__question *question);
struct vigia__question *vigia__question_ref(struct vigia__question *question);
/* NULL: nothing. */
void vigia__question_unref(struct vigia__question *question);

/* ---- poller.c ---- */

/* Something was done outside a step that may be work for one: make the descriptor readable. The registry's thread. */
void vigia__registry_ring(struct vigia_registry *registry);

#endif
