/*
 * state.c - the records of buckets, in an ordered map of bytes that a backend offers.
 */
#include "state.h"

#include <stdio.h>
#include <string.h>

#include "../core/buf.h"
#include "../core/error.h"

enum { HEADER = 'h', BUCKET = 'b', DROPPED = 'd', ENTRY = 'v', ENTRY_HEAD = 5 };

struct header {
	uint64_t version;
	uint32_t next_id;
	uint32_t buckets;
	uint64_t values;
};

struct entry_head {
	uint64_t version;
	uint64_t sum;
};

/* Room for the longest record key. */
struct place {
	char bytes[ENTRY_HEAD + VIGIA_STATE_KEY_BYTES + 1];
};

static struct vigia_slice slice_of(const void *data, size_t len)
{
	return (struct vigia_slice){data, len};
}

static struct vigia_slice header_key(void)
{
	return slice_of("h", 1);
}

static struct vigia_slice bucket_key(struct place *room, struct vigia_slice name)
{
	room->bytes[0] = BUCKET;
	if (name.len > 0) memcpy(room->bytes + 1, name.data, name.len);
	return slice_of(room->bytes, 1 + name.len);
}

/* 'v' or 'd', and the id. */
static struct vigia_slice id_key(struct place *room, char kind, uint32_t id)
{
	uint32_t big_endian = __builtin_bswap32(id);
	room->bytes[0] = kind;
	memcpy(room->bytes + 1, &big_endian, sizeof big_endian);
	return slice_of(room->bytes, ENTRY_HEAD);
}

static struct vigia_slice entry_key(struct place *room, uint32_t id, struct vigia_slice key)
{
	id_key(room, ENTRY, id);
	if (key.len > 0) memcpy(room->bytes + ENTRY_HEAD, key.data, key.len);
	return slice_of(room->bytes, ENTRY_HEAD + key.len);
}

static uint32_t id_of(struct vigia_slice record_key)
{
	uint32_t big_endian;
	memcpy(&big_endian, record_key.data + 1, sizeof big_endian);
	return __builtin_bswap32(big_endian);
}

/* Is the record one of this bucket's entries? Then *key is its key. */
static bool is_entry(struct vigia_slice record_key, uint32_t id, struct vigia_slice *key)
{
	if (record_key.len <= ENTRY_HEAD || record_key.data[0] != ENTRY || id_of(record_key) != id) return false;
	*key = slice_of(record_key.data + ENTRY_HEAD, record_key.len - ENTRY_HEAD);
	return true;
}

/* ---- reading ---- */

static int get_header(struct vigia__kv *kv, struct header *out)
{
	struct vigia_slice value;
	*out = (struct header){.next_id = 1};
	int rc = kv->get(kv->ctx, header_key(), &value);
	if (rc == 0 && value.len >= sizeof *out) memcpy(out, value.data, sizeof *out);
	return rc == VIGIA_NONE ? 0 : rc;
}

int vigia__state_version(struct vigia__kv *kv, uint64_t *version)
{
	struct header header;
	int rc = get_header(kv, &header);
	*version = header.version;
	return rc;
}

int vigia__state_counts(struct vigia__kv *kv, uint64_t *buckets, uint64_t *values)
{
	struct header header;
	int rc = get_header(kv, &header);
	*buckets = header.buckets;
	*values = header.values;
	return rc;
}

int vigia__state_bucket(struct vigia__kv *kv, struct vigia_slice name, struct vigia__bucket *out)
{
	struct place room;
	struct vigia_slice value;
	*out = (struct vigia__bucket){0};
	int rc = kv->get(kv->ctx, bucket_key(&room, name), &value);
	if (rc == 0 && value.len >= sizeof *out) memcpy(out, value.data, sizeof *out);
	return rc == VIGIA_NONE ? 0 : rc;
}

/* Take a record apart. False: it is too short, or its sum is wrong. */
static bool open_entry(struct vigia_slice key, struct vigia_slice record, uint64_t *version, struct vigia_slice *value)
{
	struct entry_head head;
	if (record.len < sizeof head) return false;
	memcpy(&head, record.data, sizeof head);
	*version = head.version;
	*value = slice_of(record.data + sizeof head, record.len - sizeof head);
	return vigia__state_sum(key, *value) == head.sum;
}

static int damaged(struct vigia_slice bytes, struct vigia_error *err)
{
	struct vigia_key key;
	if (vigia__state_key_decode(bytes, &key) && key.is_integer)
		return vigia__error(err, VIGIA_EDAMAGED, "the value of key %lld does not match its checksum",
		                    (long long)key.integer);
	char text[VIGIA_STATE_KEY_BYTES];
	snprintf(text, sizeof text, "%.*s", (int)key.text.len, key.text.data);
	return vigia__error(err, VIGIA_EDAMAGED, "the value of key '%s' does not match its checksum", VIGIA_SHOWN(text));
}

int vigia__state_get(struct vigia__kv *kv, uint32_t bucket, struct vigia_slice key, uint64_t *version,
                     struct vigia_slice *value, struct vigia_error *err)
{
	struct place room;
	struct vigia_slice record;
	*version = 0;
	if (bucket == 0) return VIGIA_NONE;
	int rc = kv->get(kv->ctx, entry_key(&room, bucket, key), &record);
	if (rc != 0) return rc;
	return open_entry(key, record, version, value) ? VIGIA_OK : damaged(key, err);
}

int vigia__state_each(struct vigia__kv *kv, uint32_t bucket, const struct vigia__state_span *span,
                      int (*fn)(void *ctx, struct vigia_slice key, uint64_t version, struct vigia_slice value,
                                struct vigia_error *err),
                      void *ctx, struct vigia_error *err)
{
	struct place room;
	struct vigia_slice found, record, key, value;
	uint64_t version;
	if (bucket == 0) return VIGIA_OK;
	struct vigia_slice from = entry_key(&room, bucket, span->low);
	enum vigia__ordered_from begins = VIGIA_AT_LEAST;
	if (span->reverse) {
		from = span->high.len > 0 ? entry_key(&room, bucket, span->high) : id_key(&room, ENTRY, bucket + 1);
		begins = VIGIA_BELOW;
	}
	int rc = kv->seek(kv->ctx, from, begins, &found, &record);
	for (; rc == 0; rc = kv->next(kv->ctx, &found, &record)) {
		if (!is_entry(found, bucket, &key)) break;
		if (!span->reverse && span->high.len > 0 && vigia__ordered_compare(key, span->high) >= 0) break;
		if (span->reverse && vigia__ordered_compare(key, span->low) < 0) break;
		if (!open_entry(key, record, &version, &value)) return damaged(key, err);
		rc = fn(ctx, key, version, value, err);
		if (rc != VIGIA_OK) return rc;
	}
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

int vigia__state_each_bucket(struct vigia__kv *kv, struct vigia_slice from,
                             int (*fn)(void *ctx, struct vigia_slice name, const struct vigia__bucket *bucket),
                             void *ctx)
{
	struct place room;
	struct vigia_slice found, record;
	int rc = kv->seek(kv->ctx, bucket_key(&room, from), VIGIA_AT_LEAST, &found, &record);
	for (; rc == 0; rc = kv->next(kv->ctx, &found, &record)) {
		struct vigia__bucket bucket;
		if (found.len < 2 || found.data[0] != BUCKET || record.len < sizeof bucket) break;
		memcpy(&bucket, record.data, sizeof bucket);
		rc = fn(ctx, slice_of(found.data + 1, found.len - 1), &bucket);
		if (rc != VIGIA_OK) return rc;
	}
	return rc == VIGIA_NONE ? VIGIA_OK : rc;
}

/* ---- changes ---- */

static int put_header(struct vigia__state_writer *w)
{
	struct header header = {w->version, w->next_id, w->buckets, w->values};
	return w->kv->put(w->kv->ctx, header_key(), slice_of(&header, sizeof header));
}

int vigia__state_write_begin(struct vigia__kv *kv, struct vigia__state_writer *w)
{
	struct header header;
	int rc = get_header(kv, &header);
	*w = (struct vigia__state_writer){.kv = kv,
	                                  .version = header.version + 1,
	                                  .next_id = header.next_id,
	                                  .buckets = header.buckets,
	                                  .values = header.values};
	return rc;
}

static int leave_bucket(struct vigia__state_writer *w)
{
	struct place room;
	if (!w->bucket_changed) return 0;
	w->bucket_changed = false;
	w->bucket.version = w->version;
	return w->kv->put(w->kv->ctx, bucket_key(&room, w->name), slice_of(&w->bucket, sizeof w->bucket));
}

static int enter_bucket(struct vigia__state_writer *w, struct vigia_slice name)
{
	if (w->name.data && vigia__ordered_compare(w->name, name) == 0) return 0;
	int rc = leave_bucket(w);
	w->name = name;
	return rc == 0 ? vigia__state_bucket(w->kv, name, &w->bucket) : rc;
}

int vigia__state_put(struct vigia__state_writer *w, struct vigia_slice bucket, struct vigia_slice key,
                     struct vigia_slice value)
{
	struct place room;
	struct vigia_slice before;
	struct vigia__buf record = {0};
	int rc = enter_bucket(w, bucket);
	if (rc == 0 && w->bucket.id == 0) {
		w->bucket.id = w->next_id++;
		w->buckets++;
	}
	if (rc == 0) rc = w->kv->get(w->kv->ctx, entry_key(&room, w->bucket.id, key), &before);
	if (rc == VIGIA_NONE) {
		w->bucket.entries++;
		w->values++;
	}
	if (rc == 0 || rc == VIGIA_NONE) {
		struct entry_head head = {w->version, vigia__state_sum(key, value)};
		rc = vigia__buf_reserve(&record, sizeof head + value.len) < 0 ? VIGIA_ENOMEM : 0;
		if (rc == 0) {
			vigia__buf_add(&record, &head, sizeof head);
			vigia__buf_add(&record, value.data, value.len);
			rc = w->kv->put(w->kv->ctx, entry_key(&room, w->bucket.id, key), slice_of(record.data, record.len));
		}
	}
	vigia__buf_deinit(&record);
	w->changed = w->bucket_changed = true;
	return rc;
}

int vigia__state_delete(struct vigia__state_writer *w, struct vigia_slice bucket, struct vigia_slice key)
{
	struct place room;
	int rc = enter_bucket(w, bucket);
	if (rc != 0 || w->bucket.id == 0) return rc;
	rc = w->kv->del(w->kv->ctx, entry_key(&room, w->bucket.id, key));
	if (rc == VIGIA_NONE) return 0;
	w->bucket.entries--;
	w->values--;
	w->changed = w->bucket_changed = true;
	return rc;
}

int vigia__state_write_end(struct vigia__state_writer *w)
{
	int rc = leave_bucket(w);
	return rc == 0 && w->changed ? put_header(w) : rc;
}

int vigia__state_drop(struct vigia__kv *kv, struct vigia_slice name)
{
	struct vigia__state_writer w;
	struct vigia__bucket bucket;
	struct place room;
	int rc = vigia__state_write_begin(kv, &w);
	if (rc == 0) rc = vigia__state_bucket(kv, name, &bucket);
	if (rc != 0) return rc;
	if (bucket.id == 0) return VIGIA_NONE;
	rc = kv->del(kv->ctx, bucket_key(&room, name));
	if (rc == 0) rc = kv->put(kv->ctx, id_key(&room, DROPPED, bucket.id), slice_of("", 0));
	w.buckets--;
	w.values -= bucket.entries;
	return rc == 0 ? put_header(&w) : rc;
}

/* Up to *most entries of one dropped bucket, and then its record. */
static int sweep_bucket(struct vigia__kv *kv, uint32_t id, uint64_t *most)
{
	struct place room;
	struct vigia_slice found, record, key;
	while (*most > 0) {
		int rc = kv->seek(kv->ctx, id_key(&room, ENTRY, id), VIGIA_AT_LEAST, &found, &record);
		if (rc < 0 || rc > VIGIA_NONE) return rc;
		bool more = rc == 0 && is_entry(found, id, &key);
		if (more) rc = kv->del(kv->ctx, entry_key(&room, id, key));
		else rc = kv->del(kv->ctx, id_key(&room, DROPPED, id));
		if (rc != 0 || !more) return rc;
		--*most;
	}
	return 0;
}

int vigia__state_sweep(struct vigia__kv *kv, uint64_t most, bool *left)
{
	struct place room;
	struct vigia_slice found, record;
	for (;;) {
		int rc = kv->seek(kv->ctx, id_key(&room, DROPPED, 0), VIGIA_AT_LEAST, &found, &record);
		*left = rc == 0 && found.len == ENTRY_HEAD && found.data[0] == DROPPED;
		if (rc == VIGIA_NONE) rc = 0;
		if (rc != 0 || !*left || most == 0) return rc;
		rc = sweep_bucket(kv, id_of(found), &most);
		if (rc != 0) return rc;
	}
}

/* ---- verify ---- */

struct count {
	uint32_t id;
	uint64_t entries;
};

static int count_entry(void *ctx, struct vigia_slice key, uint64_t version, struct vigia_slice value,
                       struct vigia_error *err)
{
	++*(uint64_t *)ctx;
	return VIGIA_OK;
}

struct verify {
	void (*found)(void *ctx, const char *text);
	void *ctx;
	char name[VIGIA_BUCKET_NAME_MAX + 1];
	struct vigia__bucket bucket;
};

static int next_bucket(void *ctx, struct vigia_slice name, const struct vigia__bucket *bucket)
{
	struct verify *v = ctx;
	v->bucket = *bucket;
	snprintf(v->name, sizeof v->name, "%.*s", (int)name.len, name.data);
	return VIGIA_NONE; /* one at a time: its entries are looked at with the same cursor */
}

int vigia__state_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx, uint64_t *entries)
{
	struct verify v = {.found = found, .ctx = ctx};
	struct vigia__state_span all = {{0}, {0}, false};
	char from[VIGIA_BUCKET_NAME_MAX + 2] = "", text[400];
	for (;;) {
		struct vigia_error err = {0};
		uint64_t count = 0;
		int rc = vigia__state_each_bucket(kv, slice_of(from, strlen(from) + (from[0] != '\0')), next_bucket, &v);
		if (rc != VIGIA_NONE) return rc;
		rc = vigia__state_each(kv, v.bucket.id, &all, count_entry, &count, &err);
		if (rc == VIGIA_EDAMAGED) {
			snprintf(text, sizeof text, "bucket '%s': %.300s", VIGIA_SHOWN(v.name), err.message);
			found(ctx, text);
		} else if (rc != VIGIA_OK) {
			return rc;
		} else if (count != v.bucket.entries) {
			snprintf(text, sizeof text, "bucket '%s' counts %llu entries but has %llu", VIGIA_SHOWN(v.name),
			         (unsigned long long)v.bucket.entries, (unsigned long long)count);
			found(ctx, text);
		}
		*entries += count;
		snprintf(from, sizeof from, "%s", v.name); /* with its NUL: the first name behind it */
	}
}
