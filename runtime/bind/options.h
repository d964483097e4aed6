/*
 * options.h - options in Lua tables, checked by the tables of core/options.h.
 */
#ifndef VIGIA_BIND_OPTIONS_H
#define VIGIA_BIND_OPTIONS_H

#include "../core/options.h"
#include "lua_state.h"

/* Checks an option that only the caller understands: adds to `problems`, keeps what it needs in ctx. Must not raise and
 * must not make Lua objects. The value is at idx. */
typedef void (*vigia__lua_special_fn)(lua_State *L, int idx, const char *name, void *ctx,
                                      struct vigia__problems *problems);

/* A copy of the table at `from`, and of tables in it, `levels` in all. [-0, +1, v] */
void vigia__lua_push_copy(lua_State *L, int from, int levels);
/* Before it is looked at: a copy takes the place of the table of options at `arg`, and copies that of tables in it,
 * `levels` in all. Lua code that runs later (a finalizer, wherever something is allocated) cannot change it: what is
 * borrowed from it stays. [-0, +0, v] */
void vigia__lua_own_options(lua_State *L, int arg, int levels);
/* Fill `target` from the table at `arg` (nil and none: all defaults). Raises one message with all that is wrong.
 * Strings in target are borrowed from the table. [-0, +0, v] */
void vigia__lua_check_options(lua_State *L, int arg, const struct vigia__option *table, void *target, const char *what,
                              vigia__lua_special_fn special, void *ctx);
/* Fill `changes` from the table of settings of a file at `arg`. `refuse` complains of options that are none, or are
 * fixed. [-0, +0, v] */
void vigia__lua_check_settings(lua_State *L, int arg, struct vigia_store_options *changes,
                               vigia__lua_special_fn refuse);
/* For special functions: the option must be an iterator (kept in *out), a function. [-0, +0, -] */
void vigia__lua_option_iterator(lua_State *L, int idx, const char *name, struct vigia_iterator *out,
                                struct vigia__problems *problems);
void vigia__lua_option_function(lua_State *L, int idx, const char *name, struct vigia__problems *problems);
/* ... a list of names. */
void vigia__lua_option_names(lua_State *L, int idx, const char *where, struct vigia__problems *problems);
/* Seconds, 0 or more, as a number or as text with a unit (core/quantity.h). False: it is neither. [-0, +0, -] */
bool vigia__lua_option_seconds(lua_State *L, int idx, double *out);
/* The key below the value on top, as a name. NULL after a complaint. [-0, +0, -] */
const char *vigia__lua_option_name(lua_State *L, const char *where, struct vigia__problems *problems);

/* The value of an option in the struct `target`, as Lua code gives it. [-0, +1, m] */
void vigia__lua_push_option_value(lua_State *L, const struct vigia__option *option, const void *target);
/* core.quantity("size" or "duration", text) -> bytes or nanoseconds | nil, what is wrong. */
int vigia__lua_quantity(lua_State *L);
/* core.options(): the tables as Lua lists, for the documentation and the command line. */
int vigia__lua_options(lua_State *L);
/* core.nearest(wrong, names): the name of the list that was meant, or nil. */
int vigia__lua_nearest(lua_State *L);

#endif
