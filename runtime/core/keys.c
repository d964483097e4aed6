/*
 * keys.c - finds duplicate keys.
 */
#include "keys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

struct key {
	struct vigia__token token; /* INT also for a float without a fraction, STRING also for a BIN */
	uint32_t index;
};

static struct vigia__token normal(struct vigia__token token)
{
	if (token.kind == VIGIA_TOKEN_BIN) token.kind = VIGIA_TOKEN_STRING;
	if (token.kind != VIGIA_TOKEN_FLOAT) return token;
	const double limit = 9223372036854775808.0; /* 2^63 */
	bool fits = token.number >= -limit && token.number < limit;
	if (!fits || token.number != floor(token.number)) return token;
	return (struct vigia__token){.kind = VIGIA_TOKEN_INT, .integer = (int64_t)token.number};
}

static int compare(const void *a, const void *b)
{
	const struct vigia__token *x = &((const struct key *)a)->token, *y = &((const struct key *)b)->token;
	if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
	switch (x->kind) {
	case VIGIA_TOKEN_BOOL:
		return x->boolean - y->boolean;
	case VIGIA_TOKEN_INT:
		return (x->integer > y->integer) - (x->integer < y->integer);
	case VIGIA_TOKEN_FLOAT:
		return (x->number > y->number) - (x->number < y->number);
	default:
		if (x->string.len != y->string.len) return x->string.len < y->string.len ? -1 : 1;
		return x->string.len ? memcmp(x->string.data, y->string.data, x->string.len) : 0;
	}
}

int vigia__token_compare(const struct vigia__token *a, const struct vigia__token *b)
{
	struct key x = {.token = normal(*a)}, y = {.token = normal(*b)};
	if (x.token.kind == y.token.kind && x.token.kind == VIGIA_TOKEN_NIL) return 0;
	return compare(&x, &y);
}

bool vigia__token_equal(const struct vigia__token *a, const struct vigia__token *b)
{
	return vigia__token_is_scalar(a) && vigia__token_is_scalar(b) && vigia__token_compare(a, b) == 0;
}

int vigia__keys_twice(struct vigia__reader reader, uint32_t count, struct vigia__twice *out)
{
	struct key few[16], *keys = few;
	if (count < 2) return VIGIA_OK;
	if (count > sizeof few / sizeof *few) {
		keys = vigia__alloc(count * sizeof *keys);
		if (keys == NULL) return VIGIA_ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct vigia__token token;
		vigia__reader_next(&reader, &token, NULL);
		vigia__reader_skip(&reader, NULL);
		keys[i] = (struct key){normal(token), i + 1};
	}
	qsort(keys, count, sizeof *keys, compare);
	int rc = VIGIA_OK;
	for (uint32_t i = 1; i < count && rc == VIGIA_OK; i++) {
		const struct key *a = &keys[i - 1], *b = &keys[i];
		if (compare(a, b) != 0) continue;
		bool inverse = a->index > b->index;
		*out = (struct vigia__twice){inverse ? b->index : a->index, inverse ? a->index : b->index, a->token};
		rc = VIGIA_NONE;
	}
	if (keys != few) vigia__free(keys);
	return rc;
}
