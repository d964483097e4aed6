/*
 * worker.c - the thread behind a watcher: its mailbox and its loop. What it promises is in
 * worker.h.
 *
 * The loop: take what the mailbox holds, then drive the registry until there is work no more or somebody interrupts it.
 * A message interrupts it. A thread whose watcher rests sleeps on the condition instead.
 */
#include "worker.h"

#include <stdio.h>
#include <time.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "worker_private.h"

/* How often a watcher at rest asks whether there is new code. */
enum { IDLE_LOOK_NS = 1000000000 };

/* ---- between the threads ---- */

/* Release the mutex, and then wake the other thread, which takes it. The thread outlives its own calls of this, for it
 * is joined before the worker is freed. */
static void unlock_and_wake(struct vigia__worker *w)
{
	pthread_mutex_unlock(&w->helper.mutex);
	pthread_cond_broadcast(&w->helper.changed);
}

/* The same by the owner: the thread may be driving its registry. */
static void unlock_and_interrupt(struct vigia__worker *w)
{
	unlock_and_wake(w);
	vigia_registry_interrupt(w->registry);
}

/* Under the mutex: wait for a change. False: it is that late. */
static bool changed_until(struct vigia__worker *w, int64_t mono_ns)
{
	struct timespec until = {mono_ns / 1000000000, mono_ns % 1000000000};
	return pthread_cond_timedwait(&w->helper.changed, &w->helper.mutex, &until) == 0;
}

static bool forked(const struct vigia__worker *w)
{
	return w->fork_generation != vigia__fork_generation();
}

static bool at_rest(enum vigia_watcher_state state)
{
	return state == VIGIA_STOPPED || state == VIGIA_IDLE;
}

/* Tell the owner. */
static void worker_publish(struct vigia__worker *w)
{
	struct vigia_watcher_stats stats;
	w->watcher->driving->stats(w->watcher, &stats);
	stats.reloads = w->reloads;
	stats.last_reload_error = w->last_reload_error;
	if (stats.stop_error.code == VIGIA_OK) stats.stop_error = w->stop_error;
	/* While the job's end runs the watcher has not stopped yet. */
	if (w->begun && stats.state == VIGIA_STOPPED) stats.state = VIGIA_STOPPING;
	pthread_mutex_lock(&w->helper.mutex);
	bool rests = at_rest(stats.state) && stats.state != w->stats.state;
	w->stats = stats;
	if (at_rest(stats.state) && !w->helper.quit) atomic_store(&w->killed, false);
	pthread_mutex_unlock(&w->helper.mutex);
	if (rests) vigia__inbox_poke(w->owner);
	uint64_t progress = stats.processed + stats.failed + stats.fetch_errors + stats.next.seq_num;
	if (progress != w->told && w->watcher->driving->due(w->watcher) > 0) {
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

static int worker_start(struct vigia__worker *w, struct vigia_error *err)
{
	pthread_mutex_lock(&w->helper.mutex);
	bool stop = w->stop || w->helper.quit;
	if (!stop) atomic_store(&w->stopping, false);
	pthread_mutex_unlock(&w->helper.mutex);
	if (stop) return vigia__error(err, VIGIA_ESTOPPING, "watcher '%s' is stopping", VIGIA_SHOWN(w->id));
	int rc = vigia_watcher_start(w->watcher, err);
	if (rc < 0) return rc;
	rc = w->job.begin(w->job.ctx, w->watcher, err);
	w->begun = rc == VIGIA_OK;
	if (rc < 0) vigia_watcher_stop(w->watcher, 0, NULL);
	return rc;
}

static void worker_stop(struct vigia__worker *w)
{
	w->watcher->driving->stop(w->watcher);
}

/* Stopped, and its id is free. */
static bool worker_rests(const struct vigia__worker *w)
{
	return w->watcher->driving->rests(w->watcher);
}

static int carry_out(struct vigia__worker *w, enum vigia__worker_request request, uint64_t seq_num,
                     struct vigia_error *err)
{
	switch (request) {
	case VIGIA_WORKER_START:
		return worker_start(w, err);
	case VIGIA_WORKER_CHECKPOINT:
		return vigia_watcher_checkpoint(w->watcher, seq_num, err);
	case VIGIA_WORKER_SEEK:
		return vigia_watcher_seek(w->watcher, seq_num, err);
	case VIGIA_WORKER_RELOAD:
		return vigia__worker_reload(w, err);
	case VIGIA_WORKER_NOTHING:
		break;
	}
	return VIGIA_OK;
}

/* Nothing to drive, or not yet. */
static bool idle(const struct vigia__worker *w, bool hold)
{
	return worker_rests(w) || (hold && vigia__watcher_state(w->watcher) == VIGIA_RUNNING);
}

/* Do what the mailbox asks for. With nothing there and nothing to drive, wait for it. False: the thread must end. */
static bool take_message(struct vigia__worker *w, bool *hold)
{
	pthread_mutex_lock(&w->helper.mutex);
	vigia__pulse_rest(&w->registry->pulse, true);
	while (!w->helper.quit && !w->stop && w->request == VIGIA_WORKER_NOTHING && idle(w, w->hold))
		pthread_cond_wait(&w->helper.changed, &w->helper.mutex);
	vigia__pulse_rest(&w->registry->pulse, false);
	bool quit = w->helper.quit, stops = w->stop;
	enum vigia__worker_request request = w->request;
	uint64_t seq_num = w->request_seq_num;
	w->stop = false;
	*hold = w->hold;
	pthread_mutex_unlock(&w->helper.mutex);
	if (stops || quit) worker_stop(w);
	if (quit) return false;
	if (request == VIGIA_WORKER_NOTHING) return true;
	if (request == VIGIA_WORKER_RELOAD &&
	    w->watcher->pending) { /* new code waits for a handler that waits, and comes before the next */
		w->registry->between_events = true;
		return true;
	}
	struct vigia_error err = {0};
	int rc = carry_out(w, request, seq_num, &err);
	worker_publish(w);
	pthread_mutex_lock(&w->helper.mutex);
	w->request = VIGIA_WORKER_NOTHING;
	w->rc = rc;
	w->err = err;
	unlock_and_wake(w);
	return true;
}

static void drive(struct vigia__worker *w)
{
	struct vigia_error err = {0};
	int rc = vigia_registry_step(w->registry, w->job.changed ? IDLE_LOOK_NS : -1, &err);
	if (rc < 0 && rc != VIGIA_EINTERRUPTED) { /* the store was closed */
		vigia__log(w->registry, VIGIA_LOG_ERROR, "watcher '%s': cannot continue: %s", VIGIA_SHOWN(w->id),
		           VIGIA_TOLD(&err));
		vigia__driver(w->watcher)->last_error = err;
		worker_stop(w);
		vigia_watcher_stop(w->watcher, 0, NULL);
		if (!worker_rests(w)) w->watcher->driving->abandon(w->watcher);
	}
	if (worker_rests(w)) {
		worker_publish(w);
		vigia__worker_end_job(w);
	} else {
		vigia__worker_look_for_new_code(w);
	}
	worker_publish(w);
}

/* The first one makes what all share. */
static int be_lane(struct vigia__worker *w, const struct vigia_watch_options *options, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	if (w->job.lanes) w->lanes = vigia__lanes_ref(w->job.lanes);
	else
		rc = vigia__lanes_new(w->id, (unsigned)w->options.lanes, (uint64_t)options->lane_window, options->lane_key,
		                      vigia__inbox_poke, &w->lanes, err);
	return rc == VIGIA_OK ? vigia__driver_be_lane(vigia__driver(w->watcher), w->lanes, w->job.lane, err) : rc;
}

static int worker_load(struct vigia__worker *w, struct vigia_error *err)
{
	int rc = w->job.load(w->job.ctx, w, w->id, &w->options, err);
	if (rc < 0) return rc;
	struct vigia_watch_options options = w->options;
	struct vigia_handler handler = {
		.size = sizeof handler, .handle = w->job.handle, .resume = w->job.resume, .ctx = w->job.ctx};
	options.auto_start = false;
	rc = vigia__laned_check(&options, w->registry, w->job.again != NULL, err);
	options.lanes = 1; /* the others are other threads' */
	if (rc == VIGIA_OK) rc = vigia_registry_watch(w->registry, w->id, &handler, &options, &w->watcher, err);
	if (rc == VIGIA_OK && w->options.lanes > 1) rc = be_lane(w, &options, err);
	vigia__forget_filter(&w->options);
	if (rc < 0) {
		w->job.discard(w->job.ctx);
		return rc;
	}
	w->job.activate(w->job.ctx);
	return VIGIA_OK;
}

/* A thread that was started ahead prepares meanwhile. False: what it was started for did not come. */
static bool wait_for_job(struct vigia__worker *w)
{
	pthread_mutex_lock(&w->helper.mutex);
	if (!w->handed_over) {
		struct vigia__job job = w->job;
		pthread_mutex_unlock(&w->helper.mutex);
		job.prepare(job.ctx);
		int64_t until = vigia__mono_ns() + VIGIA_AHEAD_NS;
		pthread_mutex_lock(&w->helper.mutex);
		while (!w->handed_over && !w->helper.quit && changed_until(w, until)) continue;
	}
	bool handed_over = w->handed_over;
	w->expired = !handed_over;
	pthread_mutex_unlock(&w->helper.mutex);
	return handed_over;
}

/* Load, start, and tell the owner of the outcome. False: the code is of no use. */
static bool load_and_start(struct vigia__worker *w)
{
	struct vigia_error err = {0};
	int rc = worker_load(w, &err);
	bool usable = rc == VIGIA_OK;
	if (usable) worker_publish(w);
	if (usable && w->start_loaded && w->options.auto_start) {
		rc = worker_start(w, &err);
		worker_publish(w);
	}
	pthread_mutex_lock(&w->helper.mutex);
	w->loaded = true;
	w->usable = usable;
	w->rc = rc;
	w->err = err;
	unlock_and_wake(w);
	return usable;
}

static void *work(void *arg)
{
	struct vigia__worker *w = arg;
	if (wait_for_job(w) && load_and_start(w)) {
		bool hold;
		while (take_message(w, &hold))
			if (!idle(w, hold)) drive(w);
		/* A handler that waits is told once. One that waits again is left. */
		vigia_watcher_stop(w->watcher, 0, NULL);
		vigia__watcher_finish(w->watcher);
		if (!worker_rests(w)) w->watcher->driving->abandon(w->watcher);
		vigia__worker_end_job(w);
		worker_publish(w);
	}
	w->job.close(w->job.ctx);
	pthread_mutex_lock(&w->helper.mutex);
	w->ended = true;
	unlock_and_wake(w);
	return NULL;
}

/* ---- life ---- */

static void worker_destroy(struct vigia__worker *w)
{
	vigia_registry_free(w->registry);
	vigia__lanes_unref(w->lanes);
	vigia__helper_deinit(&w->helper);
	vigia__free(w);
}

/* NULL: no memory. */
static struct vigia__worker *create(struct vigia_registry *owner, const struct vigia__job *job)
{
	struct vigia__worker *w = vigia__calloc(sizeof *w);
	if (w == NULL) return NULL;
	w->owner = owner;
	w->job = *job;
	w->fork_generation = vigia__fork_generation();
	vigia__helper_init(&w->helper);
	w->registry = vigia_registry_new(owner->store);
	if (w->registry == NULL) {
		worker_destroy(w);
		return NULL;
	}
	w->registry->one_watcher = true;
	w->registry->worker = w;
	vigia_registry_log(w->registry, w, log_record);
	return w;
}

/* The thread may be there already. False: it is, and waits no longer. */
static bool hand_over(struct vigia__worker *w, const char *watcher_id, const struct vigia__job *job)
{
	pthread_mutex_lock(&w->helper.mutex);
	w->job = *job;
	snprintf(w->id, sizeof w->id, "%s", watcher_id ? watcher_id : "");
	w->start_loaded = watcher_id != NULL;
	w->registry->holds_late = w->owner->holds_late;
	w->registry->tell = w->owner->tell;
	w->handed_over = !w->expired;
	unlock_and_wake(w);
	return w->handed_over;
}

/* Start its thread. After an error it is gone. Others look under the mutex whether it runs: a signal may stop it before
 * this returns. */
static int begin(struct vigia__worker *w, struct vigia_error *err)
{
	pthread_mutex_lock(&w->helper.mutex);
	int rc = vigia__helper_start(&w->helper, work, w, "start a thread", err);
	pthread_mutex_unlock(&w->helper.mutex);
	if (rc < 0) worker_destroy(w);
	return rc;
}

void *vigia__worker_job_ahead(const struct vigia_registry *owner)
{
	return owner->ahead && !forked(owner->ahead) ? owner->ahead->job.ctx : NULL;
}

bool vigia__worker_start_ahead(struct vigia_registry *owner, const struct vigia__job *job)
{
	struct vigia__worker *w = create(owner, job);
	if (w == NULL || begin(w, NULL) < 0) return false; /* the one in time is tried then */
	w->owns_job = true;
	owner->ahead = w;
	return true;
}

void vigia__worker_drop_ahead(struct vigia_registry *owner)
{
	struct vigia__worker *w = owner->ahead;
	owner->ahead = NULL;
	vigia__worker_free(w);
}

/* The thread that was started ahead for this job, or NULL. */
static struct vigia__worker *take_ahead(struct vigia_registry *owner, const struct vigia__job *job)
{
	struct vigia__worker *w = owner->ahead;
	if (w == NULL || w->job.ctx != job->ctx) return NULL;
	owner->ahead = NULL;
	w->owns_job = false;
	return w;
}

int vigia__worker_new(struct vigia_registry *owner, const char *watcher_id, const struct vigia__job *job,
                      struct vigia__worker **out, struct vigia_error *err)
{
	struct vigia__worker *w = take_ahead(owner, job);
	if (w && !hand_over(w, watcher_id, job)) {
		vigia__worker_free(w);
		w = NULL;
	}
	if (w == NULL) {
		w = create(owner, job);
		if (w == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a worker");
		hand_over(w, watcher_id, job);
		int started = begin(w, err);
		if (started < 0) return started;
	}
	if (w->job.meanwhile) w->job.meanwhile(w->job.ctx);
	pthread_mutex_lock(&w->helper.mutex);
	while (!w->loaded) pthread_cond_wait(&w->helper.changed, &w->helper.mutex);
	int rc = w->rc;
	bool usable = w->usable;
	if (rc < 0 && err) *err = w->err;
	pthread_mutex_unlock(&w->helper.mutex);
	if (usable) {
		w->owns_job = true;
		*out = w;
		return rc;
	}
	pthread_join(w->helper.thread, NULL);
	worker_destroy(w);
	return rc;
}

void vigia__worker_forget_ahead(struct vigia_registry *owner, const struct vigia__job *job)
{
	vigia__worker_free(take_ahead(owner, job));
}

/* Wait for the thread's end, and kill what it runs if that takes too long. */
static void give_grace(struct vigia__worker *w)
{
	int64_t until = vigia__mono_ns() + VIGIA_END_GRACE_NS;
	pthread_mutex_lock(&w->helper.mutex);
	while (!w->ended && changed_until(w, until)) continue;
	pthread_mutex_unlock(&w->helper.mutex);
	vigia__worker_kill(w);
}

void vigia__worker_end(struct vigia__worker *w)
{
	if (!w->helper.runs || forked(w)) return;
	pthread_mutex_lock(&w->helper.mutex);
	w->helper.quit = true;
	atomic_store(&w->stopping, true);
	unlock_and_interrupt(w);
	if (w->job.killable) give_grace(w);
	pthread_join(w->helper.thread, NULL);
	w->helper.runs = false;
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
	worker_destroy(w);
}

/* ---- for the owner ---- */

const char *vigia__worker_id(const struct vigia__worker *w)
{
	return w->id;
}

struct vigia__lanes *vigia__worker_lanes(const struct vigia__worker *w)
{
	return w->lanes;
}

const struct vigia_watch_options *vigia__worker_options(const struct vigia__worker *w)
{
	return &w->options;
}

void vigia__worker_stats(struct vigia__worker *w, struct vigia_watcher_stats *out)
{
	if (forked(w)) { /* the thread that held the mutex is not here */
		*out = (struct vigia_watcher_stats){.state = VIGIA_STOPPED};
		return;
	}
	pthread_mutex_lock(&w->helper.mutex);
	*out = w->stats;
	pthread_mutex_unlock(&w->helper.mutex);
	if (out->state != VIGIA_STOPPED && atomic_load(&w->stopping)) out->state = VIGIA_STOPPING;
}

enum vigia_watcher_state vigia__worker_state(struct vigia__worker *w)
{
	struct vigia_watcher_stats stats;
	vigia__worker_stats(w, &stats);
	return stats.state;
}

int vigia__worker_call(struct vigia__worker *w, enum vigia__worker_request request, uint64_t seq_num,
                       struct vigia_error *err)
{
	if (forked(w))
		return vigia__error(err, VIGIA_EFORKED, "watcher '%s' belongs to the parent process", VIGIA_SHOWN(w->id));
	pthread_mutex_lock(&w->helper.mutex);
	w->request = request;
	w->request_seq_num = seq_num;
	unlock_and_interrupt(w);
	pthread_mutex_lock(&w->helper.mutex);
	while (w->request != VIGIA_WORKER_NOTHING) pthread_cond_wait(&w->helper.changed, &w->helper.mutex);
	int rc = w->rc;
	if (err && rc < 0) *err = w->err;
	pthread_mutex_unlock(&w->helper.mutex);
	return rc;
}

void vigia__worker_hold(struct vigia__worker *w, bool hold)
{
	pthread_mutex_lock(&w->helper.mutex);
	w->hold = hold;
	unlock_and_interrupt(w);
}

void vigia__worker_stop(struct vigia__worker *w)
{
	if (forked(w)) return;
	pthread_mutex_lock(&w->helper.mutex);
	bool wanted = w->helper.runs && !w->stop && w->stats.state != VIGIA_STOPPED;
	if (wanted) {
		w->stop = true;
		atomic_store(&w->stopping, true);
	}
	if (wanted) unlock_and_interrupt(w);
	else pthread_mutex_unlock(&w->helper.mutex);
}

bool vigia__worker_kill(struct vigia__worker *w)
{
	if (!w->job.killable || forked(w)) return false;
	pthread_mutex_lock(&w->helper.mutex);
	bool works = w->helper.runs && (w->helper.quit || !at_rest(w->stats.state));
	if (works) atomic_store(&w->killed, true);
	pthread_mutex_unlock(&w->helper.mutex);
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
	pthread_mutex_lock(&w->helper.mutex);
	vigia__pulse_rest(&w->registry->pulse, true);
	while (!atomic_load(&w->stopping) && changed_until(w, until_mono_ns)) continue;
	vigia__pulse_rest(&w->registry->pulse, false);
	bool stopping = atomic_load(&w->stopping);
	pthread_mutex_unlock(&w->helper.mutex);
	return !stopping;
}
