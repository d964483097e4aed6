/*
 * clock.h - the class vigia.Clock, moved by hand.
 */
#ifndef VIGIA_BIND_CLOCK_H
#define VIGIA_BIND_CLOCK_H

#include <lua.h>

struct vigia__manual_clock;

int vigia__lua_clock(lua_State *L);                                       /* core.clock() */
int vigia__lua_use_clock(lua_State *L);                                   /* core.use_clock(store, clock) */
struct vigia__manual_clock *vigia__lua_test_clock(lua_State *L, int idx); /* NULL: it is none. [-0, +0, -] */

#endif
