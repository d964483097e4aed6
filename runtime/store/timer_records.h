/*
 * timer_records.h - the records of timers (contract K1), in an ordered map of bytes that a backend offers (state.h).
 *
 *     'h'          -> struct header: the next id, and how many timers there are
 *     'd' due id   -> length of the key u8, the key, the event's bytes (core/event.h)
 *     'i' id       -> due
 *     'k' key      -> id
 * `due` and `id` have 8 bytes, big-endian in keys. An event is stamped with the id in place of its number and with the
 * time when it is due, so its checksum covers both. Ids are never reused.
 *
 * All functions return 0, VIGIA_NONE where that is said, or the backend's error as it is.
 */
#ifndef VIGIA_STORE_TIMER_RECORDS_H
#define VIGIA_STORE_TIMER_RECORDS_H

#include "state.h"

struct vigia__timer {
	uint64_t id;
	int64_t at_ns; /* 0 or later */
	struct vigia_slice key;
	struct vigia_slice event;
	bool intact; /* the record and its checksum are right */
};

int vigia__timers_count(struct vigia__kv *kv, uint64_t *count);
/* Call fn for each timer behind this one, in the order of (at_ns, id), until it returns something else than VIGIA_OK,
 * which is returned. 0, 0: from the first. VIGIA_OK: no more. What it is given is valid until it returns. */
int vigia__timers_each(struct vigia__kv *kv, int64_t at_ns, uint64_t id,
                       int (*fn)(void *ctx, const struct vigia__timer *timer), void *ctx);
/* The timer of a key. VIGIA_NONE: there is none. */
int vigia__timer_of_key(struct vigia__kv *kv, struct vigia_slice key, uint64_t *id);

/* What a new timer did: it is the first one that is due, and there was none before. */
struct vigia__timer_put {
	uint64_t id;
	bool first, alone;
};
/* Add one with this key, which no other has, or none. Stamps the event's bytes. */
int vigia__timer_put(struct vigia__kv *kv, int64_t at_ns, struct vigia_slice key, uint8_t *event, size_t len,
                     struct vigia__timer_put *out);
/* The id that the next one gets, and setting it. */
int vigia__timers_next(struct vigia__kv *kv, uint64_t *id);
int vigia__timers_next_put(struct vigia__kv *kv, uint64_t id);
/* Add one of another store under its own id, unless it is there. Its event is stamped. */
int vigia__timer_restore(struct vigia__kv *kv, const struct vigia__timer *timer);
/* Remove one that each told. `key` must not point into the map. Whatever is wrong with its records, it is gone then. */
int vigia__timer_remove(struct vigia__kv *kv, int64_t at_ns, uint64_t id, struct vigia_slice key);
/* VIGIA_NONE: there is none. */
int vigia__timer_delete(struct vigia__kv *kv, uint64_t id);

/* Look at all records. `found` is told of each fault. */
int vigia__timers_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx, uint64_t *count);

#endif
