/*
 * event.h - the event and its bytes. Only event.c knows the layout. value.c checks objects.
 *
 * A stored event is one msgpack array of six:
 *
 *     96                  array of 6
 *     CE cccccccc         checksum, uint32: low 32 bits of XXH3_64bits of all bytes behind this field, seeded with
 *                         seq_num
 *     CF tttttttttttttttt timestamp, uint64, nanoseconds since the epoch
 *     01|02|03 or str     operation: CREATE, UPDATE, DELETE as an integer, any other as a string
 *     str                 object type
 *     00 or str           serializer of the object: 0 = msgpack, the object follows as a value. A name: it follows as
 *                         bin
 *     ...                 the object
 *
 * Checksum and timestamp have fixed places, so the writer stamps them in place while it holds the lock. seq_num is the
 * key in the store. No globals. Any thread. A buffer or reader is used by one thread at a time.
 */
#ifndef VIGIA_CORE_EVENT_H
#define VIGIA_CORE_EVENT_H

#include <string.h>

#include "buf.h"
#include "vigia.h"

enum {
	VIGIA_DEPTH_MAX = 128, /* levels of arrays and maps in an object (contract E5: at least 100) */
	VIGIA_NAME_MAX = 255,  /* bytes of an operation, an object type, a watcher id */
	VIGIA_HEAD_MIN = 19    /* bytes of the shortest head. The object follows */
};

/* Does the slice hold exactly this text? */
static inline bool vigia__slice_is(struct vigia_slice slice, const char *text)
{
	return slice.len == strlen(text) && memcmp(slice.data, text, slice.len) == 0;
}

/* 0, or EINVAL naming `field`: 1..255 bytes of valid UTF-8. */
int vigia__name_check(struct vigia_slice name, const char *field, struct vigia_error *err);

/* ---- Writing ---- */

/* Append the head of an event to buf. The object's value must follow. EINVAL (names), ENOMEM. On error buf is as
 * before. */
int vigia__event_begin(struct vigia__buf *buf, struct vigia_slice operation, struct vigia_slice object_type,
                       struct vigia_error *err);
/* Check the size of the event that begins at `start` in buf. ETOOBIG names both sizes and removes the event from
 * buf. */
int vigia__event_end(struct vigia__buf *buf, size_t start, int64_t size_max, struct vigia_error *err);

/* Replace everything from `at` in buf, the "msgpack" byte that begin wrote last, by the serializer's name and its
 * payload. The payload must lie outside buf. 0, or -1 without memory: buf is unchanged. */
int vigia__event_payload(struct vigia__buf *buf, size_t at, const char *serializer, const void *payload, size_t len);

/* Append one value. 0, or -1 without memory, or if the count is beyond msgpack's limit, 2^32-1. Valid UTF-8 becomes
 * str, other bytes become bin. */
int vigia__put_nil(struct vigia__buf *buf);
int vigia__put_bool(struct vigia__buf *buf, bool value);
int vigia__put_int(struct vigia__buf *buf, int64_t value);
int vigia__put_float(struct vigia__buf *buf, double value);
int vigia__put_string(struct vigia__buf *buf, const char *s, size_t len);
int vigia__put_array(struct vigia__buf *buf, size_t count);
int vigia__put_map(struct vigia__buf *buf, size_t count);
/* For a map whose size is not known yet: begin sets *where, then put keys and values, then end with the number of
 * pairs. */
int vigia__put_map_begin(struct vigia__buf *buf, size_t *where);
int vigia__put_map_end(struct vigia__buf *buf, size_t where, size_t count);

/* Write number, time and checksum into an event's bytes. */
void vigia__event_stamp(uint8_t *bytes, size_t len, uint64_t seq_num, int64_t at_ns);

/* ---- Reading ---- */

struct vigia__head {
	int64_t at_ns;
	int standard;                 /* 1 CREATE, 2 UPDATE, 3 DELETE, 0 another operation */
	struct vigia_slice operation; /* of a standard one: a constant */
	struct vigia_slice object_type;
	struct vigia_slice serializer; /* len 0: msgpack */
	struct vigia_slice object;     /* the value's bytes; with a serializer the payload of the bin */
};

/* Read the head. 0, or -1: the bytes are no event. The slices point into bytes. Does not check the checksum or the
 * object. */
int vigia__event_head(const uint8_t *bytes, size_t len, struct vigia__head *out);
/* Does the checksum match? */
bool vigia__event_intact(const uint8_t *bytes, size_t len, uint64_t seq_num);
/* The same, if only its `standard`, or `operation` where that is 0, and its `object_type` are asked for. */
int vigia__event_names(const uint8_t *bytes, size_t len, struct vigia__head *out);
/* The name of its operation, also where only vigia__event_names() was called. */
struct vigia_slice vigia__operation_name(const struct vigia__head *head);
/* The hash of a name, by which the index knows it (core/block.h): the same for ever. */
uint32_t vigia__name_hash(struct vigia_slice name);
/* Read only the time. 0 if the bytes are too short. */
int64_t vigia__event_time(const uint8_t *bytes, size_t len);

enum vigia__token_kind {
	VIGIA_TOKEN_NIL,
	VIGIA_TOKEN_BOOL,
	VIGIA_TOKEN_INT,
	VIGIA_TOKEN_FLOAT,
	VIGIA_TOKEN_STRING, /* str: text */
	VIGIA_TOKEN_BIN,    /* bin: bytes */
	VIGIA_TOKEN_ARRAY,  /* `count` values follow */
	VIGIA_TOKEN_MAP     /* `count` pairs follow */
};

struct vigia__token {
	enum vigia__token_kind kind;
	union {
		bool boolean;
		int64_t integer;
		double number;
		struct vigia_slice string; /* points into the bytes */
		uint32_t count;            /* never more than the bytes left could hold */
	};
};

struct vigia__reader {
	const uint8_t *at;
	const uint8_t *end;
};

/* Read the next token. 0, or EDESERIAL: cut off, an integer beyond int64, an extension type, or a count that the bytes
 * cannot hold. */
int vigia__reader_next(struct vigia__reader *reader, struct vigia__token *out, struct vigia_error *err);

/* Are two values equal that are neither array nor map? As in Lua: 1 equals 1.0, exactly, and a str a bin of the same
 * bytes. */
bool vigia__token_equal(const struct vigia__token *a, const struct vigia__token *b);
/* An order of such values, by kind first. Not of NaN. */
int vigia__token_compare(const struct vigia__token *a, const struct vigia__token *b);
/* Is it a value that can be compared: neither array nor map, nor NaN? */
static inline bool vigia__token_is_scalar(const struct vigia__token *token)
{
	return token->kind != VIGIA_TOKEN_ARRAY && token->kind != VIGIA_TOKEN_MAP &&
	       !(token->kind == VIGIA_TOKEN_FLOAT && token->number != token->number);
}

/* Skip one value with everything inside it. Does not recurse. Errors as above. */
int vigia__reader_skip(struct vigia__reader *reader, struct vigia_error *err);

/* Check that this is exactly one value within Vigia's limits: depth, kinds of keys, integers. 0, or `code` with place
 * and reason: "object.jobs[3].callback: ...". Accepts duplicate keys: the decoder keeps the last. */
int vigia__value_check(struct vigia_slice value, int code, struct vigia_error *err);
/* The same for a value that is about to be stored. Refuses duplicate keys (1 and 1.0 are the same key), of which the
 * decoder would lose one. 0, ESERIAL, ENOMEM. */
int vigia__value_check_new(struct vigia_slice value, struct vigia_error *err);

#endif
