/*
 * value.c - checks that msgpack is a value Vigia can carry, and says where and why not.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "event.h"
#include "keys.h"

/* The path to the value being checked: one frame per level, on the C stack. */
struct frame {
	const struct frame *up;
	bool in_map;
	uint32_t index;          /* in an array: from 1 */
	struct vigia__token key; /* in a map */
};

struct check {
	struct vigia__reader reader;
	int code;
	struct vigia_error *err;
	bool fresh; /* about to be stored: refuse duplicate keys */
};

/* One step of a path: .name, ["a key"], [3]. */
static void format_step(const struct frame *frame, char *out, size_t size)
{
	enum { SHOWN = 40 };
	const struct vigia__token *key = &frame->key;
	char quoted[200];
	if (!frame->in_map) snprintf(out, size, "[%u]", frame->index);
	else if (key->kind == VIGIA_TOKEN_INT) snprintf(out, size, "[%lld]", (long long)key->integer);
	else if (key->kind == VIGIA_TOKEN_FLOAT) snprintf(out, size, "[%.17g]", key->number);
	else if (key->kind == VIGIA_TOKEN_BOOL) snprintf(out, size, "[%s]", key->boolean ? "true" : "false");
	else if (key->string.len <= SHOWN && vigia__is_identifier(key->string.data, key->string.len))
		snprintf(out, size, ".%.*s", (int)key->string.len, key->string.data);
	else snprintf(out, size, "[%s]", vigia__quote(key->string.data, key->string.len, quoted, sizeof quoted));
}

/* "object" and the steps from there. If they do not fit, the innermost are left out. */
static void format_path(const struct frame *frame, char *out, size_t size)
{
	const struct frame *steps[VIGIA_DEPTH_MAX + 1];
	int count = 0;
	for (; frame && count <= VIGIA_DEPTH_MAX; frame = frame->up) steps[count++] = frame;
	size_t n = (size_t)snprintf(out, size, "object");
	while (count-- > 0) {
		char step[256];
		format_step(steps[count], step, sizeof step);
		size_t len = strlen(step);
		if (n + len + 4 > size) {
			memcpy(out + n, "...", 4);
			return;
		}
		memcpy(out + n, step, len + 1);
		n += len;
	}
}

static int refuse_value(struct check *check, const struct frame *frame, const char *what)
{
	if (check->err) {
		char path[420];
		format_path(frame, path, sizeof path);
		vigia__error(check->err, check->code, "%s: %s", path, what);
	}
	return check->code;
}

/* The reader's error, with the place in front and the caller's code. */
static int refuse_msgpack(struct check *check, const struct frame *frame)
{
	struct vigia__token token;
	struct vigia__reader again = check->reader;
	struct vigia_error why;
	vigia__reader_next(&again, &token, &why);
	return refuse_value(check, frame, why.message);
}

/* Pass a value that its first byte tells all about, as most are: nil, a boolean, a number, a short string. False: it is
 * none of these, or cut off, and the reader has not moved. */
static inline bool pass_plain(struct vigia__reader *r)
{
	size_t room = (size_t)(r->end - r->at), size;
	if (room == 0) return false;
	uint8_t tag = *r->at;
	if (tag < 0x80 || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3) size = 1;
	else if (tag >= 0xa0 && tag < 0xc0) size = 1 + (size_t)(tag & 0x1f);
	else if (tag == 0xcb || tag == 0xd3) size = 9;
	else if (tag == 0xca || tag == 0xce || tag == 0xd2) size = 5;
	else if (tag == 0xcd || tag == 0xd1) size = 3;
	else if (tag == 0xcc || tag == 0xd0) size = 2;
	else return false;
	if (size > room) return false;
	r->at += size;
	return true;
}

/* The same for a key that is a short string. */
static inline bool take_short(struct vigia__reader *r, struct vigia__token *key)
{
	size_t room = (size_t)(r->end - r->at), len;
	if (room == 0 || *r->at < 0xa0 || *r->at >= 0xc0 || (len = *r->at & 0x1f) >= room) return false;
	key->kind = VIGIA_TOKEN_STRING;
	key->string = (struct vigia_slice){(const char *)r->at + 1, len};
	r->at += 1 + len;
	return true;
}

static int check_key(struct check *check, const struct frame *up, struct vigia__token *key)
{
	if (take_short(&check->reader, key)) return VIGIA_OK;
	if (vigia__reader_next(&check->reader, key, NULL) != 0) return refuse_msgpack(check, up);
	switch (key->kind) {
	case VIGIA_TOKEN_NIL:
		return refuse_value(check, up, "a key of the map is nil");
	case VIGIA_TOKEN_ARRAY:
		return refuse_value(check, up, "a key of the map is an array");
	case VIGIA_TOKEN_MAP:
		return refuse_value(check, up, "a key of the map is a map");
	case VIGIA_TOKEN_FLOAT:
		return isfinite(key->number) ? VIGIA_OK
		                             : refuse_value(check, up, "a key of the map is a float that is not finite");
	default:
		return VIGIA_OK;
	}
}

/* A map whose pairs begin at `pairs` may have duplicate keys. */
static int check_twice(struct check *check, const struct frame *up, struct vigia__reader pairs, uint32_t count)
{
	struct vigia__twice twice;
	int rc = vigia__keys_twice(pairs, count, &twice);
	if (rc == VIGIA_OK) return VIGIA_OK;
	if (rc < 0) return vigia__no_memory(check->err);
	struct frame frame = {.up = up, .in_map = true, .key = twice.key};
	return refuse_value(check, &frame, "the key occurs twice");
}

static int check_value(struct check *check, const struct frame *up, int depth)
{
	struct vigia__token token;
	if (vigia__reader_next(&check->reader, &token, NULL) != 0) return refuse_msgpack(check, up);
	if (token.kind != VIGIA_TOKEN_ARRAY && token.kind != VIGIA_TOKEN_MAP) return VIGIA_OK;
	if (depth == VIGIA_DEPTH_MAX) {
		char what[64];
		snprintf(what, sizeof what, "nested deeper than %d levels", VIGIA_DEPTH_MAX);
		return refuse_value(check, up, what);
	}
	struct frame frame = {.up = up, .in_map = token.kind == VIGIA_TOKEN_MAP};
	struct vigia__seen seen = {0};
	struct vigia__reader pairs = check->reader;
	for (uint32_t i = 1; i <= token.count; i++) {
		frame.index = i;
		int rc = frame.in_map ? check_key(check, up, &frame.key) : 0;
		if (rc == 0 && frame.in_map && check->fresh) vigia__seen_add(&seen, &frame.key);
		if (rc == 0 && !pass_plain(&check->reader)) rc = check_value(check, &frame, depth + 1);
		if (rc != 0) return rc;
	}
	return seen.maybe ? check_twice(check, up, pairs, token.count) : VIGIA_OK;
}

static int check_all(struct check *check, struct vigia_slice value)
{
	if (value.len == 0) return refuse_value(check, NULL, "there is no value");
	const uint8_t *bytes = (const uint8_t *)value.data;
	check->reader = (struct vigia__reader){bytes, bytes + value.len};
	int rc = check_value(check, NULL, 0);
	if (rc == 0 && check->reader.at != check->reader.end)
		rc = refuse_value(check, NULL, "unexpected bytes after the value");
	return rc;
}

int vigia__value_check(struct vigia_slice value, int code, struct vigia_error *err)
{
	struct check check = {.code = code, .err = err};
	return check_all(&check, value);
}

int vigia__value_check_new(struct vigia_slice value, struct vigia_error *err)
{
	struct check check = {.code = VIGIA_ESERIAL, .err = err, .fresh = true};
	return check_all(&check, value);
}
