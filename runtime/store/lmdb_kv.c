/*
 * lmdb_kv.c - databases of LMDB as ordered maps of bytes (state.h): that of the buckets, and that of the timers.
 *
 * A file that was made by an earlier version gets a database when it is first needed.
 */
#include <errno.h>

#include "../core/error.h"
#include "lmdb_private.h"

enum { RECORD_KEY_MAX = 511 };

/* The database inside a transaction. */
struct lmdb_kv {
	struct lmdb_backend *b;
	MDB_txn *txn;
	MDB_dbi dbi;        /* 0: the file has none */
	MDB_cursor *cursor; /* NULL before the first seek */
	bool writes;
	bool reverse;
	size_t len; /* of the last key that was found */
	char last[RECORD_KEY_MAX];
};

/* Two of the system's numbers are codes of ours. */
static int plain(int rc)
{
	if (rc == MDB_NOTFOUND) return VIGIA_NONE;
	return rc == VIGIA_NONE || rc == VIGIA_PENDING ? EIO : rc;
}

static MDB_val val(struct vigia_slice slice)
{
	return (MDB_val){slice.len, (void *)slice.data};
}

/* Can it be a value of a page? What a writer's transaction has changed is not in the map, but in memory of LMDB's. */
static bool fits(const struct lmdb_kv *kv, const MDB_val *value)
{
	return kv->writes ? vigia__lmdb_sane(kv->b, value) : vigia__lmdb_whole(kv->b, value);
}

static int kv_get(void *ctx, struct vigia_slice key, struct vigia_slice *value)
{
	struct lmdb_kv *kv = ctx;
	MDB_val wanted = val(key), found = {0};
	if (kv->dbi == 0) return VIGIA_NONE;
	int rc = mdb_get(kv->txn, kv->dbi, &wanted, &found);
	if (rc == 0 && !fits(kv, &found)) rc = MDB_CORRUPTED;
	*value = (struct vigia_slice){found.mv_data, found.mv_size};
	return plain(rc);
}

/* Is what the cursor found a record, and behind the one before? Damaged pages may lead in a circle. */
static int found_at(struct lmdb_kv *kv, int rc, bool first, const MDB_val *key, const MDB_val *value,
                    struct vigia_slice *out_key, struct vigia_slice *out_value)
{
	if (rc != 0) return plain(rc);
	*out_key = (struct vigia_slice){key->mv_data, key->mv_size};
	*out_value = (struct vigia_slice){value->mv_data, value->mv_size};
	if (key->mv_size == 0 || key->mv_size > sizeof kv->last || !fits(kv, value)) return MDB_CORRUPTED;
	int order = first ? 0 : vigia__ordered_compare(*out_key, (struct vigia_slice){kv->last, kv->len});
	if (!first && (kv->reverse ? order >= 0 : order <= 0)) return MDB_CORRUPTED;
	memcpy(kv->last, key->mv_data, kv->len = key->mv_size);
	return 0;
}

static int kv_seek(void *ctx, struct vigia_slice key, enum vigia__ordered_from from, struct vigia_slice *found,
                   struct vigia_slice *value)
{
	struct lmdb_kv *kv = ctx;
	MDB_val at = val(key), data = {0};
	if (kv->dbi == 0) return VIGIA_NONE;
	int rc = kv->cursor ? 0 : mdb_cursor_open(kv->txn, kv->dbi, &kv->cursor);
	kv->reverse = from == VIGIA_BELOW;
	if (rc == 0) rc = mdb_cursor_get(kv->cursor, &at, &data, MDB_SET_RANGE);
	if (kv->reverse && (rc == 0 || rc == MDB_NOTFOUND)) {
		data = (MDB_val){0};
		rc = mdb_cursor_get(kv->cursor, &at, &data, rc == 0 ? MDB_PREV : MDB_LAST);
	}
	return found_at(kv, rc, true, &at, &data, found, value);
}

static int kv_next(void *ctx, struct vigia_slice *found, struct vigia_slice *value)
{
	struct lmdb_kv *kv = ctx;
	MDB_val at = {0}, data = {0};
	int rc = mdb_cursor_get(kv->cursor, &at, &data, kv->reverse ? MDB_PREV : MDB_NEXT);
	return found_at(kv, rc, false, &at, &data, found, value);
}

static int kv_put(void *ctx, struct vigia_slice key, struct vigia_slice value)
{
	struct lmdb_kv *kv = ctx;
	MDB_val at = val(key), data = val(value);
	return plain(mdb_put(kv->txn, kv->dbi, &at, &data, 0));
}

static int kv_del(void *ctx, struct vigia_slice key)
{
	struct lmdb_kv *kv = ctx;
	MDB_val at = val(key);
	return plain(mdb_del(kv->txn, kv->dbi, &at, NULL));
}

int vigia__lmdb_kv_in(struct lmdb_backend *b, MDB_txn *txn, enum vigia__map map, bool writes, vigia__state_fn fn,
                      void *arg, struct vigia_error *err)
{
	struct lmdb_kv ours = {.b = b, .txn = txn, .dbi = atomic_load(&b->maps[map].dbi), .writes = writes};
	struct vigia__kv kv = {&ours, kv_get, kv_seek, kv_next, writes ? kv_put : NULL, writes ? kv_del : NULL};
	int rc = fn(&kv, arg, err);
	if (ours.cursor) mdb_cursor_close(ours.cursor);
	return rc;
}

/* ---- the handle ---- */

/* Has another process made the database since the last look? Looks again only after a commit. */
static int find_database(struct lmdb_backend *b, enum vigia__map map)
{
	struct vigia__lmdb_kv *kv = &b->maps[map];
	MDB_txn *txn;
	MDB_dbi dbi;
	if (atomic_load(&kv->dbi) != 0) return 0;
	vigia__lmdb_map_enter(b);
	pthread_mutex_lock(&b->dbi_mutex);
	MDB_envinfo info = {0};
	int rc = 0;
	if (b->env && mdb_env_info(b->env, &info) == 0 && info.me_last_txnid != kv->looked && atomic_load(&kv->dbi) == 0)
		rc = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &txn);
	else info.me_last_txnid = 0;
	if (rc == 0 && info.me_last_txnid > 0) {
		rc = mdb_dbi_open(txn, vigia__lmdb_kv_name(map), 0, &dbi);
		if (rc == 0) rc = mdb_txn_commit(txn);
		else mdb_txn_abort(txn);
		if (rc == 0) atomic_store(&kv->dbi, dbi);
		if (rc == MDB_NOTFOUND) {
			kv->looked = info.me_last_txnid;
			rc = 0;
		}
	}
	pthread_mutex_unlock(&b->dbi_mutex);
	vigia__lmdb_map_leave(b);
	return rc;
}

struct make {
	struct lmdb_backend *b;
	enum vigia__map map;
	MDB_dbi dbi;
};

static int make_call(void *txn, void *arg, struct vigia_error *err)
{
	struct make *make = arg;
	vigia__lmdb_dbi_open(make->b);
	return mdb_dbi_open(txn, vigia__lmdb_kv_name(make->map), MDB_CREATE, &make->dbi);
}

int vigia__lmdb_kv_make(struct lmdb_backend *b, enum vigia__map map, struct vigia_error *err)
{
	struct make make = {.b = b, .map = map};
	int rc = find_database(b, map);
	if (rc != 0) return vigia__lmdb_error(b, rc, "read its state", err);
	if (atomic_load(&b->maps[map].dbi) != 0) return VIGIA_OK;
	pthread_mutex_lock(&b->make_mutex);
	if (atomic_load(&b->maps[map].dbi) == 0) {
		rc = vigia__commit_call(&b->commit, VIGIA_TICKET_CALL, make_call, &make, err);
		if (rc == VIGIA_OK) atomic_store(&b->maps[map].dbi, make.dbi);
	}
	pthread_mutex_unlock(&b->make_mutex);
	return rc;
}

int vigia__lmdb_view(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                     struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = find_database(b, map);
	if (rc != 0) return vigia__lmdb_error(b, rc, "read its state", err);
	rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	rc = vigia__lmdb_kv_in(b, reader->txn, map, false, fn, arg, err);
	vigia__lmdb_read_end(b, reader);
	return lmdb_is_error(rc) && rc != VIGIA_NONE ? vigia__lmdb_error(b, rc, "read its state", err) : rc;
}

/* What took timers out since this snapshot stored events, too, which began a generation of the journal: then the bounds
 * ask for another snapshot. */
int vigia__lmdb_view_at(struct vigia__backend *base, enum vigia__map map, vigia__state_fn fn, void *arg,
                        uint64_t *oldest, uint64_t *latest, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	int rc = find_database(b, map);
	if (rc != 0) return vigia__lmdb_error(b, rc, "read its state", err);
	do {
		struct reader *reader;
		rc = vigia__lmdb_read_begin(b, &reader, err);
		if (rc < 0) return rc;
		rc = vigia__lmdb_bounds_once(b, reader, oldest, latest, err);
		if (rc == 0) rc = vigia__lmdb_kv_in(b, reader->txn, map, false, fn, arg, err);
		vigia__lmdb_read_end(b, reader);
	} while (rc == EAGAIN);
	return lmdb_is_error(rc) && rc != VIGIA_NONE ? vigia__lmdb_error(b, rc, "read its state", err) : rc;
}
