/*
 * signal.h - the class vigia.Signal.
 */
#ifndef VIGIA_BIND_SIGNAL_H
#define VIGIA_BIND_SIGNAL_H

#include <lua.h>

int vigia__lua_signal(lua_State *L); /* vigia.signal() */

#endif
