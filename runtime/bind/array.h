/*
 * array.h - tables that are arrays, and room on Lua's stack for nested tables: what encoding and decoding share.
 */
#ifndef VIGIA_BIND_ARRAY_H
#define VIGIA_BIND_ARRAY_H

#include "lua_state.h"

/* Room on Lua's stack is made for this many nested tables at a time, two values each: deep objects are rare. */
enum { VIGIA_LUA_LEVELS = 31, VIGIA_LUA_LEVELS_STACK = 2 * VIGIA_LUA_LEVELS + 12 };

/* Tables that vigia.array marked. */
extern const struct vigia__lua_class vigia__lua_array_class;
/* Is there room for a table at this depth? Makes it, after VIGIA_LUA_LEVELS_STACK was made. False: no memory.
 * [-0, +0, -] */
static inline bool vigia__lua_has_levels(lua_State *L, int depth)
{
	return depth == 0 || depth % VIGIA_LUA_LEVELS != 0 || lua_checkstack(L, VIGIA_LUA_LEVELS_STACK);
}

int vigia__lua_array(lua_State *L);
int vigia__lua_is_array(lua_State *L);

#endif
