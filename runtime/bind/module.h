/*
 * module.h - the module vigia.core.
 */
#ifndef VIGIA_BIND_MODULE_H
#define VIGIA_BIND_MODULE_H

#include <lua.h>

#include "vigia.h"

/* The C part of the module `vigia`. */
VIGIA_API int luaopen_vigia_core(lua_State *L);

#endif
