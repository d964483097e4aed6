/*
 * ndjson.h - fast input and output for the command line. Not part of the public module.
 */
#ifndef VIGIA_BIND_NDJSON_H
#define VIGIA_BIND_NDJSON_H

#include <lua.h>

/* core.has_input(fd) -> boolean | nil, err: waits until something can be read, or the input ends (false) */
int vigia__lua_has_input(lua_State *L);
/* core.ndjson_append(store, fd, on_progress | nil) -> count, last_seq, err | nil */
int vigia__lua_ndjson_append(lua_State *L);
/* core.ndjson_dump(store, {from =, filter =, limit =, follow =, fd =}) -> next_iterator, count, err | nil */
int vigia__lua_ndjson_dump(lua_State *L);

#endif
