/*
 * batch.h - events copied out of a store: their bytes in one buffer, an index beside it. Reused from read to read.
 * One owner, one thread at a time.
 */
#ifndef VIGIA_CORE_BATCH_H
#define VIGIA_CORE_BATCH_H

#include "event.h"

struct vigia__entry {
	uint64_t seq_num;
	uint32_t len;
	size_t offset; /* into bytes.data */
};

struct vigia_batch {
	struct vigia__buf bytes;
	struct vigia__entry *entries;
	size_t count;
	size_t cap;
	size_t taken;  /* bytes of earlier reads for the same result, which count against its bound */
	bool at_end;   /* the read found no event behind the last one looked at */
	uint64_t gone; /* how many events were removed between the read's start and the first event found */
};

/* Copy one event in. 0 or -1 without memory. */
int vigia__batch_add(struct vigia_batch *batch, uint64_t seq_num, const void *bytes, size_t len);
/* Drop all events from number `count` on. */
void vigia__batch_cut(struct vigia_batch *batch, size_t count);
/* The stored bytes of an event in it, valid until it changes. */
static inline struct vigia_slice vigia__batch_bytes(const struct vigia_batch *batch, size_t index)
{
	const struct vigia__entry *entry = &batch->entries[index];
	return (struct vigia_slice){(const char *)batch->bytes.data + entry->offset, entry->len};
}
void vigia__batch_clear(struct vigia_batch *batch);
void vigia__batch_deinit(struct vigia_batch *batch);

#endif
