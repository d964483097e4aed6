/*
 * store_steer.c - steers watchers of any process, for callers of vigia.h (contract O2). See vigia_steer.h.
 *
 * The caller that becomes the owner of an id that no one runs does what is asked for itself. Else it leaves a request
 * (steer.h), which the owner carries out and answers in one commit. So a request that was withdrawn is not carried out,
 * and one whose owner died before the commit is done by the caller, once it owns the id.
 */
#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "../core/iterator.h"
#include "lane_record.h"
#include "store.h"
#include "store_private.h"

static struct vigia_slice id_of(const struct vigia__steering *s)
{
	return (struct vigia_slice){s->id, strlen(s->id)};
}

void vigia__steer_tell(struct vigia__backend *b)
{
	struct vigia__wake_set all;
	atomic_fetch_add(b->steer_requests, 1);
	vigia__wake_set_all(&all);
	vigia__wake_publish(b->wake, &all);
}

/* ---- pauses ---- */

struct pause {
	const char *id;
	bool *paused;
};

static int look_for_pause(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct pause *pause = arg;
	return vigia__pause_get(kv, (struct vigia_slice){pause->id, strlen(pause->id)}, pause->paused);
}

int vigia__pause_look(struct vigia__backend *b, const char *id, bool *paused, struct vigia_error *err)
{
	struct pause pause = {id, paused};
	*paused = false;
	int rc = b->view(b, VIGIA_MAP_STATE, look_for_pause, &pause, err);
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

/* ---- a watcher that does not run: the caller owns its id ---- */

struct found {
	const char *id;
	bool stored, ephemeral;
};

static void find_hold(void *ctx, const char *id, uint64_t seq_num)
{
	struct found *found = ctx;
	found->stored |= strcmp(id, found->id) == 0;
}

static int find_row(void *ctx, const struct vigia__row_told *told)
{
	struct found *found = ctx;
	bool same = strcmp(told->id, found->id) == 0;
	found->ephemeral |= same && told->runs && (told->flags & VIGIA_ROW_EPHEMERAL);
	return VIGIA_OK;
}

/* Is anything stored of it? ENOWATCHER, EEPHEMERAL. */
static int check_known(struct vigia__backend *b, const char *id, struct vigia_error *err)
{
	struct found found = {.id = id};
	uint64_t checkpoint;
	int rc = b->checkpoint_get(b, id, &checkpoint, err);
	if (rc != VIGIA_ENOCHECKPOINT) return rc;
	vigia__error_clear(err);
	rc = b->checkpoint_each(b, true, &found, find_hold, err);
	if (rc == VIGIA_OK && !found.stored) rc = vigia__pause_look(b, id, &found.stored, err);
	if (rc != VIGIA_OK || found.stored) return rc;
	uint64_t unshown;
	rc = vigia__backend_rows(b, find_row, &found, &unshown, err);
	if (rc < 0) return rc;
	if (found.ephemeral)
		return vigia__error(
			err, VIGIA_EEPHEMERAL,
			"watcher '%s' is ephemeral: the store keeps nothing of it, so only its own program can steer it",
			VIGIA_SHOWN(id));
	return vigia__error(err, VIGIA_ENOWATCHER, "there is no watcher '%s': none runs or has a checkpoint",
	                    VIGIA_SHOWN(id));
}

static int change_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct vigia__steering *s = arg;
	int rc = VIGIA_OK;
	if (s->steer.kind == VIGIA_STEER_SEEK) rc = vigia__lanes_forget_in(kv, (void *)s->id, err);
	else rc = vigia__pause_set(kv, id_of(s), s->steer.kind == VIGIA_STEER_PAUSE);
	if (rc == VIGIA_OK && s->steer.number > 0) rc = vigia__steer_remove(kv, id_of(s), s->steer.number);
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

static int change(struct vigia__backend *b, struct vigia__steering *s, struct vigia_error *err)
{
	struct vigia__transact transact = {.also = change_in, .also_arg = s};
	if (s->steer.kind == VIGIA_STEER_RETRY)
		return vigia__error(err, VIGIA_ESTATE,
		                    "watcher '%s' does not run: it tries its next event at once when it is started",
		                    VIGIA_SHOWN(s->id));
	int rc = check_known(b, s->id, err);
	bool seeks = s->steer.kind == VIGIA_STEER_SEEK;
	if (seeks) {
		transact.watcher_id = s->id;
		transact.checkpoint = s->steer.seq_num;
	}
	if (rc == VIGIA_OK) rc = b->transact(b, &transact, err);
	if (rc == VIGIA_OK && seeks) vigia__backend_saved(b, s->id, s->steer.seq_num);
	return rc;
}

/* ---- one that runs: requests ---- */

static int64_t later(int64_t now_ns, int64_t timeout_ns)
{
	return timeout_ns < 0 || now_ns > INT64_MAX - timeout_ns ? INT64_MAX : now_ns + timeout_ns;
}

/* So much longer than its time is a request carried out that no one withdrew: the clocks are two. */
enum { GRACE_NS = 1000000000 };

struct asking {
	struct vigia__steering *s;
	int64_t now_ns;
};

static int ask_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const struct asking *asking = arg;
	return vigia__steer_add(kv, id_of(asking->s), asking->now_ns, &asking->s->steer);
}

static int ask(struct vigia__backend *b, struct vigia__steering *s, struct vigia_error *err)
{
	struct asking asking = {s, vigia__backend_wall_ns(b)};
	struct vigia__transact transact = {.also = ask_in, .also_arg = &asking};
	s->steer.until_at_ns = later(later(asking.now_ns, s->timeout_ns), GRACE_NS);
	s->until_mono_ns = later(vigia__mono_ns(), s->timeout_ns);
	int rc = b->transact(b, &transact, err);
	if (rc != VIGIA_OK) s->steer.number = 0;
	else vigia__steer_tell(b);
	return rc;
}

/* Whatever becomes of that: who asks next removes it. */
static void remove_answered(struct vigia__backend *b, struct vigia__steering *s);

static int get_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia__steering *s = arg;
	return vigia__steer_get(kv, id_of(s), s->steer.number, &s->steer);
}

static int withdraw_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	int rc = get_in(kv, arg, err);
	const struct vigia__steering *s = arg;
	return rc == VIGIA_OK ? vigia__steer_remove(kv, id_of(s), s->steer.number) : rc == VIGIA_NONE ? VIGIA_OK : rc;
}

static void remove_answered(struct vigia__backend *b, struct vigia__steering *s)
{
	struct vigia__transact transact = {.also = withdraw_in, .also_arg = s};
	b->transact(b, &transact, NULL);
}

static int outcome(const struct vigia__steering *s, struct vigia_error *err)
{
	return s->steer.code == VIGIA_OK ? VIGIA_OK : vigia__error(err, s->steer.code, "%s", s->steer.text);
}

/* VIGIA_NONE: there is no answer yet. */
static int look(struct vigia__backend *b, struct vigia__steering *s, struct vigia_error *err)
{
	int rc = b->view(b, VIGIA_MAP_STATE, get_in, s, err);
	if (rc != VIGIA_OK || !s->steer.answered) return rc == VIGIA_OK ? VIGIA_NONE : rc;
	remove_answered(b, s);
	return outcome(s, err);
}

/* VIGIA_PENDING: it runs. Else the outcome. */
static int try_at_rest(struct vigia__backend *b, struct vigia__steering *s, struct vigia_error *err)
{
	int rc = b->own_briefly(b, s->id, err);
	if (rc == VIGIA_EOWNED) {
		vigia__error_clear(err);
		return VIGIA_PENDING;
	}
	if (rc != VIGIA_OK) return rc;
	if (s->steer.number > 0) rc = look(b, s, err); /* its last owner may have answered */
	if (s->steer.number == 0 || rc == VIGIA_NONE) rc = change(b, s, err);
	b->disown(b, s->id);
	return rc;
}

/* ---- the door ---- */

static int enter(struct vigia_store *store, const char *id, struct vigia_error *err)
{
	int rc = vigia__watcher_id_check(id, id ? strlen(id) : 0, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter_to_write(store, err);
	if (rc < 0 || store->backend->own_briefly) return rc;
	rc = vigia__error(err, VIGIA_EUNSUPPORTED, "this store does not support steering a watcher from outside");
	return vigia__store_end(store, rc);
}

static int leave(struct vigia_store *store, const char *id, int rc, struct vigia_error *err)
{
	return vigia__error_watcher(err, id, vigia__store_end(store, rc));
}

/* The number behind which it is to continue. */
static int resolve(struct vigia__backend *b, struct vigia__steering *s, struct vigia_iterator to,
                   struct vigia_error *err)
{
	uint64_t oldest, latest;
	int rc = b->bounds(b, &oldest, &latest, err);
	if (rc != VIGIA_OK) return rc;
	to = vigia__iterator_resolve(to, oldest, latest);
	uint64_t lowest = oldest > 0 ? oldest - 1 : latest, before = vigia__iterator_first(to) - 1;
	if (before > latest) return vigia__checkpoint_beyond(s->id, "seek to", to.seq_num, latest, err);
	s->steer.seq_num = before > lowest ? before : lowest;
	return VIGIA_OK;
}

int vigia__steer_begin(struct vigia_store *store, struct vigia__steering *s, const char *watcher_id,
                       struct vigia_iterator to, struct vigia_error *err)
{
	struct vigia_error local = {0};
	if (err == NULL) err = &local;
	int rc = enter(store, watcher_id, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	snprintf(s->id, sizeof s->id, "%s", watcher_id);
	if (vigia__in_handler_of(store, s->id))
		rc = vigia__error(
			err, VIGIA_ESTATE,
			"watcher '%s' cannot wait for its own handler: in the handler, use the functions of the watcher itself",
			VIGIA_SHOWN(s->id));
	if (rc == VIGIA_OK && s->steer.kind == VIGIA_STEER_SEEK) rc = resolve(b, s, to, err);
	if (rc == VIGIA_OK) rc = try_at_rest(b, s, err);
	if (rc == VIGIA_PENDING) {
		rc = ask(b, s, err);
		s->by_caller = vigia__running_find(&b->running, s->id).by_caller;
		if (rc == VIGIA_OK && s->by_caller) vigia__running_attend(&b->running, s->id);
		if (rc == VIGIA_OK) rc = look(b, s, err);
		if (rc == VIGIA_NONE) rc = VIGIA_PENDING;
	}
	return leave(store, s->id, rc, err);
}

int vigia__steer_poll(struct vigia_store *store, struct vigia__steering *s, struct vigia_error *err)
{
	struct vigia_error local = {0};
	if (err == NULL) err = &local;
	int rc = enter(store, s->id, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	rc = look(b, s, err);
	if (rc == VIGIA_NONE && !b->owner(b, s->id, &s->runner)) rc = try_at_rest(b, s, err);
	return leave(store, s->id, rc == VIGIA_PENDING ? VIGIA_NONE : rc, err);
}

static int late(const struct vigia__backend *b, const struct vigia__steering *s, struct vigia_error *err)
{
	char who[64 + VIGIA_ROW_HOST] = "another process";
	const char *host = s->runner.host;
	if (b->host && strcmp(host, b->host) == 0) host = "";
	if (s->runner.pid > 0)
		snprintf(who, sizeof who, "process %ld%s%s", (long)s->runner.pid, *host ? " on " : "", VIGIA_SHOWN(host));
	return vigia__error(
		err, VIGIA_ETIMEOUT,
		"watcher '%s' is run by %s, which did not carry out the request (%s) in %.15g s: the request is withdrawn",
		VIGIA_SHOWN(s->id), who, vigia__steer_name(s->steer.kind), (double)s->timeout_ns / 1e9);
}

int vigia__steer_withdraw(struct vigia_store *store, struct vigia__steering *s, struct vigia_error *err)
{
	struct vigia_error local = {0};
	if (err == NULL) err = &local;
	int rc = enter(store, s->id, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	struct vigia__transact transact = {.also = withdraw_in, .also_arg = s};
	b->owner(b, s->id, &s->runner);
	rc = b->transact(b, &transact, err);
	if (rc == VIGIA_OK && s->steer.answered) rc = outcome(s, err);
	else {
		vigia__steer_tell(b); /* lanes that wait for others to agree */
		rc = late(b, s, err); /* if the commit failed, its time is over soon */
	}
	return leave(store, s->id, rc, err);
}

static bool cancelled(const struct vigia__cancel *cancel)
{
	return cancel && ((cancel->flag && atomic_load(cancel->flag)) || (cancel->asks && cancel->asks(cancel->ctx)));
}

static int refuse_busy(struct vigia_store *store, struct vigia__steering *s, struct vigia_error *err)
{
	int rc = vigia__steer_withdraw(store, s, err);
	if (rc != VIGIA_ETIMEOUT) return rc;
	return vigia__error_watcher(
		err, s->id,
		vigia__error(err, VIGIA_ESTATE,
	                 "watcher '%s' is handling an event, and this thread drives it: call %s in a "
	                 "coroutine of its registry, or when its handler has ended",
	                 VIGIA_SHOWN(s->id), vigia__steer_name(s->steer.kind)));
}

int vigia__steer_wait(struct vigia_store *store, struct vigia__steering *s, const struct vigia__cancel *cancel,
                      struct vigia_error *err)
{
	int rc = enter(store, s->id, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	struct vigia__listen listen;
	int64_t heal = vigia__mono_ns() + VIGIA_HEAL_NS;
	vigia__listen_init(&listen, &(struct vigia_slice){s->id, strlen(s->id)}, 1);
	vigia__listen_bell(&listen, &store->bell);
	if (cancel && cancel->bell) vigia__listen_bell(&listen, cancel->bell);
	for (rc = s->by_caller ? refuse_busy(store, s, err) : VIGIA_NONE; rc == VIGIA_NONE;) {
		vigia__wake_prepare(b->wake, &listen);
		rc = vigia__steer_poll(store, s, err);
		int64_t now = vigia__mono_ns(), first = now + VIGIA_STEER_LOOK_NS;
		if (rc != VIGIA_NONE || cancelled(cancel)) break;
		if (now >= heal) {
			vigia__store_unannounced(b, b->commits(b)); /* what a killed process has committed can be read then */
			heal = now + VIGIA_HEAL_NS;
		}
		if (first > s->until_mono_ns) first = s->until_mono_ns;
		if (now >= s->until_mono_ns) rc = vigia__steer_withdraw(store, s, err);
		else vigia__wake_wait(b->wake, &listen, cancel && cancel->asks ? vigia__signal_until(first) : first);
	}
	return vigia__store_end(store, rc);
}

static int steer(struct vigia_store *store, enum vigia__steer_kind kind, const char *watcher_id,
                 struct vigia_iterator to, int64_t timeout_ns, uint64_t *seq_num, struct vigia_error *err)
{
	struct vigia__steering s = {.steer.kind = kind, .timeout_ns = timeout_ns};
	int rc = vigia__steer_begin(store, &s, watcher_id, to, err);
	if (rc == VIGIA_PENDING) rc = vigia__steer_wait(store, &s, NULL, err);
	if (rc == VIGIA_OK && seq_num) *seq_num = s.steer.seq_num;
	return rc;
}

int vigia_store_seek(struct vigia_store *store, const char *watcher_id, struct vigia_iterator to, int64_t timeout_ns,
                     uint64_t *seq_num, struct vigia_error *err)
{
	return steer(store, VIGIA_STEER_SEEK, watcher_id, to, timeout_ns, seq_num, err);
}

int vigia_store_pause(struct vigia_store *store, const char *watcher_id, int64_t timeout_ns, struct vigia_error *err)
{
	return steer(store, VIGIA_STEER_PAUSE, watcher_id, (struct vigia_iterator){0}, timeout_ns, NULL, err);
}

int vigia_store_resume(struct vigia_store *store, const char *watcher_id, int64_t timeout_ns, struct vigia_error *err)
{
	return steer(store, VIGIA_STEER_RESUME, watcher_id, (struct vigia_iterator){0}, timeout_ns, NULL, err);
}

int vigia_store_retry(struct vigia_store *store, const char *watcher_id, int64_t timeout_ns, uint64_t *seq_num,
                      struct vigia_error *err)
{
	return steer(store, VIGIA_STEER_RETRY, watcher_id, (struct vigia_iterator){0}, timeout_ns, seq_num, err);
}

/* ---- forget ---- */

static int forget_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct vigia_slice id = {arg, strlen(arg)};
	int rc = vigia__lane_record_remove(kv, id);
	return rc == VIGIA_OK || rc == VIGIA_NONE ? vigia__steer_forget(kv, id) : rc;
}

/* The checkpoint goes last: cut short, it can be done again. */
static int forget(struct vigia_store *store, const char *id, struct vigia_error *err)
{
	struct vigia__backend *b = store->backend;
	struct vigia__transact transact = {.also = forget_in, .also_arg = (void *)id, .frees = true};
	int rc = check_known(b, id, err);
	if (rc == VIGIA_OK) rc = vigia_dead_letter_drop(store, id, 0, NULL, err);
	if (rc == VIGIA_OK || rc == VIGIA_NONE) rc = b->transact(b, &transact, err);
	if (rc == VIGIA_OK) rc = b->checkpoint_delete(b, id, err);
	if (rc != VIGIA_ENOCHECKPOINT) return rc;
	vigia__error_clear(err);
	return VIGIA_OK;
}

int vigia_store_forget(struct vigia_store *store, const char *watcher_id, struct vigia_error *err)
{
	struct vigia_error local = {0};
	if (err == NULL) err = &local;
	int rc = enter(store, watcher_id, err);
	if (rc < 0) return rc;
	rc = store->backend->own_briefly(store->backend, watcher_id, err);
	if (rc == VIGIA_OK) {
		rc = forget(store, watcher_id, err);
		store->backend->disown(store->backend, watcher_id);
	}
	return leave(store, watcher_id, rc, err);
}
