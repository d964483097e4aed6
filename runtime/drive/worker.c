/*
 * worker.c - the thread behind a watcher: its mailbox, its loop, and how new code takes over. What it promises is in
 * worker.h.
 *
 * The loop: take what the mailbox holds, then drive the registry until there is work no more or somebody interrupts it.
 * Whoever puts something into the mailbox interrupts it; a thread whose watcher rests sleeps on the condition instead.
 */
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../store/thread.h"

enum {
	LOOK_NS = 100000000,
	IDLE_LOOK_NS = 1000000000
}; /* how often to ask whether there is new code: at work, and at rest */

struct vigia__worker {
	struct vigia_registry *owner;
	struct vigia__job job;
	bool owns_job;
	bool joined; /* the thread is gone */
	pthread_t thread;
	char id[256]; /* written once, before `loaded` */
	struct vigia_watch_options options;
	bool start_loaded; /* start once it has loaded, if the options say so; written before the thread is there */
	unsigned fork_generation;

	pthread_mutex_t mutex;
	pthread_cond_t changed;       /* anything below */
	bool loaded;                  /* load, and the start after it, came to an end; the outcome is in rc and err */
	bool usable;                  /* load went well: the thread goes on, whatever became of the start */
	enum vigia__worker_wish wish; /* NOTHING: answered, in rc and err */
	uint64_t wish_seq_num;
	int rc;
	struct vigia_error err;
	bool stop, quit;
	bool hold;                        /* started or not, drive no event */
	struct vigia_watcher_stats stats; /* as of the last turn */
	atomic_bool stopping;             /* stop or quit, until the next start; written under the mutex */
	atomic_bool killed;               /* what it runs is to be killed, until the watcher rests; likewise */
	bool ended;                       /* the thread does nothing more */

	/* the thread's own */
	struct vigia_registry *registry;
	struct vigia_watcher *watcher;
	bool begun;
	bool reload_soon;
	int64_t looked_mono_ns; /* for new code */
	uint64_t reloads;
	struct vigia_error last_reload_error, stop_error;
	uint64_t told; /* what the owner knows of the progress */
};

/* ---- between the threads ---- */

/* Not with the mutex held: who wakes wants it. The thread outlives its own calls of this, for it is joined before the
 * worker is freed. */
static void wake(struct vigia__worker *w)
{
	pthread_cond_broadcast(&w->changed);
}

static bool forked(const struct vigia__worker *w)
{
	return w->fork_generation != vigia__fork_generation();
}

static bool at_rest(enum vigia_watcher_state state)
{
	return state == VIGIA_STOPPED || state == VIGIA_IDLE;
}

/* What the owner may know. */
static void publish(struct vigia__worker *w)
{
	struct vigia_watcher_stats stats;
	vigia__driver_stats(w->watcher, &stats);
	stats.reloads = w->reloads;
	stats.last_reload_error = w->last_reload_error;
	if (stats.stop_error.code == VIGIA_OK) stats.stop_error = w->stop_error;
	/* While the job's end runs the watcher has not stopped yet. */
	if (w->begun && stats.state == VIGIA_STOPPED) stats.state = VIGIA_STOPPING;
	pthread_mutex_lock(&w->mutex);
	bool rests = at_rest(stats.state) && stats.state != w->stats.state;
	w->stats = stats;
	if (at_rest(stats.state) && !w->quit) atomic_store(&w->killed, false);
	pthread_mutex_unlock(&w->mutex);
	if (rests) vigia__inbox_poke(w->owner);
	uint64_t progress = stats.processed + stats.failed + stats.fetch_errors + stats.next.seq_num;
	if (progress != w->told && vigia__driver_due(w->watcher) > 0) {
		w->told = progress;
		vigia__inbox_progress(w->owner);
	}
}

static void log_record(void *ctx, enum vigia_log_level level, const char *message)
{
	struct vigia__worker *w = ctx;
	vigia__inbox_log(w->owner, level, message);
}

/* ---- the thread ---- */

/* A failure that does not come again and again by itself: it is told however soon after another. */
static void log_once(struct vigia__worker *w, const char *what, const char *message)
{
	struct vigia__limit none = {0};
	vigia__log_failure(w->registry, &none, VIGIA_LOG_ERROR, "watcher '%s': %s%s", VIGIA_SHOWN(w->id), what, message);
}

static void end(struct vigia__worker *w)
{
	if (!w->begun) return;
	w->stop_error = (struct vigia_error){0};
	if (w->job.end(w->job.ctx, &w->stop_error) < 0) log_once(w, "", w->stop_error.message);
	w->begun = false;
}

static int start(struct vigia__worker *w, struct vigia_error *err)
{
	pthread_mutex_lock(&w->mutex);
	bool stop = w->stop || w->quit;
	if (!stop) atomic_store(&w->stopping, false);
	pthread_mutex_unlock(&w->mutex);
	if (stop) return vigia__error(err, VIGIA_ESTOPPING, "watcher '%s' is stopping", VIGIA_SHOWN(w->id));
	int rc = vigia_watcher_start(w->watcher, err);
	if (rc < 0) return rc;
	rc = w->job.begin(w->job.ctx, w->watcher, err);
	w->begun = rc == VIGIA_OK;
	if (rc < 0) vigia_watcher_stop(w->watcher, 0, NULL);
	return rc;
}

/* What cannot change under a watcher that has a place in the log. */
static int may_take(struct vigia__worker *w, const struct vigia_watch_options *options, struct vigia_error *err)
{
	const char *what = options->ephemeral != w->options.ephemeral     ? "ephemeral"
	                   : options->checkpoint != w->options.checkpoint ? "checkpoint"
	                                                                  : NULL;
	if (what == NULL) return VIGIA_OK;
	return vigia__error(err, VIGIA_ESCRIPT,
	                    "`%s` cannot be another one after a reload: stop the watcher and watch it anew", what);
}

/* The new code beside the old, the old one's end, the new one's begin. Whatever fails, the old goes on. */
static int take_over(struct vigia__worker *w, struct vigia_error *err)
{
	char id[256];
	struct vigia_watch_options options;
	struct vigia__filter *filter = NULL;
	snprintf(id, sizeof id, "%s", w->id);
	int rc = w->job.load(w->job.ctx, w, id, &options, err);
	if (rc < 0) return rc;
	rc = may_take(w, &options, err);
	if (rc == VIGIA_OK) rc = vigia__filter_new(&options.filter, &filter, err);
	if (rc < 0) {
		w->job.drop(w->job.ctx);
		return rc;
	}
	bool begun = w->begun;
	end(w);
	w->job.take(w->job.ctx);
	if (begun) rc = w->job.begin(w->job.ctx, w->watcher, err);
	if (rc < 0) {
		struct vigia_error again = {0};
		vigia__filter_free(filter);
		w->job.take(w->job.ctx);
		w->begun = w->job.begin(w->job.ctx, w->watcher, &again) == VIGIA_OK;
		if (!w->begun) {
			log_once(w, "stops: the old code cannot begin again, either: ", again.message);
			vigia_watcher_stop(w->watcher, 0, NULL);
		}
	} else {
		w->begun = begun;
		vigia__driver_renew(w->watcher, &options, filter);
	}
	w->job.drop(w->job.ctx);
	return rc;
}

static int reload(struct vigia__worker *w, struct vigia_error *err)
{
	struct vigia_error own = {0};
	w->looked_mono_ns = vigia__mono_ns();
	w->reload_soon = w->registry->between_events = false;
	int rc = take_over(w, &own);
	w->last_reload_error = own;
	if (rc < 0) {
		snprintf(w->last_reload_error.watcher_id, sizeof own.watcher_id, "%s", w->id);
		log_once(w, "the new code is not taken over: ", own.message);
	} else {
		w->reloads++;
		vigia__log(w->registry, VIGIA_LOG_INFO, "watcher '%s': runs new code", VIGIA_SHOWN(w->id));
	}
	if (err) *err = w->last_reload_error;
	return rc;
}

static void stop(struct vigia__worker *w)
{
	vigia__driver_tell(w->watcher, VIGIA_INPUT_STOP, 0);
}

/* Stopped, and let go of its id. */
static bool rests(const struct vigia__worker *w)
{
	return !vigia__driver_active(w->watcher) && w->watcher->action.kind != VIGIA_ACTION_STOPPED;
}

static int fulfil(struct vigia__worker *w, enum vigia__worker_wish wish, uint64_t seq_num, struct vigia_error *err)
{
	switch (wish) {
	case VIGIA_WORKER_START:
		return start(w, err);
	case VIGIA_WORKER_CHECKPOINT:
		return vigia_watcher_checkpoint(w->watcher, seq_num, err);
	case VIGIA_WORKER_SEEK:
		return vigia_watcher_seek(w->watcher, seq_num, err);
	case VIGIA_WORKER_RELOAD:
		return reload(w, err);
	case VIGIA_WORKER_NOTHING:
		break;
	}
	return VIGIA_OK;
}

/* Nothing to drive, or not yet. */
static bool idle(const struct vigia__worker *w, bool hold)
{
	return rests(w) || (hold && w->watcher->stepper.state == VIGIA_RUNNING);
}

/* Do what the mailbox asks for; with nothing there and nothing to drive, wait for it. False: the thread is to end. */
static bool take_mail(struct vigia__worker *w, bool *hold)
{
	pthread_mutex_lock(&w->mutex);
	while (!w->quit && !w->stop && w->wish == VIGIA_WORKER_NOTHING && idle(w, w->hold))
		pthread_cond_wait(&w->changed, &w->mutex);
	bool quit = w->quit, stops = w->stop;
	enum vigia__worker_wish wish = w->wish;
	uint64_t seq_num = w->wish_seq_num;
	w->stop = false;
	*hold = w->hold;
	pthread_mutex_unlock(&w->mutex);
	if (stops || quit) stop(w);
	if (quit) return false;
	if (wish == VIGIA_WORKER_NOTHING) return true;
	if (wish == VIGIA_WORKER_RELOAD &&
	    w->watcher->pending) { /* new code waits for a handler that waits, and comes before the next */
		w->registry->between_events = true;
		return true;
	}
	struct vigia_error err = {0};
	int rc = fulfil(w, wish, seq_num, &err);
	publish(w);
	pthread_mutex_lock(&w->mutex);
	w->wish = VIGIA_WORKER_NOTHING;
	w->rc = rc;
	w->err = err;
	pthread_mutex_unlock(&w->mutex);
	wake(w);
	return true;
}

static void look_for_new_code(struct vigia__worker *w)
{
	if (!w->reload_soon) {
		if (w->job.changed == NULL) return;
		int64_t now = vigia__mono_ns();
		if (now - w->looked_mono_ns < LOOK_NS) return;
		w->looked_mono_ns = now;
		if (!w->job.changed(w->job.ctx)) return;
		vigia__worker_reload_soon(w);
	}
	if (!w->watcher->pending) reload(w, NULL);
}

static void drive(struct vigia__worker *w)
{
	struct vigia_error err = {0};
	int rc = vigia_registry_step(w->registry, w->job.changed ? IDLE_LOOK_NS : -1, &err);
	if (rc < 0 && rc != VIGIA_EINTERRUPTED) { /* the store was closed */
		vigia__log(w->registry, VIGIA_LOG_ERROR, "watcher '%s': cannot go on: %s", VIGIA_SHOWN(w->id), err.message);
		w->watcher->last_error = err;
		stop(w);
		vigia_watcher_stop(w->watcher, 0, NULL);
		if (!rests(w)) vigia__driver_abandon(w->watcher);
	}
	if (rests(w)) {
		publish(w);
		end(w);
	} else {
		look_for_new_code(w);
	}
	publish(w);
}

static int load(struct vigia__worker *w, struct vigia_error *err)
{
	int rc = w->job.load(w->job.ctx, w, w->id, &w->options, err);
	if (rc < 0) return rc;
	struct vigia_watch_options options = w->options;
	struct vigia_handler handler = {
		.size = sizeof handler, .handle = w->job.handle, .resume = w->job.resume, .ctx = w->job.ctx};
	options.auto_start = false;
	rc = vigia_registry_watch(w->registry, w->id, &handler, &options, &w->watcher, err);
	w->options.filter = (struct vigia_filter){0};
	if (rc < 0) {
		w->job.drop(w->job.ctx);
		return rc;
	}
	w->job.take(w->job.ctx);
	return VIGIA_OK;
}

static void *work(void *arg)
{
	struct vigia__worker *w = arg;
	struct vigia_error err = {0};
	int rc = load(w, &err);
	bool usable = rc == VIGIA_OK;
	if (usable) publish(w);
	if (usable && w->start_loaded && w->options.auto_start) {
		rc = start(w, &err);
		publish(w);
	}
	pthread_mutex_lock(&w->mutex);
	w->loaded = true;
	w->usable = usable;
	w->rc = rc;
	w->err = err;
	pthread_mutex_unlock(&w->mutex);
	wake(w);
	if (usable) {
		bool hold;
		while (take_mail(w, &hold))
			if (!idle(w, hold)) drive(w);
		/* A handler that waits is told once; one that waits again is left. */
		vigia_watcher_stop(w->watcher, 0, NULL);
		if (!rests(w)) vigia__driver_abandon(w->watcher);
		end(w);
		publish(w);
	}
	w->job.close(w->job.ctx);
	pthread_mutex_lock(&w->mutex);
	w->ended = true;
	pthread_mutex_unlock(&w->mutex);
	wake(w);
	return NULL;
}

/* ---- life ---- */

static void destroy(struct vigia__worker *w)
{
	vigia_registry_free(w->registry);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
	vigia__free(w);
}

int vigia__worker_new(struct vigia_registry *owner, const char *watcher_id, const struct vigia__job *job,
                      struct vigia__worker **out, struct vigia_error *err)
{
	struct vigia__worker *w = vigia__calloc(sizeof *w);
	if (w == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a worker");
	w->owner = owner;
	w->job = *job;
	w->fork_generation = vigia__fork_generation();
	snprintf(w->id, sizeof w->id, "%s", watcher_id ? watcher_id : "");
	w->start_loaded = watcher_id != NULL;
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&w->mutex, NULL);
	w->registry = vigia_registry_new(owner->store);
	if (w->registry == NULL) {
		destroy(w);
		return vigia__error(err, VIGIA_ENOMEM, "no memory for a worker");
	}
	w->registry->one_watcher = true;
	w->registry->holds_late = owner->holds_late;
	w->registry->worker = w;
	w->registry->tell = owner->tell;
	vigia_registry_log(w->registry, w, log_record);
	int failed = vigia__thread_start(&w->thread, 0, work, w);
	if (failed) {
		destroy(w);
		int code = failed == ENOMEM ? VIGIA_ENOMEM : VIGIA_EIO;
		vigia__error(err, code, "cannot start a thread");
		vigia__error_cause(err, "%s", strerror(failed));
		return code;
	}
	pthread_mutex_lock(&w->mutex);
	while (!w->loaded) pthread_cond_wait(&w->changed, &w->mutex);
	int rc = w->rc;
	bool usable = w->usable;
	if (rc < 0 && err) *err = w->err;
	pthread_mutex_unlock(&w->mutex);
	if (usable) {
		w->owns_job = true;
		*out = w;
		return rc;
	}
	pthread_join(w->thread, NULL);
	destroy(w);
	return rc;
}

/* Wait for the thread's end, and kill what it runs if that takes too long. */
static void give_grace(struct vigia__worker *w)
{
	struct timespec until;
	int rc = 0;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += VIGIA_END_GRACE_NS / 1000000000;
	pthread_mutex_lock(&w->mutex);
	while (!w->ended && rc == 0) rc = pthread_cond_timedwait(&w->changed, &w->mutex, &until);
	pthread_mutex_unlock(&w->mutex);
	vigia__worker_kill(w);
}

void vigia__worker_end(struct vigia__worker *w)
{
	if (w->joined || forked(w)) return;
	pthread_mutex_lock(&w->mutex);
	w->quit = true;
	atomic_store(&w->stopping, true);
	pthread_mutex_unlock(&w->mutex);
	wake(w);
	vigia_registry_interrupt(w->registry);
	if (w->job.killable) give_grace(w);
	pthread_join(w->thread, NULL);
	w->joined = true;
}

void vigia__worker_disown_job(struct vigia__worker *w)
{
	w->owns_job = false;
}

void vigia__worker_free(struct vigia__worker *w)
{
	if (w == NULL || forked(w)) return;
	vigia__worker_end(w);
	if (w->owns_job) w->job.free(w->job.ctx);
	destroy(w);
}

/* ---- for the owner ---- */

const char *vigia__worker_id(const struct vigia__worker *w)
{
	return w->id;
}

const struct vigia_watch_options *vigia__worker_options(const struct vigia__worker *w)
{
	return &w->options;
}

void vigia__worker_stats(struct vigia__worker *w, struct vigia_watcher_stats *out)
{
	if (forked(w)) { /* whoever held the mutex is not here */
		*out = (struct vigia_watcher_stats){.state = VIGIA_STOPPED};
		return;
	}
	pthread_mutex_lock(&w->mutex);
	*out = w->stats;
	pthread_mutex_unlock(&w->mutex);
	if (out->state != VIGIA_STOPPED && atomic_load(&w->stopping)) out->state = VIGIA_STOPPING;
}

enum vigia_watcher_state vigia__worker_state(struct vigia__worker *w)
{
	struct vigia_watcher_stats stats;
	vigia__worker_stats(w, &stats);
	return stats.state;
}

bool vigia__worker_active(struct vigia__worker *w)
{
	enum vigia_watcher_state state = vigia__worker_state(w);
	return state == VIGIA_RUNNING || state == VIGIA_STOPPING;
}

int vigia__worker_call(struct vigia__worker *w, enum vigia__worker_wish wish, uint64_t seq_num, struct vigia_error *err)
{
	if (forked(w)) return vigia__error(err, VIGIA_EFORKED, "watcher '%s' is the parent process's", VIGIA_SHOWN(w->id));
	pthread_mutex_lock(&w->mutex);
	w->wish = wish;
	w->wish_seq_num = seq_num;
	pthread_mutex_unlock(&w->mutex);
	wake(w);
	vigia_registry_interrupt(w->registry);
	pthread_mutex_lock(&w->mutex);
	while (w->wish != VIGIA_WORKER_NOTHING) pthread_cond_wait(&w->changed, &w->mutex);
	int rc = w->rc;
	if (err && rc < 0) *err = w->err;
	pthread_mutex_unlock(&w->mutex);
	return rc;
}

void vigia__worker_hold(struct vigia__worker *w, bool hold)
{
	pthread_mutex_lock(&w->mutex);
	w->hold = hold;
	pthread_mutex_unlock(&w->mutex);
	wake(w);
	vigia_registry_interrupt(w->registry);
}

void vigia__worker_stop(struct vigia__worker *w)
{
	if (w->joined || forked(w)) return;
	pthread_mutex_lock(&w->mutex);
	bool wanted = !w->stop && (w->stats.state != VIGIA_STOPPED);
	if (wanted) {
		w->stop = true;
		atomic_store(&w->stopping, true);
	}
	pthread_mutex_unlock(&w->mutex);
	if (!wanted) return;
	wake(w);
	vigia_registry_interrupt(w->registry);
}

bool vigia__worker_kill(struct vigia__worker *w)
{
	if (!w->job.killable || w->joined || forked(w)) return false;
	pthread_mutex_lock(&w->mutex);
	bool works = w->quit || !at_rest(w->stats.state);
	if (works) atomic_store(&w->killed, true);
	pthread_mutex_unlock(&w->mutex);
	return works;
}

/* ---- for the job ---- */

struct vigia_registry *vigia__worker_registry(struct vigia__worker *w)
{
	return w->registry;
}

const atomic_bool *vigia__worker_stopping(const struct vigia__worker *w)
{
	return &w->stopping;
}

const atomic_bool *vigia__worker_killed(const struct vigia__worker *w)
{
	return &w->killed;
}

bool vigia__worker_sleep(struct vigia__worker *w, int64_t until_mono_ns)
{
	struct timespec until = {until_mono_ns / 1000000000, until_mono_ns % 1000000000};
	int rc = 0;
	pthread_mutex_lock(&w->mutex);
	while (rc == 0 && !atomic_load(&w->stopping)) rc = pthread_cond_timedwait(&w->changed, &w->mutex, &until);
	bool stopping = atomic_load(&w->stopping);
	pthread_mutex_unlock(&w->mutex);
	return !stopping;
}

int vigia__worker_reload_soon(struct vigia__worker *w)
{
	w->reload_soon = w->registry->between_events = true;
	return VIGIA_OK;
}
