/*
 * lmdb_index_private.h - the index by type and operation, for the lmdb_*.c files. lmdb_index.c explains it.
 */
#ifndef VIGIA_STORE_LMDB_INDEX_PRIVATE_H
#define VIGIA_STORE_LMDB_INDEX_PRIVATE_H

#include "../core/block.h"
#include "lmdb_private.h"

/* A search for what a filter may want, in a reader's transaction. */
struct vigia__index_skip {
	struct lmdb_backend *b;
	MDB_cursor *cursor;
	const struct vigia__filter *filter;
	uint64_t last; /* event of LMDB */
	unsigned steps;
	uintptr_t at;    /* where the last one that may be wanted was */
	uint64_t at_seq; /* and its number, 0 = none */
	/* of the block looked at last, UINT64_MAX = none */
	uint64_t block;
	enum vigia__block_found found;
	uint64_t bits[VIGIA_BLOCK_WORDS];
};

/* Begin. False: the index cannot help this filter. The events' cursor moves. */
bool vigia__index_begin(struct lmdb_backend *b, struct reader *reader, const struct vigia__filter *filter,
                        struct vigia__index_skip *skip);
/* The first event from `seq_num` on that may be wanted, or the first that the index does not know of. Where the time is
 * over: one before it. Beyond the last event of LMDB there may be none. */
uint64_t vigia__index_next(struct vigia__index_skip *skip, uint64_t seq_num, int64_t until_mono_ns);
/* The first event from `seq_num` on that may be wanted, in the block looked at last. 0: none, or it is not known. */
uint64_t vigia__index_peek(struct vigia__index_skip *skip, uint64_t seq_num);
/* Count a step. Is the time over? Looks at the clock now and then. */
bool vigia__index_is_late(struct vigia__index_skip *skip, int64_t until_mono_ns);
/* What the index knows of a block. LOOK: nothing. */
enum vigia__block_found vigia__index_look(struct vigia__index_skip *skip, uint64_t block);

/* The first place from here on whose bit is set, or VIGIA_BLOCK_EVENTS. */
unsigned vigia__index_bit(const uint64_t *bits, unsigned place);

/* In a writer's transaction: make the database in a file that has none. Readers use it after the commit. */
int vigia__index_make(struct lmdb_backend *b, MDB_txn *txn);
/* The record of a block whose last event is in LMDB: it is the builder's. VIGIA_NONE: no event is left. MDB_CORRUPTED:
 * events are damaged or missing. */
int vigia__index_build(struct lmdb_backend *b, MDB_cursor *events, uint64_t block, struct vigia__block_builder *builder,
                       struct vigia_slice *record);
/* In a writer's transaction, with LMDB's flags. One that is there stays, with MDB_NOOVERWRITE. */
int vigia__index_put(struct lmdb_backend *b, MDB_txn *txn, uint64_t block, struct vigia_slice record, unsigned flags);
/* The record of a block: 0, or LMDB's error. */
int vigia__index_record(struct lmdb_backend *b, MDB_cursor *cursor, uint64_t block, struct vigia_slice *record);

#endif
