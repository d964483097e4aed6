/*
 * options.h - options in Lua tables, checked by the tables of core/options.h.
 */
#ifndef VIGIA_BIND_OPTIONS_H
#define VIGIA_BIND_OPTIONS_H

#include "../core/filter.h"
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
/* For special functions: the option must be an iterator (kept in *out), a function, a filter. [-0, +0, -] */
void vigia__lua_option_iterator(lua_State *L, int idx, const char *name, struct vigia_iterator *out,
                                struct vigia__problems *problems);
void vigia__lua_option_function(lua_State *L, int idx, const char *name, struct vigia__problems *problems);
void vigia__lua_option_filter(lua_State *L, int idx, const char *name, struct vigia__problems *problems);

/* A Lua predicate: field `where`, or `filter` where that is a function. *seen tells whether there was one before. [-0,
 * +0, -] */
void vigia__lua_option_predicate(lua_State *L, int idx, const char *name, bool *seen, struct vigia__problems *problems);
/* The predicate of the options table at `arg`, which was checked before, or nil. [-0, +1, -] */
void vigia__lua_push_where(lua_State *L, int arg);

/* The filter in field `filter` of the table at `arg`, which was checked before, as C sees it. Pushes a userdata that
 * holds the lists and, if `keep`, their strings. Else they are the table's, and safe until something is allocated.
 * [-0, +1, v] */
void vigia__lua_push_filter(lua_State *L, int arg, struct vigia_filter *out, bool keep);
/* The same, made for matching. *out is the caller's to free, and NULL if it keeps all. [-0, +0, v] */
void vigia__lua_make_filter(lua_State *L, int arg, struct vigia__filter **out);

/* Options of registry:watch at `arg`. `on_error`, if there, is a function. Pushes a userdata that holds out->filter's
 * lists: keep it and the table until the options were used. [-0, +1, v] */
void vigia__lua_check_watch_options(lua_State *L, int arg, struct vigia_watch_options *out);

/* The same for a handler that is a script. Its filter is left to vigia__lua_push_filter(). [-0, +0, v] */
void vigia__lua_check_script_options(lua_State *L, int arg, struct vigia__script_options *out);

/* The value of an option in the struct `target`, as Lua code gives it. [-0, +1, m] */
void vigia__lua_push_option_value(lua_State *L, const struct vigia__option *option, const void *target);
/* core.options(): the tables as Lua lists, for the documentation and the command line. */
int vigia__lua_options(lua_State *L);
/* core.nearest(wrong, names): the name of the list that was meant, or nil. */
int vigia__lua_nearest(lua_State *L);

#endif
