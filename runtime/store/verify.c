/*
 * verify.c - checks everything in a store for damage.
 */
#include "verify.h"

#include <stdio.h>

#include "../core/error.h"
#include "../core/event.h"

enum { PIECE_EVENTS = 1000, PIECE_BYTES = 1 << 20, TEXT_BYTES = 850 };

struct state {
	uint64_t expected; /* the next number */
	int64_t at_ns;     /* of the previous event */
};

static void check_event(const struct vigia__entry *entry, const uint8_t *bytes, struct state *s,
                        struct vigia__verify *v)
{
	char text[TEXT_BYTES];
	struct vigia__head head;
	struct vigia_error err = {0};
	uint64_t n = entry->seq_num;
	if (!vigia__event_intact(bytes, entry->len, n)) {
		v->found(v->ctx, n, "its bytes do not match their checksum");
		return;
	}
	if (vigia__event_head(bytes, entry->len, &head) < 0) {
		v->found(v->ctx, n, "its bytes are not an event");
		return;
	}
	if (head.at_ns < s->at_ns) v->found(v->ctx, n, "its time is before that of the event before it");
	else s->at_ns = head.at_ns;
	if (head.serializer.len == 0 && vigia__value_check(head.object, VIGIA_EDESERIAL, &err) < 0) {
		snprintf(text, sizeof text, "its object cannot be read: %s", err.message);
		v->found(v->ctx, n, text);
	}
}

/* Is the gap before `n` only due to a removal meanwhile? By now n itself may be gone, or all events. */
static bool was_trimmed(struct vigia__backend *b, uint64_t n)
{
	uint64_t oldest, latest;
	return b->bounds(b, &oldest, &latest, NULL) == VIGIA_OK && (oldest == 0 || oldest >= n);
}

static int check_piece(struct vigia__backend *b, const struct vigia_batch *batch, struct state *s,
                       struct vigia__verify *v, struct vigia_error *err)
{
	char text[TEXT_BYTES];
	for (size_t i = 0; i < batch->count; i++) {
		const struct vigia__entry *entry = &batch->entries[i];
		if (entry->seq_num < s->expected)
			return vigia__error(err, VIGIA_EIO, "the order of the events is damaged: %llu comes after %llu",
			                    (unsigned long long)entry->seq_num, (unsigned long long)s->expected - 1);
		if (entry->seq_num > s->expected && !was_trimmed(b, entry->seq_num)) {
			snprintf(text, sizeof text, "%llu events before it are missing",
			         (unsigned long long)(entry->seq_num - s->expected));
			v->found(v->ctx, entry->seq_num, text);
		}
		check_event(entry, batch->bytes.data + entry->offset, s, v);
		s->expected = entry->seq_num + 1;
		v->events++;
	}
	return VIGIA_OK;
}

/* The range to check. *first is 0 if it is empty. Even the bounds may be unreadable, so they are read only once. */
static int range_of(struct vigia__backend *b, const struct vigia__verify *v, uint64_t *first, uint64_t *last,
                    struct vigia_error *err)
{
	*first = v->from;
	*last = v->upto > 0 ? v->upto : INT64_MAX;
	return v->from > 0 ? VIGIA_OK : b->bounds(b, first, last, err);
}

static int check_events(struct vigia__backend *b, struct vigia__verify *v, struct vigia_error *err)
{
	uint64_t oldest, latest;
	int rc = range_of(b, v, &oldest, &latest, err);
	if (rc < 0 || oldest == 0) return rc;
	struct state s = {.expected = oldest};
	size_t piece = v->piece > 0 ? (size_t)v->piece : PIECE_EVENTS;
	struct vigia_batch *batch = vigia_batch_new();
	if (batch == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of events");
	bool at_end = false;
	while (rc == VIGIA_OK && !at_end && s.expected <= latest) {
		v->progress(v->ctx, s.expected - 1, oldest, latest);
		vigia__batch_clear(batch);
		struct vigia__scan scan = {
			.from = s.expected, .count_max = piece, .bytes_max = PIECE_BYTES, .until_mono_ns = INT64_MAX};
		rc = b->scan(b, &scan, batch, err);
		if (rc == VIGIA_OK) rc = check_piece(b, batch, &s, v, err);
		at_end = batch->count == 0;
	}
	if (rc == VIGIA_OK && at_end && v->from == 0 && s.expected <= latest && !was_trimmed(b, latest + 1))
		v->found(v->ctx, latest, "it is missing, or those before it are");
	vigia_batch_free(batch);
	return rc;
}

int vigia__store_verify(struct vigia_store *store, struct vigia__verify *verify, struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	verify->events = verify->checkpoints = verify->keys = 0;
	rc = check_events(store->backend, verify, err);
	if (rc == VIGIA_OK && store->backend->check) {
		verify->beside(verify->ctx);
		rc = store->backend->check(store->backend, verify, err);
	}
	return vigia__store_end(store, rc);
}
