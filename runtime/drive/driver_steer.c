/*
 * driver_steer.c - carries out what other processes, or other threads, ask of a watcher (store/steer.h): a seek, a
 * pause, its end, a retry.
 *
 * A count in the memory that all processes share says that there is something to look at: one load for each event. What
 * is asked for is carried out between two events. The answer is one commit with what it changes in the store, and fails
 * with it if the request was withdrawn. What it changes in memory follows, and cannot fail.
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

struct look {
	const struct vigia__driver *w;
	int64_t now_ns;
	/* out */
	bool paused, any;
	uint64_t answered; /* the last one that was */
	struct vigia__steer steer;
};

static int look_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct look *look = arg;
	int rc = vigia__pause_get(kv, id_of(look->w), &look->paused);
	if (rc == VIGIA_OK) rc = vigia__steer_answered(kv, id_of(look->w), &look->answered);
	if (rc == VIGIA_OK) rc = vigia__steer_next(kv, id_of(look->w), look->now_ns, &look->steer);
	look->any = rc == VIGIA_OK;
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

/* ---- answers ---- */

/* An answer, and what it changes in the store. */
struct answer {
	const struct vigia__driver *w;
	struct vigia__steer steer; /* as it was found, then as it is written */
	bool gone;                 /* out: it was withdrawn, or another lane has answered */
};

static int answer_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct answer *answer = arg;
	struct vigia__steer there;
	struct vigia_slice id = id_of(answer->w);
	int rc = vigia__steer_get(kv, id, answer->steer.number, &there);
	answer->gone = rc == VIGIA_NONE || (rc == VIGIA_OK && there.answered);
	if (answer->gone) return vigia__error(err, VIGIA_ESTATE, "the request was withdrawn");
	bool pauses = answer->steer.kind == VIGIA_STEER_PAUSE || answer->steer.kind == VIGIA_STEER_RESUME;
	if (rc == VIGIA_OK && pauses && answer->steer.code == VIGIA_OK)
		rc = vigia__pause_set(kv, id, answer->steer.kind == VIGIA_STEER_PAUSE);
	return rc == VIGIA_OK ? vigia__steer_answer(kv, id, &answer->steer) : rc;
}

/* With `transact`, what else is in its commit. VIGIA_OK: it is answered. VIGIA_NONE: it is not there any more. */
static int commit_answer(struct vigia__driver *w, struct answer *answer, struct vigia__transact *transact,
                         struct vigia_error *err)
{
	answer->w = w;
	answer->steer.answered = true;
	transact->apply = answer_in;
	transact->arg = answer;
	int rc = backend_of(w)->transact(backend_of(w), transact, err);
	if (rc == VIGIA_OK) vigia__steer_tell(backend_of(w));
	if (rc == VIGIA_EUNKNOWN && answer->steer.code == VIGIA_OK) {
		w->unsettled = answer->steer.number;
		w->unsettled_kind = answer->steer.kind;
		w->unsettled_seq_num = answer->steer.seq_num;
		w->held = true; /* until that is known */
	}
	if (rc != VIGIA_ESTATE || !answer->gone) return rc;
	vigia__error_clear(err);
	return VIGIA_NONE;
}

static int answer_plain(struct vigia__driver *w, const struct vigia__steer *steer, uint64_t seq_num,
                        struct vigia_error *err)
{
	struct vigia__transact transact = {0};
	struct answer answer = {.steer = *steer};
	if (seq_num > 0) answer.steer.seq_num = seq_num;
	return commit_answer(w, &answer, &transact, err);
}

static int refuse(struct vigia__driver *w, const struct vigia__steer *steer, int code, const char *why,
                  struct vigia_error *err)
{
	struct vigia__transact transact = {0};
	struct answer answer = {.steer = *steer};
	answer.steer.code = code;
	snprintf(answer.steer.text, sizeof answer.steer.text, "watcher '%.80s' %s", VIGIA_SHOWN(w->base.id), why);
	return commit_answer(w, &answer, &transact, err);
}

/* ---- seek ---- */

/* The checkpoint is there already: nothing is saved again. */
static void move_to(struct vigia__driver *w, uint64_t seq_num)
{
	vigia__backend_saved(backend_of(w), w->base.id, seq_num);
	vigia__driver_tell(w, VIGIA_INPUT_SEEK, seq_num);
	if (w->action.kind == VIGIA_ACTION_SAVE && w->action.backwards)
		vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_SAVED});
}

static int seek_alone(struct vigia__driver *w, const struct vigia__steer *steer, struct vigia_error *err)
{
	struct vigia__backend *b = backend_of(w);
	struct vigia__transact transact = {.watcher_id = w->base.id, .checkpoint = steer->seq_num};
	struct answer answer = {.steer = *steer};
	uint64_t done = w->stepper.done, saved = w->stepper.saved;
	if (w->progress) {
		saved = vigia__progress_saved(&b->progress, w->progress);
		vigia__progress_reset(&b->progress, w->progress, steer->seq_num, steer->seq_num);
	}
	int rc = commit_answer(w, &answer, &transact, err);
	/* In doubt it stays: what is held finishes nothing, and settle() puts it back. */
	if (rc != VIGIA_OK && rc != VIGIA_EUNKNOWN && w->progress)
		vigia__progress_reset(&b->progress, w->progress, done, saved);
	if (rc == VIGIA_OK) move_to(w, steer->seq_num);
	return rc;
}

/* Other lanes save only once it is known. */
static bool is_stored(const struct vigia__driver *w, uint64_t number)
{
	struct look look = {.w = w};
	int rc = backend_of(w)->view(backend_of(w), VIGIA_MAP_STATE, look_in, &look, NULL);
	return rc >= 0 && look.answered == number;
}

static int seek_lanes(struct vigia__driver *w, const struct vigia__steer *steer, struct vigia_error *err)
{
	struct vigia__transact transact = {0};
	struct answer answer = {.w = w, .steer = *steer};
	struct vigia__lane_seek seek;
	vigia__lane_seek_begin(w->lane, &seek, steer->seq_num, &transact);
	int rc = commit_answer(w, &answer, &transact, err);
	vigia__lane_seek_end(w->lane, &seek, rc == VIGIA_OK || (rc == VIGIA_EUNKNOWN && is_stored(w, steer->number)));
	if (rc == VIGIA_OK) vigia__backend_saved(backend_of(w), w->base.id, steer->seq_num);
	return rc;
}

/* A seek whose answer was in doubt. */
static void settle(struct vigia__driver *w, bool stored)
{
	bool sought = w->unsettled_kind == VIGIA_STEER_SEEK && w->lane == NULL;
	w->unsettled = 0;
	if (sought && stored) move_to(w, w->unsettled_seq_num);
	else if (sought && w->progress)
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

/* ---- pause, resume, retry ---- */

/* Of lanes: do all of them agree to it? Alone: yes. */
static bool all_agree(struct vigia__driver *w, const struct vigia__steer *steer)
{
	if (w->lane == NULL || vigia__lane_agree(w->lane, steer->number)) return true;
	look_later(w, AGREE_NS);
	return false;
}

/* VIGIA_PENDING: other lanes do not agree yet. */
static int pause(struct vigia__driver *w, const struct vigia__steer *steer, struct vigia_error *err)
{
	w->held = true;
	if (!all_agree(w, steer)) return VIGIA_PENDING;
	return answer_plain(w, steer, 0, err);
}

static int retry(struct vigia__driver *w, const struct vigia__steer *steer, bool paused, struct vigia_error *err)
{
	uint64_t blocked = vigia__stepper_waits_for(&w->stepper);
	if (paused) return refuse(w, steer, VIGIA_ESTATE, "is paused: resume it first", err);
	if (blocked == 0) {
		if (!all_agree(w, steer)) return VIGIA_PENDING;
		return refuse(w, steer, VIGIA_ESTATE, "is not waiting to retry an event", err);
	}
	int rc = answer_plain(w, steer, blocked, err);
	if (rc == VIGIA_OK) vigia__driver_step(w, &(struct vigia__input){.kind = VIGIA_INPUT_RETRY});
	return rc;
}

static int carry_out(struct vigia__driver *w, const struct look *look, struct vigia_error *err)
{
	switch (look->steer.kind) {
	case VIGIA_STEER_SEEK:
		return w->lane ? seek_lanes(w, &look->steer, err) : seek_alone(w, &look->steer, err);
	case VIGIA_STEER_PAUSE:
		return pause(w, &look->steer, err);
	case VIGIA_STEER_RESUME:
		return answer_plain(w, &look->steer, 0, err);
	case VIGIA_STEER_RETRY:
		return retry(w, &look->steer, look->paused, err);
	}
	return VIGIA_OK;
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

/* VIGIA_OK: all is done. VIGIA_PENDING: look again later. */
static int look_and_do(struct vigia__driver *w)
{
	struct vigia_error err = {0};
	uint32_t seen = atomic_load(w->steer_requests);
	bool settled = false;
	for (;;) {
		struct look look = {.w = w, .now_ns = vigia__backend_wall_ns(backend_of(w))};
		int rc = backend_of(w)->view(backend_of(w), VIGIA_MAP_STATE, look_in, &look, &err);
		if (rc < 0) {
			failed(w, &err, "cannot read requests");
			return VIGIA_PENDING;
		}
		if (w->unsettled) settle(w, look.answered == w->unsettled);
		follow(w);
		if (!is_between(w)) return VIGIA_PENDING;
		if (!look.any) {
			w->held = w->paused = look.paused;
			w->steer_seen = seen;
			w->steer_later_mono_ns = 0;
			return VIGIA_OK;
		}
		commit_first(w);
		if (!is_between(w)) return VIGIA_PENDING; /* it saves first */
		rc = carry_out(w, &look, &err);
		if (rc == VIGIA_PENDING) return rc;
		bool settles = w->unsettled && !settled;
		settled |= settles;
		if (rc < 0 && !settles) {
			failed(w, &err, "cannot carry out a request");
			return VIGIA_PENDING;
		}
	}
}

bool vigia__driver_steer(struct vigia__driver *w)
{
	if (!is_between(w)) return true;
	if (is_asked(w) && vigia__time_now(w->base.registry->clock) >= w->steer_later_mono_ns) {
		int rc = vigia__store_enter(w->base.registry->store, NULL);
		if (rc == VIGIA_OK) rc = vigia__store_end(w->base.registry->store, look_and_do(w));
		vigia__driver_row_show(w);
	}
	return !w->held || (w->action.kind != VIGIA_ACTION_READ && w->action.kind != VIGIA_ACTION_HANDLE);
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
	if (w->held && (w->action.kind == VIGIA_ACTION_READ || w->action.kind == VIGIA_ACTION_HANDLE)) due = INT64_MAX;
	return is_asked(w) && is_between(w) ? vigia__time_earlier(due, w->steer_later_mono_ns) : due;
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
