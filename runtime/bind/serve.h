/*
 * serve.h - the module vigia.server, which only the program has: `vigia serve`.
 */
#ifndef VIGIA_BIND_SERVE_H
#define VIGIA_BIND_SERVE_H

#include <lua.h>

/* `require "vigia.server"` is the function serve(store, options, started) -> true | nil, err. It returns when the
 * program is told to end. started(url) is called once it listens. [-0, +0, m] */
void vigia__lua_preload_server(lua_State *L);

#endif
