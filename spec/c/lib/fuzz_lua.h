/*
 * fuzz_lua.h - a Lua state with the module, for fuzz drivers of what speaks Lua. What it may allocate is bounded: an
 * input that asks for more memory meets an error of Lua's, which is one of its right answers.
 */
#ifndef VIGIA_SPEC_FUZZ_LUA_H
#define VIGIA_SPEC_FUZZ_LUA_H

#include <lauxlib.h>
#include <lualib.h>

#include "bind/module.h"
#include "fuzz.h"

enum { FUZZ_LUA_MEMORY = 256 << 20 };

static size_t fuzz_lua_used;

static inline void *fuzz_lua_alloc(void *ud, void *block, size_t old, size_t size)
{
	if (!block) old = 0;
	if (size > old && fuzz_lua_used + (size - old) > FUZZ_LUA_MEMORY) return NULL;
	void *moved = size ? realloc(block, size) : (free(block), NULL);
	if (moved || !size) fuzz_lua_used += size - old;
	return moved;
}

/* Run `chunk` with the arguments on the stack, and leave so many results there. A failure is one of the driver's
 * own. */
static inline void fuzz_lua_do(lua_State *L, const char *chunk, int args, int results)
{
	if (luaL_loadbufferx(L, chunk, strlen(chunk), "=fuzz", "t") != LUA_OK)
		fprintf(stderr, "%s\n", lua_tostring(L, -1)), abort();
	lua_insert(L, -args - 1);
	if (lua_pcall(L, args, results, 0) != LUA_OK) fprintf(stderr, "%s\n", lua_tostring(L, -1)), abort();
}

static inline lua_State *fuzz_lua_new(void)
{
	lua_State *L = lua_newstate(fuzz_lua_alloc, NULL);
	fuzz_assert(L);
	luaL_openlibs(L);
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, luaopen_vigia_core);
	lua_setfield(L, -2, "vigia.core");
	lua_settop(L, 0);
	fuzz_lua_do(L, "package.path, package.cpath = '" FUZZ_LUA_DIR "/?.lua;" FUZZ_LUA_DIR "/?/init.lua', ''", 0, 0);
	return L;
}

/* The state that all inputs share. */
static inline lua_State *fuzz_lua(void)
{
	static lua_State *L;
	if (!L) L = fuzz_lua_new();
	lua_settop(L, 0);
	return L;
}

#endif
