/*
 * transfer.h - store:export, store:import and store:backup; for the program, an import whose first records say what
 * store it needs.
 */
#ifndef VIGIA_BIND_TRANSFER_H
#define VIGIA_BIND_TRANSFER_H

#include <lua.h>

/* store:export(target, options), store:import(source, options), store:backup(path, options): as in lua/vigia/api.lua.
 */
int vigia__lua_store_export(lua_State *L);
int vigia__lua_store_import(lua_State *L);
int vigia__lua_store_backup(lua_State *L);
/* core.index(store, on_progress | nil): index what is not, and tell on_progress(events, of). How many events were
 * looked at, or nil and an error. */
int vigia__lua_index(lua_State *L);
/* core.export(store, target, options): the same, and the target may be a descriptor. */
int vigia__lua_export(lua_State *L);
/* core.copy(from, to, options): copy what is new in one store into another (store/copy.h). Options: merge, anew,
 * skip_removed, follow, progress. A table with events, at, whole, skipped, timers; or nil, an error, and that table. */
int vigia__lua_copy(lua_State *L);
/* core.copy_settings(store): the options of a store that is made for a copy of this one. */
int vigia__lua_copy_settings(lua_State *L);
/* core.import_begin(source): an object with settings(), the options of the store that it needs, and run(store,
 * options), which does as store:import. Or nil and an error. */
int vigia__lua_import_begin(lua_State *L);

#endif
