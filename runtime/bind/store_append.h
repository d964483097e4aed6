/*
 * store_append.h - the methods that append.
 */
#ifndef VIGIA_BIND_STORE_APPEND_H
#define VIGIA_BIND_STORE_APPEND_H

#include <lua.h>

#include "vigia.h"

/* The key of the table of options at `arg`, {key =} or nil, which takes its place; len 0: none. Raises where it is
 * wrong, or where there are other options. [-0, +0, v] */
struct vigia_slice vigia__lua_check_key(lua_State *L, int arg);
int vigia__lua_store_event(lua_State *L);
int vigia__lua_store_events(lua_State *L);
/* The same for a transaction at 1: stored with its commit. Return true. */
int vigia__lua_transaction_event(lua_State *L);
int vigia__lua_transaction_events(lua_State *L);

#endif
