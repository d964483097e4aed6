/*
 * lane_key.c - the key by which an event belongs to a lane, as a hash.
 */
#include "lane_key.h"

#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "buf.h"
#include "json.h"
#include "serial.h"

static uint64_t hash_of(char kind, const void *data, size_t len)
{
	return XXH3_64bits_withSeed(data, len, (uint64_t)kind);
}

/* The integer that this number equals. */
static bool is_integer(double number, int64_t *out)
{
	const double limit = 9223372036854775808.0; /* 2 to the power of 63 */
	if (!(number >= -limit && number < limit) || number != floor(number)) return false;
	*out = (int64_t)number;
	return true;
}

uint64_t vigia__lane_key_token(const struct vigia__token *token)
{
	int64_t integer;
	switch (token->kind) {
	case VIGIA_TOKEN_BOOL:
		return hash_of(token->boolean ? 't' : 'f', "", 0);
	case VIGIA_TOKEN_INT:
		return hash_of('i', &token->integer, sizeof token->integer);
	case VIGIA_TOKEN_FLOAT:
		if (is_integer(token->number, &integer)) return hash_of('i', &integer, sizeof integer);
		if (token->number != token->number) return hash_of('?', "", 0);
		return hash_of('d', &token->number, sizeof token->number);
	case VIGIA_TOKEN_STRING:
	case VIGIA_TOKEN_BIN:
		return hash_of('s', token->string.data, token->string.len);
	default:
		return hash_of('n', "", 0);
	}
}

static uint64_t key_of(const struct vigia__path *path, struct vigia_slice object)
{
	struct vigia__token nothing = {.kind = VIGIA_TOKEN_NIL}, token;
	struct vigia__reader at, end;
	if (vigia__path_find(path, object, &at) != VIGIA_OK) return vigia__lane_key_token(&nothing);
	end = at;
	if (vigia__reader_next(&end, &token, NULL) != 0) return vigia__lane_key_token(&nothing);
	if (token.kind != VIGIA_TOKEN_ARRAY && token.kind != VIGIA_TOKEN_MAP) return vigia__lane_key_token(&token);
	end = at;
	if (vigia__reader_skip(&end, NULL) != 0) return vigia__lane_key_token(&nothing);
	return hash_of('v', at.at, (size_t)(end.at - at.at));
}

uint64_t vigia__lane_key_event(const struct vigia__path *path, const struct vigia__head *head)
{
	enum vigia__serializer serializer = vigia__serializer_of(head->serializer);
	struct vigia__buf object = {0};
	struct vigia__token nothing = {.kind = VIGIA_TOKEN_NIL};
	if (serializer == VIGIA_SERIALIZER_MSGPACK) return key_of(path, head->object);
	if (serializer == VIGIA_SERIALIZER_OTHER) return vigia__lane_key_token(&nothing);
	bool readable = vigia__json_to_value(head->object.data, head->object.len, &object, NULL) == VIGIA_OK;
	uint64_t key = readable ? key_of(path, (struct vigia_slice){(char *)object.data, object.len})
	                        : vigia__lane_key_token(&nothing);
	vigia__buf_deinit(&object);
	return key;
}
