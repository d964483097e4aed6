/*
 * timer.h - store:schedule, store:unschedule and store:scheduled.
 */
#ifndef VIGIA_BIND_TIMER_H
#define VIGIA_BIND_TIMER_H

#include <lua.h>

int vigia__lua_store_schedule(lua_State *L);
int vigia__lua_store_unschedule(lua_State *L);
int vigia__lua_store_scheduled(lua_State *L);

#endif
