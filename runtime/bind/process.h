/*
 * process.h - a script in a program of its own: how the two sides talk, and what the supervising one does about the
 * other.
 *
 * A message is a list of Lua values, the first one a table that says what it is. On the socket it is a frame (struct
 * vigia__frame), and behind that, for each value: its length (u32, native byte order), and a Vigia event (core/event.h)
 * whose object it is. Each value is an event's object of its own, so that an object in a message may nest as deeply as
 * in the store.
 *
 * process.c is the supervising side (a handler's state, on the script's thread), runtime/isolated.c the other one. What
 * they say to each other is in lua/vigia/isolated_host.lua and lua/vigia/isolated_program.lua.
 */
#ifndef VIGIA_BIND_PROCESS_H
#define VIGIA_BIND_PROCESS_H

#include "../core/buf.h"
#include "lua_state.h"

enum {
	VIGIA_ISOLATED_SOCKET = 3, /* descriptors of the isolated program */
	VIGIA_ISOLATED_LOCK = 4,
	VIGIA_ISOLATED_CPU = 97, /* its exit status: over a cap */
	VIGIA_ISOLATED_MEMORY = 98,
	VIGIA_ISOLATED_BROKEN = 99, /* its exit status: what it received was not what it waited for */
	VIGIA_MESSAGE_MAX = 1 << 28
};

#define VIGIA_FRAME_MAGIC 0x56674d31u /* begins each message. Other bytes come from other code */

/* The supervisor asks, the script makes calls meanwhile, each of which gets a reply, and ends. Both number what they
 * ask for, and both check that what they receive is for what they have in hand. The numbers are given and looked at in
 * C, with the bytes: finalizers and hooks, which may call in between anything that Lua does, cannot come between a
 * number and its message. */
enum vigia__frame_kind {
	VIGIA_FRAME_REQUEST = 1,
	VIGIA_FRAME_CALL,
	VIGIA_FRAME_REPLY,
	VIGIA_FRAME_END,
	VIGIA_FRAME_OUTPUT, /* bytes that the script printed. The supervisor writes them (output.h), and says so: */
	VIGIA_FRAME_TAKEN   /* of: 0 or the errno. call: whether they are written later, then */
};

struct vigia__frame {
	uint32_t magic;
	uint32_t size; /* bytes that follow */
	uint64_t kind; /* enum vigia__frame_kind */
	uint64_t of;   /* the number of the request. Of a reply, that of its call */
	uint64_t call; /* of a call: its number */
};

/* The bytes of a message that is being sent or received, in a userdata of that one call: a finalizer that sends and
 * receives meanwhile has its own. */
struct vigia__message {
	struct vigia__buf out; /* a whole frame */
	struct vigia__buf in;  /* without its frame */
};

/* An empty one. [-0, +1, m] */
struct vigia__message *vigia__message_new(lua_State *L);
/* The values from `first` on of the stack as a message, whose `out` has its bytes. Raises what cannot be carried:
 * an error object where a value is too large. `object_max`: most bytes of a value behind the first one. Tables that
 * share parts may stand for more than there is memory. Runs no Lua code once it has begun. vigia__message_number()
 * completes it. [-0, +1, v] */
struct vigia__message *vigia__message_encode(lua_State *L, int first, int64_t object_max);
void vigia__message_number(struct vigia__message *message, enum vigia__frame_kind kind, uint64_t of, uint64_t call);
/* Push the values of message->in, and release its bytes. Returns how many, -1 if they are no message: the first value
 * is then no table, or the rest cannot be read. [-0, +n, m] */
int vigia__message_push(lua_State *L, struct vigia__message *message);

/* core.spawn(program, caps, store) -> vigia.Process | nil, message */
int vigia__lua_spawn(lua_State *L);

/* The program `vigia`, when it is the one that runs: where it is. Set by main. */
extern const char *vigia__program;
/* main of the isolated program, in the program only: argv as spawn made it. Returns the exit status. */
int vigia__isolated_main(int argc, char **argv, const char *lua_dir);

#endif
