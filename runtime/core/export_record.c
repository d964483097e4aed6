/*
 * export_record.c - the records of an export, as bytes: one row for each kind says what its fields are.
 */
#include "export_record.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "event.h"

enum { SUM_BYTES = 8, SUM_TAG = 0xCF, LENGTH_TAG = 0xCE, ARRAY_TAG = 0x90, AROUND = 3 /* length, kind, sum */ };

/* The fields' types: u a number from 0 on, i any, t true or false, s a text or bytes (str or bin), b bytes (bin),
 * k a text, bytes or nil, v the key of a value: an integer, a text or bytes, m a map, a an array of numbers. */
static const struct row {
	const char *name, *fields;
} rows[VIGIA_EXPORT_KINDS] = {
	[VIGIA_EXPORT_BEGIN] = {"vigia-export", "uuuuu"},
	[VIGIA_EXPORT_SETTINGS] = {"settings", "m"},
	[VIGIA_EXPORT_CHECKPOINT] = {"checkpoint", "su"},
	[VIGIA_EXPORT_HOLD] = {"hold", "su"},
	[VIGIA_EXPORT_PAUSE] = {"pause", "s"},
	[VIGIA_EXPORT_LANES] = {"lanes", "siua"},
	[VIGIA_EXPORT_TIMER] = {"timer", "uukb"},
	[VIGIA_EXPORT_LETTER] = {"letter", "suuiitbbb"},
	[VIGIA_EXPORT_BUCKET] = {"bucket", "s"},
	[VIGIA_EXPORT_VALUE] = {"value", "svb"},
	[VIGIA_EXPORT_EVENT] = {"event", "ub"},
	[VIGIA_EXPORT_KEY] = {"key", "uus"},
	[VIGIA_EXPORT_END] = {"end", "u"},
};

const char *vigia__export_kind_name(enum vigia__export_kind kind)
{
	return rows[kind].name;
}

static void put_big(uint8_t *at, uint64_t number, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--, number >>= 8) at[i] = (uint8_t)number;
}

static uint64_t big_at(const uint8_t *at, int bytes)
{
	uint64_t number = 0;
	for (int i = 0; i < bytes; i++) number = number << 8 | at[i];
	return number;
}

/* ---- writing ---- */

static int put_bin(struct vigia__buf *out, struct vigia_slice bytes)
{
	uint8_t head[5] = {0xC6};
	if (bytes.len > UINT32_MAX) return -1;
	put_big(head + 1, bytes.len, 4);
	return vigia__buf_add(out, head, sizeof head) < 0 ? -1 : vigia__buf_add(out, bytes.data, bytes.len);
}

static int put_field(struct vigia__buf *out, char type, const struct vigia__export_field *field)
{
	switch (type) {
	case 'u':
	case 'i':
		return vigia__put_int(out, field->number);
	case 't':
		return vigia__put_bool(out, field->number != 0);
	case 'b':
		return put_bin(out, field->bytes);
	case 'm':
	case 'a':
		return vigia__buf_add(out, field->bytes.data, field->bytes.len);
	case 'v':
		if (field->is_integer) return vigia__put_int(out, field->number);
		break;
	case 'k':
		if (field->bytes.len == 0) return vigia__put_nil(out);
		break;
	default:
		break;
	}
	return vigia__put_string(out, field->bytes.data, field->bytes.len);
}

int vigia__export_encode(struct vigia__buf *out, uint64_t *sum, enum vigia__export_kind kind,
                         const struct vigia__export_field fields[])
{
	const struct row *row = &rows[kind];
	size_t start = out->len, count = strlen(row->fields);
	uint8_t head[VIGIA_EXPORT_HEAD] = {(uint8_t)(ARRAY_TAG | (count + AROUND)), LENGTH_TAG};
	uint8_t tail[1 + SUM_BYTES] = {SUM_TAG};
	int rc = vigia__buf_add(out, head, sizeof head);
	if (rc == 0) rc = vigia__put_string(out, row->name, strlen(row->name));
	for (size_t i = 0; i < count && rc == 0; i++) rc = put_field(out, row->fields[i], &fields[i]);
	if (rc == 0) rc = vigia__buf_add(out, tail, sizeof tail);
	size_t len = out->len - start;
	if (rc < 0 || len > VIGIA_EXPORT_MAX) {
		out->len = start;
		return -1;
	}
	uint8_t *record = out->data + start;
	put_big(record + 2, len, 4);
	*sum = XXH3_64bits_withSeed(record, len - SUM_BYTES, *sum);
	put_big(record + len - SUM_BYTES, *sum, SUM_BYTES);
	return 0;
}

int vigia__export_put_ranges(struct vigia__buf *array, struct vigia_slice ranges)
{
	size_t count = ranges.len / sizeof(uint64_t);
	int rc = vigia__put_array(array, count);
	for (size_t i = 0; i < count && rc == 0; i++) {
		uint64_t number;
		memcpy(&number, ranges.data + i * sizeof number, sizeof number);
		rc = vigia__put_int(array, (int64_t)number);
	}
	return rc;
}

/* ---- reading ---- */

bool vigia__export_length(const uint8_t head[VIGIA_EXPORT_HEAD], uint32_t *len)
{
	if ((head[0] & 0xF0) != ARRAY_TAG || (head[0] & 0x0F) < AROUND || head[1] != LENGTH_TAG) return false;
	*len = (uint32_t)big_at(head + 2, 4);
	return *len >= VIGIA_EXPORT_MIN && *len <= VIGIA_EXPORT_MAX;
}

int vigia__export_take_ranges(struct vigia__buf *ranges, struct vigia_slice array)
{
	struct vigia__reader reader = {(const uint8_t *)array.data, (const uint8_t *)array.data + array.len};
	struct vigia__token token;
	if (vigia__reader_next(&reader, &token, NULL) < 0 || token.kind != VIGIA_TOKEN_ARRAY) return -1;
	for (uint32_t left = token.count; left > 0; left--) {
		if (vigia__reader_next(&reader, &token, NULL) < 0 || token.kind != VIGIA_TOKEN_INT || token.integer < 0)
			return -1;
		uint64_t number = (uint64_t)token.integer;
		if (vigia__buf_add(ranges, &number, sizeof number) < 0) return -1;
	}
	return 0;
}

/* A whole value, which is kept as its bytes. */
static bool take_value(struct vigia__reader *reader, const struct vigia__token *token, const uint8_t *start,
                       struct vigia__export_field *out)
{
	uint64_t values = token->kind == VIGIA_TOKEN_MAP ? 2 * (uint64_t)token->count : token->count;
	for (; values > 0; values--)
		if (vigia__reader_skip(reader, NULL) < 0) return false;
	out->bytes = (struct vigia_slice){(const char *)start, (size_t)(reader->at - start)};
	return true;
}

static bool take_field(struct vigia__reader *reader, char type, struct vigia__export_field *out)
{
	struct vigia__token token;
	const uint8_t *start = reader->at;
	*out = (struct vigia__export_field){0};
	if (vigia__reader_next(reader, &token, NULL) < 0) return false;
	bool text = token.kind == VIGIA_TOKEN_STRING || token.kind == VIGIA_TOKEN_BIN;
	bool integer = token.kind == VIGIA_TOKEN_INT;
	out->is_integer = integer;
	if (integer) out->number = token.integer;
	if (text) out->bytes = token.string;
	switch (type) {
	case 'u':
		return integer && token.integer >= 0;
	case 'i':
		return integer;
	case 't':
		out->number = token.kind == VIGIA_TOKEN_BOOL && token.boolean;
		return token.kind == VIGIA_TOKEN_BOOL;
	case 'b':
		return token.kind == VIGIA_TOKEN_BIN;
	case 'k':
		return text ? token.string.len > 0 : token.kind == VIGIA_TOKEN_NIL;
	case 'v':
		return integer || text;
	case 'm':
		return token.kind == VIGIA_TOKEN_MAP && take_value(reader, &token, start, out);
	case 'a':
		return token.kind == VIGIA_TOKEN_ARRAY && take_value(reader, &token, start, out);
	default:
		return text;
	}
}

static int fail(int code, const char *text, const char **why)
{
	*why = text;
	return code;
}

int vigia__export_decode(const uint8_t *bytes, uint32_t len, uint64_t *sum, enum vigia__export_kind *kind,
                         struct vigia__export_field fields[VIGIA_EXPORT_FIELDS], const char **why)
{
	uint64_t own = XXH3_64bits_withSeed(bytes, len - SUM_BYTES, *sum);
	const uint8_t *tail = bytes + len - SUM_BYTES - 1;
	struct vigia__reader reader = {bytes + VIGIA_EXPORT_HEAD, tail};
	struct vigia__token name;
	if (tail[0] != SUM_TAG || big_at(tail + 1, SUM_BYTES) != own)
		return fail(VIGIA_EDAMAGED, "its checksum does not match", why);
	if (vigia__reader_next(&reader, &name, NULL) < 0 || name.kind != VIGIA_TOKEN_STRING)
		return fail(VIGIA_EDESERIAL, "it has no kind", why);
	for (*kind = 0; *kind < VIGIA_EXPORT_KINDS && !vigia__slice_is(name.string, rows[*kind].name);) ++*kind;
	if (*kind == VIGIA_EXPORT_KINDS) return fail(VIGIA_EFORMAT, "a later version of Vigia wrote it", why);
	const char *types = rows[*kind].fields;
	if ((size_t)(bytes[0] & 0x0F) != strlen(types) + AROUND)
		return fail(VIGIA_EDESERIAL, "it has the wrong number of fields", why);
	for (size_t i = 0; types[i]; i++)
		if (!take_field(&reader, types[i], &fields[i])) return fail(VIGIA_EDESERIAL, "a field has a wrong type", why);
	if (reader.at != reader.end) return fail(VIGIA_EDESERIAL, "there are bytes after its fields", why);
	*sum = own;
	return 0;
}
