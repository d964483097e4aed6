/*
 * store_append.h - the methods that append.
 */
#ifndef VIGIA_BIND_STORE_APPEND_H
#define VIGIA_BIND_STORE_APPEND_H

#include <lua.h>

int vigia__lua_store_event(lua_State *L);
int vigia__lua_store_events(lua_State *L);
/* The same for a transaction at 1: stored with its commit. Return true. */
int vigia__lua_transaction_event(lua_State *L);
int vigia__lua_transaction_events(lua_State *L);

#endif
