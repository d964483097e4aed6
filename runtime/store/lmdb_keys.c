/*
 * lmdb_keys.c - keys of appends that are stored once (contract S21), kept as long as their events.
 *
 * Database "vigia.keys":
 *     "k" key                      -> struct key_record: the numbers of the append that stored it
 *     "s" last number, big-endian  -> the key: so that removing events finds the keys to remove
 * Both change in the transaction that stores or removes the events, so that neither exists without the other.
 */
#include <string.h>

#include "../core/error.h"
#include "lmdb_private.h"

struct key_record {
	uint64_t first_seq, last_seq;
};

/* Room for one letter and a key. */
struct key_bytes {
	uint8_t bytes[1 + VIGIA_KEY_MAX];
};

static MDB_val forward(struct key_bytes *room, struct vigia_slice key)
{
	room->bytes[0] = 'k';
	memcpy(room->bytes + 1, key.data, key.len);
	return (MDB_val){1 + key.len, room->bytes};
}

static MDB_val back(struct key_bytes *room, uint64_t seq_num)
{
	uint64_t big_endian = __builtin_bswap64(seq_num);
	room->bytes[0] = 's';
	memcpy(room->bytes + 1, &big_endian, sizeof big_endian);
	return (MDB_val){1 + sizeof big_endian, room->bytes};
}

int vigia__lmdb_key_find(struct lmdb_backend *b, MDB_txn *txn, struct vigia__append *request)
{
	struct key_bytes room;
	struct key_record record;
	MDB_val key = forward(&room, request->key), value;
	int rc = mdb_get(txn, b->keys, &key, &value);
	request->existed = rc == 0 && value.mv_size >= sizeof record;
	if (!request->existed) return rc == MDB_NOTFOUND ? 0 : rc == 0 ? MDB_CORRUPTED : rc;
	memcpy(&record, value.mv_data, sizeof record);
	request->first_seq = record.first_seq;
	request->last_seq = record.last_seq;
	return 0;
}

int vigia__lmdb_key_put(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__append *request)
{
	struct key_bytes room;
	struct key_record record = {request->first_seq, request->last_seq};
	MDB_val key = forward(&room, request->key), value = {sizeof record, &record};
	int rc = mdb_put(txn, b->keys, &key, &value, MDB_NOOVERWRITE);
	if (rc != 0) return rc;
	value = (MDB_val){request->key.len, (void *)request->key.data};
	key = back(&room, request->last_seq);
	return mdb_put(txn, b->keys, &key, &value, 0);
}

bool vigia__lmdb_key_is_of(struct lmdb_backend *b, MDB_txn *txn, const struct vigia__append *request)
{
	struct key_bytes room;
	MDB_val key = back(&room, request->last_seq), value;
	return mdb_get(txn, b->keys, &key, &value) == 0 && value.mv_size == request->key.len &&
	       memcmp(value.mv_data, request->key.data, value.mv_size) == 0;
}

static int tell_keys(struct lmdb_backend *b, MDB_cursor *cursor, uint64_t from, uint64_t upto, vigia__key_fn fn,
                     void *ctx)
{
	struct vigia__lmdb_walk walk = {.cursor = cursor};
	struct key_bytes room;
	struct key_record record;
	MDB_val at = back(&room, from), name = {0}, value;
	int rc = mdb_cursor_get(cursor, &at, &name, MDB_SET_RANGE);
	for (; rc == 0; rc = vigia__lmdb_next(&walk, &at, &name)) {
		uint64_t last;
		const uint8_t *bytes = at.mv_data;
		if (at.mv_size != 1 + sizeof last || bytes[0] != 's') break;
		memcpy(&last, bytes + 1, sizeof last);
		last = __builtin_bswap64(last);
		if (last > upto) break;
		if (name.mv_size == 0 || name.mv_size > VIGIA_KEY_MAX || !vigia__lmdb_whole(b, &name)) return MDB_CORRUPTED;
		struct vigia_slice key = {name.mv_data, name.mv_size};
		struct key_bytes other;
		MDB_val forth = forward(&other, key);
		rc = mdb_get(mdb_cursor_txn(cursor), b->keys, &forth, &value);
		if (rc != 0 || value.mv_size < sizeof record) return rc == 0 || rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
		memcpy(&record, value.mv_data, sizeof record);
		if (record.last_seq != last || record.first_seq > last || record.first_seq == 0) return MDB_CORRUPTED;
		rc = fn(ctx, key, record.first_seq, last);
		if (rc != 0) return rc;
	}
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int vigia__lmdb_keys_of(struct vigia__backend *base, uint64_t from, uint64_t upto, vigia__key_fn fn, void *ctx,
                        struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	MDB_cursor *cursor;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	rc = mdb_cursor_open(reader->txn, b->keys, &cursor);
	if (rc == 0) {
		rc = tell_keys(b, cursor, from, upto, fn, ctx);
		mdb_cursor_close(cursor);
	}
	vigia__lmdb_read_end(b, reader);
	if (rc == VIGIA_ENOMEM) return vigia__no_memory(err);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "read the keys of appends", err);
}

int vigia__lmdb_keys_trim(struct lmdb_backend *b, MDB_txn *txn, uint64_t upto)
{
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, b->keys, &cursor);
	if (rc != 0) return rc;
	for (;;) {
		struct key_bytes room;
		MDB_val at = back(&room, 0), value;
		rc = mdb_cursor_get(cursor, &at, &value, MDB_SET_RANGE);
		if (rc != 0) break;
		const uint8_t *bytes = at.mv_data;
		uint64_t last;
		if (at.mv_size != 1 + sizeof last || bytes[0] != 's') break;
		memcpy(&last, bytes + 1, sizeof last);
		if (__builtin_bswap64(last) > upto) break;
		struct key_bytes other;
		if (value.mv_size > VIGIA_KEY_MAX) rc = MDB_CORRUPTED;
		if (rc != 0) break;
		MDB_val key = forward(&other, (struct vigia_slice){value.mv_data, value.mv_size});
		rc = mdb_cursor_del(cursor, 0);
		if (rc == 0) rc = mdb_del(txn, b->keys, &key, NULL);
		if (rc != 0 && rc != MDB_NOTFOUND) break;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}
