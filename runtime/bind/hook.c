/*
 * hook.c - waits that a hook ends, and the hook of a coroutine. What it promises is in hook.h.
 */
#include "hook.h"

#include <lauxlib.h>

#include "cap.h"
#include "edit.h"
#include "interrupt.h"
#include "lua_state.h"

static const char function_key; /* registry[&function_key]: a Lua function that does nothing, in some instructions */

static int do_nothing(lua_State *L)
{
	return 0;
}

static struct vigia__hook hook_of(lua_State *co)
{
	return (struct vigia__hook){lua_gethook(co), lua_gethookmask(co), lua_gethookcount(co)};
}

static void set_hook(lua_State *co, const struct vigia__hook *hook)
{
	lua_sethook(co, hook->fn, hook->mask, hook->count);
}

/* Calls are enough for one that waits for calls. Others see instructions and lines of Lua only. [-0, +0, e] */
static void call_something(lua_State *L, int mask)
{
	luaL_checkstack(L, 3, "too many values to run a hook");
	if (mask & LUA_MASKCALL) lua_pushcfunction(L, do_nothing);
	else if (lua_rawgetp(L, LUA_REGISTRYINDEX, &function_key) != LUA_TFUNCTION) {
		lua_pop(L, 1);
		if (luaL_loadbufferx(L, "local a = 1\nlocal b = a", 23, "=vigia", "t") != LUA_OK) lua_error(L);
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &function_key);
	}
	lua_call(L, 0, 0);
}

void vigia__hooks_run(lua_State *L, struct vigia__hooks *hooks)
{
	struct vigia__hook hook = hook_of(hooks->main), own = hook_of(L);
	if (hook.fn == NULL) {
		/* GCOVR_EXCL_START: changed once more, between two looks. */
		hooks->seen = hook;
		return;
		/* GCOVR_EXCL_STOP */
	}
	if (L != hooks->main) {
		set_hook(L, &hook);
		/* It is noticed here, once. In a handler it is noticed twice: what this ends is an event, which is
		 * tried again. */
		if (vigia__lua_shared(L)->handler == NULL) set_hook(hooks->main, &hooks->seen);
	}
	call_something(L, hook.mask);
	if (L != hooks->main && lua_gethook(L) == hook.fn) set_hook(L, &own);
	hooks->seen = hook_of(hooks->main);
}

bool vigia__hooks_changed(void *ctx)
{
	const struct vigia__hooks *hooks = ctx;
	const struct vigia__hook hook = hook_of(hooks->main), *seen = &hooks->seen;
	return hook.fn && (hook.fn != seen->fn || hook.mask != seen->mask || hook.count != seen->count);
}

void vigia__hooks_begin(lua_State *L, struct vigia__hooks *hooks)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
	hooks->main = lua_tothread(L, -1);
	lua_pop(L, 1);
	hooks->watched = vigia__interrupt_fd < 0;
#ifdef __SANITIZE_THREAD__
	hooks->watched =
		true; /* it lets a handler run only when the thread makes a call it knows: waits must end now and then */
#endif
	hooks->seen = hook_of(hooks->main);
	/* A signal that came while we were called: the interpreter had no instruction since. */
	if (hooks->seen.fn && (hooks->seen.mask & LUA_MASKCALL) && L == hooks->main) vigia__hooks_run(L, hooks);
}

/* ---- the hook of a coroutine ---- */

/* In the registry: where debug.sethook keeps its functions, by coroutine (ldblib.c). */
static const char hook_table[] = "_HOOKKEY";

/* A prompt's or a cap's: they come and go with the coroutine that runs. */
static bool is_own_hook(lua_State *co)
{
	return vigia__edit_hooked(co) || vigia__cap_hooked(co);
}

void vigia__hook_inherit(lua_State *L, lua_State *co, struct vigia__hook *own)
{
	*own = hook_of(co);
	if (own->fn == NULL) return;
	bool of_lua = false;
	if (lua_getfield(L, LUA_REGISTRYINDEX, hook_table) == LUA_TTABLE) {
		lua_pushthread(L);
		of_lua = lua_rawget(L, -2) != LUA_TNIL;
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	bool ours = is_own_hook(co);
	if (ours || of_lua) *own = (struct vigia__hook){NULL, 0, 0};
	if (of_lua && !ours) lua_sethook(co, NULL, 0, 0);
}

struct restoring {
	lua_State *co;
	const struct vigia__hook *own;
};

/* Under vigia__lua_protected(). */
static int restore(lua_State *L, void *arg)
{
	struct restoring *r = arg;
	if (lua_getfield(L, LUA_REGISTRYINDEX, hook_table) == LUA_TTABLE) {
		lua_pushthread(r->co);
		lua_xmove(r->co, L, 1);
		lua_pushnil(L);
		lua_rawset(L, -3);
	}
	set_hook(r->co, r->own);
	return 0;
}

void vigia__hook_restore(lua_State *L, lua_State *co, const struct vigia__hook *own)
{
	struct restoring r = {co, own};
	if (lua_gethook(co) != own->fn && !is_own_hook(co)) vigia__lua_protected(L, restore, &r);
}
