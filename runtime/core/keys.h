/*
 * keys.h - duplicate keys in a map. Keys are compared as in Lua: 1 and 1.0 are the same key, and so are a str and a bin
 * of the same bytes.
 */
#ifndef VIGIA_CORE_KEYS_H
#define VIGIA_CORE_KEYS_H

#include "event.h"

/* Two pairs with the same key. */
struct vigia__twice {
	uint32_t first, second;  /* pairs, counted from 1 */
	struct vigia__token key; /* INT also for a float without a fraction */
};

/* Compare the keys of `count` pairs: strings, booleans, integers and finite floats. `reader` is at the first pair.
 * VIGIA_OK: all differ. VIGIA_NONE: *out has two equal ones. ENOMEM. */
int vigia__keys_twice(struct vigia__reader reader, uint32_t count, struct vigia__twice *out);

/* A cheap first look, while the keys of one map are read. Zero-initialise. */
struct vigia__seen {
	uint64_t marks[4];
	bool maybe; /* there may be duplicates: call vigia__keys_twice() */
};

static inline void vigia__seen_add(struct vigia__seen *seen, const struct vigia__token *key)
{
	unsigned mark = 0;
	const unsigned char *s = (const unsigned char *)key->string.data;
	size_t len;
	switch (key->kind) {
	case VIGIA_TOKEN_STRING:
	case VIGIA_TOKEN_BIN:
		len = key->string.len;
		if (len > 0) mark = (unsigned)len + s[0] * 7u + s[len / 2] * 31u + s[len - 1] * 131u;
		break;
	case VIGIA_TOKEN_INT:
		mark = (unsigned)key->integer;
		break;
	case VIGIA_TOKEN_BOOL:
		mark = key->boolean;
		break;
	default: /* a float may equal an integer */
		seen->maybe = true;
		return;
	}
	uint64_t bit = UINT64_C(1) << (mark & 63);
	uint64_t *word = &seen->marks[mark / 64 % 4];
	if (*word & bit) seen->maybe = true;
	*word |= bit;
}

#endif
