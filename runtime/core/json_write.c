/*
 * json_write.c - msgpack to JSON text, directly from the tokens. json.c does the reverse.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "error.h"
#include "json.h"

struct writer {
	struct vigia__reader reader;
	struct vigia__buf *buf;
	bool odd; /* the value holds a map that a JSON object cannot express */
	struct vigia_error *err;
};

/* ---- Scalars: 0 or -1 without memory ---- */

static int put_char(struct vigia__buf *buf, char c)
{
	if (vigia__buf_reserve(buf, 1) != 0) return -1;
	buf->data[buf->len++] = (uint8_t)c;
	return 0;
}

static int put_int(struct vigia__buf *buf, int64_t value)
{
	char digits[24];
	size_t at = sizeof digits;
	uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	do digits[--at] = (char)('0' + left % 10);
	while ((left /= 10) != 0);
	if (value < 0) digits[--at] = '-';
	return vigia__buf_add(buf, digits + at, sizeof digits - at);
}

static int put_float(struct vigia__buf *buf, double value)
{
	if (isnan(value)) return vigia__buf_add_text(buf, "{\"$float\":\"nan\"}");
	if (isinf(value)) return vigia__buf_add_text(buf, value > 0 ? "{\"$float\":\"inf\"}" : "{\"$float\":\"-inf\"}");
	char text[40];
	/* %g drops trailing zeros, so start at 15 digits. A subnormal number has less precision and needs fewer. */
	for (int digits = fabs(value) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (digits == 17 || strtod(text, NULL) == value) break;
	}
	/* the host's locale may write another decimal separator */
	bool is_float = false;
	size_t out = 0;
	for (const char *c = text; *c; c++) {
		bool usual = (*c >= '0' && *c <= '9') || *c == '-' || *c == '+' || *c == 'e';
		if (usual) text[out++] = *c;
		else if (out && text[out - 1] != '.') text[out++] = '.';
		is_float |= !usual || *c == 'e';
	}
	if (vigia__buf_add(buf, text, out) != 0) return -1;
	return is_float ? 0 : vigia__buf_add_text(buf, ".0");
}

/* Valid UTF-8, between quotes. */
static int put_quoted(struct vigia__buf *buf, const char *s, size_t len)
{
	static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
	if (vigia__buf_reserve(buf, len + 2) != 0 || put_char(buf, '"') != 0) return -1;
	size_t run = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c >= 0x20 && c != '"' && c != '\\' && c != 0xc2) continue;
		bool c1 =
			c == 0xc2; /* U+0080 to U+009F are control characters like those below 0x20: escape them for terminals */
		if (c1 && (unsigned char)s[i + 1] >= 0xa0) continue;
		if (c1) c = (unsigned char)s[i + 1];
		const char *at = c ? strchr(special, c) : NULL;
		char escape[7] = {'\\', at ? letters[at - special] : 'u'};
		if (at == NULL) snprintf(escape + 2, sizeof escape - 2, "%04x", c);
		if (vigia__buf_add(buf, s + run, i - run) != 0 || vigia__buf_add_text(buf, escape) != 0) return -1;
		i += c1;
		run = i + 1;
	}
	if (vigia__buf_add(buf, s + run, len - run) != 0) return -1;
	return put_char(buf, '"');
}

int vigia__json_put_string(struct vigia__buf *buf, struct vigia_slice s)
{
	if (vigia__utf8_valid(s.data, s.len)) return put_quoted(buf, s.data, s.len);
	if (vigia__buf_add_text(buf, "{\"$bytes\":\"") != 0 || vigia__base64_encode(buf, s.data, s.len) != 0) return -1;
	return vigia__buf_add_text(buf, "\"}");
}

static int put_scalar(struct vigia__buf *buf, const struct vigia__token *token)
{
	switch (token->kind) {
	case VIGIA_TOKEN_NIL:
		return vigia__buf_add_text(buf, "null");
	case VIGIA_TOKEN_BOOL:
		return vigia__buf_add_text(buf, token->boolean ? "true" : "false");
	case VIGIA_TOKEN_INT:
		return put_int(buf, token->integer);
	case VIGIA_TOKEN_FLOAT:
		return put_float(buf, token->number);
	default:
		return vigia__json_put_string(buf, token->string);
	}
}

/* ---- Maps that are no JSON objects ---- */

static bool is_form_name(struct vigia_slice s)
{
	static const char *const names[] = {"$float", "$bytes", "$map"};
	for (size_t i = 0; i < 3; i++)
		if (vigia__slice_is(s, names[i])) return true;
	return false;
}

/* Can this key, in a map of `count` pairs, be the name of a member? */
static bool is_member_name(const struct vigia__token *key, uint32_t count)
{
	if (key->kind != VIGIA_TOKEN_STRING && key->kind != VIGIA_TOKEN_BIN) return false;
	struct vigia_slice s = key->string;
	if (s.len && memchr(s.data, '\0', s.len)) return false;
	return vigia__utf8_valid(s.data, s.len) && !(count == 1 && s.len && s.data[0] == '$' && is_form_name(s));
}

static bool is_key(const struct vigia__token *key)
{
	switch (key->kind) {
	case VIGIA_TOKEN_NIL:
	case VIGIA_TOKEN_ARRAY:
	case VIGIA_TOKEN_MAP:
		return false;
	case VIGIA_TOKEN_FLOAT:
		return isfinite(key->number);
	default:
		return true;
	}
}

/* Check the value before anything is written: is it valid, and does it hold an odd map? Most hold none, and then no map
 * needs a second look while it is written. */
static bool survey(struct vigia__reader *reader, int depth, bool *odd)
{
	struct vigia__token token;
	if (vigia__reader_next(reader, &token, NULL) != 0) return false;
	if (token.kind != VIGIA_TOKEN_ARRAY && token.kind != VIGIA_TOKEN_MAP) return true;
	if (depth == VIGIA_DEPTH_MAX) return false;
	for (uint32_t i = 0; i < token.count; i++) {
		struct vigia__token key;
		if (token.kind == VIGIA_TOKEN_MAP) {
			if (vigia__reader_next(reader, &key, NULL) != 0 || !is_key(&key)) return false;
			*odd |= !is_member_name(&key, token.count);
		}
		if (!survey(reader, depth + 1, odd)) return false;
	}
	return true;
}

static bool map_is_odd(struct vigia__reader reader, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct vigia__token key;
		if (vigia__reader_next(&reader, &key, NULL) != 0 || !is_member_name(&key, count)) return true;
		vigia__reader_skip(&reader, NULL);
	}
	return false;
}

/* ---- Values: 0 or -1 without memory. The survey has checked them ---- */

static int put_value(struct writer *w);

static int put_array(struct writer *w, uint32_t count)
{
	int failed = put_char(w->buf, '[');
	for (uint32_t i = 0; i < count && !failed; i++) failed = (i && put_char(w->buf, ',') != 0) || put_value(w) != 0;
	return failed || put_char(w->buf, ']') != 0 ? -1 : 0;
}

static int put_object(struct writer *w, uint32_t count)
{
	int failed = put_char(w->buf, '{');
	for (uint32_t i = 0; i < count && !failed; i++) {
		struct vigia__token key;
		vigia__reader_next(&w->reader, &key, NULL);
		failed = (i && put_char(w->buf, ',') != 0) || put_quoted(w->buf, key.string.data, key.string.len) != 0 ||
		         put_char(w->buf, ':') != 0 || put_value(w) != 0;
	}
	return failed || put_char(w->buf, '}') != 0 ? -1 : 0;
}

static int write_map_form(struct writer *w, uint32_t count)
{
	int failed = vigia__buf_add_text(w->buf, "{\"$map\":[");
	for (uint32_t i = 0; i < count && !failed; i++) {
		struct vigia__token key;
		vigia__reader_next(&w->reader, &key, NULL);
		failed = vigia__buf_add_text(w->buf, i ? ",[" : "[") != 0 || put_scalar(w->buf, &key) != 0 ||
		         put_char(w->buf, ',') != 0 || put_value(w) != 0 || put_char(w->buf, ']') != 0;
	}
	return failed || vigia__buf_add_text(w->buf, "]}") != 0 ? -1 : 0;
}

static int put_value(struct writer *w)
{
	struct vigia__token token;
	vigia__reader_next(&w->reader, &token, NULL);
	switch (token.kind) {
	case VIGIA_TOKEN_ARRAY:
		return put_array(w, token.count);
	case VIGIA_TOKEN_MAP:
		return w->odd && map_is_odd(w->reader, token.count) ? write_map_form(w, token.count)
		                                                    : put_object(w, token.count);
	default:
		return put_scalar(w->buf, &token);
	}
}

static int write_value(struct vigia_slice value, struct vigia__buf *buf, struct vigia_error *err)
{
	if (value.len == 0) return vigia__value_check(value, VIGIA_EDESERIAL, err);
	const uint8_t *bytes = (const uint8_t *)value.data, *end = bytes + value.len;
	struct vigia__reader survey_reader = {bytes, end};
	struct writer w = {.reader = {bytes, end}, .buf = buf};
	if (!survey(&survey_reader, 0, &w.odd) || survey_reader.at != end)
		return vigia__value_check(value, VIGIA_EDESERIAL, err);
	return put_value(&w) == 0 ? VIGIA_OK : vigia__json_no_memory(err);
}

int vigia__json_from_value(struct vigia_slice value, struct vigia__buf *buf, struct vigia_error *err)
{
	size_t start = buf->len;
	int rc = write_value(value, buf, err);
	if (rc != 0) buf->len = start;
	return rc;
}
