/*
 * task.c - functions that a registry runs in coroutines beside its watchers.
 */
#include "task.h"

#include "../core/error.h"
#include "../drive/drive.h"
#include "coroutine.h"
#include "handler.h"
#include "lua_state.h"
#include "registry_handle.h"

/* What a task's function returned. A function is as good as anything else. */
static int finish_task(lua_State *L, int status, lua_KContext ctx)
{
	if (lua_type(L, 1) == LUA_TNIL || lua_type(L, 1) == LUA_TBOOLEAN) return vigia__lua_finish(L, LUA_OK, 0);
	return 0;
}

/* A task's coroutine. Upvalue 1: its userdata, 2: the function. */
static int run_task(lua_State *L)
{
	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(2));
	lua_callk(L, 0, LUA_MULTRET, 0, finish_task);
	return finish_task(L, LUA_OK, 0);
}

int vigia__lua_task_forget(lua_State *L, void *arg)
{
	struct lua_handler *h = arg;
	if (!vigia__lua_push_from(L, h->owner->home, 1)) return 0;
	lua_pushnil(L);
	lua_rawsetp(L, -2, h);
	return 0;
}

/* Under vigia__lua_protected(). */
static int push_task_function(lua_State *L, void *arg)
{
	struct lua_handler *h = arg;
	vigia__lua_push_coroutine(L, h);
	vigia__lua_push_kept(L, -1, VIGIA_LUA_KEEPS_FUNCTION);
	lua_pushcclosure(L, run_task, 2);
	lua_xmove(L, h->co, 1);
	return 0;
}

bool vigia__lua_task_waits(struct lua_handler *h, bool ends, int64_t *resume_mono_ns)
{
	if (!h->suspended || vigia__lua_wait_is_over(h, ends)) return false;
	*resume_mono_ns = h->until_mono_ns;
	return true;
}

static int resume_task(void *ctx, bool stopping, int64_t *resume_mono_ns)
{
	struct lua_handler *h = ctx;
	struct vigia_error err;
	vigia__error_clear(&err);
	h->stopping = stopping;
	if (vigia__lua_task_waits(h, stopping, resume_mono_ns)) return VIGIA_PENDING;
	int rc = VIGIA_ENOMEM;
	if (h->suspended || (vigia__lua_coroutine_ready(h) && vigia__lua_protected(h->owner->L, push_task_function, h)))
		rc = vigia__lua_handler_continue(h, resume_mono_ns, &err);
	if (rc != VIGIA_PENDING) vigia__lua_protected(h->owner->L, vigia__lua_task_forget, h);
	return rc;
}

int vigia__lua_task_new(lua_State *L, int registry_idx, int fn_idx, struct vigia_error *err)
{
	int top = lua_gettop(L);
	registry_idx = lua_absindex(L, registry_idx);
	fn_idx = lua_absindex(L, fn_idx);
	lua_pushnil(L);
	struct lua_handler *h = vigia__lua_coroutine_new(L, registry_idx, fn_idx, top + 1, VIGIA_LUA_KEEPS_TASK);
	h->task = true;
	vigia__lua_registry_push_kept(L, registry_idx); /* kept alive until it ends */
	lua_insert(L, -2);
	lua_rawsetp(L, -2, h);
	/* A finalizer may have closed it since. From here on nothing allocates. */
	vigia__lua_check_registry(L, registry_idx);
	int rc = vigia__registry_spawn(h->owner->registry, resume_task, h, 0, err);
	if (rc < 0) {
		lua_pushnil(L);
		lua_rawsetp(L, -2, h);
	}
	lua_settop(L, top);
	return rc;
}
