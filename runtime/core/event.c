/*
 * event.c - the event's bytes as msgpack: written with msgpack-c's packer, read by a reader of our own.
 *
 * The reader is ours for two reasons. msgpack-c's allocates what a header promises before it checks that the bytes are
 * there, so 5 bytes can ask for gigabytes. And dropping an event by its filter must cost only nanoseconds.
 */
#include "event.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <msgpack/pack.h>

#include "error.h"

enum { CHECKSUM_AT = 2, TIME_TAG_AT = 6, TIME_AT = 7, OPERATION_AT = 15 };

static const struct vigia_slice standard_operations[4] = {{NULL, 0}, {"CREATE", 6}, {"UPDATE", 6}, {"DELETE", 6}};

int vigia__name_check(struct vigia_slice name, const char *field, struct vigia_error *err)
{
	if (name.len == 0)
		return vigia__error(err, VIGIA_EINVAL, "%s is empty: it must have 1 to %d bytes of UTF-8", field,
		                    VIGIA_NAME_MAX);
	if (name.len > VIGIA_NAME_MAX)
		return vigia__error(err, VIGIA_EINVAL, "%s has %zu bytes: it must have 1 to %d bytes of UTF-8", field, name.len,
		                    VIGIA_NAME_MAX);
	if (!vigia__utf8_valid(name.data, name.len)) return vigia__error(err, VIGIA_EINVAL, "%s is not valid UTF-8", field);
	return VIGIA_OK;
}

/* ---- Writing ---- */

/* The write function of msgpack-c's packer. The caller reserved the room, so this cannot fail and compiles to a store
 * or two. */
static inline int write_reserved(void *ctx, const char *data, size_t len)
{
	struct vigia__buf *buf = ctx;
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	return 0;
}

#define PACKER(buf) (&(msgpack_packer){.data = (buf), .callback = write_reserved})

static inline int reserve(struct vigia__buf *buf, size_t more)
{
	return more <= buf->cap - buf->len ? 0 : vigia__buf_reserve(buf, more);
}

static void put_name(msgpack_packer *packer, struct vigia_slice name)
{
	msgpack_pack_str(packer, name.len);
	msgpack_pack_str_body(packer, name.data, name.len);
}

static int standard_operation(struct vigia_slice name)
{
	if (name.len == 6) {
		for (int i = 1; i <= 3; i++)
			if (memcmp(name.data, standard_operations[i].data, 6) == 0) return i;
	}
	return 0;
}

int vigia__event_begin(struct vigia__buf *buf, struct vigia_slice operation, struct vigia_slice object_type,
                       struct vigia_error *err)
{
	int standard = standard_operation(operation), rc;
	if (!standard && (rc = vigia__name_check(operation, "operation", err)) != 0) return rc;
	if ((rc = vigia__name_check(object_type, "object_type", err)) != 0) return rc;
	if (reserve(buf, OPERATION_AT + 2 * (2 + VIGIA_NAME_MAX) + 1) != 0)
		return vigia__error(err, VIGIA_ENOMEM, "no memory for an event");
	msgpack_packer *packer = PACKER(buf);
	msgpack_pack_array(packer, 6);
	msgpack_pack_fix_uint32(packer, 0);
	msgpack_pack_fix_uint64(packer, 0);
	if (standard) msgpack_pack_uint8(packer, (uint8_t)standard);
	else put_name(packer, operation);
	put_name(packer, object_type);
	msgpack_pack_uint8(packer, 0);
	return VIGIA_OK;
}

int vigia__event_end(struct vigia__buf *buf, size_t start, int64_t size_max, struct vigia_error *err)
{
	size_t size = buf->len - start;
	if (size <= (uint64_t)size_max) return VIGIA_OK;
	buf->len = start;
	return vigia__error(err, VIGIA_ETOOBIG, "the event has %zu bytes, max_event_size is %lld bytes", size,
	                    (long long)size_max);
}

int vigia__event_payload(struct vigia__buf *buf, size_t at, const char *serializer, const void *payload, size_t len)
{
	struct vigia_slice name = {serializer, strlen(serializer)};
	size_t more = 2 + name.len + 5 + len, have = buf->len - at;
	if (len > UINT32_MAX || (more > have && reserve(buf, more - have) != 0)) return -1;
	buf->len = at;
	msgpack_packer *packer = PACKER(buf);
	put_name(packer, name);
	msgpack_pack_bin(packer, len);
	if (len) msgpack_pack_bin_body(packer, payload, len);
	return 0;
}

int vigia__put_nil(struct vigia__buf *buf)
{
	if (reserve(buf, 1) != 0) return -1;
	return msgpack_pack_nil(PACKER(buf));
}

int vigia__put_bool(struct vigia__buf *buf, bool value)
{
	if (reserve(buf, 1) != 0) return -1;
	return value ? msgpack_pack_true(PACKER(buf)) : msgpack_pack_false(PACKER(buf));
}

int vigia__put_int(struct vigia__buf *buf, int64_t value)
{
	if (reserve(buf, 9) != 0) return -1;
	return msgpack_pack_int64(PACKER(buf), value);
}

int vigia__put_float(struct vigia__buf *buf, double value)
{
	if (reserve(buf, 9) != 0) return -1;
	return msgpack_pack_double(PACKER(buf), value);
}

int vigia__put_string(struct vigia__buf *buf, const char *s, size_t len)
{
	if (len > UINT32_MAX || reserve(buf, 5 + len) != 0) return -1;
	msgpack_packer *packer = PACKER(buf);
	if (vigia__utf8_valid(s, len)) {
		msgpack_pack_str(packer, len);
		msgpack_pack_str_body(packer, len ? s : "", len);
	} else {
		msgpack_pack_bin(packer, len);
		msgpack_pack_bin_body(packer, s, len);
	}
	return 0;
}

int vigia__put_array(struct vigia__buf *buf, size_t count)
{
	if (count > UINT32_MAX || reserve(buf, 5) != 0) return -1;
	return msgpack_pack_array(PACKER(buf), count);
}

int vigia__put_map(struct vigia__buf *buf, size_t count)
{
	if (count > UINT32_MAX || reserve(buf, 5) != 0) return -1;
	return msgpack_pack_map(PACKER(buf), count);
}

int vigia__put_map_begin(struct vigia__buf *buf, size_t *where)
{
	*where = buf->len;
	return vigia__put_map(buf, 0);
}

/* Most maps fit the one-byte header that begin wrote. The content of a larger one is moved to make room for its
 * header. */
int vigia__put_map_end(struct vigia__buf *buf, size_t where, size_t count)
{
	if (count > UINT32_MAX) return -1;
	size_t more = count < 16 ? 0 : count < 65536 ? 2 : 4, end = buf->len;
	if (more) {
		if (reserve(buf, more) != 0) return -1;
		memmove(buf->data + where + 1 + more, buf->data + where + 1, end - where - 1);
	}
	buf->len = where;
	msgpack_pack_map(PACKER(buf), count);
	buf->len = end + more;
	return 0;
}

/* ---- Stamp and checksum ---- */

static inline uint16_t load16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t load32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t load64(const uint8_t *p)
{
	return (uint64_t)load32(p) << 32 | load32(p + 4);
}

static inline uint32_t checksum(const uint8_t *bytes, size_t len, uint64_t seq_num)
{
	return (uint32_t)XXH3_64bits_withSeed(bytes + TIME_TAG_AT, len - TIME_TAG_AT, seq_num);
}

void vigia__event_stamp(uint8_t *bytes, size_t len, uint64_t seq_num, int64_t at_ns)
{
	uint64_t at = at_ns > 0 ? (uint64_t)at_ns : 0;
	for (int i = 0; i < 8; i++) bytes[TIME_AT + i] = (uint8_t)(at >> (56 - 8 * i));
	uint32_t sum = checksum(bytes, len, seq_num);
	for (int i = 0; i < 4; i++) bytes[CHECKSUM_AT + i] = (uint8_t)(sum >> (24 - 8 * i));
}

bool vigia__event_intact(const uint8_t *bytes, size_t len, uint64_t seq_num)
{
	return len > VIGIA_HEAD_MIN && bytes[0] == 0x96 && bytes[1] == 0xce &&
	       load32(bytes + CHECKSUM_AT) == checksum(bytes, len, seq_num);
}

int64_t vigia__event_time(const uint8_t *bytes, size_t len)
{
	if (len < OPERATION_AT) return 0;
	uint64_t at = load64(bytes + TIME_AT);
	return at <= INT64_MAX ? (int64_t)at : 0;
}

/* ---- The head ---- */

/* Read a fixstr or str8 of 1..255 bytes. Returns the position behind it, or NULL. */
static inline const uint8_t *read_name(const uint8_t *at, const uint8_t *end, struct vigia_slice *out)
{
	if (end - at < 2) return NULL;
	size_t len;
	if ((*at & 0xe0) == 0xa0) len = *at++ & 0x1f;
	else if (*at == 0xd9) {
		len = at[1];
		at += 2;
	} else return NULL;
	if (len == 0 || (size_t)(end - at) < len) return NULL;
	*out = (struct vigia_slice){(const char *)at, len};
	return at + len;
}

/* The object of an event with a serializer: one bin up to the end. */
static int read_payload(const uint8_t *at, const uint8_t *end, struct vigia_slice *out)
{
	size_t left = (size_t)(end - at), len;
	if (left >= 2 && *at == 0xc4) len = at[1], at += 2;
	else if (left >= 3 && *at == 0xc5) len = load16(at + 1), at += 3;
	else if (left >= 5 && *at == 0xc6) len = load32(at + 1), at += 5;
	else return -1;
	*out = (struct vigia_slice){(const char *)at, len};
	return (size_t)(end - at) == len ? 0 : -1;
}

/* Read the standard operation or the name of another, and the type. Returns the position behind them, or NULL. */
static inline const uint8_t *read_names(const uint8_t *bytes, size_t len, struct vigia__head *out)
{
	if (len <= VIGIA_HEAD_MIN || bytes[0] != 0x96 || bytes[1] != 0xce || bytes[TIME_TAG_AT] != 0xcf ||
	    bytes[TIME_AT] & 0x80)
		return NULL;
	const uint8_t *at = bytes + OPERATION_AT, *end = bytes + len;
	out->standard = (unsigned)(*at - 1) < 3 ? *at : 0;
	at = out->standard ? at + 1 : read_name(at, end, &out->operation);
	if (at) at = read_name(at, end, &out->object_type);
	return at && end - at >= 2 ? at : NULL; /* an object follows */
}

int vigia__event_names(const uint8_t *bytes, size_t len, struct vigia__head *out)
{
	const uint8_t *at = read_names(bytes, len, out);
	if (at == NULL) return -1;
	return *at == 0 ? 0 : vigia__event_head(bytes, len, out); /* a payload of a serializer may be cut off */
}

struct vigia_slice vigia__operation_name(const struct vigia__head *head)
{
	return head->standard ? standard_operations[head->standard] : head->operation;
}

uint32_t vigia__name_hash(struct vigia_slice name)
{
	return (uint32_t)XXH3_64bits(name.data, name.len);
}

int vigia__event_head(const uint8_t *bytes, size_t len, struct vigia__head *out)
{
	const uint8_t *at = read_names(bytes, len, out), *end = bytes + len;
	if (at == NULL) return -1;
	out->at_ns = (int64_t)load64(bytes + TIME_AT);
	if (out->standard) out->operation = standard_operations[out->standard];
	if (*at == 0) {
		out->serializer = (struct vigia_slice){"", 0};
		out->object = (struct vigia_slice){(const char *)at + 1, (size_t)(end - at - 1)};
		return out->object.len ? 0 : -1;
	}
	if (!(at = read_name(at, end, &out->serializer))) return -1;
	return read_payload(at, end, &out->object);
}

/* ---- The reader ---- */

static int cut_off(struct vigia_error *err)
{
	return vigia__error(err, VIGIA_EDESERIAL, "the bytes are cut off inside a value");
}

static inline int take_string(struct vigia__reader *r, size_t header, size_t len, enum vigia__token_kind kind,
                              struct vigia__token *out, struct vigia_error *err)
{
	if ((size_t)(r->end - r->at) - header < len) return cut_off(err);
	out->kind = kind;
	out->string = (struct vigia_slice){(const char *)r->at + header, len};
	r->at += header + len;
	return VIGIA_OK;
}

static inline int take_count(struct vigia__reader *r, size_t header, uint32_t count, enum vigia__token_kind kind,
                             struct vigia__token *out, struct vigia_error *err)
{
	size_t values = kind == VIGIA_TOKEN_MAP ? 2 * (size_t)count : count;
	if ((size_t)(r->end - r->at) - header < values)
		return vigia__error(err, VIGIA_EDESERIAL,
		                    "the bytes are cut off: %s of %u does not fit into the %zu bytes left",
		                    kind == VIGIA_TOKEN_MAP ? "a map" : "an array", count, (size_t)(r->end - r->at) - header);
	out->kind = kind;
	out->count = count;
	r->at += header;
	return VIGIA_OK;
}

static inline int give_int(struct vigia__reader *r, size_t size, int64_t value, struct vigia__token *out)
{
	out->kind = VIGIA_TOKEN_INT;
	out->integer = value;
	r->at += size;
	return VIGIA_OK;
}

static inline int give_float(struct vigia__reader *r, size_t size, double value, struct vigia__token *out)
{
	out->kind = VIGIA_TOKEN_FLOAT;
	out->number = value;
	r->at += size;
	return VIGIA_OK;
}

static int refuse_extension(const uint8_t *at, const uint8_t *end, struct vigia_error *err)
{
	/* after the first byte comes the length (none for fixext), then the type */
	size_t type_at = *at >= 0xd4 ? 1 : *at == 0xc7 ? 2 : *at == 0xc8 ? 3 : 5;
	if ((size_t)(end - at) <= type_at) return cut_off(err);
	return vigia__error(err, VIGIA_EDESERIAL, "a msgpack extension of type %d is not supported", (int8_t)at[type_at]);
}

/* Bytes of the header, a number's value included, for C0..DF: one test then covers "cut off". */
static const uint8_t header_size[32] = {1, 1, 1, 1, 2, 3, 5, 1, 1, 1, 5, 9, 2, 3, 5, 9,  /* C0..CF */
                                        2, 3, 5, 9, 1, 1, 1, 1, 1, 2, 3, 5, 3, 5, 3, 5}; /* D0..DF */

int vigia__reader_next(struct vigia__reader *r, struct vigia__token *out, struct vigia_error *err)
{
	const uint8_t *at = r->at;
	if (at >= r->end) return cut_off(err);
	uint8_t tag = *at;
	if (tag < 0x80) return give_int(r, 1, tag, out);
	if (tag >= 0xe0) return give_int(r, 1, (int8_t)tag, out);
	if (tag >= 0xa0 && tag < 0xc0) return take_string(r, 1, tag & 0x1f, VIGIA_TOKEN_STRING, out, err);
	if (tag < 0x90) return take_count(r, 1, tag & 0x0f, VIGIA_TOKEN_MAP, out, err);
	if (tag < 0xa0) return take_count(r, 1, tag & 0x0f, VIGIA_TOKEN_ARRAY, out, err);

	size_t size = header_size[tag - 0xc0];
	if ((size_t)(r->end - at) < size) return cut_off(err);
	switch (tag) {
	case 0xc0:
		out->kind = VIGIA_TOKEN_NIL;
		r->at++;
		return VIGIA_OK;
	case 0xc2:
	case 0xc3:
		out->kind = VIGIA_TOKEN_BOOL;
		out->boolean = tag == 0xc3;
		r->at++;
		return VIGIA_OK;
	case 0xc4:
		return take_string(r, 2, at[1], VIGIA_TOKEN_BIN, out, err);
	case 0xc5:
		return take_string(r, 3, load16(at + 1), VIGIA_TOKEN_BIN, out, err);
	case 0xc6:
		return take_string(r, 5, load32(at + 1), VIGIA_TOKEN_BIN, out, err);
	case 0xca: {
		uint32_t bits = load32(at + 1);
		float value;
		memcpy(&value, &bits, sizeof value);
		return give_float(r, 5, value, out);
	}
	case 0xcb: {
		uint64_t bits = load64(at + 1);
		double value;
		memcpy(&value, &bits, sizeof value);
		return give_float(r, 9, value, out);
	}
	case 0xcc:
		return give_int(r, 2, at[1], out);
	case 0xcd:
		return give_int(r, 3, load16(at + 1), out);
	case 0xce:
		return give_int(r, 5, load32(at + 1), out);
	case 0xcf: {
		uint64_t value = load64(at + 1);
		if (value > INT64_MAX)
			return vigia__error(err, VIGIA_EDESERIAL, "the integer %llu does not fit into a signed 64-bit integer",
			                    (unsigned long long)value);
		return give_int(r, 9, (int64_t)value, out);
	}
	case 0xd0:
		return give_int(r, 2, (int8_t)at[1], out);
	case 0xd1:
		return give_int(r, 3, (int16_t)load16(at + 1), out);
	case 0xd2:
		return give_int(r, 5, (int32_t)load32(at + 1), out);
	case 0xd3:
		return give_int(r, 9, (int64_t)load64(at + 1), out);
	case 0xd9:
		return take_string(r, 2, at[1], VIGIA_TOKEN_STRING, out, err);
	case 0xda:
		return take_string(r, 3, load16(at + 1), VIGIA_TOKEN_STRING, out, err);
	case 0xdb:
		return take_string(r, 5, load32(at + 1), VIGIA_TOKEN_STRING, out, err);
	case 0xdc:
		return take_count(r, 3, load16(at + 1), VIGIA_TOKEN_ARRAY, out, err);
	case 0xdd:
		return take_count(r, 5, load32(at + 1), VIGIA_TOKEN_ARRAY, out, err);
	case 0xde:
		return take_count(r, 3, load16(at + 1), VIGIA_TOKEN_MAP, out, err);
	case 0xdf:
		return take_count(r, 5, load32(at + 1), VIGIA_TOKEN_MAP, out, err);
	case 0xc1:
		return vigia__error(err, VIGIA_EDESERIAL, "the byte 0xc1 does not begin a msgpack value");
	default:
		return refuse_extension(at, r->end, err);
	}
}

int vigia__reader_skip(struct vigia__reader *r, struct vigia_error *err)
{
	/* a count is at most the number of bytes left, so the sum cannot overflow */
	for (uint64_t left = 1; left > 0; left--) {
		struct vigia__token token;
		int rc = vigia__reader_next(r, &token, err);
		if (rc != 0) return rc;
		if (token.kind == VIGIA_TOKEN_ARRAY) left += token.count;
		else if (token.kind == VIGIA_TOKEN_MAP) left += 2 * (uint64_t)token.count;
	}
	return VIGIA_OK;
}
