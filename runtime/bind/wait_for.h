/*
 * wait_for.h - store:wait_for: waits for the checkpoint of a watcher.
 */
#ifndef VIGIA_BIND_WAIT_FOR_H
#define VIGIA_BIND_WAIT_FOR_H

#include <lua.h>

/* store:wait_for(watcher_id, n, [timeout]) -> the checkpoint | nil, err */
int vigia__lua_store_wait_for(lua_State *L);

#endif
