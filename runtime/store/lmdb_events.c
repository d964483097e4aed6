/*
 * lmdb_events.c - events in LMDB, read: scan, bounds, first at a time. lmdb_commit.c appends.
 *
 * Key: seq_num as a native size_t (MDB_INTEGERKEY). Value: the event's bytes, core/event.h.
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "lmdb_store.h"

enum { LOOK_AT_CLOCK = 512, LOOK_BACK = 1000 };

static MDB_val key_of(const size_t *seq_num)
{
	return (MDB_val){sizeof *seq_num, (void *)seq_num};
}

static uint64_t seq_of(const MDB_val *key)
{
	size_t n;
	memcpy(&n, key->mv_data, sizeof n);
	return n;
}

/* What the last trim wrote down. */
static int written_down(struct lmdb_backend *b, MDB_txn *txn, struct last_record *out)
{
	MDB_val key = {4, "last"}, value;
	*out = (struct last_record){0};
	int rc = mdb_get(txn, b->meta, &key, &value);
	if (rc == 0 && value.mv_size >= sizeof *out) memcpy(out, value.mv_data, sizeof *out);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int vigia__lmdb_last_number(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, uint64_t *out)
{
	MDB_val key, value;
	struct last_record last = {0};
	int rc = mdb_cursor_get(events, &key, &value, MDB_LAST);
	if (rc == 0) last.seq_num = seq_of(&key);
	else if (rc == MDB_NOTFOUND) rc = written_down(b, txn, &last);
	*out = last.seq_num;
	return rc;
}

/* The last event's, or what the trim that removed it wrote down. One flipped bit in a time would date all later events: of a damaged event
 * the time is that of the nearest intact one before it. */
int vigia__lmdb_last(struct lmdb_backend *b, MDB_txn *txn, MDB_cursor *events, struct last_record *out)
{
	MDB_val key, value;
	*out = (struct last_record){0};
	int rc = mdb_cursor_get(events, &key, &value, MDB_LAST);
	if (rc == MDB_NOTFOUND) return written_down(b, txn, out);
	if (rc != 0) return rc;
	uint64_t last = seq_of(&key);
	for (int i = 0; rc == 0 && i < LOOK_BACK; i++) {
		struct last_record at = {seq_of(&key), vigia__event_time(value.mv_data, value.mv_size)};
		bool stamped = at.seq_num == b->stamped.seq_num && at.at_ns == b->stamped.at_ns; /* by us: no need to look */
		if (stamped || vigia__event_intact(value.mv_data, value.mv_size, at.seq_num)) {
			*out = (struct last_record){last, at.at_ns};
			return 0;
		}
		rc = mdb_cursor_get(events, &key, &value, MDB_PREV);
	}
	if (rc == 0 || rc == MDB_NOTFOUND) rc = written_down(b, txn, out);
	out->seq_num = last;
	return rc;
}

/* ---- scan ---- */

/* Nothing is there from this number on: because it was removed, or because it never was? Answers MDB_NOTFOUND, or an error. */
static int count_gone(struct lmdb_backend *b, struct reader *reader, uint64_t from, uint64_t *gone)
{
	uint64_t last;
	int rc = vigia__lmdb_last_number(b, reader->txn, reader->events, &last);
	if (rc == 0 && last >= from) *gone = last - from + 1;
	return rc == 0 ? MDB_NOTFOUND : rc;
}

int vigia__lmdb_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = VIGIA_OK;
	if (scan->now_mono_ns == 0 || scan->now_mono_ns >= atomic_load_explicit(&b->look_mono_ns, memory_order_relaxed))
		rc = vigia__lmdb_still_there(b, err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_read_begin_there(b, &reader, err);
	if (rc < 0) return rc;
	size_t from = scan->from, bytes = 0, copied = 0, dropped = 0;
	bool no_memory = false;
	MDB_val key = key_of(&from), value;
	scan->looked_at = scan->gone = 0;
	rc = mdb_cursor_get(reader->events, &key, &value, MDB_SET_RANGE);
	if (rc == 0) scan->gone = seq_of(&key) - from;
	else if (rc == MDB_NOTFOUND) rc = count_gone(b, reader, from, &scan->gone);
	while (rc == 0) {
		uint64_t seq_num = seq_of(&key);
		bool wanted = vigia__filter_match(scan->filter, value.mv_data, value.mv_size);
		if (wanted) {
			if ((copied > 0 || scan->goes_on) && bytes + value.mv_size > scan->bytes_max) break;
			no_memory = vigia__batch_add(batch, seq_num, value.mv_data, value.mv_size) < 0;
			if (no_memory) break;
			bytes += value.mv_size;
			copied++;
		}
		scan->looked_at = seq_num;
		if (copied >= scan->count_max) {
			rc = mdb_cursor_get(reader->events, &key, &value, MDB_NEXT); /* only whether there is one */
			break;
		}
		if (!wanted && ++dropped % LOOK_AT_CLOCK == 0 && vigia__mono_ns() >= scan->until_mono_ns) break;
		rc = mdb_cursor_get(reader->events, &key, &value, MDB_NEXT);
	}
	vigia__lmdb_read_end(b, reader);
	scan->at_end = rc == MDB_NOTFOUND;
	if (no_memory && copied == 0) return vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of events");
	return rc == 0 || rc == MDB_NOTFOUND ? VIGIA_OK : vigia__lmdb_error(b, rc, "read events", err);
}

int vigia__lmdb_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	MDB_val key, value;
	*latest = 0;
	rc = mdb_cursor_get(reader->events, &key, &value, MDB_FIRST);
	*oldest = rc == 0 ? seq_of(&key) : 0;
	if (rc == 0 || rc == MDB_NOTFOUND) rc = vigia__lmdb_last_number(b, reader->txn, reader->events, latest);
	vigia__lmdb_read_end(b, reader);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "read the bounds", err);
}

/* From where the cursor stands to the first intact event up to `high`; false: there is none, or an error in *rc. */
static bool find_intact(MDB_cursor *events, MDB_val *key, MDB_val *value, size_t high, int *rc)
{
	while (*rc == 0 && seq_of(key) <= high) {
		if (vigia__event_intact(value->mv_data, value->mv_size, seq_of(key))) return true;
		*rc = mdb_cursor_get(events, key, value, MDB_NEXT);
	}
	if (*rc == MDB_NOTFOUND) *rc = 0;
	return false;
}

/* Times never go backwards, numbers have no holes: halve the range. A damaged event counts as of the time of the next intact one. */
int vigia__lmdb_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	MDB_val key, value;
	size_t low = 1, high = 0;
	rc = mdb_cursor_get(reader->events, &key, &value, MDB_FIRST);
	if (rc == 0) {
		low = seq_of(&key);
		rc = mdb_cursor_get(reader->events, &key, &value, MDB_LAST);
		if (rc == 0) high = seq_of(&key);
	}
	while (rc == 0 && low <= high) {
		size_t middle = low + (high - low) / 2;
		key = key_of(&middle);
		rc = mdb_cursor_get(reader->events, &key, &value, MDB_SET_RANGE);
		bool intact = find_intact(reader->events, &key, &value, high, &rc);
		if (rc != 0) break;
		if (intact && vigia__event_time(value.mv_data, value.mv_size) < at_ns) low = seq_of(&key) + 1;
		else high = middle - 1;
	}
	bool found = false;
	if (rc == 0) {
		key = key_of(&low);
		rc = mdb_cursor_get(reader->events, &key, &value, MDB_SET_RANGE);
		found = rc == 0;
		if (found) *seq_num = seq_of(&key);
	}
	vigia__lmdb_read_end(b, reader);
	if (found) return VIGIA_OK;
	*seq_num = 0;
	return rc == 0 || rc == MDB_NOTFOUND ? VIGIA_NONE : vigia__lmdb_error(b, rc, "find a time", err);
}
