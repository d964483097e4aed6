/*
 * letters.h - the records of dead letters (contract L1), in the ordered map of bytes that buckets are in (state.h).
 *
 *     'l' watcher id, zero byte, number   -> struct of the sum, attempts and time; the error, its place, the event
 *     'n' watcher id                      -> how many letters it has, and how many of them are to be retried
 * Numbers in keys have 8 bytes, big-endian; all others are in native byte order. The sum is that of a bucket's value.
 *
 * Functions return 0, VIGIA_NONE where that is said, a Vigia code with err set, or the backend's error as it is.
 */
#ifndef VIGIA_STORE_LETTERS_H
#define VIGIA_STORE_LETTERS_H

#include "state.h"

enum { VIGIA_LETTER_TEXT_MAX = 16384 }; /* bytes of the error and its place */

/* One letter. The slices of one that was read are valid until the next call on the map. */
struct vigia__letter {
	struct vigia_slice watcher_id;
	uint64_t seq_num;
	uint64_t attempts;
	int64_t failed_at_ns;
	uint64_t lane_key; /* of a watcher with lanes: the hash of its key. 0: not known */
	bool retry;        /* it is to be handled again */
	bool damaged;      /* of letters_each(): no more is known than its watcher and number */
	struct vigia_slice error, traceback;
	struct vigia_slice event; /* as it is stored, with the sum of its own */
};

/* Set it, in the place of one with its watcher and number. ENOMEM. */
int vigia__letter_put(struct vigia__kv *kv, const struct vigia__letter *letter);
/* VIGIA_NONE: there is none. EDAMAGED. */
int vigia__letter_get(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t seq_num, struct vigia__letter *out,
                      struct vigia_error *err);
/* VIGIA_NONE: there is none. */
int vigia__letter_remove(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t seq_num);
/* Its handler failed once more: one attempt more, and it is no longer to be retried. VIGIA_NONE: there is none. */
int vigia__letter_failed(struct vigia__kv *kv, const struct vigia__letter *again, struct vigia_error *err);
/* Ask for a retry. VIGIA_NONE: there is none. */
int vigia__letter_request(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t seq_num,
                          struct vigia_error *err);
/* The first letter of a watcher that is to be retried, of those that `mine` (NULL: all) says yes to. VIGIA_NONE: there
 * is none. Damaged ones are passed over; then *err is EDAMAGED beside either outcome, and names the last of them. */
int vigia__letter_next_wanted(struct vigia__kv *kv, struct vigia_slice watcher_id,
                              bool (*mine)(void *ctx, const struct vigia__letter *letter), void *ctx,
                              struct vigia__letter *out, struct vigia_error *err);

/* Call fn for each letter from this watcher and number on, in the order of the ids, until it returns something else
 * than VIGIA_OK, which is returned. VIGIA_OK: no more. `only`: of this watcher alone. */
int vigia__letters_each(struct vigia__kv *kv, struct vigia_slice watcher_id, uint64_t from, bool only,
                        int (*fn)(void *ctx, const struct vigia__letter *letter, struct vigia_error *err), void *ctx,
                        struct vigia_error *err);
/* EDAMAGED, for a letter that letters_each() found damaged. */
int vigia__letter_damaged(const struct vigia__letter *letter, struct vigia_error *err);
/* How many letters there are. */
int vigia__letters_count(struct vigia__kv *kv, uint64_t *count);
/* Look at all records. `found` is told of each fault. */
int vigia__letters_verify(struct vigia__kv *kv, void (*found)(void *ctx, const char *text), void *ctx);

#endif
