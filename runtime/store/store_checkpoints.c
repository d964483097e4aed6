/*
 * store_checkpoints.c - the checkpoints and holds of a store, for callers of vigia.h.
 */
#include <stdio.h>
#include <string.h>

#include "../core/error.h"
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

int vigia_checkpoint_put(struct vigia_store *store, const char *watcher_id, uint64_t seq_num, struct vigia_error *err)
{
	int rc = id_check(watcher_id, err);
	if (rc == VIGIA_OK) rc = vigia__store_enter_to_write(store, err);
	if (rc < 0) return rc;
	return end_about(store, watcher_id, store->backend->checkpoint_put(store->backend, watcher_id, seq_num, false, err),
	                 err);
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
	return end_about(store, watcher_id, store->backend->checkpoint_delete(store->backend, watcher_id, err), err);
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
