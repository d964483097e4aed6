/*
 * program.h - programs that a script starts on a thread of ours: os.execute and io.popen, with the application's signal
 * mask.
 */
#ifndef VIGIA_BIND_PROGRAM_H
#define VIGIA_BIND_PROGRAM_H

#include <lua.h>

/* Put them in the place of the standard ones, in a state whose libraries are open. [-0, +0, m] */
void vigia__lua_open_programs(lua_State *L);

#endif
