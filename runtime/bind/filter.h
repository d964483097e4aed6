/*
 * filter.h - filters in Lua tables: lists of names, places of the object with the values wanted there, a predicate.
 */
#ifndef VIGIA_BIND_FILTER_H
#define VIGIA_BIND_FILTER_H

#include "../core/filter.h"
#include "../core/options.h"
#include "lua_state.h"

/* For a special function (options.h): option `filter`, a table, or a function where one may be. *predicate tells
 * whether a function was given before, and is set by one here. NULL: none may be. [-0, +0, -] */
void vigia__lua_option_filter(lua_State *L, int idx, const char *name, bool *predicate,
                              struct vigia__problems *problems);
/* The same for option `where`, a function. [-0, +0, -] */
void vigia__lua_option_predicate(lua_State *L, int idx, const char *name, bool *seen, struct vigia__problems *problems);
/* The predicate of the options table at `arg`, which was checked before, or nil. [-0, +1, -] */
void vigia__lua_push_where(lua_State *L, int arg);

/* A filter as C sees it. */
struct vigia__lua_filter {
	struct vigia_filter lists;
	const struct vigia_where *where;
	size_t where_count;
};

/* The filter in field `filter` of the table at `arg`, which was checked before. Pushes a userdata that holds the lists
 * and the places and, if `keep`, the strings of the lists. Else they are the table's, and safe until something is
 * allocated. [-0, +1, v] */
void vigia__lua_push_filter(lua_State *L, int arg, struct vigia__lua_filter *out, bool keep);
/* The same, made for matching. *out is the caller's to free, and NULL if it keeps all. [-0, +0, v] */
void vigia__lua_make_filter(lua_State *L, int arg, struct vigia__filter **out);

/* Does a filter want the event of this head whose object is on top? One whose object cannot be encoded is wanted, as
 * bytes that cannot be read are. [-0, +0, m] */
bool vigia__lua_filter_wants(lua_State *L, const struct vigia__filter *filter, struct vigia_slice operation,
                             struct vigia_slice object_type);
/* core.filter_test({filter = {...}}) -> a function (event) -> boolean. For stores written in Lua. */
int vigia__lua_filter_test(lua_State *L);
/* core.where_parse("object.state=failed") -> place, value | nil, err. For the program: a value is what its text is as
 * JSON, and the text itself where that is no JSON. */
int vigia__lua_where_parse(lua_State *L);

#endif
