/*
 * steer.h - steers the watchers of a store from Lua.
 */
#ifndef VIGIA_BIND_STEER_H
#define VIGIA_BIND_STEER_H

#include <lua.h>

/* store:seek(watcher_id, iterator, [timeout]) -> the checkpoint | nil, err */
int vigia__lua_store_seek(lua_State *L);
/* store:pause(watcher_id, [timeout]), store:resume -> true | nil, err */
int vigia__lua_store_pause(lua_State *L);
int vigia__lua_store_resume(lua_State *L);
/* store:retry(watcher_id, [timeout]) -> the event's number | nil, err */
int vigia__lua_store_retry(lua_State *L);
/* store:forget(watcher_id) -> true | nil, err */
int vigia__lua_store_forget(lua_State *L);

#endif
