/*
 * msgpack.c - objects for C programs: written value by value into a buffer, read token by token, and both as JSON.
 *
 * A buffer remembers its first failure, so that a writer checks once, at the end. `missing` counts the values that
 * complete the object, and so detects a map of three pairs that got only two.
 */
#include <string.h>

#include "alloc.h"
#include "error.h"
#include "event.h"
#include "json.h"
#include "serial.h"

struct vigia_buffer {
	struct vigia__buf bytes;
	uint64_t missing;       /* values until the object is complete; a count adds less than 2^33 */
	int rc;                 /* the first failure, 0 = none */
	struct vigia_error err; /* its details */
};

enum { KEEP = 1 << 20 }; /* bytes of memory that a clear keeps */

/* ---- The buffer ---- */

struct vigia_buffer *vigia_buffer_new(void)
{
	struct vigia_buffer *buffer = vigia__calloc(sizeof *buffer);
	if (buffer) buffer->missing = 1;
	return buffer;
}

void vigia_buffer_free(struct vigia_buffer *buffer)
{
	if (!buffer) return;
	vigia__buf_deinit(&buffer->bytes);
	vigia__free(buffer);
}

void vigia_buffer_clear(struct vigia_buffer *buffer)
{
	if (!buffer) return;
	vigia__buf_clear(&buffer->bytes, KEEP);
	buffer->missing = 1;
	buffer->rc = VIGIA_OK;
}

static struct vigia_slice content(const struct vigia_buffer *buffer)
{
	return (struct vigia_slice){(const char *)buffer->bytes.data, buffer->bytes.len};
}

/* ---- Writing ---- */

/* May another value be added? */
static bool ready(struct vigia_buffer *buffer)
{
	if (!buffer || buffer->rc < 0) return false;
	if (buffer->missing == 0)
		buffer->rc =
			vigia__error(&buffer->err, VIGIA_ESERIAL,
		                 "the object is complete, no value can follow: vigia_buffer_clear() begins the next object");
	return buffer->rc == VIGIA_OK;
}

/* Count a value that was put with this result and contains `follow` values. */
static void finish(struct vigia_buffer *buffer, int put, uint64_t follow)
{
	if (put != 0) buffer->rc = vigia__no_memory(&buffer->err);
	else buffer->missing += follow - 1;
}

/* Is the number within what msgpack can count? */
static bool countable(struct vigia_buffer *buffer, const char *what, size_t count)
{
	if (count <= UINT32_MAX) return true;
	buffer->rc = vigia__error(&buffer->err, VIGIA_ESERIAL, "%s of %zu is more than the format can count", what, count);
	return false;
}

void vigia_msgpack_nil(struct vigia_buffer *buffer)
{
	if (ready(buffer)) finish(buffer, vigia__put_nil(&buffer->bytes), 0);
}

void vigia_msgpack_boolean(struct vigia_buffer *buffer, bool value)
{
	if (ready(buffer)) finish(buffer, vigia__put_bool(&buffer->bytes, value), 0);
}

void vigia_msgpack_integer(struct vigia_buffer *buffer, int64_t value)
{
	if (ready(buffer)) finish(buffer, vigia__put_int(&buffer->bytes, value), 0);
}

void vigia_msgpack_float(struct vigia_buffer *buffer, double value)
{
	if (ready(buffer)) finish(buffer, vigia__put_float(&buffer->bytes, value), 0);
}

void vigia_msgpack_string(struct vigia_buffer *buffer, const char *data, size_t len)
{
	if (ready(buffer) && countable(buffer, "a string", len))
		finish(buffer, vigia__put_string(&buffer->bytes, data, len), 0);
}

void vigia_msgpack_text(struct vigia_buffer *buffer, const char *text)
{
	vigia_msgpack_string(buffer, text, strlen(text));
}

void vigia_msgpack_array(struct vigia_buffer *buffer, size_t count)
{
	if (ready(buffer) && countable(buffer, "an array", count))
		finish(buffer, vigia__put_array(&buffer->bytes, count), count);
}

void vigia_msgpack_map(struct vigia_buffer *buffer, size_t count)
{
	if (ready(buffer) && countable(buffer, "a map", count))
		finish(buffer, vigia__put_map(&buffer->bytes, count), 2 * (uint64_t)count);
}

void vigia_msgpack_json(struct vigia_buffer *buffer, const char *text, size_t len)
{
	if (!ready(buffer)) return;
	buffer->rc = vigia__json_to_value(text, len, &buffer->bytes, &buffer->err);
	if (buffer->rc == VIGIA_OK) buffer->missing--;
}

int vigia_msgpack_end(struct vigia_buffer *buffer, struct vigia_slice *object, struct vigia_error *err)
{
	if (!buffer) return vigia__no_memory(err);
	if (buffer->rc < 0) {
		if (err) *err = buffer->err;
		return buffer->rc;
	}
	if (buffer->missing > 0 && buffer->bytes.len > 0)
		return vigia__error(err, VIGIA_ESERIAL,
		                    "the object is not complete: values missing in its arrays and maps: %llu",
		                    (unsigned long long)buffer->missing);
	*object = content(buffer);
	return vigia__value_check_new(*object, err);
}

/* ---- Reading ---- */

static struct vigia__reader reader_of(struct vigia_slice bytes)
{
	const uint8_t *at = (const uint8_t *)bytes.data;
	return (struct vigia__reader){at, at + bytes.len};
}

static struct vigia_slice rest_of(const struct vigia__reader *reader)
{
	return (struct vigia_slice){(const char *)reader->at, (size_t)(reader->end - reader->at)};
}

int vigia_msgpack_next(struct vigia_slice *rest, struct vigia_msgpack_value *value, struct vigia_error *err)
{
	*value = (struct vigia_msgpack_value){0};
	if (rest->len == 0) return VIGIA_NONE;
	struct vigia__reader reader = reader_of(*rest);
	struct vigia__token token;
	int rc = vigia__reader_next(&reader, &token, err);
	if (rc < 0) return rc;
	*rest = rest_of(&reader);
	value->kind = (enum vigia_msgpack_kind)token.kind; /* the same, in the same order */
	switch (token.kind) {
	case VIGIA_TOKEN_NIL:
		break;
	case VIGIA_TOKEN_BOOL:
		value->boolean = token.boolean;
		break;
	case VIGIA_TOKEN_INT:
		value->integer = token.integer;
		break;
	case VIGIA_TOKEN_FLOAT:
		value->number = token.number;
		break;
	case VIGIA_TOKEN_STRING:
	case VIGIA_TOKEN_BIN:
		value->string = token.string;
		break;
	case VIGIA_TOKEN_ARRAY:
	case VIGIA_TOKEN_MAP:
		value->count = token.count;
		break;
	}
	return VIGIA_OK;
}

_Static_assert((int)VIGIA_MSGPACK_NIL == VIGIA_TOKEN_NIL && (int)VIGIA_MSGPACK_STRING == VIGIA_TOKEN_STRING &&
                   (int)VIGIA_MSGPACK_MAP == VIGIA_TOKEN_MAP,
               "the kinds of values are those of tokens");

int vigia_msgpack_skip(struct vigia_slice *rest, struct vigia_error *err)
{
	if (rest->len == 0) return VIGIA_NONE;
	struct vigia__reader reader = reader_of(*rest);
	int rc = vigia__reader_skip(&reader, err);
	if (rc == VIGIA_OK) *rest = rest_of(&reader);
	return rc;
}

/* Read one value with everything inside it, as bytes. */
static int take(struct vigia__reader *reader, struct vigia_slice *out, struct vigia_error *err)
{
	const uint8_t *start = reader->at;
	int rc = vigia__reader_skip(reader, err);
	*out = (struct vigia_slice){(const char *)start, (size_t)(reader->at - start)};
	return rc;
}

/* Read the header of an array or map. VIGIA_NONE: another kind of value, or no value. */
static int enter(struct vigia__reader *reader, enum vigia__token_kind kind, uint32_t *count, struct vigia_error *err)
{
	struct vigia__token token;
	if (reader->at == reader->end) return VIGIA_NONE;
	int rc = vigia__reader_next(reader, &token, err);
	if (rc == VIGIA_OK && token.kind != kind) return VIGIA_NONE;
	*count = rc == VIGIA_OK ? token.count : 0;
	return rc;
}

int vigia_msgpack_find(struct vigia_slice map, const char *key, struct vigia_slice *value, struct vigia_error *err)
{
	struct vigia__reader reader = reader_of(map);
	uint32_t count;
	size_t len = strlen(key);
	*value = (struct vigia_slice){0};
	int rc = enter(&reader, VIGIA_TOKEN_MAP, &count, err);
	if (rc != VIGIA_OK) return rc;
	struct vigia_slice found = {0};
	for (uint32_t i = 0; i < count; i++) {
		struct vigia__reader at = reader;
		struct vigia__token token;
		struct vigia_slice bytes = {0};
		rc = vigia__reader_next(&at, &token, err);
		if (rc == VIGIA_OK) rc = take(&reader, &bytes, err); /* the key, of any kind */
		if (rc == VIGIA_OK) rc = take(&reader, &bytes, err);
		if (rc < 0) return rc;
		bool text = token.kind == VIGIA_TOKEN_STRING || token.kind == VIGIA_TOKEN_BIN;
		if (text && token.string.len == len && memcmp(token.string.data, key, len) == 0)
			found = bytes; /* of duplicate keys the last one counts, as everywhere */
	}
	*value = found;
	return found.len > 0 ? VIGIA_OK : VIGIA_NONE;
}

int vigia_msgpack_at(struct vigia_slice array, size_t index, struct vigia_slice *value, struct vigia_error *err)
{
	struct vigia__reader reader = reader_of(array);
	uint32_t count;
	*value = (struct vigia_slice){0};
	int rc = enter(&reader, VIGIA_TOKEN_ARRAY, &count, err);
	if (rc != VIGIA_OK) return rc;
	if (index >= count) return VIGIA_NONE;
	struct vigia_slice bytes = {0};
	for (size_t i = 0; i <= index; i++) {
		rc = take(&reader, &bytes, err);
		if (rc < 0) return rc;
	}
	*value = bytes;
	return VIGIA_OK;
}

/* ---- Events, JSON ---- */

int vigia_event_object(const struct vigia_event *event, struct vigia_buffer *buffer, struct vigia_slice *object,
                       struct vigia_error *err)
{
	*object = (struct vigia_slice){0};
	if (vigia__serializer_of(event->serializer) == VIGIA_SERIALIZER_MSGPACK) {
		*object = event->object;
		return VIGIA_OK;
	}
	if (!buffer) return vigia__no_memory(err);
	vigia_buffer_clear(buffer);
	int rc = vigia__event_object(event, &buffer->bytes, err);
	if (rc < 0) return rc;
	buffer->missing = 0;
	*object = content(buffer);
	return VIGIA_OK;
}

/* Clear the buffer for a text. False: there is none. */
static bool begin_text(struct vigia_buffer *buffer, struct vigia_slice *text)
{
	if (text) *text = (struct vigia_slice){0};
	vigia_buffer_clear(buffer);
	return buffer != NULL;
}

/* Return the text in the buffer, terminated by a NUL. */
static int give_text(struct vigia_buffer *buffer, int rc, struct vigia_slice *text, struct vigia_error *err)
{
	if (rc == VIGIA_OK && vigia__buf_add(&buffer->bytes, "", 1) != 0) rc = vigia__no_memory(err);
	if (rc < 0) {
		vigia_buffer_clear(buffer);
		return rc;
	}
	buffer->bytes.len--;
	buffer->missing = 0;
	if (text) *text = content(buffer);
	return VIGIA_OK;
}

int vigia_event_json(const struct vigia_event *event, struct vigia_buffer *buffer, struct vigia_slice *text,
                     struct vigia_error *err)
{
	if (!begin_text(buffer, text)) return vigia__no_memory(err);
	return give_text(buffer, vigia__json_from_event(event, &buffer->bytes, err), text, err);
}

int vigia_msgpack_to_json(struct vigia_slice value, struct vigia_buffer *buffer, struct vigia_slice *text,
                          struct vigia_error *err)
{
	if (!begin_text(buffer, text)) return vigia__no_memory(err);
	return give_text(buffer, vigia__json_from_value(value, &buffer->bytes, err), text, err);
}
