/*
 * fuzz_msgpack.c - the msgpack functions of vigia.h: any bytes are read to an end, or refused with a reason, and
 * nothing beyond them is touched; any sequence of writes ends in a value that can be read back, or in a reason.
 */
#include "core/event.h"
#include "lib/fuzz.h"

static bool inside(struct vigia_slice part, struct vigia_slice whole)
{
	return part.len <= whole.len && part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

/* Token by token: each takes at least a byte, and what is left is always the end. */
static void try_next(struct vigia_slice all)
{
	struct vigia_slice rest = all;
	struct vigia_msgpack_value value;
	for (;;) {
		struct vigia_error err = {0};
		struct vigia_slice before = rest;
		int rc = vigia_msgpack_next(&rest, &value, &err);
		fuzz_assert(inside(rest, before) && rest.data + rest.len == all.data + all.len);
		if (rc != VIGIA_OK) {
			fuzz_assert(rc == VIGIA_NONE ? before.len == 0 : rc == VIGIA_EDESERIAL && err.message[0]);
			fuzz_assert(rest.data == before.data);
			break;
		}
		fuzz_assert(rest.len < before.len);
		if (value.kind == VIGIA_MSGPACK_STRING || value.kind == VIGIA_MSGPACK_BINARY)
			fuzz_assert(inside(value.string, before));
		else fuzz_assert(!value.string.data && !value.string.len);
		fuzz_assert(value.count == 0 || value.kind >= VIGIA_MSGPACK_ARRAY);
	}
}

/* Each part of an array or a map that can be looked into is inside it, and a whole value. */
static void try_parts(struct vigia_slice whole, int depth)
{
	struct vigia_slice rest = whole, part;
	struct vigia_msgpack_value value;
	struct vigia_error err = {0};
	if (depth == 4 || vigia_msgpack_next(&rest, &value, &err) != VIGIA_OK) return;
	uint32_t count = value.count < 5 ? value.count : 5;
	for (uint32_t i = 0; value.kind == VIGIA_MSGPACK_ARRAY && i < count; i++) {
		if (vigia_msgpack_at(whole, i, &part, &err) != VIGIA_OK) return;
		fuzz_assert(inside(part, rest) && part.len > 0);
		struct vigia_slice behind = part;
		fuzz_assert(vigia_msgpack_skip(&behind, &err) == VIGIA_OK && behind.len == 0);
		try_parts(part, depth + 1);
	}
	if (value.kind == VIGIA_MSGPACK_ARRAY)
		fuzz_assert(vigia_msgpack_at(whole, value.count, &part, &err) == VIGIA_NONE && part.len == 0);
	for (uint32_t i = 0; value.kind == VIGIA_MSGPACK_MAP && i < count; i++) {
		struct vigia_msgpack_value key;
		struct vigia_slice key_bytes = rest;
		if (vigia_msgpack_next(&key_bytes, &key, &err) != VIGIA_OK) return;
		if (key.string.len < 64 && key.string.len > 0 && !memchr(key.string.data, '\0', key.string.len)) {
			char text[64];
			memcpy(text, key.string.data, key.string.len);
			text[key.string.len] = '\0';
			int rc = vigia_msgpack_find(whole, text, &part, &err);
			fuzz_assert(rc == VIGIA_OK ? inside(part, whole) && part.len > 0 : rc == VIGIA_EDESERIAL && part.len == 0);
			if (rc == VIGIA_OK) try_parts(part, depth + 1);
		}
		if (vigia_msgpack_skip(&rest, &err) != VIGIA_OK || vigia_msgpack_skip(&rest, &err) != VIGIA_OK) return;
	}
}

static void try_read(struct vigia_slice all, struct vigia_buffer *buffer)
{
	struct vigia_error err = {0};
	struct vigia_slice rest = all, text, part;
	try_next(all);
	try_parts(all, 0);
	int rc = vigia_msgpack_skip(&rest, &err);
	fuzz_assert(inside(rest, all) && rest.data + rest.len == all.data + all.len);
	fuzz_assert(rc == VIGIA_OK ? rest.len < all.len : rest.len == all.len);
	bool one = rc == VIGIA_OK && rest.len == 0;
	rc = vigia_msgpack_to_json(all, buffer, &text, &err);
	fuzz_assert(rc == VIGIA_OK ? one && text.data[text.len] == '\0' : rc == VIGIA_EDESERIAL && text.len == 0);
	rc = vigia_msgpack_find(all, "key", &part, &err);
	fuzz_assert(rc == VIGIA_OK ? inside(part, all) : part.len == 0);
	static const struct vigia_slice names[] = {{"", 0}, {"json", 4}, {"mine", 4}};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct vigia_event event = {1, 2, {"a", 1}, {"b", 1}, names[i], all};
		rc = vigia_event_object(&event, buffer, &part, &err);
		fuzz_assert(rc == VIGIA_OK || (rc == VIGIA_EDESERIAL && part.len == 0));
		rc = vigia_event_json(&event, buffer, &text, &err);
		fuzz_assert(rc == VIGIA_OK ? text.data[text.len] == '\0' && !memchr(text.data, '\n', text.len)
		                           : rc == VIGIA_EDESERIAL && text.len == 0);
	}
}

static void try_write(struct fuzz_input *in, struct vigia_buffer *buffer)
{
	vigia_buffer_clear(buffer);
	while (fuzz_left(in) > 0) {
		uint64_t number;
		struct vigia_slice slice;
		double real;
		switch (fuzz_byte(in) % 9) {
		case 0:
			vigia_msgpack_nil(buffer);
			break;
		case 1:
			vigia_msgpack_boolean(buffer, fuzz_byte(in) & 1);
			break;
		case 2:
			vigia_msgpack_integer(buffer, (int64_t)fuzz_number(in));
			break;
		case 3:
			number = fuzz_number(in);
			memcpy(&real, &number, sizeof real);
			vigia_msgpack_float(buffer, real);
			break;
		case 4:
			slice = fuzz_slice(in);
			vigia_msgpack_string(buffer, slice.data, slice.len);
			break;
		case 5:
			vigia_msgpack_array(buffer, fuzz_byte(in));
			break;
		case 6:
			vigia_msgpack_map(buffer, fuzz_byte(in));
			break;
		case 7: /* a count that no memory has */
			vigia_msgpack_array(buffer, (size_t)fuzz_number(in));
			break;
		default:
			slice = fuzz_slice(in);
			vigia_msgpack_json(buffer, slice.data, slice.len);
		}
	}
	struct vigia_slice object = {0};
	struct vigia_error err = {0};
	int rc = vigia_msgpack_end(buffer, &object, &err);
	fuzz_assert(rc == VIGIA_OK || (rc == VIGIA_ESERIAL && err.message[0]));
	if (rc == VIGIA_OK) {
		fuzz_assert(vigia__value_check(object, VIGIA_ESERIAL, NULL) == 0);
		struct vigia_slice rest = object;
		fuzz_assert(vigia_msgpack_skip(&rest, NULL) == VIGIA_OK && rest.len == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, data + size};
	struct vigia_buffer *buffer = vigia_buffer_new();
	fuzz_assert(buffer);
	if (fuzz_byte(&in) & 1) try_write(&in, buffer);
	else try_read((struct vigia_slice){(const char *)in.at, fuzz_left(&in)}, buffer);
	vigia_buffer_free(buffer);
	return 0;
}

FUZZ_MAIN(50000)
