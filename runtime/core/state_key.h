/*
 * state_key.h - names of buckets and keys in them (contract X3), as bytes in the order of the keys.
 *
 * An integer is 'i' and 8 bytes, big-endian, its sign bit flipped. A string is 's' and its bytes. So integers sort
 * before strings, each in their own order.
 */
#ifndef VIGIA_CORE_STATE_KEY_H
#define VIGIA_CORE_STATE_KEY_H

#include "vigia.h"

enum { VIGIA_BUCKET_NAME_MAX = 64, VIGIA_STATE_KEY_MAX = 255, VIGIA_STATE_KEY_BYTES = 1 + VIGIA_STATE_KEY_MAX };

/* The bytes of one key. */
struct vigia__state_key {
	size_t len;
	char bytes[VIGIA_STATE_KEY_BYTES + 1]; /* one more for the end of a range behind it */
};

/* 0, or EINVAL: not 1 to 64 of the characters A-Z a-z 0-9 _ . - */
int vigia__bucket_check(struct vigia_slice name, struct vigia_error *err);
/* 0, or EINVAL: a string of 0 or more than 255 bytes. */
int vigia__state_key_encode(const struct vigia_key *key, struct vigia__state_key *out, struct vigia_error *err);
/* The text points into the bytes. False: they are no key's. */
bool vigia__state_key_decode(struct vigia_slice bytes, struct vigia_key *out);

/* The checksum of a value, which depends on its key. */
uint64_t vigia__state_sum(struct vigia_slice key, struct vigia_slice value);
/* A hash of a key and its version. The sum of those of a range does not depend on their order. */
uint64_t vigia__state_hash(struct vigia_slice key, uint64_t version);

static inline struct vigia_slice vigia__state_key_slice(const struct vigia__state_key *key)
{
	return (struct vigia_slice){key->bytes, key->len};
}

#endif
