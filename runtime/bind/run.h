/*
 * run.h - runs, steps or stops a registry, while hooks that a signal handler sets run in between.
 */
#ifndef VIGIA_BIND_RUN_H
#define VIGIA_BIND_RUN_H

#include "registry_handle.h"

enum vigia__lua_drive { VIGIA_LUA_RUN, VIGIA_LUA_STEP, VIGIA_LUA_STOP };

/* Run, step or stop the registry, or stop `only` one of its watchers. Returns what C does. [-0, +0, e] */
int vigia__lua_drive(lua_State *L, struct lua_registry *r, enum vigia__lua_drive what, struct vigia_watcher *only,
                     int64_t timeout_ns, struct vigia_error *err);

/* A coroutine that waits for a registry other than its own is not woken by it: how often it looks. */
enum { VIGIA_LUA_LOOK_NS = 2000000 };
/* The timeout in nanoseconds that the options of a stop at arg tell. [-0, +0, v] */
int64_t vigia__lua_check_stop(lua_State *L, int arg);

#endif
