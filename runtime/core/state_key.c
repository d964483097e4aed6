/*
 * state_key.c - names of buckets and keys in them, as bytes in the order of the keys.
 */
#include "state_key.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "error.h"

enum { INTEGER_BYTES = 9 };

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
	       c == '-';
}

int vigia__bucket_check(struct vigia_slice name, struct vigia_error *err)
{
	if (name.data == NULL || name.len < 1 || name.len > VIGIA_BUCKET_NAME_MAX)
		return vigia__error(err, VIGIA_EINVAL, "bucket: its name must have 1 to %d bytes, has %zu",
		                    VIGIA_BUCKET_NAME_MAX, name.len);
	for (size_t i = 0; i < name.len; i++)
		if (!is_name(name.data[i]))
			return vigia__error(err, VIGIA_EINVAL, "bucket: byte %zu of its name is not allowed; use A-Z a-z 0-9 _ . -",
			                    i + 1);
	return VIGIA_OK;
}

int vigia__state_key_encode(const struct vigia_key *key, struct vigia__state_key *out, struct vigia_error *err)
{
	if (key->is_integer) {
		uint64_t big_endian = __builtin_bswap64((uint64_t)key->integer ^ (UINT64_C(1) << 63));
		out->bytes[0] = 'i';
		memcpy(out->bytes + 1, &big_endian, sizeof big_endian);
		out->len = INTEGER_BYTES;
		return VIGIA_OK;
	}
	if (key->text.data == NULL || key->text.len < 1 || key->text.len > VIGIA_STATE_KEY_MAX)
		return vigia__error(err, VIGIA_EINVAL, "key: a string must have 1 to %d bytes, has %zu", VIGIA_STATE_KEY_MAX,
		                    key->text.len);
	out->bytes[0] = 's';
	memcpy(out->bytes + 1, key->text.data, key->text.len);
	out->len = 1 + key->text.len;
	return VIGIA_OK;
}

bool vigia__state_key_decode(struct vigia_slice bytes, struct vigia_key *out)
{
	*out = (struct vigia_key){0};
	if (bytes.len == INTEGER_BYTES && bytes.data[0] == 'i') {
		uint64_t big_endian;
		memcpy(&big_endian, bytes.data + 1, sizeof big_endian);
		out->is_integer = true;
		out->integer = (int64_t)(__builtin_bswap64(big_endian) ^ (UINT64_C(1) << 63));
		return true;
	}
	out->text = (struct vigia_slice){bytes.data + 1, bytes.len - 1};
	return bytes.len > 1 && bytes.len <= VIGIA_STATE_KEY_BYTES && bytes.data[0] == 's';
}

uint64_t vigia__state_sum(struct vigia_slice key, struct vigia_slice value)
{
	return XXH3_64bits_withSeed(value.data, value.len, XXH3_64bits(key.data, key.len));
}

uint64_t vigia__state_hash(struct vigia_slice key, uint64_t version)
{
	/* The version is no seed: of up to eight bytes XXH3 uses the difference of key and seed, so that "a" with one
	 * version and "b" with a version close by had the same hash. */
	uint64_t both[2] = {XXH3_64bits(key.data, key.len), version};
	return XXH3_64bits(both, sizeof both);
}
