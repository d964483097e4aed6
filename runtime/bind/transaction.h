/*
 * transaction.h - transactions and buckets in Lua: methods of the class vigia.Store.
 */
#ifndef VIGIA_BIND_TRANSACTION_H
#define VIGIA_BIND_TRANSACTION_H

#include <lua.h>

int vigia__lua_store_transaction(lua_State *L);
int vigia__lua_store_get(lua_State *L);
int vigia__lua_store_put(lua_State *L);
int vigia__lua_store_delete(lua_State *L);
int vigia__lua_store_range(lua_State *L);
int vigia__lua_store_buckets(lua_State *L);
int vigia__lua_store_drop_bucket(lua_State *L);

#endif
