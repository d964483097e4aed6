/*
 * lmdb_last.c - the last number that LMDB has or ever had, in a transaction. The journal's tail is behind it.
 */
#include <string.h>

#include "../core/event.h"
#include "lmdb_private.h"

enum { LOOK_BACK = 1000 };

/* The record that the last removal wrote. */
int vigia__lmdb_last_written(struct lmdb_backend *b, MDB_txn *txn, struct last_record *out)
{
	MDB_val key = {4, "last"}, value;
	*out = (struct last_record){0};
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc == 0 && value.mv_size >= sizeof *out) memcpy(out, value.mv_data, sizeof *out);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int vigia__lmdb_last_write(struct lmdb_backend *b, MDB_txn *txn, const struct last_record *last)
{
	MDB_val key = {4, "last"}, value = {sizeof *last, (void *)last};
	return mdb_put(txn, b->meta, &key, &value, 0);
}

int vigia__lmdb_last_number(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, uint64_t *out)
{
	MDB_val key, value;
	struct last_record last = {0};
	int rc = mdb_cursor_get(events, &key, &value, MDB_LAST);
	if (rc == 0 && !vigia__lmdb_is_number(&key)) rc = MDB_CORRUPTED;
	if (rc == 0) last.seq_num = vigia__lmdb_number(&key);
	else if (rc == MDB_NOTFOUND) rc = vigia__lmdb_last_written(b, txn, &last);
	*out = last.seq_num;
	return rc;
}

int vigia__lmdb_bounds_in(struct lmdb_backend *b, MDB_txn *txn, uint64_t *oldest, uint64_t *latest)
{
	MDB_cursor *events;
	MDB_val key, value;
	int rc = mdb_cursor_open(txn, b->events, &events);
	if (rc != 0) return rc;
	rc = mdb_cursor_get(events, &key, &value, MDB_FIRST);
	*oldest = rc == 0 ? vigia__lmdb_number(&key) : 0;
	if (rc == 0 || rc == MDB_NOTFOUND) rc = vigia__lmdb_last_number(b, txn, events, latest);
	mdb_cursor_close(events);
	return rc;
}

/* The last event's number and time, or those that its removal recorded. A damaged event gets the time of the nearest
 * intact one before it, because one flipped bit in a time would date all later events. */
int vigia__lmdb_last(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, struct last_record *out)
{
	MDB_val key, value = {0};
	*out = (struct last_record){0};
	int rc = mdb_cursor_get(events, &key, &value, MDB_LAST);
	if (rc == MDB_NOTFOUND) return vigia__lmdb_last_written(b, txn, out);
	if (rc == 0 && !vigia__lmdb_is_number(&key)) rc = MDB_CORRUPTED;
	if (rc != 0) return rc;
	uint64_t last = vigia__lmdb_number(&key);
	for (int i = 0; rc == 0 && i < LOOK_BACK; i++) {
		struct last_record at = {vigia__lmdb_number(&key),
		                         value.mv_data ? vigia__event_time(value.mv_data, value.mv_size) : 0};
		bool stamped = at.seq_num == b->stamped.seq_num &&
		               at.at_ns == b->stamped.at_ns; /* stamped by this process, so no check is needed */
		if (stamped || (vigia__lmdb_sane(b, &value) && vigia__event_intact(value.mv_data, value.mv_size, at.seq_num))) {
			*out = (struct last_record){last, at.at_ns};
			return 0;
		}
		value = (MDB_val){0};
		rc = mdb_cursor_get(events, &key, &value, MDB_PREV);
		if (rc == 0 && !vigia__lmdb_is_number(&key)) rc = MDB_CORRUPTED;
	}
	if (rc == 0 || rc == MDB_NOTFOUND) rc = vigia__lmdb_last_written(b, txn, out);
	out->seq_num = last;
	return rc;
}

int vigia__lmdb_last_in(struct lmdb_backend *b, MDB_txn *txn, struct last_record *out)
{
	MDB_cursor *events;
	int rc = mdb_cursor_open(txn, b->events, &events);
	if (rc != 0) return rc;
	rc = vigia__lmdb_last(b, txn, events, out);
	mdb_cursor_close(events);
	return rc;
}
