/*
 * export.c - writes all that a store holds as a stream of records, in slices. See transfer.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/options.h"
#include "lane_record.h"
#include "letters.h"
#include "steer.h"
#include "timer_records.h"
#include "transfer.h"

enum {
	SLICE_BYTES = 1 << 20,
	SLICE_EVENTS = 1000,
};

/* Records that wait, in a stream of their own whose sums begin at 0: they are read before the first record is known. */
struct waiting {
	struct vigia__buf bytes;
	uint64_t sum;
};

struct exporter {
	struct vigia__backend *b;
	const struct vigia__transfer_watch *watch;
	struct vigia__export_stream stream;
	struct vigia_transfer done;
	struct vigia_batch *batch;
	struct waiting wait;
	uint64_t state_version, next_timer, timer_id;
	int64_t last_at_ns;
	uint64_t from; /* for a copy: the first event, 0: all of them. And without timers */
	bool copies;
	/* where a slice goes on */
	char id[VIGIA_NAME_MAX + 1];
	size_t id_len;
	uint64_t letter;
	char bucket[VIGIA_BUCKET_NAME_MAX + 2];
	struct vigia__state_key key; /* in the bucket; len 0: at its beginning */
	bool in_bucket, more;
	struct vigia__bucket found;
};

static struct vigia__export_field number(uint64_t value)
{
	return (struct vigia__export_field){.number = (int64_t)value};
}

static struct vigia__export_field bytes(struct vigia_slice value)
{
	return (struct vigia__export_field){.bytes = value};
}

static struct vigia_slice slice(const void *data, size_t len)
{
	return (struct vigia_slice){data, len};
}

static int wait_put(struct exporter *x, enum vigia__export_kind kind, const struct vigia__export_field fields[])
{
	return vigia__export_encode(&x->wait.bytes, &x->wait.sum, kind, fields) < 0 ? VIGIA_ENOMEM : VIGIA_OK;
}

static bool is_full(const struct exporter *x)
{
	return x->wait.bytes.len >= SLICE_BYTES;
}

static void wait_clear(struct exporter *x)
{
	vigia__buf_clear(&x->wait.bytes, 4 * SLICE_BYTES);
	x->wait.sum = 0;
}

static int tell(struct exporter *x, struct vigia_error *err)
{
	x->done.records = x->stream.records;
	x->done.bytes = x->stream.bytes;
	if (x->watch->progress && !x->watch->progress(x->watch->ctx, &x->done))
		return vigia__error(err, VIGIA_EINTERRUPTED, "the export was interrupted");
	return VIGIA_OK;
}

/* Write what waits. */
static int wait_end(struct exporter *x, struct vigia_error *err)
{
	uint64_t sum = 0;
	int rc = VIGIA_OK;
	for (size_t at = 0; at < x->wait.bytes.len && rc == VIGIA_OK;) {
		struct vigia__export_field fields[VIGIA_EXPORT_FIELDS];
		enum vigia__export_kind kind;
		uint32_t len;
		const char *why;
		const uint8_t *record = x->wait.bytes.data + at;
		if (!vigia__export_length(record, &len) || vigia__export_decode(record, len, &sum, &kind, fields, &why) < 0)
			return vigia__error(err, VIGIA_EIO,
			                    "a record of the export cannot be read again"); /* GCOVR_EXCL_LINE: ours */
		rc = vigia__export_put(&x->stream, kind, fields, err);
		at += len;
	}
	wait_clear(x);
	return rc == VIGIA_OK ? tell(x, err) : rc;
}

/* ---- what is read at the start ---- */

struct watchers {
	struct exporter *x;
	enum vigia__export_kind kind;
	int rc;
};

static void put_watcher(void *ctx, const char *id, uint64_t seq_num)
{
	struct watchers *w = ctx;
	struct vigia__export_field fields[] = {bytes(slice(id, strlen(id))), number(seq_num)};
	if (w->rc == VIGIA_OK) w->rc = wait_put(w->x, w->kind, fields);
}

static int put_watchers(struct exporter *x, bool holds, struct vigia_error *err)
{
	struct watchers w = {x, holds ? VIGIA_EXPORT_HOLD : VIGIA_EXPORT_CHECKPOINT, VIGIA_OK};
	int rc = x->b->checkpoint_each(x->b, holds, &w, put_watcher, err);
	return rc == VIGIA_OK && w.rc < 0 ? vigia__no_memory(err) : rc;
}

static int put_lanes(void *ctx, struct vigia_slice id, uint64_t epoch, const struct vigia__ranges *ranges)
{
	struct exporter *x = ctx;
	struct vigia__buf all = {0}, array = {0};
	int rc = vigia__ranges_encode(ranges, &all) < 0 ? VIGIA_ENOMEM : VIGIA_OK;
	if (rc == VIGIA_OK &&
	    vigia__export_put_ranges(&array, slice(all.data + sizeof(uint64_t), all.len - sizeof(uint64_t))) < 0)
		rc = VIGIA_ENOMEM;
	struct vigia__export_field fields[] = {bytes(id), number(epoch), number(ranges->checkpoint),
	                                       bytes(slice(array.data, array.len))};
	if (rc == VIGIA_OK) rc = wait_put(x, VIGIA_EXPORT_LANES, fields);
	vigia__buf_deinit(&all);
	vigia__buf_deinit(&array);
	return rc;
}

static void put_pause(void *ctx, struct vigia_slice id, const struct vigia__steer *steer)
{
	struct watchers *w = ctx;
	struct vigia__export_field field = bytes(id);
	if (steer == NULL && w->rc == VIGIA_OK) w->rc = wait_put(w->x, w->kind, &field);
}

/* What watchers have in the map of buckets. */
static int watchers_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct exporter *x = arg;
	struct watchers w = {x, VIGIA_EXPORT_PAUSE, VIGIA_OK};
	int rc = vigia__state_version(kv, &x->state_version);
	if (rc == VIGIA_OK) rc = vigia__steer_each(kv, put_pause, &w);
	if (rc == VIGIA_OK) rc = w.rc;
	if (rc == VIGIA_OK) rc = vigia__lane_records_each(kv, put_lanes, x);
	return rc == VIGIA_EDAMAGED ? vigia__error(err, rc, "the lane progress of a watcher is damaged") : rc;
}

static int put_timer(void *ctx, const struct vigia__timer *timer)
{
	struct exporter *x = ctx;
	struct vigia__export_field fields[] = {number(timer->id), number((uint64_t)timer->at_ns), bytes(timer->key),
	                                       bytes(timer->event)};
	x->timer_id = timer->id;
	return timer->intact ? wait_put(x, VIGIA_EXPORT_TIMER, fields) : VIGIA_EDAMAGED;
}

static int timers_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct exporter *x = arg;
	x->next_timer = 1;
	int rc = x->copies ? VIGIA_OK : vigia__timers_next(kv, &x->next_timer);
	if (rc == VIGIA_OK && !x->copies) rc = vigia__timers_each(kv, 0, 0, put_timer, x);
	if (rc == VIGIA_ENOMEM) return vigia__no_memory(err);
	if (rc == VIGIA_EDAMAGED)
		return vigia__error(err, rc, "timer %llu does not match its checksum", (unsigned long long)x->timer_id);
	return rc;
}

static int view(struct exporter *x, enum vigia__map map, vigia__state_fn fn, struct vigia_error *err)
{
	int rc = x->b->view(x->b, map, fn, x, err);
	return rc == VIGIA_ENOMEM ? vigia__no_memory(err) : rc;
}

/* The time of the last event. `oldest` 0: there is none any more. */
static int find_time(struct exporter *x, uint64_t oldest, struct vigia_error *err)
{
	struct vigia__backend *b = x->b;
	struct vigia__scan scan = {.from = x->done.last, .count_max = 1, .bytes_max = 1, .until_mono_ns = INT64_MAX};
	int rc = VIGIA_OK;
	x->done.first = oldest > 0 ? oldest : x->done.last + 1;
	x->last_at_ns = 0;
	if (x->done.last == 0) return VIGIA_OK;
	vigia__batch_clear(x->batch);
	if (oldest > 0) rc = b->scan(b, &scan, x->batch, err);
	if (rc < 0) return rc;
	if (x->batch->count == 0) return b->gone_at(b, &x->last_at_ns, err);
	struct vigia_slice event = vigia__batch_bytes(x->batch, 0);
	x->last_at_ns = vigia__event_time((const uint8_t *)event.data, event.len);
	return VIGIA_OK;
}

/* Checkpoints before the last number, so that none is beyond it. Timers with it, at one moment: each is then in the
 * export as a timer or, once it was due, as an event, never as both or neither. */
static int read_start(struct exporter *x, struct vigia_error *err)
{
	uint64_t oldest = 0;
	int rc = put_watchers(x, false, err);
	if (rc == VIGIA_OK) rc = put_watchers(x, true, err);
	if (rc == VIGIA_OK) rc = view(x, VIGIA_MAP_STATE, watchers_in, err);
	if (rc == VIGIA_OK) rc = x->b->view_at(x->b, VIGIA_MAP_TIMERS, timers_in, x, &oldest, &x->done.last, err);
	return rc == VIGIA_OK ? find_time(x, oldest, err) : rc;
}

static int put_settings(struct exporter *x, struct vigia_error *err)
{
	struct vigia__settings settings;
	struct vigia__buf map = {0};
	int rc = x->b->settings(x->b, &settings, err);
	if (rc == VIGIA_OK && vigia__settings_encode(&settings, &map) < 0) rc = vigia__no_memory(err);
	struct vigia__export_field field = bytes(slice(map.data, map.len));
	if (rc == VIGIA_OK) rc = vigia__export_put(&x->stream, VIGIA_EXPORT_SETTINGS, &field, err);
	vigia__buf_deinit(&map);
	return rc;
}

static int put_start(struct exporter *x, struct vigia_error *err)
{
	int rc = read_start(x, err);
	if (rc < 0) return rc;
	if (x->from > 0 && x->from < x->done.first)
		return vigia__error(
			err, VIGIA_EEXPIRED,
			"the events from %llu to %llu were removed before they were copied; begin again with the option anew",
			(unsigned long long)x->from, (unsigned long long)x->done.first - 1);
	if (x->from > 0) x->done.first = x->from;
	struct vigia__export_field fields[] = {number(VIGIA_EXPORT_VERSION), number(x->done.first), number(x->done.last),
	                                       number((uint64_t)x->last_at_ns), number(x->next_timer)};
	x->done.at = x->done.first - 1;
	rc = vigia__export_put(&x->stream, VIGIA_EXPORT_BEGIN, fields, err);
	if (rc == VIGIA_OK) rc = put_settings(x, err);
	return rc == VIGIA_OK ? wait_end(x, err) : rc;
}

/* ---- dead letters and buckets ---- */

static int put_letter(void *ctx, const struct vigia__letter *letter, struct vigia_error *err)
{
	struct exporter *x = ctx;
	if (letter->damaged) return vigia__letter_damaged(letter, err);
	if (letter->watcher_id.len > VIGIA_NAME_MAX) return VIGIA_OK;
	x->id_len = letter->watcher_id.len;
	memcpy(x->id, letter->watcher_id.data, x->id_len);
	x->letter = letter->seq_num;
	if (letter->seq_num > x->done.last) return VIGIA_OK; /* it is of an event that came meanwhile */
	struct vigia__export_field fields[] = {bytes(letter->watcher_id), number(letter->seq_num),
	                                       number(letter->attempts),  number((uint64_t)letter->failed_at_ns),
	                                       number(letter->lane_key),  number(letter->retry),
	                                       bytes(letter->error),      bytes(letter->traceback),
	                                       bytes(letter->event)};
	int rc = wait_put(x, VIGIA_EXPORT_LETTER, fields);
	x->more = rc == VIGIA_OK && is_full(x);
	return x->more ? VIGIA_NONE : rc;
}

static int letters_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct exporter *x = arg;
	char id[VIGIA_NAME_MAX];
	size_t len = x->id_len;
	memcpy(id, x->id, len);
	x->more = false;
	int rc = vigia__letters_each(kv, slice(id, len), len > 0 ? x->letter + 1 : 0, false, put_letter, x, err);
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

static int put_letters(struct exporter *x, struct vigia_error *err)
{
	int rc;
	x->id_len = 0;
	do {
		rc = view(x, VIGIA_MAP_STATE, letters_in, err);
		if (rc == VIGIA_OK) rc = wait_end(x, err);
	} while (rc == VIGIA_OK && x->more);
	return rc;
}

static int next_bucket(void *ctx, struct vigia_slice name, const struct vigia__bucket *bucket)
{
	struct exporter *x = ctx;
	if (name.len > VIGIA_BUCKET_NAME_MAX) return VIGIA_EDAMAGED;
	/* The one that the slice before was in may be gone. */
	if (strlen(x->bucket) != name.len || memcmp(x->bucket, name.data, name.len) != 0) x->key.len = 0;
	memcpy(x->bucket, name.data, name.len);
	x->bucket[name.len] = '\0';
	x->found = *bucket;
	return VIGIA_NONE; /* one at a time: its entries are looked at with the same cursor */
}

static int put_value(void *ctx, struct vigia_slice key, uint64_t version, struct vigia_slice value,
                     struct vigia_error *err)
{
	struct exporter *x = ctx;
	struct vigia_key plain;
	if (!vigia__state_key_decode(key, &plain)) return VIGIA_EDAMAGED;
	struct vigia__export_field fields[] = {
		bytes(slice(x->bucket, strlen(x->bucket))),
		{.number = plain.integer, .bytes = plain.text, .is_integer = plain.is_integer},
		bytes(value)};
	memcpy(x->key.bytes, key.data, x->key.len = key.len);
	int rc = wait_put(x, VIGIA_EXPORT_VALUE, fields);
	x->more = rc == VIGIA_OK && is_full(x);
	return x->more ? VIGIA_NONE : rc;
}

/* Goes on behind the last key, or in the next bucket. */
static int buckets_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	struct exporter *x = arg;
	x->more = false;
	for (;;) {
		/* With its zero byte: the first name behind it. */
		struct vigia_slice from = slice(x->bucket, strlen(x->bucket) + (x->in_bucket || x->bucket[0] == '\0' ? 0 : 1));
		int rc = vigia__state_each_bucket(kv, from, next_bucket, x);
		if (rc != VIGIA_NONE) return rc;
		x->in_bucket = true;
		char low[sizeof x->key.bytes];
		memcpy(low, x->key.bytes, x->key.len);
		low[x->key.len] = '\0';
		struct vigia__state_span behind = {.low = slice(low, x->key.len > 0 ? x->key.len + 1 : 0)};
		if (x->found.entries > 0) rc = vigia__state_each(kv, x->found.id, &behind, put_value, x, err);
		else
			rc = wait_put(x, VIGIA_EXPORT_BUCKET,
			              (struct vigia__export_field[]){bytes(slice(x->bucket, strlen(x->bucket)))});
		if (rc == VIGIA_EDAMAGED && err && err->code != rc) vigia__error(err, rc, "bucket '%s' is damaged", x->bucket);
		else if (rc == VIGIA_EDAMAGED) vigia__error_prefix(err, "bucket '%s': ", x->bucket);
		if (rc != VIGIA_OK && !(rc == VIGIA_NONE && !x->more)) return rc == VIGIA_NONE ? VIGIA_OK : rc;
		x->in_bucket = false;
		x->key.len = 0;
		if (is_full(x)) {
			x->more = true;
			return VIGIA_OK;
		}
	}
}

static int version_in(struct vigia__kv *kv, void *arg, struct vigia_error *err)
{
	return vigia__state_version(kv, arg);
}

static int put_buckets(struct exporter *x, struct vigia_error *err)
{
	int rc;
	do {
		rc = view(x, VIGIA_MAP_STATE, buckets_in, err);
		if (rc == VIGIA_OK) rc = wait_end(x, err);
	} while (rc == VIGIA_OK && x->more);
	uint64_t version = 0;
	if (rc == VIGIA_OK) rc = x->b->view(x->b, VIGIA_MAP_STATE, version_in, &version, err);
	x->done.changed |= version != x->state_version;
	return rc;
}

/* ---- events ---- */

static int put_key(void *ctx, struct vigia_slice key, uint64_t first_seq, uint64_t last_seq)
{
	return wait_put(ctx, VIGIA_EXPORT_KEY,
	                (struct vigia__export_field[]){number(first_seq), number(last_seq), bytes(key)});
}

/* The next of the keys that wait. VIGIA_NONE: there is none. */
static int next_key(struct exporter *x, size_t *at, uint64_t *sum, struct vigia__export_field fields[])
{
	enum vigia__export_kind kind;
	uint32_t len;
	const char *why;
	if (*at >= x->wait.bytes.len || !vigia__export_length(x->wait.bytes.data + *at, &len)) return VIGIA_NONE;
	int rc = vigia__export_decode(x->wait.bytes.data + *at, len, sum, &kind, fields, &why);
	*at += len;
	return rc;
}

static int gone(struct exporter *x, struct vigia_error *err)
{
	uint64_t oldest = 0, latest = 0;
	if (x->b->bounds(x->b, &oldest, &latest, NULL) == VIGIA_OK && oldest > 0 && oldest <= x->done.at + 1)
		return vigia__error(err, VIGIA_EIO, "event %llu is missing", (unsigned long long)x->done.at + 1);
	return vigia__error(err, VIGIA_EEXPIRED,
	                    "the events from %llu on were removed before they were exported; begin a new export",
	                    (unsigned long long)x->done.at + 1);
}

/* The keys first: if their events are still there afterwards, so were they. */
static int put_slice(struct exporter *x, struct vigia_error *err)
{
	uint64_t from = x->done.at + 1, upto = x->done.last - from < SLICE_EVENTS ? x->done.last : from + SLICE_EVENTS - 1;
	struct vigia__scan scan = {
		.from = from, .count_max = upto - from + 1, .bytes_max = SLICE_BYTES, .until_mono_ns = INT64_MAX};
	struct vigia__export_field key[VIGIA_EXPORT_FIELDS];
	uint64_t sum = 0;
	size_t at = 0;
	wait_clear(x);
	int rc = x->b->keys_of(x->b, from, upto, put_key, x, err);
	vigia__batch_clear(x->batch);
	if (rc == VIGIA_OK) rc = x->b->scan(x->b, &scan, x->batch, err);
	if (rc < 0) return rc;
	int found = next_key(x, &at, &sum, key);
	for (size_t i = 0; i < x->batch->count && rc == VIGIA_OK; i++) {
		uint64_t n = x->batch->entries[i].seq_num;
		struct vigia_slice event = vigia__batch_bytes(x->batch, i);
		if (n != x->done.at + 1) return gone(x, err);
		if (!vigia__event_intact((const uint8_t *)event.data, event.len, n)) {
			rc = vigia__error(err, VIGIA_EDAMAGED, "event %llu does not match its checksum", (unsigned long long)n);
			if (err) err->seq_num = n;
			return rc;
		}
		rc = vigia__export_put(&x->stream, VIGIA_EXPORT_EVENT, (struct vigia__export_field[]){number(n), bytes(event)},
		                       err);
		if (rc == VIGIA_OK && found == VIGIA_OK && (uint64_t)key[1].number == n) {
			rc = vigia__export_put(&x->stream, VIGIA_EXPORT_KEY, key, err);
			found = next_key(x, &at, &sum, key);
		}
		x->done.at = n;
	}
	if (rc == VIGIA_OK && x->batch->count == 0) return gone(x, err);
	return rc == VIGIA_OK ? tell(x, err) : rc;
}

static int put_events(struct exporter *x, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	while (rc == VIGIA_OK && x->done.at < x->done.last) rc = put_slice(x, err);
	if (rc != VIGIA_OK) return rc;
	struct vigia__export_field count = number(x->stream.records + 1);
	rc = vigia__export_put(&x->stream, VIGIA_EXPORT_END, &count, err);
	if (rc == VIGIA_OK) rc = vigia__export_flush(&x->stream, err);
	if (rc == VIGIA_OK) tell(x, NULL); /* it cannot end it any more */
	return rc;
}

/* ---- a file that an export has begun ---- */

static int not_ours(const char *why, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EFILEEXISTS, "the file %s; it was not changed", why);
}

/* Where an export can go on: the last record of its kind, and what was before it. */
struct place {
	enum vigia__export_kind kind;
	uint64_t at, records, sum;
};

/* Read the file as far as it is whole. What lies behind that, the export had not finished to write. */
static int read_file(struct exporter *x, struct vigia__export_stream *in, struct place *place, struct vigia_error *err)
{
	struct vigia__export_record record;
	struct place before = {.kind = VIGIA_EXPORT_KINDS};
	int rc;
	while ((rc = vigia__export_next(in, &record, err)) == VIGIA_OK) {
		struct place here = {record.kind, record.at, before.records, before.sum};
		const struct vigia__export_field *f = record.fields;
		if (record.kind == VIGIA_EXPORT_END) return not_ours("is a finished export", err);
		if (record.kind == VIGIA_EXPORT_BEGIN) {
			x->done.first = (uint64_t)f[1].number;
			x->done.last = (uint64_t)f[2].number;
			x->last_at_ns = f[3].number;
			if (f[0].number != VIGIA_EXPORT_VERSION) return not_ours("is an export of another version", err);
		} else if (record.kind == VIGIA_EXPORT_EVENT) {
			x->done.at = (uint64_t)f[0].number - 1;
		} else if (record.kind == VIGIA_EXPORT_VALUE || record.kind == VIGIA_EXPORT_BUCKET) {
			struct vigia_key key = {.is_integer = f[1].is_integer, .integer = f[1].number, .text = f[1].bytes};
			x->key.len = 0;
			x->in_bucket = record.kind == VIGIA_EXPORT_VALUE;
			if (f[0].bytes.len > VIGIA_BUCKET_NAME_MAX ||
			    (x->in_bucket && vigia__state_key_encode(&key, &x->key, NULL) < 0))
				return not_ours("is not an export of a store", err);
			memcpy(x->bucket, f[0].bytes.data, f[0].bytes.len);
			x->bucket[f[0].bytes.len] = '\0';
		}
		if (record.kind != VIGIA_EXPORT_KEY) *place = here;
		before.records = in->records;
		before.sum = in->sum;
	}
	if (rc == VIGIA_EIO || rc == VIGIA_EINTERRUPTED || rc == VIGIA_ENOMEM) return rc;
	return VIGIA_OK;
}

/* Is this the store whose export the file has begun? */
static int check_store(struct exporter *x, struct vigia_error *err)
{
	struct vigia_transfer theirs = x->done;
	int64_t at_ns = x->last_at_ns;
	uint64_t oldest;
	int rc = x->b->bounds(x->b, &oldest, &x->done.last, err);
	if (rc == VIGIA_OK) rc = find_time(x, oldest, err);
	uint64_t latest = x->done.last;
	bool ours = rc == VIGIA_OK && latest >= theirs.last;
	if (ours && theirs.last > 0 && latest > theirs.last) {
		struct vigia__scan scan = {.from = theirs.last, .count_max = 1, .bytes_max = 1, .until_mono_ns = INT64_MAX};
		vigia__batch_clear(x->batch);
		rc = x->b->scan(x->b, &scan, x->batch, err);
		if (rc == VIGIA_OK && x->batch->count > 0 && x->batch->entries[0].seq_num == theirs.last) {
			struct vigia_slice event = vigia__batch_bytes(x->batch, 0);
			ours = vigia__event_time((const uint8_t *)event.data, event.len) == at_ns;
		}
	} else if (ours) {
		ours = x->last_at_ns == at_ns;
	}
	x->done = theirs;
	x->last_at_ns = at_ns;
	return rc < 0 ? rc : ours ? VIGIA_OK : not_ours("is an export of another store", err);
}

static int cut(struct exporter *x, const struct place *place, struct vigia_error *err)
{
	x->stream.records = place->records;
	x->stream.sum = place->sum;
	x->stream.bytes = place->at;
	x->done.resumed_bytes = place->at;
	if (ftruncate(x->stream.fd, (off_t)place->at) < 0 || lseek(x->stream.fd, (off_t)place->at, SEEK_SET) < 0)
		return vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot continue the export in its file");
	return VIGIA_OK;
}

/* Find where to go on. *kind: the section, VIGIA_EXPORT_BEGIN at the start. What is read at the start belongs together,
 * so it is never half an earlier one. */
static int go_on(struct exporter *x, enum vigia__export_kind *kind, struct vigia_error *err)
{
	struct vigia__export_stream in;
	struct place place = {.kind = VIGIA_EXPORT_BEGIN}, start = place;
	uint8_t head[32];
	struct stat st;
	int fd = x->stream.fd, flags = fcntl(fd, F_GETFL);
	*kind = VIGIA_EXPORT_BEGIN;
	if (!x->stream.regular || flags < 0 || (flags & O_ACCMODE) != O_RDWR) return VIGIA_OK;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return not_ours("is being written by another export", err);
	if (fstat(fd, &st) < 0 || st.st_size == 0) return VIGIA_OK;
	ssize_t got = pread(fd, head, sizeof head, 0);
	if (got < 0 || !vigia__export_begins(head, (size_t)got)) return not_ours("exists and is not an export", err);
	if (lseek(fd, 0, SEEK_SET) < 0) return vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot read the file");
	int rc = vigia__export_stream_init(&in, fd, x->watch->cancel_fd, err);
	if (rc < 0) return rc;
	struct vigia_error why = {0};
	rc = read_file(x, &in, &place, &why);
	uint64_t records = in.records, sum = in.sum, end = in.bytes;
	vigia__export_stream_deinit(&in);
	if (rc < 0) {
		if (err) *err = why;
		return rc;
	}
	if (place.kind < VIGIA_EXPORT_BUCKET) return cut(x, &start, err);
	rc = check_store(x, err);
	if (rc < 0) return rc;
	*kind = place.kind;
	if (place.kind == VIGIA_EXPORT_EVENT) return cut(x, &place, err);
	x->done.at = x->done.first - 1;
	x->done.changed = true; /* the buckets are read at two times */
	return cut(x, &(struct place){place.kind, end, records, sum}, err);
}

/* ---- all of it ---- */

static int export_all(struct exporter *x, struct vigia_error *err)
{
	enum vigia__export_kind from;
	if (x->b->view_at == NULL)
		return vigia__error(err, VIGIA_EUNSUPPORTED, "a store of kind %s cannot be exported", x->b->name);
	int rc = vigia__backend_imported(x->b, err);
	if (rc == VIGIA_OK) rc = go_on(x, &from, err);
	if (rc < 0) return rc;
	if (from < VIGIA_EXPORT_BUCKET) rc = put_start(x, err);
	if (rc == VIGIA_OK && from < VIGIA_EXPORT_BUCKET) rc = put_letters(x, err);
	if (rc == VIGIA_OK && from < VIGIA_EXPORT_EVENT) rc = put_buckets(x, err);
	if (rc == VIGIA_OK) rc = put_events(x, err);
	if (rc == VIGIA_OK && x->stream.regular && fsync(x->stream.fd) < 0)
		rc = vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot sync the export to the disk");
	/* After an interruption a file keeps what was read, for the next try. */
	if (rc == VIGIA_EINTERRUPTED && x->stream.regular) vigia__export_flush(&x->stream, NULL);
	return rc;
}

static int run(struct vigia_store *store, int fd, const struct exporter *how, struct vigia_transfer *out,
               struct vigia_error *err)
{
	int rc = vigia__store_enter(store, err);
	if (rc < 0) return rc;
	struct vigia__backend *b = store->backend;
	struct exporter x = *how;
	const struct vigia__transfer_watch *watch = how->watch;
	x.b = b;
	if (!store->options.readonly) rc = vigia__queue_flush(b->queue, false, err);
	if (b->heal) b->heal(b);
	if (rc == VIGIA_OK) rc = vigia__export_stream_init(&x.stream, fd, watch->cancel_fd, err);
	x.batch = rc == VIGIA_OK ? vigia_batch_new() : NULL;
	if (rc == VIGIA_OK && x.batch == NULL) rc = vigia__no_memory(err);
	if (rc == VIGIA_OK) rc = export_all(&x, err);
	x.done.records = x.stream.records;
	x.done.bytes = x.stream.bytes;
	*out = x.done;
	vigia_batch_free(x.batch);
	vigia__buf_deinit(&x.wait.bytes);
	vigia__export_stream_deinit(&x.stream);
	return vigia__store_end(store, rc);
}

int vigia__store_export(struct vigia_store *store, int fd, const struct vigia__transfer_watch *watch,
                        struct vigia_transfer *out, struct vigia_error *err)
{
	return run(store, fd, &(struct exporter){.watch = watch}, out, err);
}

int vigia__store_export_copy(struct vigia_store *store, int fd, uint64_t from,
                             const struct vigia__transfer_watch *watch, struct vigia_error *err)
{
	struct vigia_transfer done;
	return run(store, fd, &(struct exporter){.watch = watch, .copies = true, .from = from}, &done, err);
}

int vigia_store_export_sized(struct vigia_store *store, int fd, vigia_transfer_fn progress, void *ctx,
                             struct vigia_transfer *out, size_t size, struct vigia_error *err)
{
	struct vigia_transfer done = {0};
	struct vigia__transfer_watch watch = {.cancel_fd = -1, .progress = progress, .ctx = ctx};
	int rc = vigia__store_export(store, fd, &watch, &done, err);
	if (out) vigia__options_give(out, size, &done, sizeof done);
	return rc;
}
