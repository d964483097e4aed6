/*
 * verify.h - looking for damage, for the command line.
 */
#ifndef VIGIA_BIND_VERIFY_H
#define VIGIA_BIND_VERIFY_H

#include <lua.h>

/* core.verify(path [, from, upto, piece]) -> iterator of (what, number, number, number, text [, code]), nil, nil, to
 * close | nil, err */
int vigia__lua_verify(lua_State *L);

#endif
