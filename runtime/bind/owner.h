/*
 * owner.h - waiting for the ownership of a watcher id, for the command line.
 */
#ifndef VIGIA_BIND_OWNER_H
#define VIGIA_BIND_OWNER_H

#include <lua.h>

/* core.wait_owner(store, watcher_id) -> true | nil, err ("interrupted") */
int vigia__lua_wait_owner(lua_State *L);

#endif
