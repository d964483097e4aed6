/*
 * step.h - what a registry written in Lua builds on.
 */
#ifndef VIGIA_BIND_STEP_H
#define VIGIA_BIND_STEP_H

#include <lua.h>

void vigia__lua_step_init(lua_State *L);
void vigia__lua_step_functions(lua_State *L); /* into the table on top. [-0, +0, m] */

#endif
