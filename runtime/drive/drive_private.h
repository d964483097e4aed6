/*
 * drive_private.h - what the files of drive/ share among themselves.
 */
#ifndef VIGIA_DRIVE_DRIVE_PRIVATE_H
#define VIGIA_DRIVE_DRIVE_PRIVATE_H

#include "../store/letters.h"
#include "drive.h"
#include "lanes.h"

static inline enum vigia_watcher_state vigia__watcher_state(const struct vigia_watcher *watcher)
{
	return watcher->driving->state(watcher);
}

static inline bool vigia__watcher_active(const struct vigia_watcher *watcher)
{
	enum vigia_watcher_state state = vigia__watcher_state(watcher);
	return state == VIGIA_RUNNING || state == VIGIA_STOPPING;
}

struct vigia__driver;

/* ---- driver.c, driver_run.c: a watcher that is driven on the registry's thread ---- */

/* What a letter needs beside the batch, which has its event. */
struct vigia__letter_room {
	struct vigia__buf texts;         /* the error, its place */
	size_t error_len, traceback_len; /* in texts */
	struct vigia_dead_letter in_hand;
	struct vigia__buf known; /* of in_hand: its error and place */
	/* of a SAVE */
	struct vigia__letter letter;
	bool failed;
};

/* A function that is called on another thread (errand.c). */
enum vigia__errand_state { VIGIA_ERRAND_NONE, VIGIA_ERRAND_UNDER_WAY, VIGIA_ERRAND_DONE };
struct vigia__errand {
	struct vigia__errand *next; /* owner: the list of those to do */
	int (*fn)(void *ctx, struct vigia_error *err);
	void *ctx;
	atomic_int state; /* enum vigia__errand_state. rc and err are set before it is DONE */
	int rc;
	struct vigia_error err;
	/* Of a question: what server it asks, and what is called once it has ended, on any thread. NULL: it is none. */
	const void *server;
	const void *user; /* what it uses, NULL: nothing that may go */
	void (*release)(struct vigia__errand *errand);
};

/* What one of a watcher is about. */
struct vigia__asked {
	uint64_t seq_num;
	bool backwards;
	bool looks;
};
typedef int (*vigia__errand_fn)(struct vigia__driver *driver, const struct vigia__asked *asked,
                                struct vigia_error *err);

/* A dead letter that is to be handled again, as it was found. */
struct vigia__letter_found {
	struct vigia_batch batch; /* its event */
	struct vigia__buf known;
	struct vigia_dead_letter in_hand;
	struct vigia__input input;
	uint32_t requests, heals; /* it was looked for as of these */
};

/* What is looked for of a watcher that others steer. */
struct vigia__steer_look {
	int64_t now_ns;
	/* out */
	bool paused, any;
	uint64_t answered; /* the last one that was */
	struct vigia__steer steer;
};

/* That, and an answer, on whatever thread (driver_steer.c). */
struct vigia__steer_work {
	struct vigia__errand errand;
	struct vigia__driver *w;
	bool looking, answering; /* that is under way, or its outcome is there */
	bool again;              /* the answer in doubt was looked at */
	bool stops;              /* the watcher is to stop behind it */
	uint32_t seen;           /* the count before the look */
	struct vigia__steer_look look;
	struct vigia__steer steer; /* as it was found, then as it is written */
	bool gone;                 /* out: it was withdrawn, or another lane has answered */
	bool held;                 /* the watcher was, before */
	uint64_t done, saved;      /* its progress, before a seek */
};

/* Of a watcher of a store that waits for a server. */
struct vigia__remote_store {
	struct vigia__arrival arrival; /* of its reads */
	struct vigia__errand errand;   /* a save, or its end: one at a time */
	vigia__errand_fn fn;
	struct vigia__asked asked;
	struct vigia__errand look; /* for a dead letter */
	struct vigia__letter_found found;
	bool stale; /* what that finds is not wanted any more */
	struct vigia__steer_work steer;
};

struct vigia__driver {
	struct vigia_watcher base;         /* first */
	struct vigia__remote_store *waits; /* NULL: no call of its store waits for a server */
	struct vigia_iterator start;       /* where to begin without a checkpoint, resolved when the watcher was created */
	bool sought;                       /* an ephemeral one: a seek said so */
	bool created;                      /* the call that made it has returned */
	bool begins;                       /* where it starts was found out by this start: no checkpoint, no hold */

	struct vigia__stepper stepper;    /* what it decides */
	struct vigia__action action;      /* what to do next, or what is under way */
	struct vigia__fetch fetch;        /* the batch in hand. Empty while it listens (fetch.c) */
	struct vigia__progress *progress; /* while it runs and saves its progress with others' commits */
	bool owned;                       /* this process runs the id */
	bool placed;                      /* `start` was found */
	bool only_places;                 /* that start is none: it is only found where it would begin */
	bool start_awaited;               /* a coroutine waits for it */
	bool start_failed;                /* with stop_error */
	struct vigia_iterator found;      /* where it begins, by a start */
	bool starting;       /* the source's look, or the save of a checkpoint that is drawn back, is pending */
	bool reading;        /* the source's read or wait is pending */
	bool ready;          /* what was pending may have come */
	bool news;           /* an append came while a read was pending, which may not have seen it */
	uint64_t end;        /* the log ended before this number at the last read, and no one has woken since; 0: not so */
	bool writing;        /* a save of the source is pending */
	uint64_t saving;     /* progress that is being saved while handlers go on. 0: none */
	uint64_t wanted;     /* somebody waits until this number is saved. 0: nobody does */
	uint32_t wants_seen; /* as of this change of store/wants.h */

	struct vigia_transaction *tx; /* of a transactional one, once it has handled an event */
	int64_t tx_until_mono_ns;     /* when it is to be committed */
	int64_t conflicts;            /* of it, in a row */
	bool in_doubt;                /* its commit may be stored */

	struct vigia__lane *lane;          /* NULL: it has none */
	struct vigia__letter_room *letter; /* the dead letter in hand, or what becomes one. NULL: neither yet */
	uint32_t letters_seen;             /* whether there is one to handle again was looked at as of this request */
	uint32_t heals_seen;               /* and as of this commit that was not announced */
	bool letters_looked;               /* since it was started */

	const _Atomic uint32_t *steer_requests; /* counts what others ask of watchers (store/steer.h) */
	uint32_t steer_seen;                    /* it was looked at as of this count */
	bool held;                              /* it begins no event: it is paused, or that is not known yet */
	bool paused;
	int64_t steer_later_mono_ns; /* look again at this time at the earliest. 0: at once */
	uint64_t unsettled;          /* the request whose answer may be stored, 0 = none */
	enum vigia__steer_kind unsettled_kind;
	uint64_t unsettled_seq_num;
	struct vigia__running running;

	int64_t resume_mono_ns; /* of a pending handler */
	bool told_stopping;     /* its handler went on once since it is to stop: from then on when it asked to */

	struct vigia_error last_error;
	struct vigia_error stop_error; /* why its checkpoint could not be saved when it stopped the last time */
	int64_t last_listen_at_ns, last_processed_at_ns;
	int64_t event_at_ns; /* of the event whose handler was called last */

	struct vigia__row *row; /* what other processes see of it. NULL: nothing */
	bool row_missing;       /* it runs, and there was none for it */
	bool row_due;           /* there is an error that the row does not tell yet */
	struct {
		enum vigia_watcher_state state;
		uint64_t blocked, attempts;
		bool paused;
	} told; /* by the row */
};

static inline struct vigia__driver *vigia__driver(const struct vigia_watcher *watcher)
{
	return (struct vigia__driver *)watcher;
}

/* With `driving` and all else of `base` filled in. The handler is the caller's still when this fails. */
int vigia__driver_new(struct vigia_registry *registry, const char *id, const struct vigia_handler *handler,
                      const struct vigia_watch_options *options, struct vigia__driver **out, struct vigia_error *err);
/* Hold what it has not seen, if its source collects. */
int vigia__driver_hold(struct vigia__driver *driver, struct vigia_error *err);
/* Find where it starts without a checkpoint. May be pending, as a start. */
int vigia__driver_place(struct vigia__driver *driver, struct vigia_error *err);
/* Own the id, find the position, begin. VIGIA_PENDING: `starting`. Call again when its source is ready. */
int vigia__driver_start(struct vigia__driver *driver, struct vigia_error *err);
/* The handler is another one, and so may be the options (but checkpoint and ephemeral): takes the new filter, which is
 * its own from now on, and reads again behind what was handled. No handler may be in progress. */
void vigia__driver_renew(struct vigia__driver *driver, const struct vigia_watch_options *options,
                         struct vigia__filter *filter);

/* Give up the id, the progress and the memory of the batch. */
void vigia__driver_release(struct vigia__driver *driver);
/* The id alone, where that waits for a server: false while it is pending. */
bool vigia__driver_give_up_id(struct vigia__driver *driver);
/* If that is all that its stop waits for: wait here. */
void vigia__driver_end_stop(struct vigia__driver *driver);
/* Take an input, and keep what it asks for. */
void vigia__driver_step(struct vigia__driver *driver, struct vigia__input *input);
/* The stats tell of this error. */
void vigia__driver_keep_error(struct vigia__driver *driver, const struct vigia_error *err);
/* What the end of a watcher, a store or the program does to what is under way is no failure to be told without a log
 * function. */
bool vigia__error_is_end(const struct vigia_error *err);
/* Only when the outcome was told to the stepper: the log function may stop or move the watcher. */
void vigia__driver_log_error(struct vigia__driver *driver, const struct vigia_error *err, const char *doing);
/* The store is not what was opened: trust nothing in it, and save nothing. Stops once the outcome of what is under way
 * was told. True: it was that. */
bool vigia__driver_is_replaced(struct vigia__driver *driver, int rc);
/* Nothing is asked of it yet. */
void vigia__driver_steer_init(struct vigia__driver *driver);
/* Give it an input from outside: STOP or SEEK. */
void vigia__driver_tell(struct vigia__driver *driver, enum vigia__input_kind kind, uint64_t seq_num);
/* Tell that a save failed, and log it. */
void vigia__driver_save_failed(struct vigia__driver *driver, int rc, struct vigia__input *input,
                               const struct vigia_error *err);
/* End the read or wait that is pending: it has to do something else. */
void vigia__driver_cancel(struct vigia__driver *driver);
/* A save at rest has ended: others may run the id. */
void vigia__driver_disown_at_rest(struct vigia__driver *driver);
/* Save progress while handlers go on, of a watcher whose progress no other commit takes along. */
void vigia__driver_save_alone(struct vigia__driver *driver);
/* ---- driver_transaction.c: the transaction of a transactional watcher ---- */

/* Before an event's handler runs. */
int vigia__driver_tx_begin(struct vigia__driver *driver, struct vigia_error *err);
/* After it: may change the outcome `input`, HANDLED or FAILED, and takes back what a failed one wrote. True: what
 * happened is neither a success nor a failure of the event. */
bool vigia__driver_tx_handled(struct vigia__driver *driver, struct vigia__input *input);
/* Commit it with the checkpoint, and tell the outcome. VIGIA_OK also after a conflict. */
int vigia__driver_tx_save(struct vigia__driver *driver, uint64_t seq_num, struct vigia_error *err);

/* ---- driver_lane.c: of a lane ---- */

/* Before it is started. ENOMEM. */
int vigia__driver_be_lane(struct vigia__driver *driver, struct vigia__lanes *shared, unsigned index,
                          struct vigia_error *err);
void vigia__driver_lane_free(struct vigia__driver *driver);
/* What a read found: numbers that no lane handles are finished. ENOMEM: read it again. */
int vigia__driver_lane_read(struct vigia__driver *driver, uint64_t from, uint64_t reached);
/* Whose is the event that is to be handled? LATER: not now. */
enum vigia__lane_look vigia__driver_lane_look(struct vigia__driver *driver);
/* Its handler has ended so, HANDLED or FAILED, before the stepper is told. */
void vigia__driver_lane_handled(struct vigia__driver *driver, const struct vigia__input *input);
/* The event in hand is passed for good, without a commit of its own. */
void vigia__driver_lane_finish(struct vigia__driver *driver, uint64_t seq_num);
/* Before the handler: make room to note it, and ask a key function in C. VIGIA_NONE: the event is another lane's. Or
 * how the function failed. */
int vigia__driver_lane_ask(struct vigia__driver *driver, struct vigia_error *err);
/* After it, `done` or failed: was it found that another lane has the event in hand? Look again whose it is. */
bool vigia__driver_lane_gave_back(struct vigia__driver *driver, bool done);
/* Is there something that no commit has saved? */
bool vigia__driver_lane_dirty(const struct vigia__driver *driver);

/* ---- laned.c ---- */

/* EOPTION: lanes with options that exclude them, or without a key. `keyed`: a function may tell it. */
int vigia__laned_check(const struct vigia_watch_options *options, const struct vigia_registry *registry, bool keyed,
                       struct vigia_error *err);
/* These are its lanes: each is driven by `one`. */
void vigia__laned_join(struct vigia_watcher *first, struct vigia__lanes *lanes, const struct vigia__driving *one);

/* Without lanes itself, is it started where lanes have finished events above the checkpoint? Then it becomes a single
 * one, which passes those. EIO and others. */
int vigia__laned_continue(struct vigia__driver *driver, struct vigia_error *err);
/* laned_make.c. Give the watcher lanes, before it is started: the others are made. */
int vigia__laned_make(struct vigia__driver *first, const struct vigia_handler *handler,
                      const struct vigia_watch_options *options, struct vigia_error *err);

/* ---- driver_letters.c: dead letters ---- */

/* Instead of a read: is there a letter to handle again? VIGIA_OK: it is the batch, and *input is LETTER. VIGIA_NONE, or
 * why that is not known. In a few instructions while nobody asked for one. */
int vigia__driver_letter_read(struct vigia__driver *driver, struct vigia__input *input, struct vigia_error *err);
/* The letter in hand, as its handler is told. */
const struct vigia_dead_letter *vigia__driver_letter(const struct vigia__driver *driver);
/* A handler failed: keep what a letter says of it. Without memory it says less. */
void vigia__driver_letter_note(struct vigia__driver *driver, const struct vigia_error *err, const char *traceback);
/* Carry out a SAVE with `aside` or `letter`, and tell the outcome. VIGIA_OK also after a conflict. */
int vigia__driver_letter_save(struct vigia__driver *driver, struct vigia_error *err);

/* ---- driver_row.c: what other processes see of it ---- */

/* It runs, on a store's events: take a row. */
void vigia__driver_row_begin(struct vigia__driver *driver);
/* After a turn that did something, and a call from outside: write what has changed, if anything has. */
void vigia__driver_row_show(struct vigia__driver *driver);
/* After a read. */
void vigia__driver_row_sample(struct vigia__driver *driver);
/* It runs no more: what the row says stays. */
void vigia__driver_row_end(struct vigia__driver *driver);
/* After each event. */
static inline void vigia__driver_row_move(const struct vigia__driver *w)
{
	if (w->row) vigia__row_move(w->row, w->stepper.done, w->stepper.processed);
}

/* ---- driver_steer.c: what others ask of it ---- */

/* It has been started. */
void vigia__driver_steer_begin(struct vigia__driver *driver);
/* Is there something to look at, or is it held? For each event. */
static inline bool vigia__driver_is_steered(const struct vigia__driver *w)
{
	return w->held | (atomic_load_explicit(w->steer_requests, memory_order_relaxed) != w->steer_seen);
}
/* Then look, and carry it out. False: it is held, and has nothing to do now. */
bool vigia__driver_steer(struct vigia__driver *driver);
/* Wait for an answer under way, and carry it out: for calls of the application. */
void vigia__driver_finish_steer(struct vigia__driver *driver);
/* When its next turn is due, if it would be `due`. */
int64_t vigia__driver_steer_due(const struct vigia__driver *driver, int64_t due);

/* ---- driver_run.c ---- */

/* If a save is what it wants next, do it now and tell how it went. No handler runs. */
int vigia__driver_save(struct vigia__driver *driver, struct vigia_error *err);
/* Of `driving`. */
bool vigia__driver_run(struct vigia_watcher *watcher);
void vigia__driver_wake(struct vigia_watcher *watcher);
int64_t vigia__driver_due(const struct vigia_watcher *watcher);
bool vigia__driver_dirty(struct vigia_watcher *watcher);

/* ---- errand.c: a store whose calls wait for a server ---- */

/* ENOMEM. Does nothing for a store that never waits. */
int vigia__driver_errands_begin(struct vigia__driver *driver, struct vigia_error *err);
void vigia__driver_errands_end(struct vigia__driver *driver);
/* Call fn, where the store waits on another thread: VIGIA_PENDING. Then once the source is ready make the same call for
 * the outcome. It has the watcher to itself but for what other threads may use, too. */
int vigia__driver_errand(struct vigia__driver *driver, vigia__errand_fn fn, struct vigia__asked asked,
                         struct vigia_error *err);
/* The same of a look beside it, which may be cancelled: `fn` leaves what it finds in `waits->found`. */
int vigia__driver_look_errand(struct vigia__driver *driver, int (*fn)(void *ctx, struct vigia_error *err),
                              struct vigia_error *err);
/* The outcome of a read, and of a look, is not wanted any more. */
void vigia__driver_cancel_errands(struct vigia__driver *driver);
/* Wait for the errand. False: none is under way. */
bool vigia__driver_await(struct vigia__driver *driver);
/* Of what others ask of it (driver_steer.c). Is its answer under way? Then nothing else begins. */
bool vigia__driver_answers(const struct vigia__driver *driver);
/* Then it is to stop behind that. */
bool vigia__driver_stops_later(struct vigia__driver *driver);
/* Has a look, or an answer, ended? */
bool vigia__driver_steer_news(const struct vigia__driver *driver);
/* Wait for that. False: none is under way. */
bool vigia__driver_await_steer(struct vigia__driver *driver);
/* The same, and forget it. */
void vigia__driver_drop_steer(struct vigia__driver *driver);
/* Of a watcher that was asked to stop: wait until it has nothing under way that ends by itself. */
void vigia__watcher_finish(struct vigia_watcher *watcher);
/* Wait for it, and forget its outcome. */
void vigia__driver_drop_errand(struct vigia__driver *driver);
/* Save the progress of all watchers, pending (`saving`) as above. */
int vigia__registry_save_errand(struct vigia_registry *registry, struct vigia_error *err);
void vigia__registry_await_save(struct vigia_registry *registry);
/* Has what it waits for come, or may it have? */
bool vigia__driver_has_news(const struct vigia__driver *driver);
void vigia__errands_free(struct vigia_registry *registry);
/* No coroutine goes on any more: wait for the question that is under way, and ask no other. */
void vigia__questions_end(struct vigia_registry *registry);
/* The same of those that use this, of the watcher of this id. */
void vigia__questions_forget(struct vigia_registry *registry, const void *user, const char *id);
/* VIGIA_PENDING: it is under way. Or it could not begin. */
int vigia__errand_begin(struct vigia_registry *registry, struct vigia__errand *errand,
                        int (*fn)(void *ctx, struct vigia_error *err), void *ctx, struct vigia_error *err);
/* The same call again, until it is not pending any more, for the outcome. */
int vigia__errand_run(struct vigia_registry *registry, struct vigia__errand *errand,
                      int (*fn)(void *ctx, struct vigia_error *err), void *ctx, struct vigia_error *err);
/* Wait for its end, at once if it is not under way. */
void vigia__errand_await(struct vigia_registry *registry, const struct vigia__errand *errand);

/* ---- source_store.c ---- */

extern const struct vigia__source vigia__store_source;
/* Its look, for a watcher of this id. Any thread. */
int vigia__look_in_store(struct vigia__backend *backend, const char *id, bool ephemeral, enum vigia__look_for what,
                         struct vigia__look *out, struct vigia_error *err);

static inline const struct vigia__source *vigia__source(const struct vigia__driver *driver)
{
	return driver->base.registry->source;
}

/* ---- fetch.c: memory of batches ---- */

/* Room for the numbers of the batch. */
bool vigia__fetch_fit(struct vigia__fetch *fetch);
/* Memory for a watcher that reads: what the registry has to spare. */
void vigia__fetch_borrow(struct vigia_registry *registry, struct vigia__fetch *fetch);
/* The watcher listens, and needs none. */
void vigia__fetch_return(struct vigia_registry *registry, struct vigia__fetch *fetch);
void vigia__fetch_deinit(struct vigia__fetch *fetch);

/* ---- registry.c ---- */

/* Is the id free? *old is the stopped watcher that has it, NULL if there is none. */
int vigia__registry_find_free(struct vigia_registry *registry, const char *id, struct vigia_watcher **old,
                              struct vigia_error *err);
/* Take the watcher in, in the place of the stopped one that had its id. */
void vigia__registry_add(struct vigia_registry *registry, struct vigia_watcher *watcher, struct vigia_watcher *old);
/* Free the retired watchers whose handles were released. Not below a handler or log function: its caller may be
 * among them. */
void vigia__registry_free_released(struct vigia_registry *registry);
/* Ephemeral watchers that were asked to stop, and have, leave the registry. */
void vigia__registry_forget_stopped(struct vigia_registry *registry);

/* ---- listen.c: which wake words a registry waits for ---- */

/* A filter changed, or a watcher left. */
void vigia__registry_listen(struct vigia_registry *registry);
/* Of a new registry, too: an interrupt and a close wake one without watchers. */
void vigia__registry_listen_to_bells(struct vigia_registry *registry);
/* It was added or started: the words of the others stay. */
void vigia__registry_listen_also(struct vigia_registry *registry, const struct vigia_watcher *watcher);

/* ---- save.c ---- */

/* Progress that no other commit took along is saved by one of its own, for all watchers, after checkpoint_interval
 * (W10), or `now`. Returns whether there was any. */
bool vigia__registry_save_progress(struct vigia_registry *registry, bool now);
/* When that is due, on the registry's clock. INT64_MAX: there is none. */
int64_t vigia__registry_save_due(const struct vigia_registry *registry);

/* ---- wanted.c ---- */

/* False: nobody waits for progress of the watcher. In a few instructions, for each event. */
static inline bool vigia__driver_may_be_wanted(const struct vigia__driver *w)
{
	const struct vigia__wants *wants = w->base.registry->store->backend->wants;
	return wants && (w->wanted || atomic_load_explicit(&wants->changes, memory_order_relaxed) != w->wants_seen);
}
/* Does somebody wait for this number, or a lower one, to be saved? In a few instructions while nothing changes. */
bool vigia__driver_wants(struct vigia__driver *driver, uint64_t reached);
/* The same for what the watcher has finished, and not saved, outside of a transaction. */
bool vigia__driver_wanted(struct vigia__driver *driver);
/* The same of any of its watchers. */
bool vigia__registry_wanted(struct vigia_registry *registry);
/* *listen with the bell of those waits, if there is progress to save. False: look again before waiting. */
bool vigia__registry_listen_wants(const struct vigia_registry *registry, struct vigia__listen *listen);

/* ---- round.c ---- */

/* Listen before looking: a word that changes from now on ends the next wait at once. Watchers that listened in vain
 * look again when a word has changed, or, once a second, when the store's commit number has. */
void vigia__registry_poll(struct vigia_registry *registry);
bool vigia__registry_signalled(const struct vigia_registry *registry);

/* ---- watcher.c ---- */

/* A call wants it to stop. */
void vigia__watcher_ask_to_stop(struct vigia_watcher *watcher);
/* ESTATE: in its state it cannot be `what` ("started"). */
int vigia__watcher_state_error(struct vigia_watcher *watcher, const char *what, struct vigia_error *err);

/* ---- log.c ---- */

/* What vigia__log() calls on this thread, which is not the registry's. NULL: the log function. */
typedef void (*vigia__log_fn)(struct vigia_registry *registry, enum vigia_log_level level, const char *text);
extern _Thread_local vigia__log_fn vigia__log_by;
/* Call the log function, which there must be. */
void vigia__log_text(struct vigia_registry *registry, enum vigia_log_level level, const char *text);

/* ---- inbox.c ---- */

void vigia__inbox_init(struct vigia__inbox *inbox);
void vigia__inbox_deinit(struct vigia__inbox *inbox);
/* A worker has something for the log. Beyond 1000 waiting records they are only counted. Any thread. */
void vigia__inbox_log(struct vigia_registry *registry, enum vigia_log_level level, const char *text);
/* A worker that got on has nothing more to do for now. Any thread. */
void vigia__inbox_progress(struct vigia_registry *registry);
/* Make the registry look: a step or run in progress does a round. Any thread. */
void vigia__inbox_poke(struct vigia_registry *registry);
/* Hand the records to the log function, on the registry's thread. Returns whether there was anything to look at. */
bool vigia__inbox_look(struct vigia_registry *registry);

/* ---- task.c ---- */

/* The handlers and tasks whose wait something else has ended: after an answer, and once a second, since
 * coroutine.close does not notify the registry. */
void vigia__registry_look_at_waits(struct vigia_registry *registry);
/* One has stopped: the coroutines that wait for that look again. */
void vigia__registry_rested(struct vigia_registry *registry);
int64_t vigia__tasks_due(const struct vigia_registry *registry);
bool vigia__tasks_run(struct vigia_registry *registry);
void vigia__tasks_free(struct vigia_registry *registry); /* without resuming them */

#endif
