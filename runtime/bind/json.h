/*
 * json.h - vigia.to_json: an event table as a line of JSON.
 */
#ifndef VIGIA_BIND_JSON_H
#define VIGIA_BIND_JSON_H

#include <lua.h>

/* vigia.to_json(event) -> text | nil, err */
int vigia__lua_to_json(lua_State *L);

#endif
