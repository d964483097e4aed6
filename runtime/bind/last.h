/*
 * last.h - finds the N-th event from the end, for `vigia events --last`. Not part of the public module.
 */
#ifndef VIGIA_BIND_LAST_H
#define VIGIA_BIND_LAST_H

#include <lua.h>

/* core.last(store, {filter =, first =, last =, count =}) -> number | nil, err: where to start so that `count` events
 * that the filter keeps follow, up to the event `last`. `first` where there are fewer. */
int vigia__lua_last(lua_State *L);

#endif
