/*
 * lmdb_marks.c - the store's clock (core/retention.h), and marks, which record the last event at a time.
 *
 * Database "vigia.marks": the store's time -> struct mark_record.
 */
#include <string.h>

#include "lmdb_private.h"

struct mark_record {
	uint64_t seq_num;
	int64_t wall_ns, boot_ns;
	uint64_t boot_id;
};

static bool mark_of(const MDB_val *key, const MDB_val *value, struct vigia__mark *out)
{
	struct mark_record record;
	if (key->mv_size != sizeof(size_t) || value->mv_size < sizeof record) return false;
	memcpy(&record, value->mv_data, sizeof record);
	*out = (struct vigia__mark){
		.at_ns = (int64_t)vigia__lmdb_number(key),
		.seq_num = record.seq_num,
		.clock = {record.wall_ns, record.boot_ns, record.boot_id},
	};
	return true;
}

/* The newest mark. False: there is none. */
static bool last_mark(MDB_cursor *marks, struct vigia__mark *out)
{
	MDB_val key, value = {0};
	return mdb_cursor_get(marks, &key, &value, MDB_LAST) == 0 && mark_of(&key, &value, out);
}

int vigia__lmdb_time(struct lmdb_backend *b, MDB_txn *txn, int64_t *out)
{
	struct vigia__clock clock;
	struct vigia__mark last;
	MDB_cursor *marks;
	int rc = mdb_cursor_open(txn, b->marks, &marks);
	if (rc != 0) return rc;
	b->base.clock(&clock);
	*out = vigia__retention_now(last_mark(marks, &last) ? &last : NULL, &clock);
	mdb_cursor_close(marks);
	return 0;
}

int vigia__lmdb_mark(struct lmdb_backend *b, MDB_cursor *marks, uint64_t latest, int64_t age_ns)
{
	struct vigia__clock clock;
	struct vigia__mark last;
	bool marked = last_mark(marks, &last);
	b->base.clock(&clock);
	int64_t at = vigia__retention_now(marked ? &last : NULL, &clock);
	if (!vigia__retention_mark_due(marked ? &last : NULL, latest, at, age_ns)) return 0;
	struct mark_record record = {latest, clock.wall_ns, clock.boot_ns, clock.boot_id};
	size_t number = (size_t)at;
	MDB_val key = {sizeof number, &number}, value = {sizeof record, &record};
	return mdb_cursor_put(marks, &key, &value, 0);
}

/* Older marks than the one that gives the result are not needed any more. */
int vigia__lmdb_old(MDB_cursor *marks, int64_t now, int64_t age_ns, uint64_t *old)
{
	MDB_val key, value = {0};
	struct vigia__mark mark;
	size_t useless = 0;
	*old = 0;
	struct vigia__lmdb_walk walk = {.cursor = marks, .numbers = true};
	int rc = mdb_cursor_get(marks, &key, &value, MDB_FIRST);
	for (; rc == 0; rc = vigia__lmdb_next(&walk, &key, &value)) {
		if (!mark_of(&key, &value, &mark) || !vigia__retention_old(&mark, now, age_ns)) break;
		if (mark.seq_num > *old) *old = mark.seq_num;
		useless++;
	}
	for (rc = rc == MDB_NOTFOUND ? 0 : rc; useless > 1 && rc == 0; useless--) {
		rc = mdb_cursor_get(marks, &key, &value, MDB_FIRST);
		if (rc == 0) rc = mdb_cursor_del(marks, 0);
	}
	return rc;
}
