/*
 * record.c - the records of the journal as bytes. record.h shows their layout.
 */
#include "record.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct head {
	uint32_t magic, payload;
	uint64_t sum;
	uint64_t salt, first;
	uint32_t count, alignment;
	int64_t last_at;
	uint8_t zeros[16];
};
_Static_assert(sizeof(struct head) == VIGIA_RECORD_HEAD, "the layout shown in record.h");

enum { SUMMED_FROM = 16 };
static const uint32_t magic = UINT32_C(0x564A524E); /* "VJRN" */

struct vigia__chain vigia__chain_begin(uint64_t salt, uint64_t last, int64_t last_at)
{
	return (struct vigia__chain){.salt = salt, .sum = salt, .last = last, .last_at = last_at};
}

size_t vigia__record_size(size_t count, size_t bytes, size_t alignment)
{
	if (count > UINT32_MAX / 8 || bytes > UINT32_MAX / 2) return SIZE_MAX;
	size_t size = VIGIA_RECORD_HEAD + count * sizeof(uint32_t) + bytes;
	return (size + alignment - 1) / alignment * alignment;
}

static uint64_t sum_of(const uint8_t *record, size_t payload, uint64_t before)
{
	return XXH3_64bits_withSeed(record + SUMMED_FROM, VIGIA_RECORD_HEAD - SUMMED_FROM + payload, before);
}

/* ---- writing ---- */

/* The head is kept in the buffer. `payload` counts the bytes of the ends, of events that were not added, too. */
static struct head *head_of(struct vigia__buf *buf)
{
	return (struct head *)(void *)buf->data;
}

int vigia__record_begin(struct vigia__buf *buf, size_t count, size_t bytes, size_t alignment)
{
	size_t ends = count * sizeof(uint32_t);
	if (vigia__buf_reserve(buf, vigia__record_size(count, bytes, alignment)) < 0) return -1;
	*head_of(buf) = (struct head){.magic = magic, .payload = (uint32_t)ends, .alignment = (uint32_t)alignment};
	buf->len = VIGIA_RECORD_HEAD + ends;
	return 0;
}

void vigia__record_add(struct vigia__buf *buf, const void *bytes, size_t len)
{
	struct head *head = head_of(buf);
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
	size_t events_at = VIGIA_RECORD_HEAD + head->payload;
	uint32_t end = (uint32_t)(buf->len - events_at);
	memcpy(buf->data + VIGIA_RECORD_HEAD + head->count++ * sizeof end, &end, sizeof end);
}

void vigia__record_end(struct vigia__buf *buf, struct vigia__chain *chain, int64_t last_at)
{
	struct head *head = head_of(buf);
	size_t size = (buf->len + head->alignment - 1) / head->alignment * head->alignment;
	head->payload = (uint32_t)(buf->len - VIGIA_RECORD_HEAD);
	head->salt = chain->salt;
	head->first = chain->last + 1;
	head->last_at = last_at;
	head->sum = sum_of(buf->data, head->payload, chain->sum);
	memset(buf->data + buf->len, 0, size - buf->len);
	buf->len = size;
	chain->sum = head->sum;
	chain->last += head->count;
	chain->last_at = last_at;
	chain->at += size;
}

/* ---- reading ---- */

/* Do its sizes make sense, and does it end inside the area? */
static bool fits(const struct head *head, size_t room, size_t at)
{
	bool aligned = head->alignment >= VIGIA_RECORD_HEAD && (head->alignment & (head->alignment - 1)) == 0 &&
	               at % head->alignment == 0;
	return aligned && head->payload <= room - VIGIA_RECORD_HEAD && head->count > 0 &&
	       head->count <= head->payload / sizeof(uint32_t);
}

bool vigia__record_next(const uint8_t *area, size_t area_bytes, struct vigia__chain *chain, struct vigia__record *out)
{
	struct head head;
	if (chain->at > area_bytes || area_bytes - chain->at < sizeof head) return false;
	const uint8_t *at = area + chain->at;
	memcpy(&head, at, sizeof head);
	if (head.magic != magic || head.salt != chain->salt || head.first != chain->last + 1) return false;
	if (!fits(&head, area_bytes - chain->at, chain->at) || sum_of(at, head.payload, chain->sum) != head.sum)
		return false;
	size_t ends = head.count * sizeof(uint32_t);
	*out = (struct vigia__record){.first = head.first,
	                              .count = head.count,
	                              .ends = at + VIGIA_RECORD_HEAD,
	                              .events = at + VIGIA_RECORD_HEAD + ends,
	                              .bytes = head.payload - ends};
	chain->sum = head.sum;
	chain->last += head.count;
	chain->last_at = head.last_at;
	chain->at += vigia__record_size(head.count, out->bytes, head.alignment);
	return true;
}

bool vigia__record_event(const struct vigia__record *record, uint32_t i, size_t *start, const uint8_t **bytes,
                         size_t *len)
{
	uint32_t end;
	memcpy(&end, record->ends + i * sizeof end, sizeof end);
	if (end <= *start || end > record->bytes) return false;
	*bytes = record->events + *start;
	*len = end - *start;
	*start = end;
	return true;
}
