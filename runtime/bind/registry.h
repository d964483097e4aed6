/*
 * registry.h - the class vigia.Registry.
 */
#ifndef VIGIA_BIND_REGISTRY_H
#define VIGIA_BIND_REGISTRY_H

#include <lua.h>

void vigia__lua_registry_init(lua_State *L);
int vigia__lua_registry(lua_State *L);

#endif
