/*
 * watchers.h - what is known of the watchers of a store, in this process or others: methods of the class vigia.Store.
 */
#ifndef VIGIA_BIND_WATCHERS_H
#define VIGIA_BIND_WATCHERS_H

#include <lua.h>

/* store:watchers() -> a list of tables, and how many are not in it. */
int vigia__lua_store_watchers(lua_State *L);

#endif
