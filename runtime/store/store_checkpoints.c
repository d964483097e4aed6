/*
 * store_checkpoints.c - the checkpoints and holds of a store, for callers of vigia.h.
 */
#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "lane_record.h"
#include "store.h"
#include "store_private.h"

int vigia__watcher_id_check(const char *id, size_t len, struct vigia_error *err)
{
	if (id == NULL || len == 0) return vigia__error(err, VIGIA_EINVAL, "watcher_id: must not be empty");
	if (len > VIGIA_NAME_MAX)
		return vigia__error(err, VIGIA_EINVAL, "watcher_id: must have at most %d bytes, has %zu", VIGIA_NAME_MAX, len);
	if (memchr(id, '\0', len)) return vigia__error(err, VIGIA_EINVAL, "watcher_id: must not contain a zero byte");
	return VIGIA_OK;
}

static int id_check(const char *id, struct vigia_error *err)
{
	return vigia__watcher_id_check(id, id ? strlen(id) : 0, err);
}

/* End a call about a watcher: a failure names it. Returns rc. */
static int end_about(struct vigia_store *store, const char *id, int rc, struct vigia_error *err)
{
	return vigia__error_watcher(err, id, vigia__store_end(store, rc));
}

/* ---- lanes ---- */

int vigia__lanes_forget_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	const char *id = arg;
	struct vigia_slice name = {id, strlen(id)};
	struct vigia__ranges ranges;
	uint64_t epoch = 0;
	vigia__ranges_init(&ranges, 0);
	int rc = vigia__lane_record_get(kv, name, &epoch, &ranges);
	vigia__ranges_reset(&ranges, ranges.checkpoint);
	if (rc == VIGIA_OK || rc == VIGIA_EDAMAGED) rc = vigia__lane_record_put(kv, name, epoch + 1, &ranges);
	vigia__ranges_deinit(&ranges);
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

struct left {
	const char *id;
	bool any;
};

static int look_for_ranges(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct left *left = arg;
	struct vigia__ranges ranges;
	uint64_t epoch;
	vigia__ranges_init(&ranges, 0);
	int rc = vigia__lane_record_get(kv, (struct vigia_slice){left->id, strlen(left->id)}, &epoch, &ranges);
	left->any = rc == VIGIA_OK && ranges.count > 0;
	vigia__ranges_deinit(&ranges);
	return rc == VIGIA_NONE || rc == VIGIA_EDAMAGED ? VIGIA_OK : rc;
}

int vigia__lanes_left(struct vigia__backend *b, const char *id, bool *any, struct vigia_error *err)
{
	struct left left = {.id = id};
	int rc = b->view(b, VIGIA_MAP_STATE, look_for_ranges, &left, err);
	*any = left.any;
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

int vigia__lanes_forget(struct vigia__backend *b, const char *id, struct vigia_error *err)
{
	struct vigia__transact transact = {.also = vigia__lanes_forget_in, .also_arg = (void *)id};
	return b->transact(b, &transact, err);
}

/* ---- checkpoints ---- */

int vigia__checkpoint_refuse(const char *id, bool has_lanes, bool transactional, struct vigia_error *err)
{
	if (!has_lanes && !transactional) return VIGIA_OK;
	const char *what = has_lanes ? "has lanes, whose progress is saved together"
	                             : "is transactional: its progress is saved with its transactions";
	return vigia__error_watcher(
		err, id, vigia__error(err, VIGIA_EUNSUPPORTED, "watcher '%s' %s; use seek to move it", VIGIA_SHOWN(id), what));
}

int vigia__checkpoint_beyond(const char *id, const char *what, uint64_t seq_num, uint64_t latest,
                             struct vigia_error *err)
{
	return vigia__error_watcher(err, id,
	                            vigia__error(err, VIGIA_EPOSITION,
	                                         "watcher '%s' cannot %s %llu: the last event is %llu", VIGIA_SHOWN(id),
	                                         what, (unsigned long long)seq_num, (unsigned long long)latest));
}

/* Of a watcher that this process runs: as vigia_watcher_checkpoint(), from any thread. */
static int put_running(struct vigia__backend *b, const char *id, const struct vigia__runs *runs, uint64_t seq_num,
                       struct vigia_error *err)
{
	uint64_t oldest, latest;
	int rc = vigia__checkpoint_refuse(id, runs->has_lanes, runs->transactional, err);
	if (rc == VIGIA_OK) rc = b->bounds(b, &oldest, &latest, err);
	if (rc == VIGIA_OK && seq_num > latest) rc = vigia__checkpoint_beyond(id, "save checkpoint", seq_num, latest, err);
	if (rc != VIGIA_OK) return rc;
	uint64_t before = vigia__running_raise(&b->running, &b->progress, id, seq_num);
	rc = vigia__backend_checkpoint_put(b, id, seq_num, true, err);
	if (rc < 0) vigia__running_unraise(&b->running, &b->progress, id, seq_num, before);
	return rc;
}

/* The checkpoint is set by hand: what lanes finished above the old one does not belong to it. */
static int put_owned(struct vigia__backend *b, const char *id, uint64_t seq_num, struct vigia_error *err)
{
	bool any = false;
	int rc = vigia__lanes_left(b, id, &any, err);
	if (rc == VIGIA_OK && any) rc = vigia__lanes_forget(b, id, err);
	return rc == VIGIA_OK ? vigia__backend_checkpoint_put(b, id, seq_num, false, err) : rc;
}

int vigia_checkpoint_put(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, struct vigia_error *err)
{
	int rc = id_check(watcher_id, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	rc = b->own_briefly ? b->own_briefly(b, watcher_id, err) : VIGIA_OK;
	struct vigia__runs runs = {false};
	if (rc == VIGIA_EOWNED) runs = vigia__running_find(&b->running, watcher_id);
	if (rc == VIGIA_OK) {
		rc = put_owned(b, watcher_id, seq_num, err);
		if (b->own_briefly) b->disown(b, watcher_id);
	} else if (runs.here) {
		vigia__error_clear(err);
		rc = put_running(b, watcher_id, &runs, seq_num, err);
	}
	return end_about(store, watcher_id, rc, err);
}

int vigia_checkpoint_get(struct vigia_store *store, const char *watcher_id, uint64_t *seq_num, struct vigia_error *err)
{
	int rc = id_check(watcher_id, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	return end_about(store, watcher_id, store->backend->checkpoint_get(store->backend, watcher_id, seq_num, err), err);
}

int vigia_checkpoint_delete(struct vigia_store *store, const char *watcher_id, struct vigia_error *err)
{
	int rc = id_check(watcher_id, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	bool any = false;
	rc = b->own_briefly ? b->own_briefly(b, watcher_id, err) : VIGIA_OK;
	bool owned = rc == VIGIA_OK, here = rc == VIGIA_EOWNED && vigia__running_find(&b->running, watcher_id).here;
	if (here) vigia__error_clear(err); /* its next save makes one again */
	if (owned) rc = vigia__lanes_left(b, watcher_id, &any, err);
	if (owned && rc == VIGIA_OK && any) rc = vigia__lanes_forget(b, watcher_id, err);
	if (here || rc == VIGIA_OK) rc = b->checkpoint_delete(b, watcher_id, err);
	if (owned && b->own_briefly) b->disown(b, watcher_id);
	return end_about(store, watcher_id, rc, err);
}

static int each(struct vigia_store *store, bool holds, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	return vigia__store_end(store, store->backend->checkpoint_each(store->backend, holds, ctx, fn, err));
}

int vigia_checkpoint_each(struct vigia_store *store, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err)
{
	return each(store, false, ctx, fn, err);
}

int vigia_hold_each(struct vigia_store *store, void *ctx, vigia_checkpoint_fn fn, struct vigia_error *err)
{
	return each(store, true, ctx, fn, err);
}
