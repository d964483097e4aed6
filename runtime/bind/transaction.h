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
/* core.is_lost(ctx.tx) -> must the event be handled again, through no fault of its own? */
int vigia__lua_is_lost(lua_State *L);

/* As vigia__lua_transaction_new_lent(), with the methods of the class. [-0, +1, m] */
struct lua_transaction *vigia__lua_transaction_push_lent(lua_State *L, int store_idx);

#endif
