/*
 * store_handle.c - the userdata of a store in Lua. What it promises is in store_handle.h.
 */
#include "store_handle.h"

#include <string.h>

#include "../core/error.h"
#include "../store/store.h"
#include "error.h"
#include "lua_state.h"

const struct vigia__lua_class vigia__lua_store_class = {.name = "vigia.Store", .sealed = true};

struct lua_store *vigia__lua_check_handle(lua_State *L, int arg)
{
	return vigia__lua_check(L, arg, &vigia__lua_store_class);
}

struct vigia_store *vigia__lua_check_store(lua_State *L, int arg)
{
	return vigia__lua_check_handle(L, arg)->store;
}

int vigia__lua_closed(struct lua_store *h, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ECLOSED, "store '%s' is closed", h->path);
}

int vigia__lua_fail_closed(lua_State *L, int arg)
{
	struct vigia_error err = {0};
	return vigia__lua_fail(L, vigia__lua_closed(vigia__lua_check_handle(L, arg), &err), &err);
}

int vigia__lua_fail_store(lua_State *L, int rc, struct vigia_error *err)
{
	if (rc == VIGIA_ENOMEM) return luaL_error(L, "not enough memory");
	return vigia__lua_fail(L, rc, err);
}

struct lua_cache *vigia__lua_push_cache(lua_State *L, int idx)
{
	struct lua_cache *cache = vigia__lua_check_handle(L, idx)->cache;
	vigia__lua_push_kept(L, idx, 2);
	return cache;
}

void vigia__lua_push_store(lua_State *L, struct vigia_store *store)
{
	size_t size = strlen(store->path) + 1;
	struct lua_store *h = vigia__lua_new_keeping(L, sizeof *h + size, &vigia__lua_store_class, VIGIA_LUA_STORE_KEEPS);
	memcpy(h->path, store->path, size);
	h->borrowed = true;
	vigia__store_ref(store);
	h->store = store;
}
