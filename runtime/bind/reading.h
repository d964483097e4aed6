/*
 * reading.h - store:get_events, and batches that Lua owns.
 */
#ifndef VIGIA_BIND_READING_H
#define VIGIA_BIND_READING_H

#include "lua_state.h"

int vigia__lua_get_events(lua_State *L); /* the method */
/* A batch owned by the userdata it pushes. NULL without memory. Give it back when the events were pushed, or leave it
 * to the collector. [-0, +1, m] */
struct vigia_batch *vigia__lua_push_batch(lua_State *L);
void vigia__lua_return_batch(lua_State *L, int idx); /* [-0, +0, -] */

#endif
