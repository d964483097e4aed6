/*
 * modules.h - the Lua modules of ours that every script's state needs: found and compiled once per process, then made
 * of what was kept.
 *
 * So a script starts without reading them again, and a package that is upgraded under a running program does not mix
 * two versions. What is kept is Lua's own dump of what it compiled, with all its line numbers, in memory that is never
 * freed. Any thread.
 */
#ifndef VIGIA_BIND_MODULES_H
#define VIGIA_BIND_MODULES_H

#include <lua.h>

/* In a new state with all libraries and package.path set: `require` takes our modules from what is kept, and keeps what
 * is not there yet. Until package.searchers[2] is replaced, which is the last thing before a script's code is let in.
 * [-0, +0, m] */
void vigia__modules_install(lua_State *L);

#endif
