/*
 * drive.h - the door of the room that moves things: it carries out what core/stepper decides, on the thread that owns
 * the registry.
 *
 *     driver.c     one watcher: reads, calls the handler, saves, and tells the outcomes to core/stepper
 *     registry.c   watchers by id; rounds over all of them; waiting; stopping all
 *     watcher.c    statistics, checkpoints, seeks and reloads of one watcher
 *     task.c       coroutines beside the watchers
 *     log.c        records for the log function, and failures
 *     inbox.c      what other threads have to tell a registry: log records, "look at your workers"
 *     worker.c     a thread that drives a registry of its own with one watcher; in another registry a watcher stands
 *                  for it
 *     clock.c      the time that watchers live by: the system's, or one moved by hand
 *     poller.c     a file descriptor that becomes readable when a round has work
 *
 * A registry and its watchers belong to one thread. Only vigia_registry_interrupt() and the inbox may come from
 * another.
 */
#ifndef VIGIA_DRIVE_DRIVE_H
#define VIGIA_DRIVE_DRIVE_H

#include "../core/table.h"
#include "../core/limit.h"
#include "../core/stepper.h"
#include "../store/store.h"
#include "clock.h"

struct vigia__poller;
struct vigia__worker;

/* Memory of a batch and its numbers, which nobody uses now. */
struct vigia__fetch {
	struct vigia_batch batch;
	uint64_t *seqs;
	size_t seqs_cap;
};

struct vigia_watcher {
	struct vigia__node node;     /* in the registry's `ids`; first */
	struct vigia_watcher *next;  /* owner: the registry's list of watchers, or of retired ones */
	struct vigia_watcher **link; /* what points to it in that list */
	struct vigia_registry *registry;
	char id[256];
	bool retired;    /* another watcher has its id now, or it was removed; kept for handles that still point here */
	bool removed;    /* retired by a call to remove it */
	bool detached;   /* out of the registry, but a start brings it back; kept as above */
	bool stop_asked; /* by a call, since its last start; seen by forget_stopped() */
	bool released;   /* there are none any more: it goes when it is retired */
	struct vigia_handler handler;
	bool has_handler;
	struct vigia__worker *worker; /* not NULL: a thread does it all, and what is below `options` is not used */
	struct vigia_watch_options options;
	struct vigia__filter *filter;
	struct vigia_iterator start; /* where to begin without a checkpoint, resolved when the watcher was created */
	bool sought;                 /* an ephemeral one: a seek said so */
	bool created;                /* the call that made it has returned */
	bool begins;                 /* where it starts was found out by this start: no checkpoint, no hold */

	struct vigia__stepper stepper; /* what it decides */
	struct vigia__action action;   /* what is to be done, or under way */
	struct vigia_batch batch;      /* empty while it listens: driver.c, give_memory() */
	uint64_t *seqs;                /* of the batch */
	size_t seqs_cap;
	struct vigia__progress *progress; /* while it runs and saves its progress with others' commits */
	bool owned;                       /* this process runs the id */

	bool running_handler; /* a call of handle or resume is on the stack */
	bool pending;         /* the handler goes on later */
	int64_t resume_mono_ns;
	bool resume_now;    /* an event came */
	bool told_stopping; /* its handler went on once since it is to stop: from then on when it asked to */

	struct vigia__limit limit; /* of its failures */
	struct vigia_error last_error;
	struct vigia_error stop_error; /* why its checkpoint could not be saved when it stopped the last time */
	int64_t last_listen_at_ns, last_processed_at_ns;
};

/* From vigia_registry_run, _step, _stop and vigia_watcher_stop: `signalled` said so. Call again to go on. */
enum { VIGIA__SIGNALLED = 1000 };

/* What other threads tell a registry; the mutex guards the records. */
struct vigia__inbox {
	pthread_mutex_t mutex;
	struct vigia__record *first, **end; /* log records, oldest first */
	unsigned count, dropped;            /* there are; there was no room for */
	atomic_bool poked;                  /* there is something to look at */
	_Atomic uint64_t progress;          /* counts when a worker that got on has nothing more to do */
	atomic_bool wants_progress;         /* somebody waits for that */
	uint64_t seen;                      /* the count at the last look; the registry's thread's */
};

struct vigia_registry {
	struct vigia_store *store;
	struct vigia_watcher *watchers, **watchers_end;
	struct vigia_watcher *retired;
	struct vigia__table ids; /* of `watchers` */
	bool any_released;       /* some of these may be freed */
	/* Ephemeral watchers leave once a stop that was asked for is done, and this is told, as a log function is. NULL:
	 * all stay. */
	void (*forgotten)(void *ctx, struct vigia_watcher *watcher);
	void *forgotten_ctx;
	bool stops_asked;                  /* of some watcher */
	struct vigia__manual_clock *clock; /* NULL: the system's; times called mono_ns are its own */
	struct vigia_registry *clock_next; /* owner: the clock, under its mutex */
	vigia_log_fn log;
	void *log_ctx;
	/* Takes failures in place of `log`; inherited by the registries of workers, and called on their threads. NULL:
	 * `log` takes them. */
	void (*tell)(struct vigia__limit *limit, enum vigia_log_level level, const char *text);
	struct vigia__limit limit; /* of the failures of tasks */
	char *trace;               /* where the handler failed that failed last, until that is logged; NULL: not known */
	bool failed_at_end;        /* and that what it failed with was its own end: stopping, a closed store */
	int depth;                 /* handlers on the stack: a handler may stop other watchers */
	struct vigia_watcher *current; /* whose handler is on top of it */
	atomic_bool interrupted;
	bool (*signalled)(
		void *ctx); /* does a signal handler of the application want a call that waits to return? NULL: no */
	void *signalled_ctx;
	/* Has something else ended the wait of a watcher's handler (of a task's: NULL)? It then goes on within a second, to
	 * be told. NULL: nothing can. */
	bool (*wait_ended)(const struct vigia_handler *handler, void *ctx);
	bool one_watcher;             /* turns are counted by time, not by events */
	bool between_events;          /* begin no handler: something is to be done when none runs */
	bool holds_late;              /* a watcher holds back garbage collection from its start on, not from its creation */
	struct vigia__worker *worker; /* whose thread this registry belongs to; NULL: an application's */
	struct vigia__fetch spare;    /* memory for the next watcher that reads */
	struct vigia__inbox inbox;
	bool told_closed; /* the handlers that wait know that the store was closed */

	/* waiting */
	struct vigia__bell bell;              /* interrupted, or the inbox was poked */
	struct vigia__listen listen;          /* the words as they were before the last look */
	bool listen_in_vain;                  /* no watcher wants an event, */
	bool listen_for_workers;              /* but there are workers, whose news have a word */
	bool listen_anything;                 /* a handler polls with a filter of its own */
	bool listening;                       /* listen was prepared and not yet seen changed */
	uint64_t commits;                     /* of the store, at the last look */
	int64_t heal_mono_ns;                 /* when to compare them */
	int64_t there_mono_ns;                /* when to ask whether the store is still what was opened */
	int64_t dirty_mono_ns;                /* since when there is progress to save; 0: none */
	struct vigia__poller *_Atomic poller; /* NULL: nobody has asked for a descriptor */
	bool stepping;                        /* a step is under way: it looks at everything before it ends */

	struct vigia__task *tasks, **tasks_end; /* oldest first; NULL: there was none yet */
	bool tasks_stopping;                    /* a wait of a task ends at once */
	unsigned stop_waits;                    /* coroutines that wait until a watcher has stopped */
};

/* ---- driver.c ---- */

int vigia__driver_new(struct vigia_registry *registry, const char *id, const struct vigia_handler *handler,
                      const struct vigia_watch_options *options, struct vigia_watcher **out, struct vigia_error *err);
/* Frees the watcher and its handler; it must be stopped or idle. */
void vigia__driver_free(struct vigia_watcher *watcher);
/* Keep events from being collected until the first checkpoint; a hold that is there already is where it starts. */
int vigia__driver_hold(struct vigia_watcher *watcher, struct vigia_error *err);
/* Become the owner of the id, find the position, begin. */
int vigia__driver_start(struct vigia_watcher *watcher, struct vigia_error *err);
/* Do what is due, at most about a slice of events. Answers whether anything was done. */
bool vigia__driver_run(struct vigia_watcher *watcher);
/* Something may have been appended. */
void vigia__driver_wake(struct vigia_watcher *watcher);
/* The store is not what was opened: stop with this error. */
void vigia__driver_replaced(struct vigia_watcher *watcher, const struct vigia_error *err);
/* Give it an input from outside: STOP or SEEK. */
void vigia__driver_tell(struct vigia_watcher *watcher, enum vigia__input_kind kind, uint64_t seq_num);
/* If a save is what it wants next, do it now and tell how it went; no handler runs. */
int vigia__driver_save(struct vigia_watcher *watcher, struct vigia_error *err);
/* When it wants to run without being woken: 0 now, INT64_MAX never. */
int64_t vigia__driver_due(const struct vigia_watcher *watcher);
bool vigia__driver_active(const struct vigia_watcher *watcher);
/* What the watcher itself knows; not what is in the store: checkpoint and lag. */
void vigia__driver_stats(const struct vigia_watcher *watcher, struct vigia_watcher_stats *out);
/* The handler is another one, and so may be the options (but checkpoint and ephemeral): takes the new filter, which is
 * its own from now on, and reads again behind
 * what was handled. No handler may be in progress. */
void vigia__driver_renew(struct vigia_watcher *watcher, const struct vigia_watch_options *options,
                         struct vigia__filter *filter);
/* Is there progress that no commit has taken along yet? */
bool vigia__driver_dirty(struct vigia_watcher *watcher);
/* Free what is kept for reads to come. */
void vigia__driver_free_spare(struct vigia_registry *registry);
/* Give up by force: no save, no more calls of the handler. For freeing a registry whose handler is pending. */
void vigia__driver_abandon(struct vigia_watcher *watcher);

/* ---- registry.c ---- */

/* Be woken by every append from now on, not only by those that the watchers' filters want. */
void vigia__registry_listen_anything(struct vigia_registry *registry);
void vigia__log(struct vigia_registry *registry, enum vigia_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As vigia_registry_remove(), but the memory stays until vigia_watcher_release(). */
int vigia__registry_retire(struct vigia_registry *registry, struct vigia_watcher *watcher, struct vigia_error *err);

/* The same for the failure of a handler, task or fetch. */
void vigia__log_failure(struct vigia_registry *registry, struct vigia__limit *limit, enum vigia_log_level level,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The filter of a watcher changed. */
void vigia__registry_listen(struct vigia_registry *registry);

/* ESTATE: in its state it cannot be `what` ("started"). */
int vigia__watcher_state_error(struct vigia_watcher *watcher, const char *what, struct vigia_error *err);
/* How long to wait for a watcher whose program was killed. */
enum { VIGIA_KILL_NS = 1000000000 };
/* Stopped, or its own handler asks: nothing is to be waited for. */
bool vigia__watcher_rests(const struct vigia_watcher *watcher);
/* It did not stop in time: kill its program, if it has one (false: it has not), and log that. */
bool vigia__watcher_kill(struct vigia_watcher *watcher);
/* One turn of vigia_registry_stop(), for a caller that waits somewhere else: with `first` ask all to stop, and give
 * each a turn. VIGIA_OK: all have stopped; VIGIA_PENDING, with what is left in err: call again; ESTATE: what is left
 * cannot stop before the caller returns. */
int vigia__registry_stop_turn(struct vigia_registry *registry, bool first, struct vigia_error *err);
/* vigia__watcher_kill() for all that have not stopped; was there any to kill? */
bool vigia__registry_kill(struct vigia_registry *registry);
/* Ask the threads of scripts to stop; does one still run? */
bool vigia__registry_stop_workers(struct vigia_registry *registry);

/* ---- inbox.c ---- */

void vigia__inbox_init(struct vigia__inbox *inbox);
void vigia__inbox_deinit(struct vigia__inbox *inbox);
/* Make the registry look: a step or run in progress does a round. Any thread. */
void vigia__inbox_poke(struct vigia_registry *registry);
/* A worker has something for the log. Beyond 1000 waiting records they are only counted. Any thread. */
void vigia__inbox_log(struct vigia_registry *registry, enum vigia_log_level level, const char *text);
/* A worker that got on has nothing more to do for now. Any thread. */
void vigia__inbox_progress(struct vigia_registry *registry);
/* Hand the records to the log function, on the registry's thread. Answers whether there was anything to look at. */
bool vigia__inbox_look(struct vigia_registry *registry);

/* ---- task.c ---- */

/* Call `resume` in the rounds to come until it answers something else than VIGIA_PENDING; *resume_mono_ns then says
 * when to call again at the latest; an append or a stop is a reason, too. */
int vigia__registry_spawn(struct vigia_registry *registry,
                          int (*resume)(void *ctx, bool stopping, int64_t *resume_mono_ns), void *ctx,
                          struct vigia_error *err);
void vigia__tasks_wake(struct vigia_registry *registry);
/* Those whose wait something else has ended. */
void vigia__tasks_wake_ended(struct vigia_registry *registry);
/* One has stopped: the coroutines that wait for that look again. */
void vigia__registry_rested(struct vigia_registry *registry);
int64_t vigia__tasks_due(const struct vigia_registry *registry);
bool vigia__tasks_run(struct vigia_registry *registry);
void vigia__tasks_free(struct vigia_registry *registry); /* without resuming them */

/* ---- poller.c ---- */

/* A helper thread that turns a changed wake word into a readable descriptor. */
int vigia__poller_new(struct vigia__backend *backend, struct vigia__poller **out, struct vigia_error *err);
void vigia__poller_free(struct vigia__poller *poller);
int vigia__poller_fd(struct vigia__poller *poller);
/* Something was done outside a step that may be work for one: make the descriptor readable. The registry's thread. */
void vigia__registry_ring(struct vigia_registry *registry);
/* Readable at once, until the next round. Any thread. */
void vigia__poller_ring(struct vigia__poller *poller);
/* A round begins: not readable until armed again. */
void vigia__poller_clear(struct vigia__poller *poller);
/* A round ended: readable when a word of `listen` changes or the monotonic time comes (0: at once, INT64_MAX:
 * never). */
void vigia__poller_arm(struct vigia__poller *poller, const struct vigia__listen *listen, uint64_t commits,
                       int64_t due_mono_ns);

#endif
