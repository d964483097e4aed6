/*
 * driver_steer.c - carries out what other processes, or other threads, ask of a watcher (store/steer.h): a seek, a
 * pause, its end, a retry.
 *
 * A count in the memory that all processes share says that there is something to look at: one load for each event. What
 * is asked for is carried out between two events. The answer is one commit with what it changes in the store, and fails
 * with it if the request was withdrawn. What it changes in memory follows, and cannot fail.
 *
 * With a store that waits for a server the look and the answer are errands (errand.c). During a look the watcher goes
 * on. While an answer is under way it does nothing: a stop waits for that, and calls of the application wait in their
 * thread.
 *
 * Lanes look each by itself. The first that comes moves the checkpoint for a seek; the others see that their epoch is
 * over, and follow. A pause, and that no lane waits for a retry, is answered by the last lane that agrees.
 */
#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "drive_private.h"

/* After a failure, and while other lanes do not agree yet. */
enum { FAILED_NS = 1000000000, AGREE_NS = 100000000 };

static struct vigia__backend *backend_of(const struct vigia__driver *w)
{
	return w->base.registry->store->backend;
}

static struct vigia_slice id_of(const struct vigia__driver *w)
{
	return (struct vigia_slice){w->base.id, strlen(w->base.id)};
}

static bool is_asked(const struct vigia__driver *w)
{
	return atomic_load_explicit(w->steer_requests, memory_order_relaxed) != w->steer_seen;
}

static void look_later(struct vigia__driver *w, int64_t ns)
{
	w->steer_later_mono_ns = vigia__time_now(w->base.registry->clock) + ns;
}

static void failed(struct vigia__driver *w, struct vigia_error *err, const char *doing)
{
	look_later(w, FAILED_NS);
	vigia__driver_keep_error(w, err);
	vigia__driver_log_error(w, err, doing);
}

/* ---- the look ---- */

static int look_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__steer_work *work = arg;
	struct vigia__steer_look *look = &work->look;
	int rc = vigia__pause_get(kv, id_of(work->w), &look->paused);
	if (rc == VIGIA_OK) rc = vigia__steer_answered(kv, id_of(work->w), &look->answered);
	if (rc == VIGIA_OK) rc = vigia__steer_next(kv, id_of(work->w), look->now_ns, &look->steer);
	look->any = rc == VIGIA_OK;
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

static int look_now(void *ctx, struct vigia_error *err)
{
	struct vigia__steer_work *work = ctx;
	struct vigia__backend *b = backend_of(work->w);
	work->look = (struct vigia__steer_look){.now_ns = vigia__backend_wall_ns(b)};
	return b->view(b, VIGIA_MAP_STATE, look_in, work, err);
}

/* On the thread of errands, where there is one: then VIGIA_PENDING, and the same call again. */
static int call(struct vigia__steer_work *work, int (*fn)(void *ctx, struct vigia_error *err), struct vigia_error *err)
{
	if (work->w->waits == NULL) return fn(work, err);
	return vigia__errand_run(work->w->base.registry, &work->errand, fn, work, err);
}

/* ---- answers ---- */

/* An answer, and what it changes in the store. */
static int answer_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__steer_work *work = arg;
	struct vigia__steer there;
	struct vigia_slice id = id_of(work->w);
	int rc = vigia__steer_get(kv, id, work->steer.number, &there);
	work->gone = rc == VIGIA_NONE || (rc == VIGIA_OK && there.answered);
	if (work->gone) return vigia__error(err, VIGIA_ESTATE, "the request was withdrawn");
	bool pauses = work->steer.kind == VIGIA_STEER_PAUSE || work->steer.kind == VIGIA_STEER_RESUME;
	if (rc == VIGIA_OK && pauses && work->steer.code == VIGIA_OK)
		rc = vigia__pause_set(kv, id, work->steer.kind == VIGIA_STEER_PAUSE);
	return rc == VIGIA_OK ? vigia__steer_answer(kv, id, &work->steer) : rc;
}

/* Other lanes save only once it is known. */
static bool is_stored(struct vigia__steer_work *work)
{
	struct vigia_error err;
	return look_now(work, &err) >= 0 && work->look.answered == work->steer.number;
}

static bool is_done(const struct vigia__steer_work *work, enum vigia__steer_kind kind)
{
	return work->steer.kind == kind && work->steer.code == VIGIA_OK;
}

/* With what else is in its commit. */
static int answer_now(void *ctx, struct vigia_error *err)
{
	struct vigia__steer_work *work = ctx;
	struct vigia__driver *w = work->w;
	struct vigia__backend *b = backend_of(w);
	struct vigia__transact transact = {.apply = answer_in, .arg = work, .owner_id = w->base.id};
	struct vigia__lane_seek seek;
	bool seeks = is_done(work, VIGIA_STEER_SEEK);
	work->steer.answered = true;
	if (seeks && w->lane) vigia__lane_seek_begin(w->lane, &seek, work->steer.seq_num, &transact);
	else if (seeks) {
		transact.watcher_id = w->base.id;
		transact.checkpoint = work->steer.seq_num;
	}
	int rc = b->transact(b, &transact, err);
	if (seeks && w->lane)
		vigia__lane_seek_end(w->lane, &seek, rc == VIGIA_OK || (rc == VIGIA_EUNKNOWN && is_stored(work)));
	if (seeks && rc == VIGIA_OK) vigia__backend_saved(b, w->base.id, work->steer.seq_num);
	if (rc == VIGIA_OK) vigia__steer_tell(b);
	return rc;
}

static void refuse(struct vigia__steer_work *work, int code, const char *why)
{
	work->steer.code = code;
	snprintf(work->steer.text, sizeof work->steer.text, "watcher '%.80s' %s", VIGIA_SHOWN(work->w->base.id), why);
}

/* ---- seek ---- */

/* The checkpoint is there already: nothing is saved again. */
static void move_to(struct vigia__driver *w, uint64_t seq_num)
{
	vigia__driver_tell(w, VIGIA_INPUT_SEEK, seq_num);
	if (w->action.kind == VIGIA_ACTION_SAVE && w->action.backwards)
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_SAVED});
}

/* No commit of others takes its old progress along. */
static void begin_seek(struct vigia__steer_work *work)
{
	struct vigia__driver *w = work->w;
	struct vigia__progress_list *list = &backend_of(w)->progress;
	work->done = w->stepper.done;
	work->saved = w->progress ? vigia__progress_saved(list, w->progress) : 0;
	if (w->progress) vigia__progress_reset(list, w->progress, work->steer.seq_num, work->steer.seq_num);
}

/* In doubt it stays: what is held finishes nothing, and settle() puts it back. */
static void end_seek(const struct vigia__steer_work *work, int rc)
{
	struct vigia__driver *w = work->w;
	if (rc == VIGIA_OK) move_to(w, work->steer.seq_num);
	else if (rc != VIGIA_EUNKNOWN && w->progress)
		vigia__progress_reset(&backend_of(w)->progress, w->progress, work->done, work->saved);
}

/* A seek whose answer was in doubt. */
static void settle(struct vigia__driver *w, bool stored)
{
	bool sought = w->unsettled_kind == VIGIA_STEER_SEEK && w->lane == NULL;
	w->unsettled = 0;
	if (sought && stored) {
		vigia__backend_saved(backend_of(w), w->base.id, w->unsettled_seq_num);
		move_to(w, w->unsettled_seq_num);
	} else if (sought && w->progress)
		vigia__progress_reset(&backend_of(w)->progress, w->progress, w->stepper.done, w->stepper.saved);
	else if (w->unsettled_kind == VIGIA_STEER_RETRY && stored && vigia__stepper_waits_for(&w->stepper) > 0)
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_RETRY});
}

/* A seek of all lanes came by another one. */
static void follow(struct vigia__driver *w)
{
	uint64_t seq_num;
	if (w->lane && vigia__lane_is_behind(w->lane, &seq_num)) vigia__driver_tell(w, VIGIA_INPUT_SEEK, seq_num);
}

/* ---- carrying out ---- */

/* Of lanes: do all of them agree to it? Alone: yes. */
static bool all_agree(struct vigia__driver *w, const struct vigia__steer *steer)
{
	if (w->lane == NULL || vigia__lane_agree(w->lane, steer->number)) return true;
	look_later(w, AGREE_NS);
	return false;
}

/* Make the answer. False: other lanes do not agree yet. */
static bool begin_answer(struct vigia__steer_work *work)
{
	struct vigia__driver *w = work->w;
	uint64_t blocked = vigia__stepper_waits_for(&w->stepper);
	work->steer = work->look.steer;
	work->held = w->held;
	switch (work->steer.kind) {
	case VIGIA_STEER_SEEK:
		if (w->lane == NULL) begin_seek(work);
		break;
	case VIGIA_STEER_PAUSE:
		w->held = work->held = true;
		if (!all_agree(w, &work->steer)) return false;
		break;
	case VIGIA_STEER_RESUME:
		break;
	case VIGIA_STEER_RETRY:
		if (work->look.paused) refuse(work, VIGIA_ESTATE, "is paused: resume it first");
		else if (blocked == 0 && !all_agree(w, &work->steer)) return false;
		else if (blocked == 0) refuse(work, VIGIA_ESTATE, "is not waiting to retry an event");
		else work->steer.seq_num = blocked;
		break;
	}
	work->answering = true;
	if (w->waits) w->held = true;
	return true;
}

/* What it changes in memory. VIGIA_NONE: the request is not there any more. */
static int end_answer(struct vigia__steer_work *work, int rc, struct vigia_error *err)
{
	struct vigia__driver *w = work->w;
	work->answering = false;
	w->held = work->held;
	if (rc == VIGIA_EUNKNOWN && work->steer.code == VIGIA_OK) {
		w->unsettled = work->steer.number;
		w->unsettled_kind = work->steer.kind;
		w->unsettled_seq_num = work->steer.seq_num;
		w->held = true; /* until that is known */
	}
	if (is_done(work, VIGIA_STEER_SEEK) && w->lane == NULL) end_seek(work, rc);
	if (is_done(work, VIGIA_STEER_RETRY) && rc == VIGIA_OK)
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_RETRY});
	if (rc != VIGIA_ESTATE || !work->gone) return rc;
	vigia__error_clear(err);
	return VIGIA_NONE;
}

/* ---- turns ---- */

/* Is nothing of it under way? */
static bool is_between(const struct vigia__driver *w)
{
	if (w->base.running_handler || w->base.pending || w->base.in_source || w->starting || w->reading || w->writing)
		return false;
	if (w->stepper.state != VIGIA_RUNNING || vigia__stepper_saves_later(&w->stepper)) return false;
	return w->action.kind != VIGIA_ACTION_SAVE && w->action.kind != VIGIA_ACTION_NONE;
}

/* An open transaction must not stay open in a pause, nor be lost by a seek. */
static void commit_first(struct vigia__driver *w)
{
	if (w->stepper.in_tx == 0 || w->action.kind != VIGIA_ACTION_HANDLE) return;
	vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_DEFERRED, .due = true});
}

/* VIGIA_OK: it was found. */
static int look(struct vigia__steer_work *work, struct vigia_error *err)
{
	struct vigia__driver *w = work->w;
	if (!work->looking) {
		work->seen = atomic_load(w->steer_requests);
		work->looking = true;
	}
	int rc = call(work, look_now, err);
	if (rc == VIGIA_PENDING) return rc;
	work->looking = false;
	if (rc < 0) {
		failed(w, err, "cannot read requests");
		return VIGIA_PENDING;
	}
	if (w->unsettled) settle(w, work->look.answered == w->unsettled);
	follow(w);
	return is_between(w) ? VIGIA_OK : VIGIA_PENDING;
}

/* VIGIA_OK: all is done. VIGIA_PENDING: look again later, or at the end of an errand. */
static int look_and_do(struct vigia__steer_work *work)
{
	struct vigia__driver *w = work->w;
	struct vigia_error err = {0};
	if (!work->answering && !work->looking) work->again = false;
	for (;;) {
		int rc = work->answering ? VIGIA_OK : look(work, &err);
		if (rc != VIGIA_OK) return rc;
		if (!work->answering && !work->look.any) {
			w->held = w->paused = work->look.paused;
			w->steer_seen = work->seen;
			w->steer_later_mono_ns = 0;
			return VIGIA_OK;
		}
		if (!work->answering) {
			commit_first(w);
			if (!is_between(w)) return VIGIA_PENDING; /* it saves first */
			if (!begin_answer(work)) return VIGIA_PENDING;
		}
		rc = call(work, answer_now, &err);
		if (rc == VIGIA_PENDING) return rc;
		rc = end_answer(work, rc, &err);
		bool settles = w->unsettled && !work->again;
		work->again |= settles;
		if (rc < 0 && !settles) failed(w, &err, "cannot carry out a request");
		if (work->stops) {
			work->stops = false;
			vigia__driver_tell(w, VIGIA_INPUT_STOP, 0);
		}
		if ((rc < 0 && !settles) || !is_between(w)) return VIGIA_PENDING;
		vigia__error_clear(&err);
	}
}

static int work_on(struct vigia__driver *w)
{
	struct vigia__steer_work work;
	work.w = w;
	if (w->waits) {
		w->waits->steer.w = w;
		return look_and_do(&w->waits->steer);
	}
	work.looking = work.answering = work.stops = false;
	return look_and_do(&work);
}

static bool is_under_way(const struct vigia__driver *w)
{
	return w->waits && atomic_load(&w->waits->steer.errand.state) == VIGIA_ERRAND_UNDER_WAY;
}

bool vigia__driver_steer(struct vigia__driver *w)
{
	if (!is_between(w)) return true;
	bool ended = vigia__driver_steer_news(w);
	bool wanted = is_asked(w) && vigia__time_now(w->base.registry->clock) >= w->steer_later_mono_ns;
	if ((ended || wanted) && !is_under_way(w)) {
		int rc = vigia__store_enter(w->base.registry->store, NULL);
		if (rc == VIGIA_OK) rc = vigia__store_end(w->base.registry->store, work_on(w));
		vigia__driver_row_show(w);
	}
	if (vigia__driver_answers(w)) return false;
	return !w->held || (w->action.kind != VIGIA_ACTION_READ && w->action.kind != VIGIA_ACTION_HANDLE);
}

/* ---- for those that wait for an answer ---- */

void vigia__driver_finish_steer(struct vigia__driver *w)
{
	while (vigia__driver_answers(w)) {
		vigia__driver_await_steer(w);
		if (is_between(w) && vigia__store_enter(w->base.registry->store, NULL) == VIGIA_OK)
			vigia__store_end(w->base.registry->store, work_on(w));
		else vigia__driver_drop_steer(w);
	}
}

static void attend(void *ctx)
{
	struct vigia__driver *w = ctx;
	const struct vigia__driving *alone = w->base.one ? w->base.one : w->base.driving;
	if (w->base.leader) alone = w->base.leader->one;
	alone->attend(&w->base);
}

int64_t vigia__driver_steer_due(const struct vigia__driver *w, int64_t due)
{
	if (vigia__driver_steer_news(w) && is_between(w)) return 0;
	if (vigia__driver_answers(w)) return INT64_MAX;
	if (w->held && (w->action.kind == VIGIA_ACTION_READ || w->action.kind == VIGIA_ACTION_HANDLE)) due = INT64_MAX;
	if (is_under_way(w) || !is_asked(w) || !is_between(w)) return due;
	return vigia__time_earlier(due, w->steer_later_mono_ns);
}

/* ---- life ---- */

/* Whether it is paused is not known yet: it is held until it has looked. */
void vigia__driver_steer_begin(struct vigia__driver *w)
{
	const struct vigia__backend *b = backend_of(w);
	w->held = w->paused = false;
	w->unsettled = 0;
	if (vigia__source(w) != &vigia__store_source || w->base.options.ephemeral || b->steer_requests == NULL) return;
	w->held = true;
	w->steer_requests = b->steer_requests;
	w->steer_seen = atomic_load(b->steer_requests) - 1;
	w->steer_later_mono_ns = 0;
	w->running = (struct vigia__running){.id = w->base.id,
	                                     .transactional = w->base.options.transactional,
	                                     .has_lanes = w->lane != NULL,
	                                     .progress = w->progress,
	                                     .attend = attend,
	                                     .ctx = w};
	vigia__running_join(&backend_of(w)->running, &w->running);
}
