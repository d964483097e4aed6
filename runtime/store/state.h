/*
 * state.h - the records of buckets (contract X3), in an ordered map of bytes that a backend offers.
 *
 *     'h'                          -> struct header: the version, counts, the next bucket's id
 *     'b' name                     -> struct vigia__bucket
 *     'd' id                       -> "": a bucket that was dropped, whose entries are being removed
 *     'v' id key                   -> version u64, sum u64, the value
 * `id` has 4 bytes, big-endian. The version counts the transactions that changed something. A bucket's is that of the
 * last one that changed it, an entry's of the last one that wrote it. `sum` is XXH3_64bits over the value, seeded with
 * one over the key. Numbers are in native byte order.
 *
 * All functions return 0, VIGIA_NONE where that is said, a Vigia code with err set, or the backend's error as it is.
 */
#ifndef VIGIA_STORE_STATE_H
#define VIGIA_STORE_STATE_H

#include "../core/ordered.h"
#include "../core/state_key.h"

/* A backend's ordered map, inside one of its transactions. The slices are valid until the next call. Functions return
 * 0 or the backend's error. */
struct vigia__kv {
	void *ctx;
	/* VIGIA_NONE: there is no such key. */
	int (*get)(void *ctx, struct vigia_slice key, struct vigia_slice *value);
	/* The first one from `key` on, in that direction. VIGIA_NONE: there is none. */
	int (*seek)(void *ctx, struct vigia_slice key, enum vigia__ordered_from from, struct vigia_slice *found,
	            struct vigia_slice *value);
	/* The one behind the last one of seek or next, in the direction of that seek. */
	int (*next)(void *ctx, struct vigia_slice *found, struct vigia_slice *value);
	/* NULL in a transaction that only reads. del: VIGIA_NONE where there is no such key. */
	int (*put)(void *ctx, struct vigia_slice key, struct vigia_slice value);
	int (*del)(void *ctx, struct vigia_slice key);
};

/* The maps that a backend keeps. */
enum vigia__map { VIGIA_MAP_STATE, VIGIA_MAP_TIMERS, VIGIA_MAPS };

/* What a backend does with one in a transaction of its own. It may be called several times. */
typedef int (*vigia__state_fn)(struct vigia__kv *kv, void *arg, struct vigia_error *err);

struct vigia__bucket {
	uint32_t id; /* 0: there is none */
	uint32_t reserved;
	uint64_t version;
	uint64_t entries;
};

/* The version of all state. */
int vigia__state_version(struct vigia__kv *kv, uint64_t *version);
/* How many there are, of all buckets. */
int vigia__state_counts(struct vigia__kv *kv, uint64_t *buckets, uint64_t *values);
/* One that is not there has id and version 0. */
int vigia__state_bucket(struct vigia__kv *kv, struct vigia_slice name, struct vigia__bucket *out);
/* The value of an encoded key. VIGIA_NONE: *version is 0. EDAMAGED. */
int vigia__state_get(struct vigia__kv *kv, uint32_t bucket, struct vigia_slice key, uint64_t *version,
                     struct vigia_slice *value, struct vigia_error *err);

/* The keys from `low` on that are below `high` (len 0: no limit), forwards or backwards. */
struct vigia__state_span {
	struct vigia_slice low, high;
	bool reverse;
};
/* Call fn for each entry, until it returns something else than VIGIA_OK, which is returned. VIGIA_OK: no more. */
int vigia__state_each(struct vigia__kv *kv, uint32_t bucket, const struct vigia__state_span *span,
                      int (*fn)(void *ctx, struct vigia_slice key, uint64_t version, struct vigia_slice value,
                                struct vigia_error *err),
                      void *ctx, struct vigia_error *err);
/* The names of all buckets from `from` on, in order, and their entries. As above. */
int vigia__state_each_bucket(struct vigia__kv *kv, struct vigia_slice from,
                             int (*fn)(void *ctx, struct vigia_slice name, const struct vigia__bucket *bucket),
                             void *ctx);

/* ---- changes: begin, then those of one bucket after another, then end ---- */
struct vigia__state_writer {
	struct vigia__kv *kv;
	uint64_t version;
	uint32_t next_id;
	uint32_t buckets;
	uint64_t values;
	struct vigia_slice name; /* the caller's */
	struct vigia__bucket bucket;
	bool changed, bucket_changed;
};
int vigia__state_write_begin(struct vigia__kv *kv, struct vigia__state_writer *writer);
int vigia__state_put(struct vigia__state_writer *writer, struct vigia_slice bucket, struct vigia_slice key,
                     struct vigia_slice value);
int vigia__state_delete(struct vigia__state_writer *writer, struct vigia_slice bucket, struct vigia_slice key);
int vigia__state_write_end(struct vigia__state_writer *writer);

/* Hide a bucket. VIGIA_NONE: there is none. */
int vigia__state_drop(struct vigia__kv *kv, struct vigia_slice bucket);
/* Remove up to `most` entries of dropped buckets. *left: there are more. */
int vigia__state_sweep(struct vigia__kv *kv, uint64_t most, bool *left);

/* Look at all records. *entries counts the entries. `found` is told of each fault. */
int vigia__state_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx, uint64_t *entries);

#endif
