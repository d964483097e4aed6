/*
 * events.h - appending events of a given size, and counting them. To be included by a test, once.
 */
#ifndef VIGIA_SPEC_EVENTS_H
#define VIGIA_SPEC_EVENTS_H

#include "test.h"

static char payload[60000]; /* a msgpack bin of 0..59997 bytes */

static inline struct vigia_slice payload_of(size_t len)
{
	payload[0] = (char)0xc5;
	payload[1] = (char)(len >> 8);
	payload[2] = (char)(len & 0xff);
	return (struct vigia_slice){payload, len + 3};
}

static inline int append(struct vigia_store *store, const char *type, size_t len, uint64_t *seq_num,
                         struct vigia_error *err)
{
	struct vigia_new_event event = {{"CREATE", 6}, {type, strlen(type)}, payload_of(len)};
	return vigia_store_append(store, &event, 1, seq_num, err);
}

static inline uint64_t latest(struct vigia_store *store)
{
	uint64_t n;
	struct vigia_error err = {0};
	if (vigia_store_latest(store, &n, &err) < 0) fail_msg("%s", err.message);
	return n;
}

/* How many events of this type there are; all can be read, under consecutive numbers up to the last. */
static inline unsigned count(struct vigia_store *store, const char *type)
{
	struct vigia_batch *batch = vigia_batch_new();
	struct vigia_read request = {.size = sizeof request};
	struct vigia_iterator next;
	struct vigia_error err = {0};
	unsigned found = 0;
	uint64_t before = 0;
	for (;;) {
		if (vigia_store_read(store, &request, batch, &next, &err) < 0) fail_msg("%s", err.message);
		if (vigia_batch_count(batch) == 0) break;
		for (size_t i = 0; i < vigia_batch_count(batch); i++) {
			struct vigia_event event;
			if (vigia_batch_event(batch, i, &event, &err) < 0) fail_msg("%s", err.message);
			assert_true(before == 0 || event.seq_num == before + 1);
			before = event.seq_num;
			found += event.object_type.len == strlen(type) && memcmp(event.object_type.data, type, strlen(type)) == 0;
		}
		request.from = next;
	}
	assert_true(before == 0 || before == latest(store));
	vigia_batch_free(batch);
	return found;
}

#endif
