/*
 * watch_options.h - the options of registry:watch, checked.
 */
#ifndef VIGIA_BIND_WATCH_OPTIONS_H
#define VIGIA_BIND_WATCH_OPTIONS_H

#include "../core/options.h"
#include "lua_state.h"

/* Options of registry:watch at `arg`. `on_error`, if there, is a function. Pushes a userdata that holds what out's
 * filter points to: keep it and the table until the options were used. [-0, +1, v] */
void vigia__lua_check_watch_options(lua_State *L, int arg, struct vigia_watch_options *out);

/* The same for a handler that is a script. Its filter is left to vigia__lua_push_filter(). [-0, +0, v] */
void vigia__lua_check_script_options(lua_State *L, int arg, struct vigia__script_options *out);

#endif
