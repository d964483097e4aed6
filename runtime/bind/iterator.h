/*
 * iterator.h - the class vigia.Iterator.
 */
#ifndef VIGIA_BIND_ITERATOR_H
#define VIGIA_BIND_ITERATOR_H

#include "lua_state.h"

void vigia__lua_push_iterator(lua_State *L, struct vigia_iterator it);        /* [-0, +1, m] */
const struct vigia_iterator *vigia__lua_test_iterator(lua_State *L, int idx); /* NULL: it is none. [-0, +0, -] */

int vigia__lua_trim_horizon(lua_State *L);
int vigia__lua_latest(lua_State *L);
int vigia__lua_at(lua_State *L);
int vigia__lua_after(lua_State *L);
int vigia__lua_iterator_parse(lua_State *L);

#endif
