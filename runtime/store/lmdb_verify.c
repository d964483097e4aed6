/*
 * lmdb_verify.c - checks an LMDB store's data other than events: checkpoints, holds, keys, the index, buckets, timers
 * and the number of events.
 */
#include <stdio.h>
#include <string.h>

#include "lmdb_index_private.h"

enum { TELL_EACH = 4096 };

struct look {
	struct lmdb_backend *b;
	MDB_txn *txn;
	struct vigia__verify *verify;
	uint64_t oldest, latest;
	uint64_t records;
};

/* Count a record, and report now and then that the check continues. */
static void count_record(struct look *look)
{
	if (++look->records % TELL_EACH == 0) look->verify->beside(look->verify->ctx);
}

static void tell(struct look *look, const char *what, const MDB_val *key, const char *text)
{
	char line[700];
	snprintf(line, sizeof line, "%s '%.*s': %s", what, (int)(key->mv_size < 255 ? key->mv_size : 255),
	         (const char *)key->mv_data, text);
	look->verify->found(look->verify->ctx, 0, line);
}

static int check_positions(struct look *look, MDB_dbi dbi, const char *what, uint64_t *count)
{
	struct vigia__lmdb_walk walk = {0};
	MDB_val key, value;
	int rc = mdb_cursor_open(look->txn, dbi, &walk.cursor);
	if (rc != 0) return rc;
	while ((rc = vigia__lmdb_next(&walk, &key, &value)) == 0) {
		struct checkpoint_record record;
		++*count;
		count_record(look);
		if (!vigia__lmdb_whole(look->b, &value) || !vigia__lmdb_checkpoint_of(&value, &record))
			tell(look, what, &key, "its record is too short");
		else if (record.seq_num > look->latest) tell(look, what, &key, "it is beyond the last event");
	}
	mdb_cursor_close(walk.cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Check each key's record, and the record that leads back from its last number. */
static int check_append_keys(struct look *look)
{
	struct vigia__verify *v = look->verify;
	struct vigia__lmdb_walk walk = {0};
	MDB_val key, value;
	uint64_t keys = 0, backs = 0;
	int rc = mdb_cursor_open(look->txn, look->b->keys, &walk.cursor);
	if (rc != 0) return rc;
	while ((rc = vigia__lmdb_next(&walk, &key, &value)) == 0) {
		count_record(look);
		struct vigia_slice name = {(const char *)key.mv_data + 1, key.mv_size - 1};
		MDB_val shown = {name.len, (void *)name.data};
		if (*(const char *)key.mv_data == 's') {
			backs++;
			continue;
		}
		struct vigia__append first = {.key = name};
		keys++;
		if (name.len > VIGIA_KEY_MAX || vigia__lmdb_key_find(look->b, look->txn, &first) != 0)
			tell(look, "key", &shown, "its record is damaged");
		else if (first.first_seq > first.last_seq || first.last_seq > look->latest || first.last_seq < look->oldest)
			tell(look, "key", &shown, "its events are not there");
		else if (!vigia__lmdb_key_is_of(look->b, look->txn, &first))
			tell(look, "key", &shown, "it would remain when its events are removed");
	}
	mdb_cursor_close(walk.cursor);
	if (keys != backs) v->found(v->ctx, 0, "the keys do not match the numbers recorded for them");
	v->keys = keys;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int check_count(struct look *look)
{
	struct vigia__verify *v = look->verify;
	MDB_stat st;
	int rc = mdb_stat(look->txn, look->b->events, &st);
	uint64_t expected = look->oldest > 0 ? look->latest - look->oldest + 1 : 0;
	if (rc == 0 && st.ms_entries != expected) {
		char line[160];
		snprintf(line, sizeof line, "the file counts %llu events but their numbers say %llu",
		         (unsigned long long)st.ms_entries, (unsigned long long)expected);
		v->found(v->ctx, 0, line);
	}
	return rc;
}

static void tell_block(struct look *look, uint64_t block, const char *text)
{
	char line[160];
	snprintf(line, sizeof line, "the index of events %llu to %llu: %s", (unsigned long long)vigia__block_first(block),
	         (unsigned long long)vigia__block_first(block + 1) - 1, text);
	look->verify->found(look->verify->ctx, 0, line);
}

/* Does a block's record lead to each of its events that are left? */
static int check_block(struct look *look, MDB_cursor *events, uint64_t block, struct vigia_slice record)
{
	uint64_t behind = vigia__block_first(block + 1), first = vigia__block_first(block);
	if (!vigia__block_whole(record, block)) {
		tell_block(look, block, "its record is damaged");
		return 0;
	}
	if (behind - 1 > look->latest || behind <= look->oldest) return 0;
	size_t seq_num = first > look->oldest ? first : look->oldest;
	MDB_val key = vigia__lmdb_key(&seq_num), value;
	int rc = vigia__lmdb_get(look->b, events, &key, &value, MDB_SET_RANGE);
	for (; rc == 0 && vigia__lmdb_number(&key) == seq_num && seq_num < behind; seq_num++) {
		if (!vigia__block_has(record, block, vigia__block_place(seq_num), value.mv_data, value.mv_size)) {
			tell_block(look, block, "it leaves out an event");
			return 0;
		}
		rc = vigia__lmdb_get(look->b, events, &key, &value, MDB_NEXT);
	}
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int check_index(struct look *look)
{
	struct vigia__lmdb_walk walk = {.numbers = true};
	MDB_cursor *events;
	MDB_val key, value;
	if (!atomic_load(&look->b->has_index)) return 0;
	int rc = mdb_cursor_open(look->txn, look->b->events, &events);
	if (rc != 0) return rc;
	rc = mdb_cursor_open(look->txn, look->b->index, &walk.cursor);
	while (rc == 0 && (rc = vigia__lmdb_next(&walk, &key, &value)) == 0) {
		uint64_t block = vigia__lmdb_number(&key);
		look->verify->beside(look->verify->ctx);
		if (vigia__lmdb_whole(look->b, &value))
			rc = check_block(look, events, block, (struct vigia_slice){value.mv_data, value.mv_size});
		else tell_block(look, block, "its record is damaged");
	}
	if (walk.cursor) mdb_cursor_close(walk.cursor);
	mdb_cursor_close(events);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static void tell_of_record(void *ctx, const char *text)
{
	struct look *look = ctx;
	look->verify->found(look->verify->ctx, 0, text);
}

int vigia__lmdb_check(struct vigia__backend *base, struct vigia__verify *verify, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	struct look look = {.b = b, .txn = reader->txn, .verify = verify};
	uint64_t holds = 0;
	rc = vigia__lmdb_bounds_of(b, reader, &look.oldest, &look.latest);
	if (rc == 0) rc = check_count(&look);
	if (rc == 0) rc = check_positions(&look, b->checkpoints, "checkpoint", &verify->checkpoints);
	if (rc == 0) rc = check_positions(&look, b->holds, "hold", &holds);
	if (rc == 0) rc = check_append_keys(&look);
	if (rc == 0) rc = check_index(&look);
	if (rc == 0) rc = vigia__lmdb_state_verify(b, reader->txn, tell_of_record, &look, &verify->values);
	if (rc == 0) rc = vigia__lmdb_timers_verify(b, reader->txn, tell_of_record, &look, &verify->timers);
	vigia__lmdb_read_end(b, reader);
	return rc == 0 ? VIGIA_OK : vigia__lmdb_error(b, rc, "check the checkpoints and keys", err);
}
