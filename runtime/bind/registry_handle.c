/*
 * registry_handle.c - the userdata of a registry in Lua. What it promises is in registry_handle.h.
 */
#include "registry_handle.h"

#include "lua_state.h"

const struct vigia__lua_class vigia__lua_registry_class = {.name = "vigia.Registry"};

bool vigia__lua_push_from(lua_State *L, lua_State *home, int idx)
{
	lua_Debug ar;
	if (lua_status(home) != LUA_OK || lua_getstack(home, 0, &ar) || lua_gettop(home) < idx) {
		lua_pushnil(L);
		return false;
	}
	lua_pushvalue(home, idx);
	lua_xmove(home, L, 1);
	return true;
}

void vigia__lua_push_home(lua_State *L, const struct lua_registry *r)
{
	if (!vigia__lua_push_from(L, r->home, 1)) luaL_error(L, "vigia: the data of the registry was removed");
}

struct lua_registry *vigia__lua_check_registry(lua_State *L, int arg)
{
	struct lua_registry *r = vigia__lua_check(L, arg, &vigia__lua_registry_class);
	luaL_argcheck(L, r->registry != NULL, arg, "the registry is closed");
	return r;
}

struct lua_registry *vigia__lua_check_own_registry(lua_State *L, int arg)
{
	struct lua_registry *r = vigia__lua_check_registry(L, arg);
	luaL_argcheck(L, !r->borrowed, arg, "the registry is not of this Lua state");
	return r;
}

void vigia__lua_registry_push_kept(lua_State *L, int idx)
{
	vigia__lua_check(L, idx, &vigia__lua_registry_class);
	if (vigia__lua_push_kept(L, idx, 1) != LUA_TTABLE) {
		/* GCOVR_EXCL_START: Lua code took it away (debug). */
		luaL_error(L, "vigia: the data of its objects was removed from the Lua registry");
		/* GCOVR_EXCL_STOP */
	}
}

void vigia__lua_registry_push_store(lua_State *L, int idx)
{
	vigia__lua_registry_push_kept(L, idx);
	lua_rawgeti(L, -1, VIGIA_LUA_REGISTRY_STORE);
	lua_replace(L, -2);
}

struct vigia__lua_entered vigia__lua_registry_enter(struct lua_registry *r, lua_State *L)
{
	struct vigia__lua_entered before = {r->L, r->at_once};
	r->L = L;
	r->at_once = false;
	return before;
}

struct vigia__lua_entered vigia__lua_registry_enter_call(struct lua_registry *r, lua_State *L)
{
	struct vigia__lua_entered before = vigia__lua_registry_enter(r, L);
	r->at_once = true;
	return before;
}

void vigia__lua_registry_leave(struct lua_registry *r, struct vigia__lua_entered before)
{
	r->L = before.L;
	r->at_once = before.at_once;
}

/* The table on top is what the registry at idx keeps. [-1, +0, m] */
void vigia__lua_registry_keep(lua_State *L, struct lua_registry *r, int idx)
{
	lua_State *home = lua_newthread(L);
	vigia__lua_keep(L, idx, 2);
	lua_pushvalue(L, -1);
	vigia__lua_hide(L, idx, 1);
	lua_xmove(L, home, 1);
	r->home = home;
}

struct lua_registry *vigia__lua_borrow_registry(lua_State *L, int store_idx, struct vigia_registry *registry)
{
	store_idx = lua_absindex(L, store_idx);
	struct lua_registry *r = vigia__lua_new_keeping(L, sizeof *r, &vigia__lua_registry_class, 2);
	lua_createtable(L, 1, 0);
	lua_pushvalue(L, store_idx);
	lua_rawseti(L, -2, VIGIA_LUA_REGISTRY_STORE);
	vigia__lua_registry_keep(L, r, lua_gettop(L) - 1);
	r->registry = registry;
	r->borrowed = true;
	r->L = L;
	return r;
}
