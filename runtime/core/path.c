/*
 * path.c - parses places of an object, and finds them in msgpack.
 */
#include "path.h"

#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "error.h"

struct step {
	bool by_number;
	int64_t number;
	struct vigia_slice name;
};

struct vigia__path {
	size_t count;
	struct step steps[];
	/* the bytes of the names follow */
};

/* ---- Parsing ---- */

struct parser {
	struct vigia_slice text;
	size_t at;
	struct step steps[VIGIA_DEPTH_MAX];
	size_t count;
	char *names; /* where the next name goes */
	struct vigia_error *err;
};

/* The character at which it stopped, from 1. */
static size_t column(const struct parser *p)
{
	size_t characters = 1;
	for (size_t i = 0; i < p->at && i < p->text.len; i++) characters += (p->text.data[i] & 0xc0) != 0x80;
	return characters;
}

static int refuse(struct parser *p, const char *what)
{
	char shown[200];
	return vigia__error(p->err, VIGIA_EINVAL, "the place %s is wrong at character %zu: %s",
	                    vigia__quote(p->text.data, p->text.len, shown, sizeof shown), column(p), what);
}

static bool at_end(const struct parser *p)
{
	return p->at == p->text.len;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* In a name without quotes. Everything beyond ASCII is a letter. */
static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '-' || (c & 0x80);
}

static int plain_name(struct parser *p, struct step *step)
{
	const char *begin = p->text.data + p->at;
	if (at_end(p)) return refuse(p, "a name is missing after the dot");
	if (is_digit(*begin) || *begin == '-')
		return refuse(p, "a name begins with a letter or _: write [3] for the third value, .\"3\" for a key");
	while (!at_end(p) && is_name(p->text.data[p->at])) p->at++;
	size_t len = (size_t)(p->text.data + p->at - begin);
	if (len == 0) return refuse(p, "a name is expected: letters, digits, _ and -; put any other into double quotes");
	memcpy(p->names, begin, len);
	step->name = (struct vigia_slice){p->names, len};
	p->names += len;
	return VIGIA_OK;
}

/* At the opening quote. */
static int quoted_name(struct parser *p, struct step *step)
{
	step->name = (struct vigia_slice){p->names, 0};
	for (p->at++; !at_end(p) && p->text.data[p->at] != '"'; p->at++) {
		char c = p->text.data[p->at];
		if (c == '\\') {
			p->at++;
			c = at_end(p) ? 0 : p->text.data[p->at];
			if (c != '"' && c != '\\') return refuse(p, "behind a \\ in quotes stands \" or \\");
		}
		p->names[step->name.len++] = c;
	}
	if (at_end(p)) return refuse(p, "the closing quote is missing");
	p->at++;
	p->names += step->name.len;
	return VIGIA_OK;
}

static int number(struct parser *p, struct step *step)
{
	bool negative = p->text.data[p->at] == '-';
	uint64_t value = 0, limit = (uint64_t)INT64_MAX + negative;
	p->at += negative;
	if (at_end(p) || !is_digit(p->text.data[p->at]))
		return refuse(p, "an integer or a name in double quotes is expected");
	for (; !at_end(p) && is_digit(p->text.data[p->at]); p->at++) {
		unsigned digit = (unsigned)(p->text.data[p->at] - '0');
		if (value > (limit - digit) / 10) return refuse(p, "the number does not fit into a signed 64-bit integer");
		value = 10 * value + digit;
	}
	step->by_number = true;
	step->number = negative ? (int64_t)(0 - value) : (int64_t)value;
	return VIGIA_OK;
}

/* Behind the opening bracket. */
static int bracket(struct parser *p, struct step *step)
{
	if (at_end(p)) return refuse(p, "an integer or a name in double quotes is expected");
	int rc = p->text.data[p->at] == '"' ? quoted_name(p, step) : number(p, step);
	if (rc != VIGIA_OK) return rc;
	if (at_end(p) || p->text.data[p->at] != ']') return refuse(p, "] is expected");
	p->at++;
	return VIGIA_OK;
}

static int parse_step(struct parser *p)
{
	char c = p->text.data[p->at];
	if (c != '.' && c != '[') return refuse(p, "a dot, [ or the end is expected");
	if (p->count == VIGIA_DEPTH_MAX) return refuse(p, "it has more steps than an object has levels");
	struct step *step = &p->steps[p->count++];
	*step = (struct step){0};
	p->at++;
	if (c == '[') return bracket(p, step);
	return !at_end(p) && p->text.data[p->at] == '"' ? quoted_name(p, step) : plain_name(p, step);
}

static int parse(struct parser *p)
{
	static const char root[] = "object";
	size_t len = sizeof root - 1;
	if (p->text.len < len || memcmp(p->text.data, root, len) != 0 || (p->text.len > len && is_name(p->text.data[len])))
		return refuse(p, "a place begins with `object`, as in object.state");
	p->at = len;
	int rc = VIGIA_OK;
	while (rc == VIGIA_OK && !at_end(p)) rc = parse_step(p);
	return rc;
}

int vigia__path_new(struct vigia_slice text, struct vigia__path **out, struct vigia_error *err)
{
	struct parser parser = {.text = text, .err = err};
	*out = NULL;
	if (text.len > VIGIA_PATH_BYTES_MAX)
		return vigia__error(err, VIGIA_EINVAL, "a place has %zu bytes, allowed: at most %d", text.len,
		                    VIGIA_PATH_BYTES_MAX);
	char *names = vigia__alloc(text.len + 1);
	if (names == NULL) return vigia__no_memory(err);
	parser.names = names;
	int rc = parse(&parser);
	size_t bytes = (size_t)(parser.names - names), steps = parser.count * sizeof(struct step);
	struct vigia__path *made = rc == VIGIA_OK ? vigia__alloc(sizeof *made + steps + bytes + 1) : NULL;
	if (rc == VIGIA_OK && made == NULL) rc = vigia__no_memory(err);
	if (made) {
		char *kept = (char *)&made->steps[parser.count];
		memcpy(kept, names, bytes);
		made->count = parser.count;
		for (size_t i = 0; i < parser.count; i++) {
			made->steps[i] = parser.steps[i];
			if (!made->steps[i].by_number) made->steps[i].name.data = kept + (parser.steps[i].name.data - names);
		}
	}
	vigia__free(names);
	*out = made;
	return rc;
}

void vigia__path_free(struct vigia__path *path)
{
	vigia__free(path);
}

/* ---- Finding ---- */

/* 1 and 1.0 are the same key. */
static bool key_is(const struct vigia__token *key, const struct step *step)
{
	switch (key->kind) {
	case VIGIA_TOKEN_STRING:
	case VIGIA_TOKEN_BIN:
		return !step->by_number && key->string.len == step->name.len &&
		       memcmp(key->string.data, step->name.data, step->name.len) == 0;
	case VIGIA_TOKEN_INT:
		return step->by_number && key->integer == step->number;
	case VIGIA_TOKEN_FLOAT:
		return step->by_number &&
		       vigia__token_equal(key, &(struct vigia__token){.kind = VIGIA_TOKEN_INT, .integer = step->number});
	default:
		return false;
	}
}

static int find_in_map(struct vigia__reader *reader, uint32_t count, const struct step *step)
{
	struct vigia__reader found = {0};
	for (uint32_t i = 0; i < count; i++) {
		struct vigia__token key;
		struct vigia__reader before = *reader;
		if (vigia__reader_next(reader, &key, NULL) != 0) return VIGIA_EDESERIAL;
		if (key.kind == VIGIA_TOKEN_ARRAY || key.kind == VIGIA_TOKEN_MAP) { /* no key of ours: pass it as a whole */
			*reader = before;
			if (vigia__reader_skip(reader, NULL) != 0) return VIGIA_EDESERIAL;
		} else if (key_is(&key, step)) {
			found = *reader;
		}
		if (vigia__reader_skip(reader, NULL) != 0) return VIGIA_EDESERIAL;
	}
	if (found.at == NULL) return VIGIA_NONE;
	*reader = found;
	return VIGIA_OK;
}

static int find_in_array(struct vigia__reader *reader, uint32_t count, const struct step *step)
{
	if (!step->by_number || step->number < 1 || step->number > count) return VIGIA_NONE;
	for (int64_t i = 1; i < step->number; i++)
		if (vigia__reader_skip(reader, NULL) != 0) return VIGIA_EDESERIAL;
	return VIGIA_OK;
}

int vigia__path_find(const struct vigia__path *path, struct vigia_slice object, struct vigia__reader *at)
{
	struct vigia__reader reader = {(const uint8_t *)object.data, (const uint8_t *)object.data + object.len};
	for (size_t i = 0; i < path->count; i++) {
		struct vigia__token token;
		if (vigia__reader_next(&reader, &token, NULL) != 0) return VIGIA_EDESERIAL;
		int rc = token.kind == VIGIA_TOKEN_MAP     ? find_in_map(&reader, token.count, &path->steps[i])
		         : token.kind == VIGIA_TOKEN_ARRAY ? find_in_array(&reader, token.count, &path->steps[i])
		                                           : VIGIA_NONE;
		if (rc != VIGIA_OK) return rc;
	}
	*at = reader;
	return VIGIA_OK;
}
