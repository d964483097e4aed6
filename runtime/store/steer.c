/*
 * steer.c - the records by which watchers are steered from outside: pauses and requests. See steer.h.
 */
#include "steer.h"

#include <stdio.h>
#include <string.h>

#include "../core/error.h"

enum { PAUSE = 'p', REQUEST = 'q', NUMBER = 8, ID_MAX = 255 };

/* How long after its time a request is kept for the one who asked, who may be late to look. */
static const int64_t KEPT_NS = INT64_C(60000000000);

struct place {
	char bytes[1 + ID_MAX + 1 + NUMBER];
};

struct record {
	uint64_t sum; /* over what follows */
	uint64_t seq_num;
	int64_t until_at_ns;
	int32_t code;
	uint16_t kind, answered;
	char text[sizeof((struct vigia__steer *)0)->text];
};

static struct vigia_slice slice_of(const void *data, size_t len)
{
	return (struct vigia_slice){data, len};
}

static struct vigia_slice pause_key(struct place *room, struct vigia_slice id)
{
	room->bytes[0] = PAUSE;
	if (id.len > 0) memcpy(room->bytes + 1, id.data, id.len);
	return slice_of(room->bytes, 1 + id.len);
}

static struct vigia_slice request_key(struct place *room, struct vigia_slice id, uint64_t number)
{
	uint64_t big_endian = __builtin_bswap64(number);
	pause_key(room, id);
	room->bytes[0] = REQUEST;
	room->bytes[1 + id.len] = '\0';
	memcpy(room->bytes + 2 + id.len, &big_endian, sizeof big_endian);
	return slice_of(room->bytes, 2 + id.len + NUMBER);
}

/* Is it the key of a request? */
static bool open_key(struct vigia_slice key, struct vigia_slice *id, uint64_t *number)
{
	uint64_t big_endian;
	if (key.len < 2 + NUMBER || key.len > sizeof(struct place) || key.data[0] != REQUEST) return false;
	if (key.data[key.len - NUMBER - 1] != '\0') return false;
	memcpy(&big_endian, key.data + key.len - NUMBER, NUMBER);
	*id = slice_of(key.data + 1, key.len - NUMBER - 2);
	*number = __builtin_bswap64(big_endian);
	return true;
}

static bool known_kind(unsigned kind)
{
	return kind >= VIGIA_STEER_SEEK && kind <= VIGIA_STEER_RETRY;
}

/* False: it is damaged. */
static bool open_record(struct vigia_slice key, struct vigia_slice value, uint64_t number, struct vigia__steer *out)
{
	struct record record;
	if (value.len != sizeof record) return false;
	memcpy(&record, value.data, sizeof record);
	struct vigia_slice summed = slice_of(value.data + sizeof record.sum, sizeof record - sizeof record.sum);
	if (vigia__state_sum(key, summed) != record.sum || !known_kind(record.kind)) return false;
	*out = (struct vigia__steer){.number = number,
	                             .kind = record.kind,
	                             .answered = record.answered != 0,
	                             .code = record.code,
	                             .seq_num = record.seq_num,
	                             .until_at_ns = record.until_at_ns};
	memcpy(out->text, record.text, sizeof out->text);
	out->text[sizeof out->text - 1] = '\0';
	return true;
}

const char *vigia__steer_name(enum vigia__steer_kind kind)
{
	static const char *const names[] = {"", "seek", "pause", "resume", "retry"};
	return names[known_kind(kind) ? kind : 0];
}

/* ---- requests ---- */

int vigia__steer_get(struct vigia__kv *kv, struct vigia_slice id, uint64_t number, struct vigia__steer *out)
{
	struct place room;
	struct vigia_slice value, key = request_key(&room, id, number);
	int rc = kv->get(kv->ctx, key, &value);
	return rc != 0 || open_record(key, value, number, out) ? rc : VIGIA_NONE;
}

int vigia__steer_put(struct vigia__kv *kv, struct vigia_slice id, const struct vigia__steer *steer)
{
	struct place room;
	struct vigia_slice key = request_key(&room, id, steer->number);
	struct record record = {.seq_num = steer->seq_num,
	                        .until_at_ns = steer->until_at_ns,
	                        .code = steer->code,
	                        .kind = (uint16_t)steer->kind,
	                        .answered = steer->answered};
	memcpy(record.text, steer->text, sizeof record.text);
	record.sum =
		vigia__state_sum(key, slice_of((const char *)&record + sizeof record.sum, sizeof record - sizeof record.sum));
	return kv->put(kv->ctx, key, slice_of(&record, sizeof record));
}

int vigia__steer_answer(struct vigia__kv *kv, struct vigia_slice id, const struct vigia__steer *steer)
{
	struct vigia__steer last = {
		.kind = steer->kind, .answered = true, .seq_num = steer->number, .until_at_ns = INT64_MAX};
	int rc = vigia__steer_put(kv, id, steer);
	return rc == VIGIA_OK ? vigia__steer_put(kv, id, &last) : rc;
}

int vigia__steer_answered(struct vigia__kv *kv, struct vigia_slice id, uint64_t *number)
{
	struct vigia__steer last;
	int rc = vigia__steer_get(kv, id, 0, &last);
	*number = rc == VIGIA_OK ? last.seq_num : 0;
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

int vigia__steer_remove(struct vigia__kv *kv, struct vigia_slice id, uint64_t number)
{
	struct place room;
	return kv->del(kv->ctx, request_key(&room, id, number));
}

/* Call fn for each request of a watcher, until it returns something else than VIGIA_OK, which is returned. VIGIA_OK: no
 * more. `steer` NULL: it is damaged. */
static int each_of(struct vigia__kv *kv, struct vigia_slice id,
                   int (*fn)(void *ctx, uint64_t number, const struct vigia__steer *steer), void *ctx)
{
	struct place room;
	struct vigia_slice key, value, of;
	uint64_t number;
	int rc = kv->seek(kv->ctx, request_key(&room, id, 0), VIGIA_AT_LEAST, &key, &value);
	for (; rc == 0; rc = kv->next(kv->ctx, &key, &value)) {
		struct vigia__steer steer;
		if (!open_key(key, &of, &number) || vigia__ordered_compare(of, id) != 0) break;
		rc = fn(ctx, number, open_record(key, value, number, &steer) ? &steer : NULL);
		if (rc != VIGIA_OK) return rc;
	}
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

enum { OLD_MAX = 64 };

struct old {
	int64_t before_ns; /* those whose time ended before this */
	uint64_t last;     /* the highest number there is */
	size_t count;
	uint64_t numbers[OLD_MAX];
};

static int find_old(void *ctx, uint64_t number, const struct vigia__steer *steer)
{
	struct old *old = ctx;
	if (number > old->last) old->last = number;
	if ((steer == NULL || steer->until_at_ns < old->before_ns) && old->count < OLD_MAX)
		old->numbers[old->count++] = number;
	return VIGIA_OK;
}

int vigia__steer_add(struct vigia__kv *kv, struct vigia_slice id, int64_t now_ns, struct vigia__steer *steer)
{
	struct old old = {.before_ns = now_ns - KEPT_NS};
	int rc = each_of(kv, id, find_old, &old);
	for (size_t i = 0; i < old.count && rc == 0; i++) rc = vigia__steer_remove(kv, id, old.numbers[i]);
	if (rc != 0) return rc;
	steer->number = now_ns > 0 ? (uint64_t)now_ns : 1;
	if (steer->number <= old.last) steer->number = old.last + 1;
	return vigia__steer_put(kv, id, steer);
}

struct next {
	int64_t now_ns;
	struct vigia__steer *out;
};

static int find_next(void *ctx, uint64_t number, const struct vigia__steer *steer)
{
	const struct next *next = ctx;
	if (steer == NULL || steer->answered || steer->until_at_ns < next->now_ns) return VIGIA_OK;
	*next->out = *steer;
	return VIGIA_PENDING; /* found */
}

int vigia__steer_next(struct vigia__kv *kv, struct vigia_slice id, int64_t now_ns, struct vigia__steer *out)
{
	struct next next = {now_ns, out};
	int rc = each_of(kv, id, find_next, &next);
	return rc == VIGIA_PENDING ? VIGIA_OK : rc == VIGIA_OK ? VIGIA_NONE : rc;
}

/* ---- pauses ---- */

int vigia__pause_get(struct vigia__kv *kv, struct vigia_slice id, bool *paused)
{
	struct place room;
	struct vigia_slice value;
	int rc = kv->get(kv->ctx, pause_key(&room, id), &value);
	*paused = rc == 0;
	return rc == VIGIA_NONE ? 0 : rc;
}

int vigia__pause_set(struct vigia__kv *kv, struct vigia_slice id, bool paused)
{
	struct place room;
	struct vigia_slice key = pause_key(&room, id);
	uint64_t sum = vigia__state_sum(key, slice_of("", 0));
	int rc = paused ? kv->put(kv->ctx, key, slice_of(&sum, sizeof sum)) : kv->del(kv->ctx, key);
	return rc == VIGIA_NONE ? 0 : rc;
}

/* ---- all ---- */

int vigia__steer_forget(struct vigia__kv *kv, struct vigia_slice id)
{
	struct old old;
	int rc = vigia__pause_set(kv, id, false);
	do {
		old = (struct old){.before_ns = INT64_MAX};
		if (rc == 0) rc = each_of(kv, id, find_old, &old);
		for (size_t i = 0; i < old.count && rc == 0; i++) rc = vigia__steer_remove(kv, id, old.numbers[i]);
	} while (rc == 0 && old.count == OLD_MAX);
	return rc;
}

int vigia__steer_each(struct vigia__kv *kv,
                      void (*fn)(void *ctx, struct vigia_slice watcher_id, const struct vigia__steer *steer), void *ctx)
{
	struct vigia_slice key, value, id;
	const char first = PAUSE;
	int rc = kv->seek(kv->ctx, slice_of(&first, 1), VIGIA_AT_LEAST, &key, &value);
	for (; rc == 0; rc = kv->next(kv->ctx, &key, &value)) {
		struct vigia__steer steer;
		uint64_t number;
		if (key.data[0] == PAUSE) fn(ctx, slice_of(key.data + 1, key.len - 1), NULL);
		else if (!open_key(key, &id, &number)) break;
		else if (number > 0 && open_record(key, value, number, &steer)) fn(ctx, id, &steer);
	}
	return rc == VIGIA_NONE ? 0 : rc;
}

int vigia__steer_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx)
{
	struct vigia_slice key, value;
	char id[ID_MAX + 1], text[ID_MAX + 100];
	const char first = PAUSE;
	int rc = kv->seek(kv->ctx, slice_of(&first, 1), VIGIA_AT_LEAST, &key, &value);
	for (; rc == 0; rc = kv->next(kv->ctx, &key, &value)) {
		struct vigia__steer steer;
		uint64_t number, sum = 0;
		bool pause = key.data[0] == PAUSE;
		struct vigia_slice of = slice_of(key.data + 1, key.len - 1);
		if (!pause && !open_key(key, &of, &number)) break;
		if (pause && value.len == sizeof sum) memcpy(&sum, value.data, sizeof sum);
		bool whole = pause ? sum == vigia__state_sum(key, slice_of("", 0)) : open_record(key, value, number, &steer);
		if (whole) continue;
		snprintf(id, sizeof id, "%.*s", (int)(of.len < ID_MAX ? of.len : ID_MAX), of.data);
		snprintf(text, sizeof text, "%s watcher '%s' is damaged", pause ? "the pause of" : "a request to",
		         VIGIA_SHOWN(id));
		found(ctx, text);
	}
	return rc == VIGIA_NONE ? 0 : rc;
}
