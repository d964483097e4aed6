/*
 * json.h - vigia.to_json: an event table as a line of JSON. core.from_json: the value of a text.
 */
#ifndef VIGIA_BIND_JSON_H
#define VIGIA_BIND_JSON_H

#include <lua.h>

/* vigia.to_json(event) -> text | nil, err */
int vigia__lua_to_json(lua_State *L);
/* core.from_json(text) -> value | nil, err. For the command line. */
int vigia__lua_from_json(lua_State *L);

#endif
