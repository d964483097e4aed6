/*
 * lmdb_events.c - reads events from LMDB: scan, bounds, search by time. lmdb_commit.c appends.
 *
 * Key: seq_num as a native size_t (MDB_INTEGERKEY). Value: the event's bytes, core/event.h.
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "lmdb_private.h"

enum { LOOK_AT_CLOCK = 512, LOOK_BACK = 1000 };

/* The record that the last removal wrote. */
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
	if (rc == 0 && !vigia__lmdb_is_number(&key)) rc = MDB_CORRUPTED;
	if (rc == 0) last.seq_num = vigia__lmdb_number(&key);
	else if (rc == MDB_NOTFOUND) rc = written_down(b, txn, &last);
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
	if (rc == MDB_NOTFOUND) return written_down(b, txn, out);
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
	if (rc == 0 || rc == MDB_NOTFOUND) rc = written_down(b, txn, out);
	out->seq_num = last;
	return rc;
}

/* ---- scan ---- */

/* There is no event from this number on. Count those that were removed. Returns MDB_NOTFOUND or an error. */
static int count_gone(struct lmdb_backend *b, struct reader *reader, uint64_t from, uint64_t *gone)
{
	MDB_val key, value;
	struct last_record last;
	int rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_LAST);
	if (rc == 0)
		return vigia__lmdb_number(&key) >= from ? MDB_CORRUPTED
		                                        : MDB_NOTFOUND; /* it exists, but the search did not find it */
	if (rc == MDB_NOTFOUND) rc = written_down(b, reader->txn, &last);
	if (rc == 0 && last.seq_num >= from) *gone = last.seq_num - from + 1;
	return rc == 0 ? MDB_NOTFOUND : rc;
}

/* The first event from `from` on. Events are only removed at the start of the log, so it is `from` or the oldest. */
static int find_first(struct lmdb_backend *b, struct reader *reader, size_t from, MDB_val *key, MDB_val *value,
                      uint64_t *gone)
{
	*gone = 0;
	*key = vigia__lmdb_key(&from);
	int rc = vigia__lmdb_get(b, reader->events, key, value, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND) return count_gone(b, reader, from, gone);
	if (rc != 0 || vigia__lmdb_number(key) == from) return rc;
	size_t first = vigia__lmdb_number(key);
	if (first < from) return MDB_CORRUPTED;
	/* A number beyond the last one is damage. Without this check the reader would continue there. */
	rc = vigia__lmdb_get(b, reader->events, key, value, MDB_LAST);
	if (rc == 0 && first > vigia__lmdb_number(key)) rc = MDB_CORRUPTED;
	*key = vigia__lmdb_key(&first);
	if (rc == 0) rc = vigia__lmdb_get(b, reader->events, key, value, MDB_SET_RANGE);
	*gone = first - from;
	return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
}

/* vigia__lmdb_get() of the next one, here for its speed. */
static inline int next_event(const struct lmdb_backend *b, struct reader *reader, MDB_val *key, MDB_val *value)
{
	*value = (MDB_val){0};
	int rc = mdb_cursor_get(reader->events, key, value, MDB_NEXT);
	return rc == 0 && !vigia__lmdb_fits(b, key, value) ? MDB_CORRUPTED : rc;
}

int vigia__lmdb_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                     struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = VIGIA_OK;
	if (scan->now_mono_ns == 0 || scan->now_mono_ns >= atomic_load_explicit(&b->look_mono_ns, memory_order_relaxed))
		rc = vigia__lmdb_still_there(b, err);
	if (rc == VIGIA_OK) rc = vigia__lmdb_read_begin_there(b, &reader, err);
	if (rc < 0) return rc;
	size_t bytes = 0, copied = 0, dropped = 0;
	bool no_memory = false;
	MDB_val key, value;
	scan->looked_at = 0;
	rc = find_first(b, reader, scan->from, &key, &value, &scan->gone);
	while (rc == 0) {
		uint64_t seq_num = vigia__lmdb_number(&key);
		/* A gap or a step back means damaged pages. The next call starts here and reports it. */
		if (scan->looked_at > 0 && seq_num != scan->looked_at + 1) break;
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
			rc = next_event(b, reader, &key, &value); /* only to see whether there is another */
			break;
		}
		if (!wanted && ++dropped % LOOK_AT_CLOCK == 0 && vigia__mono_ns() >= scan->until_mono_ns) break;
		rc = next_event(b, reader, &key, &value);
	}
	vigia__lmdb_read_end(b, reader);
	scan->at_end = rc == MDB_NOTFOUND;
	if (no_memory && copied == 0) return vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of events");
	/* Events read before the damage are correct. */
	bool good = rc == 0 || rc == MDB_NOTFOUND || (rc == MDB_CORRUPTED && scan->looked_at > 0);
	return good ? VIGIA_OK : vigia__lmdb_error(b, rc, "read events", err);
}

int vigia__lmdb_bounds_of(struct lmdb_backend *b, struct reader *reader, uint64_t *oldest, uint64_t *latest)
{
	MDB_val key, value;
	*latest = 0;
	int rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_FIRST);
	*oldest = rc == 0 ? vigia__lmdb_number(&key) : 0;
	return rc == 0 || rc == MDB_NOTFOUND ? vigia__lmdb_last_number(b, reader->txn, reader->events, latest) : rc;
}

int vigia__lmdb_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	rc = vigia__lmdb_bounds_of(b, reader, oldest, latest);
	if (rc == 0 && *oldest > *latest) rc = MDB_CORRUPTED;
	vigia__lmdb_read_end(b, reader);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "read the bounds", err);
}

/* Move the cursor to the first intact event from here up to `high`. False: there is none, or *rc is an error. */
static bool find_intact(const struct lmdb_backend *b, MDB_cursor *events, MDB_val *key, MDB_val *value, size_t high,
                        int *rc)
{
	while (*rc == 0 && vigia__lmdb_number(key) <= high) {
		size_t seq_num = vigia__lmdb_number(key);
		if (vigia__event_intact(value->mv_data, value->mv_size, seq_num)) return true;
		*rc = vigia__lmdb_get(b, events, key, value, MDB_NEXT);
		if (*rc == 0 && vigia__lmdb_number(key) <= seq_num) *rc = MDB_CORRUPTED; /* pages that lead in a circle */
	}
	if (*rc == MDB_NOTFOUND) *rc = 0;
	return false;
}

/* A binary search, because times never decrease and numbers have no gaps. A damaged event counts as having the time of
 * the next intact one. On damaged pages a search may end before its start. */
int vigia__lmdb_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	MDB_val key, value;
	size_t low = 1, high = 0;
	rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_FIRST);
	if (rc == 0) {
		low = vigia__lmdb_number(&key);
		rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_LAST);
		if (rc == 0) high = vigia__lmdb_number(&key);
		if (rc == 0 && low > high) rc = MDB_CORRUPTED;
	}
	while (rc == 0 && low <= high) {
		size_t middle = low + (high - low) / 2;
		key = vigia__lmdb_key(&middle);
		rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_SET_RANGE);
		if (rc == 0 && vigia__lmdb_number(&key) < middle) rc = MDB_CORRUPTED;
		bool intact = find_intact(b, reader->events, &key, &value, high, &rc);
		if (rc != 0) break;
		if (intact && vigia__event_time(value.mv_data, value.mv_size) < at_ns) low = vigia__lmdb_number(&key) + 1;
		else high = middle - 1;
	}
	bool found = false;
	if (rc == 0) {
		key = vigia__lmdb_key(&low);
		rc = vigia__lmdb_get(b, reader->events, &key, &value, MDB_SET_RANGE);
		found = rc == 0;
		if (found) *seq_num = vigia__lmdb_number(&key);
	}
	vigia__lmdb_read_end(b, reader);
	if (found) return VIGIA_OK;
	*seq_num = 0;
	return rc == 0 || rc == MDB_NOTFOUND ? VIGIA_NONE : vigia__lmdb_error(b, rc, "find a time", err);
}
