/*
 * batch.c - events copied out of a store, and how a caller looks at them.
 */
#include "batch.h"

#include <string.h>

#include "alloc.h"
#include "error.h"

/* What a batch keeps for its next use. The memory of a larger one is freed. */
enum { KEEP_BYTES = 1 << 20, FIRST_ENTRIES = 64 };

int vigia__batch_add(struct vigia_batch *batch, uint64_t seq_num, const void *bytes, size_t len)
{
	if (len > UINT32_MAX) return -1;
	if (batch->count == batch->cap) {
		size_t cap = batch->cap ? batch->cap * 2 : FIRST_ENTRIES;
		if (cap > SIZE_MAX / sizeof *batch->entries) return -1;
		struct vigia__entry *entries = vigia__realloc(batch->entries, cap * sizeof *entries);
		if (!entries) return -1;
		batch->entries = entries;
		batch->cap = cap;
	}
	size_t offset = batch->bytes.len;
	/* one byte at least, so that an empty entry has an address too */
	if (vigia__buf_reserve(&batch->bytes, len + 1) != 0) return -1;
	if (len > 0) /* `bytes` may be NULL then */
		memcpy(batch->bytes.data + offset, bytes, len);
	batch->bytes.len += len;
	batch->entries[batch->count++] = (struct vigia__entry){.seq_num = seq_num, .len = (uint32_t)len, .offset = offset};
	return 0;
}

void vigia__batch_cut(struct vigia_batch *batch, size_t count)
{
	if (count < batch->count) batch->bytes.len = batch->entries[count].offset;
	if (count < batch->count) batch->count = count;
}

void vigia__batch_clear(struct vigia_batch *batch)
{
	vigia__buf_clear(&batch->bytes, KEEP_BYTES);
	batch->count = 0;
	batch->gone = 0;
	batch->at_end = false;
	if (batch->cap * sizeof *batch->entries > KEEP_BYTES) {
		vigia__free(batch->entries);
		batch->entries = NULL;
		batch->cap = 0;
	}
}

void vigia__batch_deinit(struct vigia_batch *batch)
{
	vigia__buf_deinit(&batch->bytes);
	vigia__free(batch->entries);
	*batch = (struct vigia_batch){0};
}

struct vigia_batch *vigia_batch_new(void)
{
	return vigia__calloc(sizeof(struct vigia_batch));
}

void vigia_batch_free(struct vigia_batch *batch)
{
	if (!batch) return;
	vigia__batch_deinit(batch);
	vigia__free(batch);
}

size_t vigia_batch_count(const struct vigia_batch *batch)
{
	return batch->count;
}

bool vigia_batch_at_end(const struct vigia_batch *batch)
{
	return batch->at_end;
}

/* vigia__error with the event's number. */
static int bad(struct vigia_error *err, int code, uint64_t seq_num, const char *what)
{
	vigia__error(err, code, "event %llu: %s", (unsigned long long)seq_num, what);
	if (err) err->seq_num = seq_num;
	return code;
}

int vigia_batch_event(const struct vigia_batch *batch, size_t index, struct vigia_event *out, struct vigia_error *err)
{
	if (index >= batch->count)
		return vigia__error(err, VIGIA_EINVAL, "index %zu is beyond the batch, which holds %zu events", index,
		                    batch->count);
	const struct vigia__entry *entry = &batch->entries[index];
	const uint8_t *bytes = batch->bytes.data + entry->offset;
	if (!vigia__event_intact(bytes, entry->len, entry->seq_num))
		return bad(err, VIGIA_EDAMAGED, entry->seq_num, "the stored bytes do not match their checksum");
	struct vigia__head head;
	if (vigia__event_head(bytes, entry->len, &head) != 0)
		return bad(err, VIGIA_EDESERIAL, entry->seq_num,
		           "the stored bytes are intact, but this version cannot read them as an event");
	*out = (struct vigia_event){.seq_num = entry->seq_num,
	                            .at_ns = head.at_ns,
	                            .operation = head.operation,
	                            .object_type = head.object_type,
	                            .serializer = head.serializer,
	                            .object = head.object};
	return VIGIA_OK;
}
