/*
 * error.h - vigia.Error in Lua.
 */
#ifndef VIGIA_BIND_ERROR_H
#define VIGIA_BIND_ERROR_H

#include "lua_state.h"

/* A vigia.Error: a table with code, message, cause, seq_num, watcher_id. [-0, +1, m] */
void vigia__lua_push_error(lua_State *L, const struct vigia_error *err);
/* The text of the value at idx. One whose __tostring fails is named by its type. [-0, +1, m] */
void vigia__lua_push_text(lua_State *L, int idx);
/* nil and the error. Returns 2, for `return vigia__lua_fail(...)`. An err that was not filled in gets the code's name.
 * [-0, +2, m] */
int vigia__lua_fail(lua_State *L, int rc, struct vigia_error *err);
/* True, or nil and the error if rc < 0. Returns how many, for `return vigia__lua_done(...)`. [-0, +1|2, m] */
int vigia__lua_done(lua_State *L, int rc, struct vigia_error *err);
/* core.new_error{code =, message =, ...}: the same table as a vigia.Error, for what is written in Lua. */
int vigia__lua_new_error(lua_State *L);
/* core.errors(): a list of {code =, help =}, one for each code, for the documentation. */
int vigia__lua_errors(lua_State *L);
/* Is the value at idx a vigia.Error? [-0, +0, -] */
bool vigia__lua_is_error(lua_State *L, int idx);

#endif
