/*
 * store_handle.h - the userdata of a store, for all files with methods of the class vigia.Store.
 */
#ifndef VIGIA_BIND_STORE_HANDLE_H
#define VIGIA_BIND_STORE_HANDLE_H

#include "cache.h"
#include "serial.h"

enum { VIGIA_LUA_STORE_CLOCK = 3, VIGIA_LUA_STORE_KEEPS = 3 }; /* the clock it goes by, if it is not the system's */

struct lua_store {
	struct vigia_store *store;        /* NULL once closed */
	bool borrowed;                    /* another Lua state's: only kept in memory from here */
	struct lua_serializer serializer; /* it keeps its functions: 1 */
	struct lua_cache *cache;          /* it keeps it: 2. NULL: none */
	char path[];
};

extern const struct vigia__lua_class vigia__lua_store_class; /* its methods are in store.c */

/* The userdata at `arg`, also of a closed store. [-0, +0, v] */
struct lua_store *vigia__lua_check_handle(lua_State *L, int arg);
/* The store at `arg`. NULL once it is closed: return vigia__lua_fail_closed() then. Raises if it is no vigia.Store.
 * [-0, +0, v] */
struct vigia_store *vigia__lua_check_store(lua_State *L, int arg);
/* nil and the error store_closed for the store at `arg`. Returns 2. [-0, +2, m] */
int vigia__lua_fail_closed(lua_State *L, int arg);
/* The error that the store is closed. Returns its code. */
int vigia__lua_closed(struct lua_store *h, struct vigia_error *err);
/* As vigia__lua_fail(), but want of memory is raised, as in Lua's own functions. [-0, +2, v] */
int vigia__lua_fail_store(lua_State *L, int rc, struct vigia_error *err);
/* A handle on a store that is other code's: closing it ends only this userdata. [-0, +1, m] */
void vigia__lua_push_store(lua_State *L, struct vigia_store *store);
/* The cache of the store at idx, or nil and NULL. [-0, +1, -] */
struct lua_cache *vigia__lua_push_cache(lua_State *L, int idx);

#endif
