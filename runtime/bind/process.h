/*
 * process.h - a script in a program of its own: how the two sides talk, and what the supervising one does about the other.
 *
 * A message is a list of Lua values, the first one a table that says what it is. On the socket, all lengths u32 in native byte order:
 *     bytes of all that follows,  then for each value: its length, and a Vigia event (core/event.h) whose object it is
 * Each value is an event's object of its own, so that an object in a message may nest as deeply as in the store.
 *
 * process.c is the supervising side (a handler's state, on the script's thread), runtime/isolated.c the other one; what they say to each
 * other is in lua/vigia/isolation.lua and lua/vigia/isolated.lua.
 */
#ifndef VIGIA_BIND_PROCESS_H
#define VIGIA_BIND_PROCESS_H

#include "bind.h"

enum {
	VIGIA_ISOLATED_SOCKET = 3, /* descriptors of the isolated program */
	VIGIA_ISOLATED_LOCK = 4,
	VIGIA_ISOLATED_CPU = 97,   /* its exit status: over a cap */
	VIGIA_ISOLATED_MEMORY = 98,
	VIGIA_MESSAGE_MAX = 1 << 28
};

/* Write the message in the arguments from `first` to the top into buf. Raises what cannot be carried. [-0, +0, v] */
void vigia__message_encode(lua_State *L, int first, struct vigia__buf *buf);
/* Push the values of the message whose bytes (without the first length) these are; answers how many, -1 if they are none. They must
 * outlive the call even if it raises. [-0, +n, m] */
int vigia__message_push(lua_State *L, const uint8_t *bytes, size_t len);

void vigia__lua_process_init(lua_State *L);
/* core.spawn(program, caps, store) -> vigia.Process | nil, message */
int vigia__lua_spawn(lua_State *L);

/* The program `vigia`, when it is the one that runs: where it is. Set by main. */
extern const char *vigia__program;
/* main of the isolated program, in the program only: argv as spawn made it. Answers the exit status. */
int vigia__isolated_main(int argc, char **argv, const char *lua_dir);

#endif
