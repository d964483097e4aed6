/*
 * lmdb_checkpoints.c - checkpoints and holds in LMDB, and the watchers' progress, which is saved with the next commit
 * of any kind. Expiry (checkpoint_ttl) is decided in core/retention.c, and renewed in lmdb_collect.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/iterator.h"
#include "lmdb_private.h"

static MDB_val id_key(const char *id)
{
	return (MDB_val){strlen(id), (void *)id};
}

/* The first checkpoint of a watcher ends its hold. */
static int lmdb_put_checkpoint(struct lmdb_backend *b, MDB_txn *txn, const char *id, uint64_t seq_num, int64_t now)
{
	struct checkpoint_record record = {seq_num, now};
	MDB_val key = id_key(id), value = {sizeof record, &record};
	int rc = mdb_put(txn, b->checkpoints, &key, &value, 0);
	if (rc == 0) rc = mdb_del(txn, b->holds, &key, NULL);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- one by one ---- */

struct change {
	struct lmdb_backend *b;
	const char *id;
	uint64_t seq_num;
	bool forward; /* put: a stored one that is not smaller stays */
};

static int put_call(void *txn, void *arg, struct vigia_error *err)
{
	struct change *change = arg;
	MDB_val key = id_key(change->id), value;
	struct checkpoint_record there;
	int64_t now;
	int rc = change->forward ? mdb_get(txn, change->b->checkpoints, &key, &value) : MDB_NOTFOUND;
	if (rc == 0 && vigia__lmdb_checkpoint_of(&value, &there) && there.seq_num >= change->seq_num) return 0;
	if (rc == 0 || rc == MDB_NOTFOUND) rc = vigia__lmdb_time(change->b, txn, &now);
	return rc == 0 ? lmdb_put_checkpoint(change->b, txn, change->id, change->seq_num, now) : rc;
}

int vigia__lmdb_checkpoint_in(struct lmdb_backend *b, MDB_txn *txn, const char *id, uint64_t seq_num)
{
	int64_t now;
	int rc = vigia__lmdb_time(b, txn, &now);
	return rc == 0 ? lmdb_put_checkpoint(b, txn, id, seq_num, now) : rc;
}

int vigia__lmdb_hold_in(struct lmdb_backend *b, MDB_txn *txn, const char *id, uint64_t seq_num)
{
	struct checkpoint_record record = {.seq_num = seq_num};
	int rc = vigia__lmdb_time(b, txn, &record.touched_at_ns);
	MDB_val key = id_key(id), value = {sizeof record, &record};
	return rc == 0 ? mdb_put(txn, b->holds, &key, &value, 0) : rc;
}

int vigia__lmdb_checkpoint_put(struct vigia__backend *base, const char *id, uint64_t seq_num, bool forward,
                               struct vigia_error *err)
{
	struct change change = {(struct lmdb_backend *)base, id, seq_num, forward};
	return vigia__commit_call(&change.b->commit, VIGIA_TICKET_CALL, put_call, &change, err);
}

static int delete_call(void *txn, void *arg, struct vigia_error *err)
{
	struct change *change = arg;
	MDB_val key = id_key(change->id);
	int rc = mdb_del(txn, change->b->checkpoints, &key, NULL), held = mdb_del(txn, change->b->holds, &key, NULL);
	if (rc == 0 || rc == MDB_NOTFOUND) rc = rc == 0 && held == MDB_NOTFOUND ? 0 : held;
	return rc == MDB_NOTFOUND ? vigia__no_checkpoint(change->id, err) : rc;
}

int vigia__lmdb_checkpoint_delete(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	struct change change = {.b = (struct lmdb_backend *)base, .id = id};
	return vigia__commit_call(&change.b->commit, VIGIA_TICKET_FREE, delete_call, &change, err);
}

int vigia__lmdb_checkpoint_get(struct vigia__backend *base, const char *id, uint64_t *seq_num, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	struct checkpoint_record record;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	MDB_val key = id_key(id), value;
	rc = mdb_get(reader->txn, b->checkpoints, &key, &value);
	bool whole = rc == 0 && vigia__lmdb_whole(b, &value) && vigia__lmdb_checkpoint_of(&value, &record);
	vigia__lmdb_read_end(b, reader);
	if (rc == MDB_NOTFOUND) return vigia__no_checkpoint(id, err);
	if (rc != 0) return vigia__lmdb_error(b, rc, "read a checkpoint", err);
	if (!whole) return vigia__error(err, VIGIA_EIO, "the checkpoint of watcher '%s' is damaged", VIGIA_SHOWN(id));
	*seq_num = record.seq_num;
	return VIGIA_OK;
}

/* Copy first, so that `fn` runs without a transaction: for each checkpoint its number, the id's length, the id. */
int vigia__lmdb_checkpoint_each(struct vigia__backend *base, bool holds, void *ctx, vigia_checkpoint_fn fn,
                                struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct vigia__buf copy = {0};
	struct reader *reader;
	struct vigia__lmdb_walk walk = {0};
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	rc = mdb_cursor_open(reader->txn, holds ? b->holds : b->checkpoints, &walk.cursor);
	if (rc == 0) {
		MDB_val key, value;
		while ((rc = vigia__lmdb_next(&walk, &key, &value)) == 0) {
			struct checkpoint_record record;
			bool whole = vigia__lmdb_whole(b, &value) && vigia__lmdb_checkpoint_of(&value, &record);
			uint64_t numbers[2] = {whole ? record.seq_num : 0, key.mv_size};
			if (vigia__buf_add(&copy, numbers, sizeof numbers) < 0 ||
			    vigia__buf_add(&copy, key.mv_data, key.mv_size) < 0)
				break;
		}
		mdb_cursor_close(walk.cursor);
	}
	vigia__lmdb_read_end(b, reader);
	if (rc == 0) {
		vigia__buf_deinit(&copy);
		return vigia__error(err, VIGIA_ENOMEM, "no memory for the checkpoints");
	}
	for (size_t at = 0; rc == MDB_NOTFOUND && at < copy.len;) {
		uint64_t numbers[2];
		char id[512];
		memcpy(numbers, copy.data + at, sizeof numbers);
		at += sizeof numbers;
		size_t len = numbers[1] < sizeof id ? numbers[1] : sizeof id - 1;
		memcpy(id, copy.data + at, len);
		id[len] = '\0';
		at += numbers[1];
		fn(ctx, id, numbers[0]);
	}
	vigia__buf_deinit(&copy);
	return rc == MDB_NOTFOUND ? VIGIA_OK : vigia__lmdb_error(b, rc, "read the checkpoints", err);
}

/* ---- holds ---- */

/* Find a checkpoint or hold of this id. MDB_NOTFOUND: neither. */
static int find_position(struct lmdb_backend *b, MDB_txn *txn, const char *id, bool *has_checkpoint, uint64_t *hold)
{
	MDB_val key = id_key(id), value;
	struct checkpoint_record record;
	int rc = mdb_get(txn, b->checkpoints, &key, &value);
	*has_checkpoint = rc == 0;
	if (rc != MDB_NOTFOUND) return rc;
	rc = mdb_get(txn, b->holds, &key, &value);
	if (rc == 0 && !vigia__lmdb_checkpoint_of(&value, &record)) rc = MDB_CORRUPTED;
	if (rc == 0) *hold = record.seq_num;
	return rc;
}

struct new_hold {
	struct change change;
	struct vigia_iterator from;
	bool made, has_checkpoint;
};

static int hold_call(void *txn, void *arg, struct vigia_error *err)
{
	struct new_hold *hold = arg;
	struct change *change = &hold->change;
	struct checkpoint_record record = {0};
	uint64_t oldest, latest;
	int rc = find_position(change->b, txn, change->id, &hold->has_checkpoint, &change->seq_num);
	if (rc != MDB_NOTFOUND) return rc;
	rc = vigia__lmdb_bounds_in(change->b, txn, &oldest, &latest);
	if (rc != 0) return rc;
	change->seq_num = record.seq_num = vigia__iterator_first(vigia__iterator_resolve(hold->from, oldest, latest)) - 1;
	hold->made = true;
	rc = vigia__lmdb_time(change->b, txn, &record.touched_at_ns);
	MDB_val key = id_key(change->id), value = {sizeof record, &record};
	return rc == 0 ? mdb_put(txn, change->b->holds, &key, &value, 0) : rc;
}

int vigia__lmdb_hold(struct vigia__backend *base, const char *id, struct vigia_iterator from, uint64_t *seq_num,
                     bool *made, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	bool has_checkpoint;
	*made = false;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	rc = find_position(b, reader->txn, id, &has_checkpoint, seq_num);
	vigia__lmdb_read_end(b, reader);
	if (rc == 0) return has_checkpoint ? VIGIA_NONE : VIGIA_OK;
	if (rc != MDB_NOTFOUND) return vigia__lmdb_error(b, rc, "read a hold", err);
	struct new_hold hold = {.change = {.b = b, .id = id}, .from = from};
	rc = vigia__commit_call(&b->commit, VIGIA_TICKET_CALL, hold_call, &hold, err);
	if (rc < 0) return rc;
	*seq_num = hold.change.seq_num;
	*made = hold.made;
	return hold.has_checkpoint ? VIGIA_NONE : VIGIA_OK;
}

static int touch_call(void *txn, void *arg, struct vigia_error *err)
{
	struct change *change = arg;
	MDB_dbi both[] = {change->b->checkpoints, change->b->holds};
	int64_t now;
	int rc = vigia__lmdb_time(change->b, txn, &now);
	for (int i = 0; i < 2 && rc == 0; i++) {
		struct checkpoint_record record;
		MDB_val key = id_key(change->id), value;
		rc = mdb_get(txn, both[i], &key, &value);
		if (rc == 0 && vigia__lmdb_checkpoint_of(&value, &record)) {
			record.touched_at_ns = now;
			value = (MDB_val){sizeof record, &record};
			rc = mdb_put(txn, both[i], &key, &value, 0);
		}
		if (rc == MDB_NOTFOUND) rc = 0;
	}
	return rc;
}

int vigia__lmdb_touch(struct vigia__backend *base, const char *id, struct vigia_error *err)
{
	struct change change = {.b = (struct lmdb_backend *)base, .id = id};
	struct vigia__settings settings;
	int rc = vigia__lmdb_settings(base, &settings, err);
	if (rc < 0 || settings.values.checkpoint_ttl_ns == 0) return rc;
	return vigia__commit_call(&change.b->commit, VIGIA_TICKET_CALL, touch_call, &change, err);
}

/* ---- progress ---- */

struct saving {
	struct lmdb_backend *b;
	MDB_txn *txn;
	int64_t now;
	struct vigia_error *err;
};

static int lmdb_save_one(void *ctx, const char *id, uint64_t done)
{
	const struct saving *saving = ctx;
	/* A watcher finishes only events it read here, so a number beyond the last event means that the file was
	 * overwritten (contract W9). */
	if (done > saving->b->stamped.seq_num) return vigia__lmdb_overwritten(saving->b, saving->err);
	return lmdb_put_checkpoint(saving->b, saving->txn, id, done, saving->now);
}

int vigia__lmdb_progress_put(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__progress_taken *taken,
                             struct vigia_error *err)
{
	struct saving saving = {.b = b, .txn = txn, .err = err};
	if (taken == NULL) return 0;
	int rc = vigia__lmdb_time(b, txn, &saving.now);
	return rc == 0 ? vigia__progress_each(taken, lmdb_save_one, &saving) : rc;
}
