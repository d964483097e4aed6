/*
 * memory_events.c - events and their keys in memory, under the backend's mutex.
 *
 * What a change needs is allocated first; then it cannot fail.
 */
#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/event.h"
#include "memory_private.h"

/* The key of an append that is stored once. */
struct key {
	struct vigia__node entry; /* of `keys`; first */
	struct key *next;         /* in the order of the events */
	uint64_t first_seq, last_seq;
	size_t len;
	char bytes[];
};

static const struct stored *event_of(const struct memory_backend *b, uint64_t seq_num)
{
	return &b->events[b->first + (seq_num - vigia__memory_oldest(b))];
}

/* Make room for `more` items behind `count`. 0 or -1. */
int vigia__memory_grow(void **items, size_t *cap, size_t count, size_t more, size_t item_size)
{
	size_t wanted = *cap ? *cap : 16;
	if (more > SIZE_MAX / 2 / item_size - count) return -1;
	while (wanted < count + more) wanted *= 2;
	if (wanted == *cap) return 0;
	void *grown = vigia__realloc(*items, wanted * item_size);
	if (grown == NULL) return -1;
	*items = grown;
	*cap = wanted;
	return 0;
}

/* ---- events ---- */

static const struct key *find_key(const struct memory_backend *b, struct vigia_slice wanted)
{
	struct vigia__node *entry = vigia__table_first(&b->keys, vigia__table_hash(wanted.data, wanted.len));
	for (; entry; entry = vigia__table_next(entry)) {
		const struct key *key = (struct key *)entry;
		if (key->len == wanted.len && memcmp(key->bytes, wanted.data, wanted.len) == 0) return key;
	}
	return NULL;
}

/* Sets `existed`, and then the numbers. */
void vigia__memory_look_up(struct memory_backend *b, struct vigia__append *request)
{
	const struct key *known = request->key.len > 0 ? find_key(b, request->key) : NULL;
	request->existed = known != NULL;
	if (known == NULL) return;
	request->first_seq = known->first_seq;
	request->last_seq = known->last_seq;
}

static void put_key(struct memory_backend *b, struct key *key, const struct vigia__append *request)
{
	key->first_seq = request->first_seq;
	key->last_seq = request->last_seq;
	if (b->newest_key) b->newest_key->next = key;
	else b->oldest_key = key;
	b->newest_key = key;
	vigia__table_add(&b->keys, &key->entry, vigia__table_hash(key->bytes, key->len));
}

/* Remove the keys of the events up to `upto`, which were removed. */
static void trim_keys(struct memory_backend *b, uint64_t upto)
{
	while (b->oldest_key && b->oldest_key->last_seq <= upto) {
		struct key *key = b->oldest_key;
		b->oldest_key = key->next;
		if (key->next == NULL) b->newest_key = NULL;
		vigia__table_remove(&b->keys, &key->entry);
		vigia__free(key);
	}
}

/* Allocate the request's key without adding it. *out is NULL if it has none. 0 or -1. */
static int make_key(const struct vigia__append *request, struct key **out)
{
	*out = NULL;
	if (request->key.len == 0) return 0;
	struct key *key = vigia__calloc(sizeof *key + request->key.len);
	if (key == NULL) return -1;
	key->len = request->key.len;
	memcpy(key->bytes, request->key.data, key->len);
	*out = key;
	return 0;
}

/* Events are removed at the front: now and then move the others there. */
static void move_up(struct memory_backend *b)
{
	if (b->first < b->count + 16) return;
	memmove(b->events, b->events + b->first, b->count * sizeof *b->events);
	b->first = 0;
}

/* Free what vigia__memory_make_room() allocated behind `skip` events. */
void vigia__memory_free_room(struct memory_backend *b, const struct vigia__append *request, size_t skip,
                             struct key *key)
{
	for (size_t i = 0; i < request->count; i++) vigia__free(b->events[b->first + b->count + skip + i].bytes);
	vigia__free(key);
}

/* Allocate the request's events, behind `skip` others, and its key, without adding them yet. 0, or -1 with everything
 * freed. */
int vigia__memory_make_room(struct memory_backend *b, const struct vigia__append *request, size_t skip,
                            struct key **key)
{
	if (make_key(request, key) < 0) return -1;
	if (skip == 0) move_up(b);
	size_t end = b->first + b->count + skip;
	void *items = b->events;
	int rc = vigia__memory_grow(&items, &b->cap, end, request->count, sizeof *b->events);
	b->events = items;
	for (size_t i = 0; i < request->count && rc == 0; i++) {
		struct stored *event = &b->events[end + i];
		vigia__append_event(request, i, &event->len);
		event->bytes = vigia__alloc(event->len);
		if (event->bytes) continue;
		while (i > 0) vigia__free(b->events[end + --i].bytes);
		rc = -1;
	}
	if (rc < 0) vigia__free(*key);
	return rc;
}

/* Add them. make_room has allocated the memory. */
void vigia__memory_put_events(struct memory_backend *b, struct vigia__append *request, struct key *key,
                              struct vigia__wake_set *types)
{
	int64_t now = vigia__backend_wall_ns(&b->base);
	if (now < request->not_before_ns) now = request->not_before_ns;
	if (request->count > 0 && now > b->last_at_ns) b->last_at_ns = now; /* the clock may go back, event times do not */
	request->first_seq = b->latest + 1;
	for (size_t i = 0; i < request->count; i++) {
		size_t len;
		uint8_t *bytes = vigia__append_event(request, i, &len);
		struct vigia__head head;
		vigia__event_stamp(bytes, len, ++b->latest, b->last_at_ns);
		if (vigia__event_names(bytes, len, &head) == 0) vigia__wake_set_add(types, head.object_type);
		memcpy(b->events[b->first + b->count++].bytes, bytes, len);
		b->bytes += len;
	}
	request->last_seq = b->latest;
	if (key) put_key(b, key, request);
}

int vigia__memory_put_event(struct memory_backend *b, uint64_t seq_num, struct vigia_slice bytes)
{
	struct vigia__append one = {.bytes = (uint8_t *)bytes.data, .count = 1, .len = bytes.len};
	struct key *no_key;
	if (vigia__memory_make_room(b, &one, 0, &no_key) < 0) return VIGIA_ENOMEM;
	memcpy(b->events[b->first + b->count++].bytes, bytes.data, bytes.len);
	b->latest = seq_num;
	b->last_at_ns = vigia__event_time((const uint8_t *)bytes.data, bytes.len);
	b->bytes += bytes.len;
	return VIGIA_OK;
}

int vigia__memory_put_key(struct memory_backend *b, struct vigia_slice name, uint64_t first_seq, uint64_t last_seq)
{
	struct vigia__append one = {.key = name, .first_seq = first_seq, .last_seq = last_seq};
	struct key *key;
	if (find_key(b, name)) return VIGIA_OK;
	if (make_key(&one, &key) < 0) return VIGIA_ENOMEM;
	put_key(b, key, &one);
	return VIGIA_OK;
}

/* ---- removing ---- */

/* Remove everything up to `upto`, and up to `bytes_upto` while more than `bytes_max` are kept, but at most `count_max`
 * events. */
size_t vigia__memory_remove_prefix(struct memory_backend *b, uint64_t upto, uint64_t bytes_upto, uint64_t bytes_max,
                                   size_t count_max)
{
	size_t gone = 0;
	uint64_t oldest = vigia__memory_oldest(b);
	while (gone < b->count && gone < count_max &&
	       (oldest + gone <= upto || (oldest + gone <= bytes_upto && b->bytes > bytes_max))) {
		b->bytes -= b->events[b->first + gone].len;
		vigia__free(b->events[b->first + gone++].bytes);
	}
	b->count -= gone;
	b->first += gone;
	if (gone > 0) trim_keys(b, oldest + gone - 1);
	return gone;
}

void vigia__memory_clear_beside(struct memory_backend *b)
{
	vigia__memory_state_free(b);
	for (struct vigia__node *entry; (entry = vigia__table_pop(&b->checkpoints));) vigia__free(entry);
}

void vigia__memory_clear(struct memory_backend *b)
{
	vigia__memory_remove_prefix(b, UINT64_MAX, 0, 0, SIZE_MAX);
	vigia__memory_clear_beside(b);
	b->latest = 0;
	b->last_at_ns = 0;
}

/* ---- reading ---- */

int vigia__memory_scan(struct vigia__backend *base, struct vigia__scan *scan, struct vigia_batch *batch,
                       struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	uint64_t seq_num = scan->from > vigia__memory_oldest(b) ? scan->from : vigia__memory_oldest(b);
	size_t copied = 0, bytes = 0, cost = 0;
	bool no_memory = false, objects = vigia__filter_places(scan->filter) > 0;
	scan->looked_at = scan->gone = 0;
	uint64_t first = b->count > 0 ? vigia__memory_oldest(b) : b->latest + 1;
	if (first > scan->from) scan->gone = first - scan->from;
	while (b->count > 0 && seq_num <= b->latest) {
		const struct stored *event = event_of(b, seq_num);
		bool wanted = vigia__filter_match(scan->filter, event->bytes, event->len);
		if (wanted) {
			if ((copied > 0 || scan->goes_on) && bytes + event->len > scan->bytes_max) break;
			no_memory = vigia__batch_add(batch, seq_num, event->bytes, event->len) < 0;
			if (no_memory) break;
			bytes += event->len;
			copied++;
		}
		scan->looked_at = seq_num++;
		if (copied >= scan->count_max) break;
		cost += wanted ? 0 : 1 + (objects ? event->len / VIGIA_SCAN_COST_BYTES : 0);
		if (cost < VIGIA_SCAN_COST_CLOCK) continue;
		cost = 0;
		if (!wanted && vigia__mono_ns() >= scan->until_mono_ns) break;
	}
	scan->at_end = b->count == 0 || seq_num > b->latest;
	vigia__memory_leave(b);
	if (no_memory && copied == 0) return vigia__error(err, VIGIA_ENOMEM, "no memory for a batch of events");
	return VIGIA_OK;
}

int vigia__memory_bounds(struct vigia__backend *base, uint64_t *oldest, uint64_t *latest, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	*oldest = vigia__memory_oldest(b);
	*latest = b->latest;
	vigia__memory_leave(b);
	return VIGIA_OK;
}

int vigia__memory_find_time(struct vigia__backend *base, int64_t at_ns, uint64_t *seq_num, struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	size_t i = 0;
	for (const struct stored *event; i < b->count; i++) {
		event = &b->events[b->first + i];
		if (vigia__event_time(event->bytes, event->len) >= at_ns) break;
	}
	bool found = i < b->count;
	*seq_num = found ? vigia__memory_oldest(b) + i : 0;
	vigia__memory_leave(b);
	return found ? VIGIA_OK : VIGIA_NONE;
}

int vigia__memory_keys_of(struct vigia__backend *base, uint64_t from, uint64_t upto, vigia__key_fn fn, void *ctx,
                          struct vigia_error *err)
{
	struct memory_backend *b = vigia__memory_enter(base);
	int rc = 0;
	for (const struct key *key = b->oldest_key; key && key->last_seq <= upto && rc == 0; key = key->next)
		if (key->last_seq >= from)
			rc = fn(ctx, (struct vigia_slice){key->bytes, key->len}, key->first_seq, key->last_seq);
	vigia__memory_leave(b);
	return rc == VIGIA_ENOMEM ? vigia__no_memory(err) : rc;
}
