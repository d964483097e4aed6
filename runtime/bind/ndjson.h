/*
 * ndjson.h - fast input for the command line. Not part of the public module.
 */
#ifndef VIGIA_BIND_NDJSON_H
#define VIGIA_BIND_NDJSON_H

#include <lua.h>

/* core.ndjson_append(store, fd, on_progress | nil, {type =, operation =, key =, big_integers =, on_bad =} | nil) ->
 * count, last_seq, err | nil, known. on_progress(count, last_seq, bytes, of) is told how much of the input is stored,
 * of how much (0: not known). on_bad(line, reason, text) is told of bad lines, and ends the input by returning true.
 * known: lines whose key was stored before */
int vigia__lua_ndjson_append(lua_State *L);

#endif
