/*
 * watch.h - registry:watch.
 */
#ifndef VIGIA_BIND_WATCH_H
#define VIGIA_BIND_WATCH_H

#include <lua.h>

int vigia__lua_watch(lua_State *L); /* the method */

/* core.hold(watcher, boolean), for the command line: a script's watcher that is held handles nothing, however it is
 * started. */
int vigia__lua_hold(lua_State *L);
/* core.hold_late(registry): for a program that watches all before it starts any, and may start none. */
int vigia__lua_hold_late(lua_State *L);
/* core.tell_failures(registry): write failures to standard error in place of the log function. */
int vigia__lua_tell_failures(lua_State *L);

#endif
