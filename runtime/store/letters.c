/*
 * letters.c - the records of dead letters, in the ordered map of bytes that buckets are in.
 */
#include "letters.h"

#include <stdio.h>
#include <string.h>

#include "../core/buf.h"
#include "../core/error.h"

enum { LETTER = 'l', COUNTS = 'n', NUMBER = 8, ID_MAX = 255 };

struct letter_head {
	uint64_t sum; /* over what follows */
	uint64_t attempts;
	int64_t failed_at_ns;
	uint32_t error_len, traceback_len;
	uint64_t retry;
	uint64_t lane_key;
};

struct counts {
	uint64_t letters, wanted;
};

struct place {
	char bytes[1 + ID_MAX + 1 + NUMBER];
};

static struct vigia_slice slice_of(const void *data, size_t len)
{
	return (struct vigia_slice){data, len};
}

static struct vigia_slice letter_key(struct place *room, struct vigia_slice id, uint64_t seq_num)
{
	uint64_t big_endian = __builtin_bswap64(seq_num);
	room->bytes[0] = LETTER;
	if (id.len > 0) memcpy(room->bytes + 1, id.data, id.len);
	room->bytes[1 + id.len] = '\0';
	memcpy(room->bytes + 2 + id.len, &big_endian, sizeof big_endian);
	return slice_of(room->bytes, 2 + id.len + NUMBER);
}

static struct vigia_slice counts_key(struct place *room, struct vigia_slice id)
{
	room->bytes[0] = COUNTS;
	if (id.len > 0) memcpy(room->bytes + 1, id.data, id.len);
	return slice_of(room->bytes, 1 + id.len);
}

/* ---- reading ---- */

static int damaged(struct vigia_slice id, uint64_t seq_num, struct vigia_error *err)
{
	char text[ID_MAX + 1];
	snprintf(text, sizeof text, "%.*s", (int)id.len, id.data);
	return vigia__error(err, VIGIA_EDAMAGED, "the dead letter %llu of watcher '%s' is damaged",
	                    (unsigned long long)seq_num, VIGIA_SHOWN(text));
}

/* Is it the key of a letter? */
static bool open_key(struct vigia_slice key, struct vigia__letter *out)
{
	if (key.len < 2 + NUMBER || key.data[0] != LETTER || key.data[key.len - NUMBER - 1] != '\0') return false;
	uint64_t big_endian;
	memcpy(&big_endian, key.data + key.len - NUMBER, NUMBER);
	out->watcher_id = slice_of(key.data + 1, key.len - NUMBER - 2);
	out->seq_num = __builtin_bswap64(big_endian);
	return true;
}

/* Take a record apart, into all of *out but what the key says. False: it is too short, or its sum is wrong. */
static bool open_record(struct vigia_slice key, struct vigia_slice record, struct vigia__letter *out)
{
	struct letter_head head;
	if (record.len < sizeof head) return false;
	memcpy(&head, record.data, sizeof head);
	struct vigia_slice summed = slice_of(record.data + sizeof head.sum, record.len - sizeof head.sum);
	size_t texts = (size_t)head.error_len + head.traceback_len;
	if (vigia__state_sum(key, summed) != head.sum || record.len - sizeof head < texts) return false;
	out->attempts = head.attempts;
	out->failed_at_ns = head.failed_at_ns;
	out->retry = head.retry != 0;
	out->lane_key = head.lane_key;
	out->error = slice_of(record.data + sizeof head, head.error_len);
	out->traceback = slice_of(out->error.data + head.error_len, head.traceback_len);
	out->event = slice_of(out->traceback.data + head.traceback_len, record.len - sizeof head - texts);
	return true;
}

int vigia__letter_get(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t seq_num, struct vigia__letter *out,
                      struct vigia_error *err)
{
	struct place room;
	struct vigia_slice record, key = letter_key(&room, watcher_id, seq_num);
	int rc = kv->get(kv->ctx, key, &record);
	if (rc != 0) return rc;
	*out = (struct vigia__letter){.watcher_id = watcher_id, .seq_num = seq_num};
	return open_record(key, record, out) ? VIGIA_OK : damaged(watcher_id, seq_num, err);
}

static bool same(struct vigia_slice a, struct vigia_slice b)
{
	return vigia__ordered_compare(a, b) == 0;
}

int vigia__letters_each(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t from, bool only,
                        int (*fn)(void *ctx, const struct vigia__letter *letter, struct vigia_error *err), void *ctx,
                        struct vigia_error *err)
{
	struct place room;
	struct vigia_slice key, record;
	int rc = kv->seek(kv->ctx, letter_key(&room, watcher_id, from), VIGIA_AT_LEAST, &key, &record);
	for (; rc == 0; rc = kv->next(kv->ctx, &key, &record)) {
		struct vigia__letter letter = {0};
		if (!open_key(key, &letter) || (only && !same(letter.watcher_id, watcher_id))) break;
		letter.damaged = !open_record(key, record, &letter);
		rc = fn(ctx, &letter, err);
		if (rc != VIGIA_OK) return rc;
	}
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

int vigia__letter_damaged(const struct vigia__letter *letter, struct vigia_error *err)
{
	return damaged(letter->watcher_id, letter->seq_num, err);
}

static int get_counts(struct vigia__kv *kv, struct vigia_slice id, struct counts *out)
{
	struct place room;
	struct vigia_slice value;
	*out = (struct counts){0};
	int rc = kv->get(kv->ctx, counts_key(&room, id), &value);
	if (rc == 0 && value.len >= sizeof *out) memcpy(out, value.data, sizeof *out);
	return rc == VIGIA_NONE ? 0 : rc;
}

struct wanted {
	bool (*mine)(void *ctx, const struct vigia__letter *letter);
	void *ctx;
	struct vigia__letter *out;
};

static int find_wanted(void *ctx, const struct vigia__letter *letter, struct vigia_error *err)
{
	const struct wanted *wanted = ctx;
	if (letter->damaged) damaged(letter->watcher_id, letter->seq_num, err);
	if (letter->damaged || !letter->retry) return VIGIA_OK;
	if (wanted->mine && !wanted->mine(wanted->ctx, letter)) return VIGIA_OK;
	*wanted->out = *letter;
	return VIGIA_PENDING; /* found */
}

int vigia__letter_next_wanted(struct vigia__kv *kv, struct vigia_slice watcher_id,
                              bool (*mine)(void *ctx, const struct vigia__letter *letter), void *ctx,
                              struct vigia__letter *out, struct vigia_error *err)
{
	struct wanted wanted = {mine, ctx, out};
	struct counts counts;
	int rc = get_counts(kv, watcher_id, &counts);
	if (rc != 0) return rc;
	if (counts.wanted == 0) return VIGIA_NONE;
	rc = vigia__letters_each(kv, watcher_id, 0, true, find_wanted, &wanted, err);
	return rc == VIGIA_PENDING ? VIGIA_OK : rc == VIGIA_OK ? VIGIA_NONE : rc;
}

int vigia__letters_count(struct vigia__kv *kv, uint64_t *count)
{
	struct vigia_slice key, value;
	struct counts counts;
	const char first = COUNTS;
	*count = 0;
	int rc = kv->seek(kv->ctx, slice_of(&first, 1), VIGIA_AT_LEAST, &key, &value);
	for (; rc == 0 && key.data[0] == COUNTS && value.len >= sizeof counts; rc = kv->next(kv->ctx, &key, &value)) {
		memcpy(&counts, value.data, sizeof counts);
		*count += counts.letters;
	}
	return rc == VIGIA_NONE ? 0 : rc;
}

/* ---- changes ---- */

static int put_counts(struct vigia__kv *kv, struct vigia_slice id, const struct counts *counts)
{
	struct place room;
	struct vigia_slice key = counts_key(&room, id);
	if (counts->letters > 0) return kv->put(kv->ctx, key, slice_of(counts, sizeof *counts));
	int rc = kv->del(kv->ctx, key);
	return rc == VIGIA_NONE ? 0 : rc;
}

static int put_record(struct vigia__kv *kv, const struct vigia__letter *letter)
{
	struct place room;
	struct vigia__buf record = {0};
	struct vigia_slice key = letter_key(&room, letter->watcher_id, letter->seq_num);
	struct letter_head head = {.attempts = letter->attempts,
	                           .failed_at_ns = letter->failed_at_ns,
	                           .error_len = (uint32_t)letter->error.len,
	                           .traceback_len = (uint32_t)letter->traceback.len,
	                           .retry = letter->retry,
	                           .lane_key = letter->lane_key};
	size_t len = sizeof head + letter->error.len + letter->traceback.len + letter->event.len;
	int rc = vigia__buf_reserve(&record, len) < 0 ? VIGIA_ENOMEM : 0;
	if (rc == 0) {
		vigia__buf_add(&record, &head, sizeof head);
		vigia__buf_add(&record, letter->error.data, letter->error.len);
		vigia__buf_add(&record, letter->traceback.data, letter->traceback.len);
		vigia__buf_add(&record, letter->event.data, letter->event.len);
		head.sum = vigia__state_sum(key, slice_of(record.data + sizeof head.sum, len - sizeof head.sum));
		memcpy(record.data, &head.sum, sizeof head.sum);
		rc = kv->put(kv->ctx, key, slice_of(record.data, len));
	}
	vigia__buf_deinit(&record);
	return rc;
}

/* Is there one? Then *retry says whether it is to be retried. 0, VIGIA_NONE. A damaged one is there. */
static int look(struct vigia__kv *kv, struct vigia_slice id, uint64_t seq_num, bool *retry)
{
	struct place room;
	struct vigia_slice record;
	struct letter_head head;
	*retry = false;
	int rc = kv->get(kv->ctx, letter_key(&room, id, seq_num), &record);
	if (rc != 0 || record.len < sizeof head) return rc;
	memcpy(&head, record.data, sizeof head);
	*retry = head.retry != 0;
	return 0;
}

int vigia__letter_put(struct vigia__kv *kv, const struct vigia__letter *letter)
{
	struct counts counts;
	bool retried = false;
	int rc = get_counts(kv, letter->watcher_id, &counts);
	if (rc != 0) return rc;
	rc = look(kv, letter->watcher_id, letter->seq_num, &retried);
	if (rc != 0 && rc != VIGIA_NONE) return rc;
	counts.letters += rc == VIGIA_NONE;
	counts.wanted += (uint64_t)letter->retry - retried;
	rc = put_record(kv, letter);
	return rc == 0 ? put_counts(kv, letter->watcher_id, &counts) : rc;
}

int vigia__letter_remove(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t seq_num)
{
	struct place room;
	struct counts counts;
	bool retried;
	int rc = look(kv, watcher_id, seq_num, &retried);
	if (rc == 0) rc = get_counts(kv, watcher_id, &counts);
	if (rc != 0) return rc;
	counts.letters -= counts.letters > 0;
	counts.wanted -= retried && counts.wanted > 0;
	rc = kv->del(kv->ctx, letter_key(&room, watcher_id, seq_num));
	return rc == 0 ? put_counts(kv, watcher_id, &counts) : rc;
}

/* Copy a letter, whose slices the next call on the map ends, and put it with changes. */
static int put_changed(struct vigia__kv *kv, struct vigia__letter letter, bool retry, const struct vigia__letter *again)
{
	struct vigia__buf copy = {0};
	const struct vigia__letter *texts = again ? again : &letter;
	size_t len = texts->error.len + texts->traceback.len + letter.event.len;
	if (vigia__buf_reserve(&copy, len + 1) < 0) return VIGIA_ENOMEM;
	vigia__buf_add(&copy, texts->error.data, texts->error.len);
	vigia__buf_add(&copy, texts->traceback.data, texts->traceback.len);
	vigia__buf_add(&copy, letter.event.data, letter.event.len);
	letter.error = slice_of(copy.data, texts->error.len);
	letter.traceback = slice_of(copy.data + texts->error.len, texts->traceback.len);
	letter.event = slice_of(copy.data + (len - letter.event.len), letter.event.len);
	letter.retry = retry;
	if (again) {
		letter.attempts++;
		letter.failed_at_ns = again->failed_at_ns;
	}
	int rc = vigia__letter_put(kv, &letter);
	vigia__buf_deinit(&copy);
	return rc;
}

int vigia__letter_failed(struct vigia__kv *kv, const struct vigia__letter *again, struct vigia_error *err)
{
	struct vigia__letter letter;
	int rc = vigia__letter_get(kv, again->watcher_id, again->seq_num, &letter, err);
	return rc == VIGIA_OK ? put_changed(kv, letter, false, again) : rc;
}

int vigia__letter_request(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t seq_num,
                          struct vigia_error *err)
{
	struct vigia__letter letter;
	int rc = vigia__letter_get(kv, watcher_id, seq_num, &letter, err);
	return rc == VIGIA_OK && !letter.retry ? put_changed(kv, letter, true, NULL) : rc;
}

/* ---- verify ---- */

struct verify {
	void (*found)(void *ctx, const char *text);
	void *ctx;
	char id[ID_MAX + 1];
	size_t id_len;
	uint64_t from;
	struct counts counts;
};

static void tell_counts(const struct verify *v, const struct counts *said)
{
	char text[ID_MAX + 200];
	if (said->letters == v->counts.letters && said->wanted == v->counts.wanted) return;
	snprintf(text, sizeof text, "watcher '%s' counts %llu dead letters, %llu to be retried, but has %llu and %llu",
	         VIGIA_SHOWN(v->id), (unsigned long long)said->letters, (unsigned long long)said->wanted,
	         (unsigned long long)v->counts.letters, (unsigned long long)v->counts.wanted);
	v->found(v->ctx, text);
}

/* The letters of one watcher after the other. */
static int verify_next(struct vigia__kv *kv, struct verify *v, bool *more)
{
	struct place room;
	struct vigia_slice key, record;
	struct vigia__letter letter;
	char id[ID_MAX + 1];
	int rc = kv->seek(kv->ctx, letter_key(&room, slice_of(v->id, v->id_len), v->from), VIGIA_AT_LEAST, &key, &record);
	v->counts = (struct counts){0};
	*more = rc == 0 && open_key(key, &letter) && letter.watcher_id.len <= ID_MAX;
	if (!*more) return rc == VIGIA_NONE ? 0 : rc;
	size_t len = letter.watcher_id.len;
	memcpy(id, letter.watcher_id.data, len);
	id[len] = '\0';
	memcpy(v->id, id, len + 1);
	for (; rc == 0; rc = kv->next(kv->ctx, &key, &record)) {
		if (!open_key(key, &letter) || !same(letter.watcher_id, slice_of(id, len))) break;
		v->counts.letters++;
		if (open_record(key, record, &letter)) {
			v->counts.wanted += letter.retry;
			continue;
		}
		struct vigia_error err = {0};
		damaged(letter.watcher_id, letter.seq_num, &err);
		v->found(v->ctx, err.message);
	}
	if (rc != 0 && rc != VIGIA_NONE) return rc;
	struct counts said;
	rc = get_counts(kv, slice_of(id, len), &said);
	if (rc == 0) tell_counts(v, &said);
	v->id_len = len;
	v->from = UINT64_MAX; /* a number that no event has: behind its letters */
	return rc;
}

int vigia__letters_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx)
{
	struct verify v = {.found = found, .ctx = ctx};
	bool more = true;
	int rc = 0;
	while (rc == 0 && more) rc = verify_next(kv, &v, &more);
	return rc;
}
