/*
 * lmdb_index_old.c - indexes blocks that a version without an index completed, and explains what a filter looks at.
 */
#include <errno.h>

#include "../core/error.h"
#include "lmdb_index_private.h"

/* ---- in the background ---- */

enum { FILL_BLOCKS = 8, FILL_LOOKS = 512, FILL_BYTES = FILL_BLOCKS * VIGIA_BLOCK_BYTES_MAX };

/* Records that were built in a reader's transaction. */
struct filling {
	struct lmdb_backend *b;
	struct vigia__block_builder *builder; /* NULL: none was needed yet */
	size_t count;
	uint64_t blocks[FILL_BLOCKS];
	size_t ends[FILL_BLOCKS];
	struct vigia__buf bytes;
};

static int put_records(void *txn, void *arg, struct vigia_error *err)
{
	struct filling *f = arg;
	uint64_t oldest, latest;
	int rc = vigia__lmdb_bounds_in(f->b, txn, &oldest, &latest);
	if (rc == 0) rc = vigia__index_make(f->b, txn);
	for (size_t i = 0; i < f->count && rc == 0; i++) {
		size_t start = i > 0 ? f->ends[i - 1] : 0;
		struct vigia_slice record = {(const char *)f->bytes.data + start, f->ends[i] - start};
		bool removed = oldest == 0 || vigia__block_first(f->blocks[i] + 1) <= oldest;
		if (!removed) rc = vigia__index_put(f->b, txn, f->blocks[i], record, MDB_NOOVERWRITE);
	}
	return rc;
}

/* Build the records of some blocks that have none. *next moves on behind what was looked at. False: there are no more
 * blocks. */
static int build_some(struct lmdb_backend *b, struct reader *reader, struct filling *f, uint64_t *next, bool *more)
{
	uint64_t oldest, last;
	int rc = vigia__lmdb_bounds_of(b, reader, &oldest, &last);
	if (rc != 0) return rc;
	if (oldest > 0 && *next < vigia__block_of(oldest)) *next = vigia__block_of(oldest);
	bool known = atomic_load(&b->has_index);
	if (known && reader->index == NULL) rc = mdb_cursor_open(reader->txn, b->index, &reader->index);
	else if (known) rc = mdb_cursor_renew(reader->txn, reader->index);
	uint64_t behind = oldest > 0 ? last / VIGIA_BLOCK_EVENTS : 0;
	for (int looks = 0; rc == 0 && *next < behind && looks < FILL_LOOKS && f->count < FILL_BLOCKS; looks++, ++*next) {
		struct vigia_slice record;
		int there = known ? vigia__index_record(b, reader->index, *next, &record) : MDB_NOTFOUND;
		if (there == 0) continue;
		if (f->builder == NULL) f->builder = vigia__block_builder_new();
		if (f->builder == NULL) return ENOMEM;
		int built =
			there == MDB_NOTFOUND ? vigia__index_build(b, reader->events, *next, f->builder, &record) : VIGIA_NONE;
		if (built != 0) continue; /* damaged: verify tells, and reads look at all of it */
		if (vigia__buf_add(&f->bytes, record.data, record.len) != 0) return ENOMEM;
		f->blocks[f->count] = *next;
		f->ends[f->count++] = f->bytes.len;
	}
	*more = *next < behind;
	return rc;
}

int vigia__lmdb_index_some(struct vigia__backend *base, uint64_t *next, bool *more, struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	struct filling f = {.b = b};
	*more = false;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc == VIGIA_OK) {
		rc = build_some(b, reader, &f, next, more);
		vigia__lmdb_read_end(b, reader);
		if (rc != 0) rc = vigia__lmdb_error(b, rc, "read for the index", err);
	}
	if (rc == VIGIA_OK && f.count > 0) rc = vigia__commit_aside(&b->commit, VIGIA_TICKET_CALL, put_records, &f, err);
	vigia__buf_deinit(&f.bytes);
	vigia__block_builder_free(f.builder);
	return rc;
}

/* ---- explaining ---- */

/* How many bits are set from `from` up to `to`. */
static uint64_t count_bits(const uint64_t *bits, unsigned from, unsigned to)
{
	uint64_t count = 0;
	for (unsigned place = from; (place = vigia__index_bit(bits, place)) <= to; place++) {
		count++;
		if (place == VIGIA_BLOCK_EVENTS - 1) break;
	}
	return count;
}

static void explain_blocks(struct vigia__index_skip *skip, bool skips, struct vigia_explain *out)
{
	for (uint64_t from = out->from, to; out->from > 0 && from <= out->to; from = to + 1) {
		uint64_t block = vigia__block_of(from), end = vigia__block_first(block + 1) - 1;
		to = end < out->to ? end : out->to;
		enum vigia__block_found found = skips ? vigia__index_look(skip, block) : VIGIA_BLOCK_LOOK;
		out->blocks++;
		out->blocks_indexed += found != VIGIA_BLOCK_LOOK;
		out->blocks_looked_at += found != VIGIA_BLOCK_NONE;
		if (found == VIGIA_BLOCK_LOOK) out->events_looked_at += to - from + 1;
		else if (found == VIGIA_BLOCK_SOME)
			out->events_looked_at += count_bits(skip->bits, vigia__block_place(from), vigia__block_place(to));
	}
}

int vigia__lmdb_explain(struct vigia__backend *base, const struct vigia__filter *filter, struct vigia_explain *out,
                        struct vigia_error *err)
{
	struct lmdb_backend *b = (struct lmdb_backend *)base;
	struct reader *reader;
	struct vigia__index_skip skip;
	int rc = vigia__lmdb_read_begin(b, &reader, err);
	if (rc < 0) return rc;
	bool skips = vigia__index_begin(b, reader, filter, &skip);
	out->by_index = skips;
	explain_blocks(&skip, skips, out);
	vigia__lmdb_read_end(b, reader);
	return VIGIA_OK;
}
