/*
 * watcher.h - the class vigia.Watcher: a handle on one watcher of a registry.
 */
#ifndef VIGIA_BIND_WATCHER_H
#define VIGIA_BIND_WATCHER_H

#include "registry_handle.h"

struct lua_watcher {
	struct lua_registry *owner;
	struct vigia_watcher *watcher;
	struct lua_handler *handler; /* it keeps it: 2. NULL: none yet. 3, 4: on_error and
	                              * the predicate for one to come, or nil */
};

/* The watcher at arg. Raises if there is none, or its registry is closed. [-0, +0, v] */
struct vigia_watcher *vigia__lua_check_watcher(lua_State *L, int arg);
/* A watcher's userdata, still empty. Keeps the registry at registry_idx alive. [-0, +1, m] */
struct lua_watcher *vigia__lua_watcher_new(lua_State *L, int registry_idx);
/* Does a watch, or a start, of this registry, right here, go on in the rounds while its coroutine yields? [-0, +0, -]
 */
bool vigia__lua_starts_later(lua_State *L, const struct lua_registry *registry);
/* That of the watcher on top has begun: the results of registry:watch. Use as `return vigia__lua_watched(...)`. */
int vigia__lua_watched(lua_State *L);

#endif
