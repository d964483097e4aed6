/*
 * source.h - a store written in Lua as what watchers read, and save their checkpoints in.
 */
#ifndef VIGIA_BIND_SOURCE_H
#define VIGIA_BIND_SOURCE_H

#include "registry_handle.h"

/* The table at arg has the methods of a store: push the vigia.Store whose wake words tell of its events, which is the
 * one at the bottom of a stack of wrappers, or an empty one in memory (*wrapped is false): then nothing tells of them.
 * Raises and names what is missing. Pushes nil and an error if the one in memory cannot be had. Returns how many it
 * pushed.
 * [-0, +1|2, v] */
int vigia__lua_push_host(lua_State *L, int arg, bool *wrapped);
/* The new registry, whose userdata is at idx, reads in the table that it keeps as its store. [-0, +0, m] */
void vigia__lua_source_attach(lua_State *L, int idx, bool wrapped);

#endif
