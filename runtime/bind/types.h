/*
 * types.h - counts the events of each type and operation, for `vigia types`. Not part of the public module.
 */
#ifndef VIGIA_BIND_TYPES_H
#define VIGIA_BIND_TYPES_H

#include <lua.h>

/* core.types(store, on_progress | nil) -> list of {object_type =, operation =, events =}, in no order, damaged | nil,
 * err. Events stored from now on are not counted; `damaged` counts those that cannot be read. Calls on_progress(done,
 * all) now and then. */
int vigia__lua_types(lua_State *L);

#endif
