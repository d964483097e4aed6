/*
 * json.c - JSON text to msgpack, through jansson's tree. json_write.c does the reverse.
 */
#include "json.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "base64.h"
#include "error.h"
#include "keys.h"
#include "nearest.h"
#include "options.h"

/* A level of a value takes at most three levels of JSON ({"$map":[[). The line's own object and the form of a leaf take
 * one each. Checked before jansson parses the text, because its parser recurses. */
enum { NESTING_MAX = 3 * VIGIA_DEPTH_MAX + 2 };

/* ---- Where in the text ---- */

struct text {
	const char *data;
	size_t len;
	struct vigia_error *err;
	const char *given; /* what `data` was made of (vigia__json_widen). NULL: it is what was given */
	size_t given_len;
};

/* ESERIAL "column 12: what", "line 2, column 3: what" for the character at a byte offset. */
static int refuse_at(const struct text *text, size_t offset, const char *what)
{
	if (offset > text->len) offset = text->len;
	const char *data = text->given ? text->given : text->data;
	if (text->given) offset = vigia__json_narrow(text->data, offset, text->given, text->given_len);
	size_t line = 1, column = 1;
	for (size_t i = 0; i < offset; i++) {
		if (data[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)data[i] & 0xc0) != 0x80) column++;
	}
	if (line == 1) return vigia__error(text->err, VIGIA_ESERIAL, "column %zu: %s", column, what);
	return vigia__error(text->err, VIGIA_ESERIAL, "line %zu, column %zu: %s", line, column, what);
}

/* Scan the brackets outside strings. The text need not be valid JSON. Returns where they first nest `level` deep, len
 * if they never do. Sets *open, unless NULL, to whether a bracket or a string is open at the end. */
static size_t scan_brackets(const char *s, size_t len, int level, bool *open)
{
	int depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < len; i++) {
		if (in_string) {
			if (s[i] == '\\') i++;
			else if (s[i] == '"') in_string = false;
		} else if (s[i] == '"') in_string = true;
		else if (s[i] == '{' || s[i] == '[') {
			if (++depth == level) return i;
		} else if (s[i] == '}' || s[i] == ']') depth--;
	}
	if (open) *open = in_string || depth > 0;
	return len;
}

static size_t find_nesting(const char *s, size_t len, int level)
{
	return scan_brackets(s, len, level, NULL);
}

static int refuse_depth(const struct text *text, int nesting)
{
	char what[64];
	snprintf(what, sizeof what, "nested deeper than %d levels", VIGIA_DEPTH_MAX);
	return refuse_at(text, find_nesting(text->data, text->len, nesting), what);
}

/* Count the opening brackets, those in strings too. Most texts have so few that their nesting need not be checked. '{'
 * is '[' | 0x20. */
static size_t count_brackets(const char *s, size_t len)
{
	const uint64_t low7 = 0x7f7f7f7f7f7f7f7f, bit5 = 0x2020202020202020, brace = 0x7b7b7b7b7b7b7b7b;
	size_t count = 0, i = 0;
	for (; i + 8 <= len; i += 8) {
		uint64_t eight;
		memcpy(&eight, s + i, 8);
		eight = (eight | bit5) ^ brace;
		count += (size_t)__builtin_popcountll(~(((eight & low7) + low7) | eight | low7));
	}
	for (; i < len; i++) count += (s[i] | 0x20) == '{';
	return count;
}

/* ---- jansson's errors ---- */

static bool is_number_byte(char c)
{
	return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* Where the number or string that ends before `end` begins. */
static size_t token_start(const char *s, size_t end)
{
	size_t at = end;
	if (at > 0 && s[at - 1] == '"') {
		for (at--; at > 0; at--) {
			size_t slashes = 0;
			while (s[at - 1] == '"' && slashes < at - 1 && s[at - 2 - slashes] == '\\') slashes++;
			if (s[at - 1] == '"' && slashes % 2 == 0) return at - 1;
		}
		return 0;
	}
	while (at > 0 && is_number_byte(s[at - 1])) at--;
	return at;
}

/* "prefix TOKEN suffix", a long token cut. */
static int refuse_token(const struct text *text, size_t end, const char *prefix, const char *suffix)
{
	enum { SHOWN = 48 };
	size_t start = token_start(text->data, end), len = end - start;
	size_t cut = len > SHOWN ? vigia__utf8_cut(text->data + start, SHOWN) : len;
	char what[256];
	snprintf(what, sizeof what, "%s %.*s%s %s", prefix, (int)cut, text->data + start, cut < len ? "..." : "", suffix);
	return refuse_at(text, start, what);
}

/* Refuse the names by which other languages write floats that are not finite, naming the form to write instead. False:
 * there is none at `at`. */
static bool refuse_not_finite(const struct text *text, size_t at)
{
	static const struct {
		const char *name, *form;
	} names[] = {{"NaN", "nan"},        {"-NaN", "nan"}, {"nan", "nan"},   {"-nan", "nan"}, {"Infinity", "inf"},
	             {"-Infinity", "-inf"}, {"inf", "inf"},  {"-inf", "-inf"}, {"Inf", "inf"},  {"-Inf", "-inf"}};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t len = strlen(names[i].name);
		if (len > text->len - at || memcmp(text->data + at, names[i].name, len) != 0) continue;
		char what[80];
		snprintf(what, sizeof what, "%s is not JSON: write {\"$float\":\"%s\"}", names[i].name, names[i].form);
		refuse_at(text, at, what);
		return true;
	}
	return false;
}

static int refuse_jansson(const struct text *text, const json_error_t *error)
{
	size_t end = error->position < 0 ? 0 : (size_t)error->position;
	if (end > text->len) end = text->len;
	char what[JSON_ERROR_TEXT_LENGTH + 64];
	switch (json_error_code(error)) {
	case json_error_invalid_utf8:
		snprintf(what, sizeof what, "the byte 0x%02x does not begin valid UTF-8",
		         end < text->len ? (unsigned char)text->data[end] : 0);
		return refuse_at(text, end, what);
	case json_error_premature_end_of_input:
		return refuse_at(text, text->len, "the text ends before the value is complete");
	case json_error_null_byte_in_key:
		return refuse_token(text, end, "the key", "holds a NUL: write the map as {\"$map\":[[key,value],...]}");
	case json_error_duplicate_key:
		return refuse_token(text, end, "the key", "occurs twice");
	case json_error_numeric_overflow:
		if (strstr(error->text, "integer"))
			return refuse_token(text, end, "the integer", "does not fit into a signed 64-bit integer");
		return refuse_token(text, end, "the number", "is too large for a float");
	default:
		break;
	}
	/* a string that ends here is correct: jansson had no memory for it */
	bool no_token = strncmp(error->text, "invalid token", 13) == 0 || strncmp(error->text, "string or", 9) == 0;
	if (error->text[0] == '\0' || (no_token && end > 0 && text->data[end - 1] == '"'))
		return vigia__json_no_memory(text->err);
	/* "':' expected near '}'": `end` is behind that token. jansson names only short ones */
	const char *near = strstr(error->text, " near '");
	size_t near_len = near ? strlen(near + 7) - 1 : 0;
	size_t start = near_len && near_len <= end ? end - near_len : token_start(text->data, end);
	if (refuse_not_finite(text, start)) return VIGIA_ESERIAL;
	if (json_error_code(error) == json_error_end_of_input_expected)
		return refuse_at(text, start, "unexpected text after the value");
	snprintf(what, sizeof what, "%s", error->text);
	return refuse_at(text, start, what);
}

static bool is_blank(const char *s, size_t len)
{
	while (len && (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n')) s++, len--;
	return len == 0;
}

/* When jansson cannot grow the buffer of a long string, it drops bytes and misparses the rest. So check first that the
 * memory for a long text is there. */
static bool has_memory_for(size_t len)
{
	enum { SMALL = 1 << 16 };
	if (len <= SMALL) return true;
	void *probe = len <= SIZE_MAX / 4 ? vigia__alloc(4 * len) : NULL;
	vigia__free(probe);
	return probe != NULL;
}

/* What jansson would accept, misread or crash on. */
static int check_text(const struct text *text)
{
	const char *nul = text->len ? memchr(text->data, '\0', text->len) : NULL;
	/* jansson silently skips a NUL in some places */
	if (nul) return refuse_at(text, (size_t)(nul - text->data), "a NUL byte is not JSON");
	/* some editors write it, and none shows it */
	if (text->len >= 3 && memcmp(text->data, "\xef\xbb\xbf", 3) == 0)
		return refuse_at(text, 0, "a byte order mark (the bytes EF BB BF) is not JSON");
	if (is_blank(text->data, text->len)) return refuse_at(text, 0, "there is no value");
	if (count_brackets(text->data, text->len) > NESTING_MAX &&
	    find_nesting(text->data, text->len, NESTING_MAX + 1) < text->len)
		return refuse_depth(text, NESTING_MAX + 1);
	return has_memory_for(text->len) ? VIGIA_OK : vigia__json_no_memory(text->err);
}

static json_t *parse(const struct text *text, int *rc)
{
	*rc = check_text(text);
	if (*rc < 0) return NULL;
	json_error_t error = {0}; /* jansson sets its code only with some of its errors */
	json_t *root = json_loadb(text->data, text->len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	*rc = root ? VIGIA_OK : refuse_jansson(text, &error);
	return root;
}

static bool is_open(const char *s, size_t len)
{
	bool open;
	scan_brackets(s, len, INT_MAX, &open);
	return open;
}

/* Are these one to three bytes the start of a longer character? */
static bool begins_character(const char *s, size_t len)
{
	unsigned char first = (unsigned char)s[0];
	size_t whole = first >= 0xf0 && first <= 0xf4  ? 4
	               : first >= 0xe0 && first < 0xf0 ? 3
	               : first >= 0xc2 && first < 0xe0 ? 2
	                                               : 0;
	for (size_t i = 1; i < len; i++)
		if (((unsigned char)s[i] & 0xc0) != 0x80) return false;
	return len < whole;
}

int vigia__json_no_memory(struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ENOMEM, "no memory for JSON");
}

bool vigia__json_is_cut(const char *text, size_t len)
{
	json_error_t error = {0};
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	json_decref(root);
	if (root || !is_open(text, len)) return false;
	size_t end = error.position < 0 ? 0 : (size_t)error.position;
	/* the last token reaches the end of the text, or the text ends inside a character */
	return json_error_code(&error) == json_error_premature_end_of_input || end >= len ||
	       (json_error_code(&error) == json_error_invalid_utf8 && begins_character(text + end, len - end));
}

/* ---- The tree to msgpack ---- */

struct load {
	struct text text;
	struct vigia__buf *buf;
};

static int put_tree(struct load *load, json_t *json, int depth, int nesting);

static int put_done(struct load *load, int failed)
{
	return failed ? vigia__json_no_memory(load->text.err) : VIGIA_OK;
}

/* The base64 string of {"$bytes":"<base64>"}, NULL for another value. */
static json_t *bytes_form(json_t *json)
{
	if (!json_is_object(json) || json_object_size(json) != 1) return NULL;
	json_t *base64 = json_object_get(json, "$bytes");
	size_t len;
	if (!json_is_string(base64) ||
	    !vigia__base64_decode(json_string_value(base64), json_string_length(base64), NULL, &len))
		return NULL;
	return base64;
}

static int put_bytes(struct load *load, json_t *base64)
{
	size_t len = json_string_length(base64);
	uint8_t *bytes = vigia__alloc(len);
	if (!bytes) return vigia__json_no_memory(load->text.err);
	vigia__base64_decode(json_string_value(base64), len, bytes, &len);
	int failed = vigia__put_string(load->buf, (const char *)bytes, len);
	vigia__free(bytes);
	return put_done(load, failed);
}

/* Is this the array of pairs of a $map? */
static bool is_map_form(json_t *pairs)
{
	if (!json_is_array(pairs)) return false;
	for (size_t i = 0; i < json_array_size(pairs); i++) {
		json_t *pair = json_array_get(pairs, i);
		if (!json_is_array(pair) || json_array_size(pair) != 2) return false;
		json_t *key = json_array_get(pair, 0);
		if (!json_is_string(key) && !json_is_number(key) && !json_is_boolean(key) && !bytes_form(key)) return false;
	}
	return true;
}

/* Check that the map just written at `where` in the buffer has no duplicate keys. */
static int check_keys(struct load *load, size_t where)
{
	struct vigia__reader reader = {load->buf->data + where, load->buf->data + load->buf->len};
	struct vigia__token token;
	struct vigia__twice twice;
	vigia__reader_next(&reader, &token, NULL);
	int rc = vigia__keys_twice(reader, token.count, &twice);
	if (rc == VIGIA_OK) return VIGIA_OK;
	if (rc < 0) return vigia__json_no_memory(load->text.err);
	return vigia__error(load->text.err, VIGIA_ESERIAL, "the keys of the pairs %u and %u of a $map are the same",
	                    twice.first, twice.second);
}

static int put_map_form(struct load *load, json_t *pairs, int depth, int nesting)
{
	size_t count = json_array_size(pairs), where = load->buf->len;
	if (vigia__put_map(load->buf, count) != 0) return vigia__json_no_memory(load->text.err);
	for (size_t i = 0; i < count; i++) {
		json_t *pair = json_array_get(pairs, i);
		int rc = put_tree(load, json_array_get(pair, 0), depth + 1, nesting + 3);
		if (rc == 0) rc = put_tree(load, json_array_get(pair, 1), depth + 1, nesting + 3);
		if (rc != 0) return rc;
	}
	return check_keys(load, where);
}

/* Convert an object of one of the three forms. VIGIA_NONE: it is an ordinary object. */
static int put_form(struct load *load, json_t *json, int depth, int nesting)
{
	void *iter = json_object_iter(json);
	const char *name = json_object_iter_key(iter);
	json_t *value = json_object_iter_value(iter);
	if (name[0] != '$') return VIGIA_NONE;
	if (strcmp(name, "$float") == 0 && json_is_string(value)) {
		const char *text = json_string_value(value);
		static const struct {
			const char *name;
			double value;
		} floats[] = {{"nan", NAN}, {"inf", INFINITY}, {"-inf", -INFINITY}};
		for (size_t i = 0; i < 3; i++)
			if (json_string_length(value) == strlen(floats[i].name) && strcmp(text, floats[i].name) == 0)
				return put_done(load, vigia__put_float(load->buf, floats[i].value));
	}
	if (strcmp(name, "$bytes") == 0 && bytes_form(json)) return put_bytes(load, value);
	if (strcmp(name, "$map") == 0 && is_map_form(value))
		return depth == VIGIA_DEPTH_MAX ? refuse_depth(&load->text, nesting + 1)
		                                : put_map_form(load, value, depth, nesting);
	return VIGIA_NONE;
}

/* `depth` levels of the value and `nesting` brackets of the text enclose this one. */
static int put_tree(struct load *load, json_t *json, int depth, int nesting)
{
	struct vigia__buf *buf = load->buf;
	int rc;
	switch (json_typeof(json)) {
	case JSON_NULL:
		return put_done(load, vigia__put_nil(buf));
	case JSON_TRUE:
	case JSON_FALSE:
		return put_done(load, vigia__put_bool(buf, json_is_true(json)));
	case JSON_INTEGER:
		return put_done(load, vigia__put_int(buf, json_integer_value(json)));
	case JSON_REAL:
		return put_done(load, vigia__put_float(buf, json_real_value(json)));
	case JSON_STRING:
		return put_done(load, vigia__put_string(buf, json_string_value(json), json_string_length(json)));
	case JSON_ARRAY: {
		size_t count = json_array_size(json);
		if (depth == VIGIA_DEPTH_MAX) return refuse_depth(&load->text, nesting + 1);
		if (vigia__put_array(buf, count) != 0) return vigia__json_no_memory(load->text.err);
		for (size_t i = 0; i < count; i++)
			if ((rc = put_tree(load, json_array_get(json, i), depth + 1, nesting + 1)) != 0) return rc;
		return VIGIA_OK;
	}
	case JSON_OBJECT:
		break;
	}
	if (json_object_size(json) == 1 && (rc = put_form(load, json, depth, nesting)) != VIGIA_NONE) return rc;
	if (depth == VIGIA_DEPTH_MAX) return refuse_depth(&load->text, nesting + 1);
	if (vigia__put_map(buf, json_object_size(json)) != 0) return vigia__json_no_memory(load->text.err);
	for (void *iter = json_object_iter(json); iter; iter = json_object_iter_next(json, iter)) {
		const char *key = json_object_iter_key(iter);
		if (vigia__put_string(buf, key, strlen(key)) != 0) return vigia__json_no_memory(load->text.err);
		if ((rc = put_tree(load, json_object_iter_value(iter), depth + 1, nesting + 1)) != 0) return rc;
	}
	return VIGIA_OK;
}

int vigia__json_to_value(const char *text, size_t len, struct vigia__buf *buf, struct vigia_error *err)
{
	struct load load = {.text = {.data = text, .len = len, .err = err}, .buf = buf};
	size_t start = buf->len;
	int rc;
	json_t *root = parse(&load.text, &rc);
	if (!root) return rc;
	rc = put_tree(&load, root, 0, 0);
	json_decref(root);
	if (rc != 0) buf->len = start;
	return rc;
}

/* ---- A line to an event ---- */

enum { OPERATION, OBJECT_TYPE, OBJECT, FIELDS };
static const char *const line_fields[] = {"operation", "object_type", "object", "seq_num", "timestamp", NULL};

static const char *field_at(const void *ctx, int index)
{
	return line_fields[index];
}

static const char *type_name(json_t *json)
{
	static const char *const names[] = {"an object", "an array", "a string", "an integer",
	                                    "a float",   "true",     "false",    "null"};
	return names[json_typeof(json)];
}

/* Find the fields of a line and check their types. The object may be anything. */
static int pick_fields(json_t *root, json_t *fields[FIELDS], struct vigia_error *err)
{
	if (!json_is_object(root))
		return vigia__error(err, VIGIA_ESERIAL,
		                    "column 1: the line is %s, it must be an object with operation, object_type and object",
		                    type_name(root));
	for (void *iter = json_object_iter(root); iter; iter = json_object_iter_next(root, iter)) {
		const char *key = json_object_iter_key(iter);
		int i = 0;
		while (line_fields[i] && strcmp(line_fields[i], key) != 0) i++;
		if (i < FIELDS) fields[i] = json_object_iter_value(iter);
		else if (!line_fields[i]) {
			const char *near = vigia__nearest(key, field_at, NULL);
			return vigia__error(err, VIGIA_ESERIAL, "unknown field \"%.48s\"%s%s%s", key, near ? " (did you mean " : "",
			                    near ? near : "", near ? "?)" : "");
		}
	}
	for (int i = 0; i < FIELDS; i++) {
		if (!fields[i]) return vigia__error(err, VIGIA_ESERIAL, "the field \"%s\" is missing", line_fields[i]);
		if (i != OBJECT && !json_is_string(fields[i]))
			return vigia__error(err, VIGIA_ESERIAL, "the field \"%s\" is %s, it must be a string", line_fields[i],
			                    type_name(fields[i]));
	}
	return VIGIA_OK;
}

static struct vigia_slice string_slice(json_t *json)
{
	return (struct vigia_slice){json_string_value(json), json_string_length(json)};
}

static int to_event(struct load *load, int64_t size_max)
{
	struct vigia_error *err = load->text.err;
	size_t start = load->buf->len;
	int rc;
	json_t *root = parse(&load->text, &rc), *fields[FIELDS] = {NULL};
	if (!root) return rc;
	rc = pick_fields(root, fields, err);
	if (rc == 0)
		rc = vigia__event_begin(load->buf, string_slice(fields[OPERATION]), string_slice(fields[OBJECT_TYPE]), err);
	if (rc == 0) rc = put_tree(load, fields[OBJECT], 0, 1);
	if (rc == 0) rc = vigia__event_end(load->buf, start, size_max, err);
	json_decref(root);
	if (rc != 0) load->buf->len = start;
	return rc;
}

int vigia__json_to_event_with(const char *text, size_t len, enum vigia__json_big big, struct vigia__buf *buf,
                              int64_t size_max, struct vigia_error *err)
{
	struct load load = {.text = {.data = text, .len = len, .err = err}, .buf = buf};
	struct vigia__buf wide = {0};
	/* Do not parse what cannot become an event: a byte of msgpack takes at most 6 bytes of JSON. The rest allows for
	 * blanks. */
	if (len > 8 * (uint64_t)size_max + 65536)
		return vigia__error(err, VIGIA_ETOOBIG,
		                    "the line has %zu bytes, too many for an event: max_event_size is %lld bytes", len,
		                    (long long)size_max);
	int rc = big == VIGIA_JSON_BIG_REFUSED ? VIGIA_NONE : vigia__json_widen(text, len, big, &wide, err);
	if (rc == VIGIA_OK)
		load.text = (struct text){
			.data = (const char *)wide.data, .len = wide.len, .err = err, .given = text, .given_len = len};
	if (rc >= 0) rc = to_event(&load, size_max);
	vigia__buf_deinit(&wide);
	return rc;
}

int vigia__json_to_event(const char *text, size_t len, struct vigia__buf *buf, int64_t size_max,
                         struct vigia_error *err)
{
	return vigia__json_to_event_with(text, len, VIGIA_JSON_BIG_REFUSED, buf, size_max, err);
}
