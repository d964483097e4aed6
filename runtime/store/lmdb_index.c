/*
 * lmdb_index.c - the index: for each block of 4096 events which types and operations are in it, and where
 * (core/block.h).
 *
 * Database "vigia.index": number of the block -> its record. The transaction that stores a block's last event in LMDB
 * writes its record, so the two are on the disk together or not at all. Events never change and numbers are never given
 * twice, so a record is right for as long as its events are there, whoever wrote since. A block without one is looked
 * at event by event: one that a version without an index completed, until the collector's thread has made its record.
 * The records of removed events go with the last event of their block.
 */
#include <errno.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "lmdb_index_private.h"

/* Blocks whose records are removed in a transaction at most, and blocks that are looked at between two looks at the
 * clock. */
enum { TRIM_MAX = 64, LOOK_AT_CLOCK = 16 };

/* ---- the database ---- */

int vigia__index_find(struct lmdb_backend *b, MDB_txn *txn)
{
	int rc = mdb_dbi_open(txn, "vigia.index", MDB_INTEGERKEY, &b->index);
	atomic_store(&b->has_index, rc == 0);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int vigia__index_make(struct lmdb_backend *b, MDB_txn *txn)
{
	if (atomic_load(&b->has_index) || b->makes_index) return 0;
	vigia__lmdb_dbi_open(b);
	int rc = mdb_dbi_open(txn, "vigia.index", MDB_INTEGERKEY | MDB_CREATE, &b->index);
	b->makes_index = rc == 0;
	return rc;
}

void vigia__index_ended(struct lmdb_backend *b, bool committed)
{
	struct vigia__index_notes *notes = &b->index_notes;
	if (b->makes_index && committed) atomic_store(&b->has_index, true);
	b->makes_index = false;
	if (notes->noted && !committed) notes->next = 0;
	notes->noted = false;
	notes->sealed = UINT64_MAX;
}

/* ---- writing ---- */

int vigia__index_build(struct lmdb_backend *b, MDB_cursor *events, uint64_t block, struct vigia__block_builder *builder,
                       struct vigia_slice *record)
{
	size_t first = vigia__block_first(block), behind = vigia__block_first(block + 1);
	MDB_val key = vigia__lmdb_key(&first), value = {0};
	int rc = mdb_cursor_get(events, &key, &value, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND) return VIGIA_NONE;
	if (rc != 0 || !vigia__lmdb_is_number(&key)) return rc != 0 ? rc : MDB_CORRUPTED;
	size_t next = vigia__lmdb_number(&key);
	if (next >= behind) return VIGIA_NONE;
	vigia__block_begin(builder, vigia__block_place(next));
	for (;;) {
		if (!vigia__lmdb_is_number(&key) || vigia__lmdb_number(&key) != next || !vigia__lmdb_sane(b, &value))
			return MDB_CORRUPTED;
		vigia__block_add(builder, value.mv_data, value.mv_size);
		if (++next == behind) break;
		value = (MDB_val){0};
		rc = mdb_cursor_get(events, &key, &value, MDB_NEXT);
		if (rc != 0) return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
	}
	*record = vigia__block_end(builder, block);
	return 0;
}

int vigia__index_put(struct lmdb_backend *b, MDB_txn *txn, uint64_t block, struct vigia_slice record, unsigned flags)
{
	size_t number = block;
	MDB_val key = vigia__lmdb_key(&number), value = {record.len, (void *)record.data};
	int rc = mdb_put(txn, b->index, &key, &value, flags);
	return rc == MDB_KEYEXIST ? 0 : rc;
}

/* Events are noted as they are stored, which costs less than reading them again. */
int vigia__index_note(struct lmdb_backend *b, MDB_txn *txn, uint64_t seq_num, const struct vigia__head *head)
{
	struct vigia__index_notes *notes = &b->index_notes;
	unsigned place = vigia__block_place(seq_num);
	if (place == 0) {
		if (notes->builder == NULL) notes->builder = vigia__block_builder_new();
		if (notes->builder == NULL) return 0; /* later, in the background */
		vigia__block_begin(notes->builder, 0);
	} else if (notes->next != seq_num) {
		return 0;
	}
	vigia__block_add_head(notes->builder, head);
	notes->next = seq_num + 1;
	notes->noted = true;
	if (place < VIGIA_BLOCK_EVENTS - 1) return 0;
	uint64_t block = vigia__block_of(seq_num);
	int rc = vigia__index_make(b, txn);
	if (rc == 0) rc = vigia__index_put(b, txn, block, vigia__block_end(notes->builder, block), 0);
	if (rc == 0 && notes->sealed > block) notes->sealed = block;
	return rc;
}

int vigia__index_seal(struct lmdb_backend *b, MDB_cursor *events, uint64_t before, uint64_t last)
{
	struct vigia__index_notes *notes = &b->index_notes;
	uint64_t block = before / VIGIA_BLOCK_EVENTS, behind = last / VIGIA_BLOCK_EVENTS;
	if (block == behind || block >= notes->sealed) return 0;
	/* Others stored the first events of this block, or a commit failed: they were not noted here. */
	MDB_txn *txn = mdb_cursor_txn(events);
	struct vigia__block_builder *builder = vigia__block_builder_new();
	if (builder == NULL) return 0;
	int rc = vigia__index_make(b, txn);
	for (; block < behind && block < notes->sealed && rc == 0; block++) {
		struct vigia_slice record;
		rc = vigia__index_build(b, events, block, builder, &record);
		if (rc == 0) rc = vigia__index_put(b, txn, block, record, 0);
		else if (rc == VIGIA_NONE || rc == MDB_CORRUPTED) rc = 0;
	}
	vigia__block_builder_free(builder);
	return rc;
}

int vigia__index_trim(struct lmdb_backend *b, MDB_txn *txn, uint64_t upto)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	if (!atomic_load(&b->has_index)) return 0;
	int rc = mdb_cursor_open(txn, b->index, &cursor);
	if (rc != 0) return rc;
	for (int i = 0; i < TRIM_MAX && rc == 0; i++) {
		rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
		if (rc == 0 && key.mv_size != sizeof(size_t)) rc = MDB_CORRUPTED;
		if (rc != 0 || vigia__block_first(vigia__lmdb_number(&key) + 1) > upto + 1) break;
		rc = mdb_cursor_del(cursor, 0);
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- reading ---- */

bool vigia__index_begin(struct lmdb_backend *b, struct reader *reader, const struct vigia__filter *filter,
                        struct vigia__index_skip *skip)
{
	size_t types, operations;
	vigia__filter_type_hashes(filter, &types);
	vigia__filter_operation_hashes(filter, &operations);
	if ((types == 0 && operations == 0) || !atomic_load(&b->has_index)) return false;
	int rc = reader->index ? mdb_cursor_renew(reader->txn, reader->index)
	                       : mdb_cursor_open(reader->txn, b->index, &reader->index);
	*skip = (struct vigia__index_skip){.b = b, .cursor = reader->index, .filter = filter, .block = UINT64_MAX};
	return rc == 0 && vigia__lmdb_last_number(b, reader->txn, reader->events, &skip->last) == 0;
}

int vigia__index_record(struct lmdb_backend *b, MDB_cursor *cursor, uint64_t block, struct vigia_slice *record)
{
	size_t number = block;
	MDB_val key = vigia__lmdb_key(&number), value = {0};
	int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET);
	if (rc == 0 && !vigia__lmdb_in_page(b, &value) && !vigia__lmdb_whole(b, &value)) rc = MDB_CORRUPTED;
	*record = (struct vigia_slice){value.mv_data, value.mv_size};
	return rc;
}

enum vigia__block_found vigia__index_look(struct vigia__index_skip *skip, uint64_t block)
{
	struct vigia_slice record;
	if (skip->block == block) return skip->found;
	skip->block = block;
	skip->found = VIGIA_BLOCK_LOOK;
	if (vigia__block_first(block + 1) - 1 <= skip->last &&
	    vigia__index_record(skip->b, skip->cursor, block, &record) == 0)
		skip->found = vigia__block_find(record, block, skip->filter, skip->bits);
	return skip->found;
}

unsigned vigia__index_bit(const uint64_t *bits, unsigned place)
{
	uint64_t word = bits[place / 64] >> place % 64;
	if (word) return place + (unsigned)__builtin_ctzll(word);
	for (unsigned i = place / 64 + 1; i < VIGIA_BLOCK_WORDS; i++)
		if (bits[i]) return i * 64 + (unsigned)__builtin_ctzll(bits[i]);
	return VIGIA_BLOCK_EVENTS;
}

bool vigia__index_is_late(struct vigia__index_skip *skip, int64_t until_mono_ns)
{
	return ++skip->steps % LOOK_AT_CLOCK == 0 && vigia__mono_ns() >= until_mono_ns;
}

uint64_t vigia__index_next(struct vigia__index_skip *skip, uint64_t seq_num, int64_t until_mono_ns)
{
	for (;;) {
		uint64_t block = vigia__block_of(seq_num);
		enum vigia__block_found found = vigia__index_look(skip, block);
		if (found == VIGIA_BLOCK_LOOK) return seq_num;
		unsigned place = found == VIGIA_BLOCK_SOME ? vigia__index_bit(skip->bits, vigia__block_place(seq_num))
		                                           : (unsigned)VIGIA_BLOCK_EVENTS;
		seq_num = vigia__block_first(block) + place;
		if (place < VIGIA_BLOCK_EVENTS || vigia__index_is_late(skip, until_mono_ns)) return seq_num;
	}
}

uint64_t vigia__index_peek(struct vigia__index_skip *skip, uint64_t seq_num)
{
	if (vigia__block_of(seq_num) != skip->block || skip->found != VIGIA_BLOCK_SOME) return 0;
	unsigned place = vigia__index_bit(skip->bits, vigia__block_place(seq_num));
	return place < VIGIA_BLOCK_EVENTS ? vigia__block_first(skip->block) + place : 0;
}
