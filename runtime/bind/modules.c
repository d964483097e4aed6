/*
 * modules.c - our own Lua modules, compiled once per process. What it promises is in modules.h.
 */
#include "modules.h"

#include <lauxlib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/buf.h"

/* A program has one package.path as a rule. With more of them than this the modules of the others are compiled
 * each time. */
enum { KEPT_MAX = 16 };

/* Is never changed or freed once it is in the list. */
struct kept {
	struct kept *next;
	const char *name, *path; /* the module's, and package.path when it was looked for */
	const char *file;        /* where it was found */
	struct vigia__buf code;
};

static struct kept *_Atomic first; /* pushed to only, so that a fork finds it whole */
static atomic_int count;

/* Is it a module of lua/vigia/? */
static bool is_of_vigia(const char *name)
{
	return strncmp(name, "vigia.", 6) == 0;
}

static const struct kept *find_module(const char *name, const char *path)
{
	const struct kept *kept = atomic_load(&first);
	while (kept && (strcmp(kept->name, name) != 0 || strcmp(kept->path, path) != 0)) kept = kept->next;
	return kept;
}

/* GCOVR_EXCL_START: want of memory. */
static void free_kept(struct kept *kept)
{
	vigia__free((char *)kept->name);
	vigia__free((char *)kept->path);
	vigia__free((char *)kept->file);
	vigia__buf_deinit(&kept->code);
	vigia__free(kept);
}
/* GCOVR_EXCL_STOP */

static int add_piece(lua_State *L, const void *piece, size_t size, void *buf)
{
	return vigia__buf_add(buf, piece, size);
}

/* The function on top was loaded from this file. Without memory nothing is kept. Two threads may keep_module the same.
 * [-0, +0, -] */
static void keep_module(lua_State *L, const char *name, const char *path, const char *file)
{
	if (atomic_fetch_add(&count, 1) >= KEPT_MAX) {
		atomic_fetch_sub(&count, 1);
		return;
	}
	struct kept *kept = vigia__calloc(sizeof *kept);
	if (kept) {
		kept->name = vigia__strdup(name);
		kept->path = vigia__strdup(path);
		kept->file = vigia__strdup(file);
		if (kept->name && kept->path && kept->file && lua_dump(L, add_piece, &kept->code, 0) == 0) {
			kept->next = atomic_load(&first);
			while (!atomic_compare_exchange_weak(&first, &kept->next, kept))
				;
			return;
		}
		free_kept(kept); /* GCOVR_EXCL_LINE: want of memory. */
	}
	atomic_fetch_sub(&count, 1); /* GCOVR_EXCL_LINE: want of memory. */
}

/* package.searchers[2] of a state that no script's code has seen. Upvalue 1: Lua's own, 2: the table package. */
static int search_module(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	lua_settop(L, 1);
	lua_getfield(L, lua_upvalueindex(2), "path"); /* 2 */
	const char *path = lua_tostring(L, 2);
	const struct kept *kept = path && is_of_vigia(name) ? find_module(name, path) : NULL;
	/* The name is that of errors only. The function has the one it was compiled with. */
	if (kept && luaL_loadbufferx(L, (const char *)kept->code.data, kept->code.len, kept->name, "b") == LUA_OK) {
		lua_pushstring(L, kept->file);
		return 2;
	}
	lua_settop(L, 2);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, 1);
	lua_call(L, 1, 2); /* 3: the function, or where it looked. 4: the file */
	if (path && kept == NULL && is_of_vigia(name) && lua_isfunction(L, 3) && lua_type(L, 4) == LUA_TSTRING) {
		lua_pushvalue(L, 3);
		keep_module(L, name, path, lua_tostring(L, 4));
		lua_pop(L, 1);
	}
	return 2;
}

void vigia__modules_install(lua_State *L)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "searchers");
	lua_rawgeti(L, -1, 2);
	lua_pushvalue(L, -3);
	lua_pushcclosure(L, search_module, 2);
	lua_rawseti(L, -2, 2);
	lua_pop(L, 2);
}
