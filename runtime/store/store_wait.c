/*
 * store_wait.c - waits until a watcher's checkpoint has come to a number.
 */
#include <string.h>

#include "../core/error.h"
#include "../core/table.h"
#include "store.h"

_Thread_local const struct vigia__handled *vigia__handled;

bool vigia__in_handler_of(const struct vigia_store *store, const char *watcher_id)
{
	for (const struct vigia__handled *h = vigia__handled; h; h = h->outer)
		if (h->backend == store->backend && strcmp(h->id, watcher_id) == 0) return true;
	return false;
}

/* Its own handler must return before its checkpoint moves. */
static int refuse_own(const struct vigia_store *store, const char *id, struct vigia_error *err)
{
	if (!vigia__in_handler_of(store, id)) return VIGIA_OK;
	return vigia__error(err, VIGIA_ESTATE,
	                    "watcher '%s' cannot wait for itself: its checkpoint moves after its handler returns",
	                    VIGIA_SHOWN(id));
}

static int enter(struct vigia_store *store, const char *id, struct vigia_error *err)
{
	int rc = vigia__watcher_id_check(id, id ? strlen(id) : 0, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter(store, err);
	return rc;
}

/* In between: a failure names the watcher. */
static int leave(struct vigia_store *store, const char *id, int rc, struct vigia_error *err)
{
	return vigia__error_watcher(err, id, vigia__store_end(store, rc));
}

static int look(struct vigia__backend *b, const char *id, uint64_t seq_num, uint64_t *saved, struct vigia_error *err)
{
	*saved = 0;
	int rc = b->checkpoint_get(b, id, saved, err);
	if (rc == VIGIA_ENOCHECKPOINT) vigia__error_clear(err);
	else if (rc < 0) return rc;
	return *saved >= seq_num ? VIGIA_OK : VIGIA_NONE;
}

static void want(struct vigia__backend *b, const char *id, uint64_t seq_num)
{
	uint64_t hash = vigia__table_hash(id, strlen(id));
	if (b->wants == NULL) return;
	if (vigia__wants_add(b->wants, hash, seq_num)) vigia__bell_ring(&b->wants->bell, b->wake);
	if (b->tells) b->tells->wanted(b, hash, seq_num);
}

static void unwant(struct vigia__backend *b, const char *id, uint64_t seq_num)
{
	size_t len = strlen(id);
	if (b->wants == NULL || !vigia__wants_remove(b->wants, vigia__table_hash(id, len), seq_num)) return;
	struct vigia__wake_set set; /* those that wait for a higher number enter it now */
	vigia__wake_set_clear(&set);
	vigia__wake_set_add(&set, (struct vigia_slice){id, len});
	vigia__wake_publish(b->wake, &set);
}

int vigia__checkpoint_look(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, bool wants,
                           uint64_t *saved, struct vigia_error *err)
{
	int rc = enter(store, watcher_id, err);
	if (rc < 0) return rc;
	rc = refuse_own(store, watcher_id, err);
	if (rc == VIGIA_OK && wants) want(store->backend, watcher_id, seq_num);
	if (rc == VIGIA_OK) rc = look(store->backend, watcher_id, seq_num, saved, err);
	return leave(store, watcher_id, rc, err);
}

void vigia__checkpoint_unwant(struct vigia_store *store, const char *watcher_id, uint64_t seq_num)
{
	if (vigia__store_enter(store, NULL) < 0) return;
	unwant(store->backend, watcher_id, seq_num);
	vigia__store_leave(store);
}

int vigia__checkpoint_late(const char *watcher_id, uint64_t seq_num, uint64_t saved, struct vigia_error *err)
{
	unsigned long long n = seq_num, at = saved;
	return vigia__error_watcher(err, watcher_id,
	                            vigia__error(err, VIGIA_ETIMEOUT,
	                                         "the checkpoint of watcher '%s' is %llu and did not reach %llu in time",
	                                         VIGIA_SHOWN(watcher_id), at, n));
}

static bool cancelled(const struct vigia__cancel *cancel)
{
	return cancel && ((cancel->flag && atomic_load(cancel->flag)) || (cancel->asks && cancel->asks(cancel->ctx)));
}

/* Wait for the words, or until the time. At the latest after a second look again: a commit that was not announced, an
 * owner of an earlier version, and an entry that others pushed out are found by that. */
static void wait_a_while(struct vigia_store *store, const struct vigia__listen *listen, int64_t until_mono_ns,
                         const struct vigia__cancel *cancel)
{
	struct vigia__backend *b = store->backend;
	int64_t heal = vigia__mono_ns() + VIGIA_HEAL_NS, first = heal < until_mono_ns ? heal : until_mono_ns;
	if (cancel && cancel->asks) first = vigia__signal_until(first);
	if (!vigia__wake_wait(b->wake, listen, first) && vigia__mono_ns() >= heal)
		vigia__store_unannounced(b, b->commits(b)); /* what a killed process has committed can be read then */
}

int vigia__checkpoint_wait(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, int64_t timeout_ns,
                           const struct vigia__cancel *cancel, uint64_t *saved, struct vigia_error *err)
{
	int rc = enter(store, watcher_id, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	struct vigia__listen listen;
	int64_t now = vigia__mono_ns(),
			until = timeout_ns < 0 || now > INT64_MAX - timeout_ns ? INT64_MAX : now + timeout_ns;
	rc = refuse_own(store, watcher_id, err);
	if (rc == VIGIA_OK) rc = look(b, watcher_id, seq_num, saved, err);
	if (rc != VIGIA_NONE) return leave(store, watcher_id, rc, err);
	vigia__listen_init(&listen, &(struct vigia_slice){watcher_id, strlen(watcher_id)}, 1);
	vigia__listen_bell(&listen, &store->bell);
	if (cancel && cancel->bell) vigia__listen_bell(&listen, cancel->bell);
	bool late = false;
	for (;;) {
		vigia__wake_prepare(b->wake, &listen);
		want(b, watcher_id, seq_num);
		rc = look(b, watcher_id, seq_num, saved, err);
		if (rc != VIGIA_NONE || cancelled(cancel)) break;
		if (atomic_load(&store->closed)) rc = vigia__error(err, VIGIA_ECLOSED, "store '%s' was closed", store->path);
		else if (late) rc = vigia__checkpoint_late(watcher_id, seq_num, *saved, err);
		if (rc < 0) break;
		wait_a_while(store, &listen, until, cancel);
		late = vigia__mono_ns() >= until;
	}
	unwant(b, watcher_id, seq_num);
	return leave(store, watcher_id, rc, err);
}

int vigia_checkpoint_wait(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, int64_t timeout_ns,
                          uint64_t *saved, struct vigia_error *err)
{
	uint64_t ours;
	return vigia__checkpoint_wait(store, watcher_id, seq_num, timeout_ns, NULL, saved ? saved : &ours, err);
}
