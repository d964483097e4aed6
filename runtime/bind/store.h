/*
 * store.h - the class vigia.Store.
 */
#ifndef VIGIA_BIND_STORE_H
#define VIGIA_BIND_STORE_H

#include "lua_state.h"

void vigia__lua_store_init(lua_State *L);
int vigia__lua_open(lua_State *L);
/* core.create_sql(location[, options]) -> the statements that make this log on a server | nil, err */
int vigia__lua_create_sql(lua_State *L);
/* core.show_location(location) -> it, without a password */
int vigia__lua_show_location(lua_State *L);
/* The handle at store_idx, of a store that other code opened, reads and writes by the serializer at idx. Raises if
 * that is none, or not the one of the file. [-0, +0, v] */
void vigia__lua_use_serializer(lua_State *L, int store_idx, int idx);

#endif
