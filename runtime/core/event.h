/*
 * event.h - the event and its bytes. event.c is the one file that knows how msgpack lays them out; value.c checks
 * objects.
 *
 * A stored event is one msgpack array of six:
 *
 *     96                  array of 6
 *     CE cccccccc         checksum, uint32: low 32 bits of XXH3_64bits of all bytes behind this field, seeded with
 *                         seq_num
 *     CF tttttttttttttttt timestamp, uint64, nanoseconds since the epoch
 *     01|02|03 or str     operation: CREATE, UPDATE, DELETE as an integer, any other as a string
 *     str                 object type
 *     00 or str           serializer of the object: 0 = msgpack, the object follows as a value; a name: it follows as
 *                         bin
 *     ...                 the object
 *
 * Checksum and timestamp have a fixed place, so they are stamped in place under the write lock. seq_num is the key in
 * the store. No globals; any thread, but a buffer or reader belongs to one at a time.
 */
#ifndef VIGIA_CORE_EVENT_H
#define VIGIA_CORE_EVENT_H

#include "buf.h"
#include "vigia.h"

enum {
	VIGIA_DEPTH_MAX = 128, /* levels of arrays and maps in an object (contract E5: at least 100) */
	VIGIA_NAME_MAX = 255,  /* bytes of an operation, an object type, a watcher id */
	VIGIA_HEAD_MIN = 19    /* bytes of the shortest head; the object follows */
};

/* 0, or EINVAL naming `field`: 1..255 bytes of valid UTF-8. */
int vigia__name_check(struct vigia_slice name, const char *field, struct vigia_error *err);

/* ---- Writing ---- */

/* Append the head of an event to buf; the object's value must follow. EINVAL (names), ENOMEM. On error buf is as
 * before. */
int vigia__event_begin(struct vigia__buf *buf, struct vigia_slice operation, struct vigia_slice object_type,
                       struct vigia_error *err);
/* Check the size of the event that begins at `start` in buf. ETOOBIG names both sizes and takes it back out of buf. */
int vigia__event_end(struct vigia__buf *buf, size_t start, int64_t size_max, struct vigia_error *err);

/* What begins at `at` in buf, the byte that says "msgpack" (the last one after begin), becomes the serializer's name
 * and its payload. 0, or -1 without memory: buf as before. The payload is not in buf. */
int vigia__event_payload(struct vigia__buf *buf, size_t at, const char *serializer, const void *payload, size_t len);

/* Values; 0, or -1 without memory (or with more than msgpack can count, 2^32-1). Strings of valid UTF-8 become str,
 * others bin. */
int vigia__put_nil(struct vigia__buf *buf);
int vigia__put_bool(struct vigia__buf *buf, bool value);
int vigia__put_int(struct vigia__buf *buf, int64_t value);
int vigia__put_float(struct vigia__buf *buf, double value);
int vigia__put_string(struct vigia__buf *buf, const char *s, size_t len);
int vigia__put_array(struct vigia__buf *buf, size_t count);
int vigia__put_map(struct vigia__buf *buf, size_t count);
/* A map whose size is known only afterwards: begin (returns where it is), put keys and values, end with the number of
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

/* Take the head apart. 0, or -1: the bytes are no event. The slices point into bytes. Looks neither at the checksum nor
 * into the object. */
int vigia__event_head(const uint8_t *bytes, size_t len, struct vigia__head *out);
/* Does the checksum fit? */
bool vigia__event_intact(const uint8_t *bytes, size_t len, uint64_t seq_num);
/* Only the time; 0 where the bytes are too short. */
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

/* The next token. 0; EDESERIAL: cut off, an integer beyond int64, an extension type, a count that the bytes cannot
 * hold. */
int vigia__reader_next(struct vigia__reader *reader, struct vigia__token *out, struct vigia_error *err);

/* Step over one value with all that is in it; never recurses. Errors as above. */
int vigia__reader_skip(struct vigia__reader *reader, struct vigia_error *err);

/* Is this exactly one value that Vigia carries (depth, kinds of keys, integers)? 0 or `code` with where and what:
 * "object.jobs[3].callback: ...". Does not look for keys that are there twice: whoever decodes takes the last. */
int vigia__value_check(struct vigia_slice value, int code, struct vigia_error *err);

#endif
