/*
 * script.h - a handler that is a script: a Lua state of its own, on a thread of its own (drive/worker.h).
 */
#ifndef VIGIA_BIND_SCRIPT_H
#define VIGIA_BIND_SCRIPT_H

#include "lua_state.h"

/* registry:watch with a path or a module's name for a handler. Arguments: registry, id or nil, the name, options. */
int vigia__lua_watch_script(lua_State *L);

/* core.hold(watcher, boolean), for the command line: a script's watcher that is held handles nothing, however it is
 * started. */
int vigia__lua_hold(lua_State *L);
int vigia__lua_hold_late(lua_State *L);

#endif
