/*
 * store.h - the class vigia.Store.
 */
#ifndef VIGIA_BIND_STORE_H
#define VIGIA_BIND_STORE_H

#include "lua_state.h"

void vigia__lua_store_init(lua_State *L);
int vigia__lua_open(lua_State *L);
/* The store at `arg`; NULL once it is closed: answer vigia__lua_fail_closed() then. Raises if it is no vigia.Store.
 * [-0, +0, v] */
struct vigia_store *vigia__lua_check_store(lua_State *L, int arg);
/* A handle on a store that is somebody else's: closing it ends only this userdata. [-0, +1, m] */
void vigia__lua_push_store(lua_State *L, struct vigia_store *store);
/* nil and the error store_closed for the store at `arg`; answers 2. [-0, +2, m] */
int vigia__lua_fail_closed(lua_State *L, int arg);

#endif
