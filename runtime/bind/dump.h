/*
 * dump.h - fast output of events for the command line. Not part of the public module.
 */
#ifndef VIGIA_BIND_DUMP_H
#define VIGIA_BIND_DUMP_H

#include <lua.h>

/* core.dump(store, {from =, upto =, filter =, limit =, follow =, format =, colour =, fd =}) -> next_iterator, count,
 * err | nil. `upto`: no event behind this one. */
int vigia__lua_dump(lua_State *L);

#endif
