/*
 * fuzz_wire.h - what one side of an isolated script's socket may send, made from an input: whole frames with the
 * numbers that are waited for, frames with other numbers, and any bytes. See bind/process.h.
 *
 * A driver of one of the sides includes the source file of that side after this: the bytes are in the socket before it
 * begins to read.
 */
#ifndef VIGIA_SPEC_FUZZ_WIRE_H
#define VIGIA_SPEC_FUZZ_WIRE_H

#include <sys/socket.h>

#include "bind/process.h"
#include "core/event.h"
#include "fuzz_lua.h"

struct fuzz_wire {
	struct vigia__buf bytes;
	uint64_t ends, calls; /* so many were sent as they should be, at most */
	bool wrong;           /* what was sent last makes no sense: nothing behind it may be believed */
};

enum { FUZZ_WIRE_MAX = 60000 };

/* Values as bytes: a count, and for each its msgpack. Or anything. */
static inline void fuzz_values(struct fuzz_input *in, struct vigia__buf *out)
{
	unsigned count = fuzz_byte(in);
	if (count == 255) { /* no values at all */
		struct vigia_slice raw = fuzz_slice(in);
		fuzz_assert(vigia__buf_add(out, raw.data, raw.len) == 0);
		return;
	}
	for (count %= 6; count > 0; count--) {
		struct vigia_slice object = fuzz_slice(in), name = {"vigia.message", 13};
		size_t at = out->len;
		uint32_t len = 0;
		fuzz_assert(vigia__buf_add(out, &len, sizeof len) == 0 && vigia__event_begin(out, name, name, NULL) == 0);
		fuzz_assert(vigia__buf_add(out, object.data, object.len) == 0);
		len = (uint32_t)(out->len - at - sizeof len);
		memcpy(out->data + at, &len, sizeof len);
	}
}

static inline void fuzz_frame(struct fuzz_wire *wire, uint64_t kind, uint64_t of, uint64_t call,
                              const struct vigia__buf *content)
{
	struct vigia__frame frame = {VIGIA_FRAME_MAGIC, (uint32_t)content->len, kind, of, call};
	fuzz_assert(vigia__buf_add(&wire->bytes, &frame, sizeof frame) == 0);
	fuzz_assert(content->len == 0 || vigia__buf_add(&wire->bytes, content->data, content->len) == 0);
}

/* A frame of any kind and with any numbers, or no frame: by chance some are as they should be. */
static inline void fuzz_wrong(struct fuzz_wire *wire, struct fuzz_input *in)
{
	struct vigia__buf content = {0};
	wire->wrong = true;
	if (fuzz_byte(in) & 1) {
		unsigned kind = fuzz_byte(in), of = fuzz_byte(in), call = fuzz_byte(in);
		fuzz_values(in, &content);
		fuzz_frame(wire, kind, of, call, &content);
		wire->ends++;
	} else {
		struct vigia_slice raw = fuzz_slice(in);
		fuzz_assert(vigia__buf_add(&wire->bytes, raw.data, raw.len) == 0);
		wire->ends += raw.len / sizeof(struct vigia__frame);
	}
	vigia__buf_deinit(&content);
}

/* A pair of sockets of which one has all the bytes to read, and then the end. What is written to it is read by
 * nobody. */
static inline int fuzz_socket(const struct fuzz_wire *wire, int *other)
{
	int pair[2], room = 4 << 20;
	fuzz_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	for (int i = 0; i < 2; i++) setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	ssize_t sent = wire->bytes.len ? send(pair[1], wire->bytes.data, wire->bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	fuzz_assert(sent == (ssize_t)wire->bytes.len);
	shutdown(pair[1], SHUT_WR);
	*other = pair[1];
	return pair[0];
}

#endif
