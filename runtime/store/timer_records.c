/*
 * timer_records.c - the records of timers, in an ordered map of bytes that a backend offers.
 */
#include "timer_records.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/event.h"
#include "backend.h"

struct header {
	uint64_t next_id;
	uint64_t count;
};

/* Room for the longest record key. */
struct place {
	char bytes[1 + VIGIA_KEY_MAX];
};

enum { NUMBER = 8, DUE_KEY = 1 + 2 * NUMBER };

static struct vigia_slice slice_of(const void *data, size_t len)
{
	return (struct vigia_slice){data, len};
}

static void put_number(char *at, uint64_t number)
{
	uint64_t big_endian = __builtin_bswap64(number);
	memcpy(at, &big_endian, sizeof big_endian);
}

static uint64_t number_at(const char *at)
{
	uint64_t big_endian;
	memcpy(&big_endian, at, sizeof big_endian);
	return __builtin_bswap64(big_endian);
}

static struct vigia_slice due_key(struct place *room, int64_t at_ns, uint64_t id)
{
	room->bytes[0] = 'd';
	put_number(room->bytes + 1, (uint64_t)at_ns);
	put_number(room->bytes + 1 + NUMBER, id);
	return slice_of(room->bytes, DUE_KEY);
}

static struct vigia_slice id_key(struct place *room, uint64_t id)
{
	room->bytes[0] = 'i';
	put_number(room->bytes + 1, id);
	return slice_of(room->bytes, 1 + NUMBER);
}

static struct vigia_slice name_key(struct place *room, struct vigia_slice key)
{
	room->bytes[0] = 'k';
	memcpy(room->bytes + 1, key.data, key.len);
	return slice_of(room->bytes, 1 + key.len);
}

/* ---- reading ---- */

static int get_header(struct vigia__kv *kv, struct header *out)
{
	struct vigia_slice value;
	*out = (struct header){.next_id = 1};
	int rc = kv->get(kv->ctx, slice_of("h", 1), &value);
	if (rc == 0 && value.len >= sizeof *out) memcpy(out, value.data, sizeof *out);
	return rc == VIGIA_NONE ? 0 : rc;
}

static int put_header(struct vigia__kv *kv, const struct header *header)
{
	return kv->put(kv->ctx, slice_of("h", 1), slice_of(header, sizeof *header));
}

/* A number that a record holds. VIGIA_NONE: there is no such record, or a damaged one. */
static int get_number(struct vigia__kv *kv, struct vigia_slice key, uint64_t *out)
{
	struct vigia_slice value;
	int rc = kv->get(kv->ctx, key, &value);
	if (rc != 0) return rc;
	if (value.len != sizeof *out) return VIGIA_NONE;
	memcpy(out, value.data, sizeof *out);
	return 0;
}

int vigia__timers_count(struct vigia__kv *kv, uint64_t *count)
{
	struct header header;
	int rc = get_header(kv, &header);
	*count = header.count;
	return rc;
}

static bool is_due_key(struct vigia_slice key)
{
	return key.len == DUE_KEY && key.data[0] == 'd';
}

static struct vigia__timer open_timer(struct vigia_slice key, struct vigia_slice value)
{
	struct vigia__timer timer = {.at_ns = (int64_t)number_at(key.data + 1), .id = number_at(key.data + 1 + NUMBER)};
	size_t len = value.len > 0 ? (uint8_t)value.data[0] : 0;
	if (value.len < 1 + len + VIGIA_HEAD_MIN) return timer;
	timer.key = slice_of(value.data + 1, len);
	timer.event = slice_of(value.data + 1 + len, value.len - 1 - len);
	const uint8_t *bytes = (const uint8_t *)timer.event.data;
	timer.intact = vigia__event_intact(bytes, timer.event.len, timer.id) &&
	               vigia__event_time(bytes, timer.event.len) == timer.at_ns;
	return timer;
}

int vigia__timers_each(struct vigia__kv *kv, int64_t at_ns, uint64_t id,
                       int (*fn)(void *ctx, const struct vigia__timer *timer), void *ctx)
{
	struct place room;
	struct vigia_slice key, value;
	int rc = kv->seek(kv->ctx, due_key(&room, at_ns, id), VIGIA_AT_LEAST, &key, &value);
	for (; rc == 0 && key.data[0] == 'd'; rc = kv->next(kv->ctx, &key, &value)) {
		if (!is_due_key(key)) continue; /* it is damaged, and verify tells of it */
		struct vigia__timer timer = open_timer(key, value);
		if (timer.at_ns == at_ns && timer.id == id) continue;
		int told = fn(ctx, &timer);
		if (told != VIGIA_OK) return told;
	}
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

int vigia__timer_of_key(struct vigia__kv *kv, struct vigia_slice key, uint64_t *id)
{
	struct place room;
	return get_number(kv, name_key(&room, key), id);
}

/* ---- changing ---- */

static int is_first(struct vigia__kv *kv, int64_t at_ns, bool *first)
{
	struct place room;
	struct vigia_slice key, value;
	int rc = kv->seek(kv->ctx, due_key(&room, 0, 0), VIGIA_AT_LEAST, &key, &value);
	*first = rc == VIGIA_NONE || (rc == 0 && (!is_due_key(key) || (int64_t)number_at(key.data + 1) > at_ns));
	return rc == VIGIA_NONE ? 0 : rc;
}

static int put_record(struct vigia__kv *kv, int64_t at_ns, uint64_t id, struct vigia_slice key, const uint8_t *event,
                      size_t len)
{
	struct place room;
	uint8_t *value = vigia__alloc(1 + key.len + len);
	if (value == NULL) return VIGIA_ENOMEM;
	value[0] = (uint8_t)key.len;
	if (key.len > 0) memcpy(value + 1, key.data, key.len);
	memcpy(value + 1 + key.len, event, len);
	int rc = kv->put(kv->ctx, due_key(&room, at_ns, id), slice_of(value, 1 + key.len + len));
	vigia__free(value);
	return rc;
}

int vigia__timer_put(struct vigia__kv *kv, int64_t at_ns, struct vigia_slice key, uint8_t *event, size_t len,
                     struct vigia__timer_put *out)
{
	struct place room;
	struct header header;
	int rc = get_header(kv, &header);
	if (rc == 0) rc = is_first(kv, at_ns, &out->first);
	if (rc != 0) return rc;
	uint64_t id = out->id = header.next_id++;
	out->alone = header.count++ == 0;
	vigia__event_stamp(event, len, id, at_ns);
	rc = put_record(kv, at_ns, id, key, event, len);
	if (rc == 0) rc = kv->put(kv->ctx, id_key(&room, id), slice_of(&at_ns, sizeof at_ns));
	if (rc == 0 && key.len > 0) rc = kv->put(kv->ctx, name_key(&room, key), slice_of(&id, sizeof id));
	return rc == 0 ? put_header(kv, &header) : rc;
}

int vigia__timers_next(struct vigia__kv *kv, uint64_t *id)
{
	struct header header;
	int rc = get_header(kv, &header);
	*id = header.next_id;
	return rc;
}

int vigia__timers_next_put(struct vigia__kv *kv, uint64_t id)
{
	struct header header;
	int rc = get_header(kv, &header);
	header.next_id = id;
	return rc == 0 ? put_header(kv, &header) : rc;
}

int vigia__timer_restore(struct vigia__kv *kv, const struct vigia__timer *timer)
{
	struct place room;
	struct header header;
	uint64_t at_ns;
	int rc = get_number(kv, id_key(&room, timer->id), &at_ns);
	if (rc != VIGIA_NONE) return rc;
	rc = get_header(kv, &header);
	if (rc != 0) return rc;
	header.count++;
	if (header.next_id <= timer->id) header.next_id = timer->id + 1;
	rc = put_record(kv, timer->at_ns, timer->id, timer->key, (const uint8_t *)timer->event.data, timer->event.len);
	if (rc == 0) rc = kv->put(kv->ctx, id_key(&room, timer->id), slice_of(&timer->at_ns, sizeof timer->at_ns));
	if (rc == 0 && timer->key.len > 0)
		rc = kv->put(kv->ctx, name_key(&room, timer->key), slice_of(&timer->id, sizeof timer->id));
	return rc == 0 ? put_header(kv, &header) : rc;
}

/* Only if it is this timer's. */
static int delete_key(struct vigia__kv *kv, struct vigia_slice key, uint64_t id)
{
	struct place room;
	uint64_t owner;
	int rc = vigia__timer_of_key(kv, key, &owner);
	if (rc == 0 && owner == id) rc = kv->del(kv->ctx, name_key(&room, key));
	return rc == VIGIA_NONE ? 0 : rc;
}

/* What is not there is no fault: verify tells of it. */
static int delete_record(struct vigia__kv *kv, struct vigia_slice key)
{
	int rc = kv->del(kv->ctx, key);
	return rc == VIGIA_NONE ? 0 : rc;
}

int vigia__timer_remove(struct vigia__kv *kv, int64_t at_ns, uint64_t id, struct vigia_slice key)
{
	struct place room;
	struct header header;
	int rc = delete_record(kv, due_key(&room, at_ns, id));
	if (rc == 0) rc = delete_record(kv, id_key(&room, id));
	if (rc == 0 && key.len > 0) rc = delete_key(kv, key, id);
	if (rc == 0) rc = get_header(kv, &header);
	if (rc == 0 && header.count > 0) header.count--;
	return rc == 0 ? put_header(kv, &header) : rc;
}

int vigia__timer_delete(struct vigia__kv *kv, uint64_t id)
{
	struct place room, key = {{0}};
	struct vigia_slice value;
	uint64_t at_ns;
	size_t key_len = 0;
	int rc = get_number(kv, id_key(&room, id), &at_ns);
	if (rc == 0) rc = kv->get(kv->ctx, due_key(&room, (int64_t)at_ns, id), &value);
	if (rc != 0) return rc;
	if (value.len > 0 && value.len > (uint8_t)value.data[0]) {
		key_len = (uint8_t)value.data[0];
		memcpy(key.bytes, value.data + 1, key_len); /* the slice is valid until the next call */
	}
	return vigia__timer_remove(kv, (int64_t)at_ns, id, slice_of(key.bytes, key_len));
}

/* ---- verify ---- */

struct look {
	struct vigia__kv *kv;
	void (*found)(void *ctx, const char *text);
	void *ctx;
	uint64_t timers, ids, keys, with_key;
};

static void tell(struct look *look, uint64_t id, const char *text)
{
	char line[128];
	snprintf(line, sizeof line, "timer %llu: %s", (unsigned long long)id, text);
	look->found(look->ctx, line);
}

/* One timer and the records that lead to it. `kv` is in the middle of a walk, which `get` does not move. */
static int check_timer(struct look *look, const struct vigia__timer *timer, uint64_t next_id)
{
	struct place room, name;
	uint64_t at_ns = 0, owner = 0;
	look->timers++;
	if (!timer->intact) {
		tell(look, timer->id, "it does not match its checksum");
		return 0;
	}
	if (timer->key.len > 0) look->with_key++;
	struct vigia_slice key = timer->key.len > 0 ? name_key(&name, timer->key) : slice_of(NULL, 0);
	if (timer->id >= next_id) tell(look, timer->id, "its id was never assigned");
	int rc = get_number(look->kv, id_key(&room, timer->id), &at_ns);
	if (rc == VIGIA_NONE || (rc == 0 && (int64_t)at_ns != timer->at_ns)) {
		tell(look, timer->id, "it cannot be found by its id");
		rc = 0;
	}
	if (rc == 0 && key.len > 0) rc = get_number(look->kv, key, &owner);
	if (rc == VIGIA_NONE || (rc == 0 && key.len > 0 && owner != timer->id)) {
		tell(look, timer->id, "it cannot be found by its key");
		rc = 0;
	}
	return rc;
}

int vigia__timers_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx, uint64_t *count)
{
	struct look look = {.kv = kv, .found = found, .ctx = ctx};
	struct header header;
	struct vigia_slice key, value;
	int rc = get_header(kv, &header);
	if (rc == 0) rc = kv->seek(kv->ctx, slice_of("\0", 1), VIGIA_AT_LEAST, &key, &value);
	for (; rc == 0; rc = kv->next(kv->ctx, &key, &value)) {
		if (is_due_key(key)) {
			struct vigia__timer timer = open_timer(key, value);
			rc = check_timer(&look, &timer, header.next_id);
			if (rc != 0) break;
		} else if (key.len == 1 + NUMBER && key.data[0] == 'i') look.ids++;
		else if (key.len > 1 && key.data[0] == 'k') look.keys++;
		else if (key.len != 1 || key.data[0] != 'h' || value.len < sizeof header)
			found(ctx, "a record of the timers is damaged");
	}
	*count = look.timers;
	if (rc != VIGIA_NONE) return rc;
	if (header.count != look.timers || look.ids != look.timers)
		found(ctx, "the number of timers does not match their records");
	if (look.keys != look.with_key) found(ctx, "the keys of timers do not match the timers");
	return 0;
}
