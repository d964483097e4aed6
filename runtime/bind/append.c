/*
 * append.c - appends of coroutines: submit, yield, and go on when the commit is durable.
 */
#include "append.h"

#include "../drive/drive.h"
#include "registry.h"

static const char append_key;

static int append_gc(lua_State *L)
{
	struct lua_append *append = lua_touserdata(L, 1);
	/* A dropped coroutine does not take its event back: the committing thread still reads the bytes. */
	vigia__store_await(&append->pending);
	vigia__store_settle(&append->pending);
	vigia__buf_deinit(&append->events);
	vigia__buf_deinit(&append->ends);
	return 0;
}

void vigia__lua_append_init(lua_State *L)
{
	static const luaL_Reg metamethods[] = {{"__gc", append_gc}, {NULL, NULL}};
	vigia__lua_class(L, "vigia.append", &append_key, metamethods, NULL);
	lua_pop(L, 1);
}

struct lua_append *vigia__lua_append_begin(lua_State *L, const struct vigia_store *store)
{
	if (vigia__lua_shared(L)->worker) return NULL; /* alone on its thread: it holds up nobody */
	struct lua_handler *running = vigia__lua_running(L);
	/* Another store's commits do not wake this registry. */
	if (!vigia__lua_may_suspend(L, running) || !vigia__lua_hears(running, store)) return NULL;
	if (running->owner->registry->clock) return NULL; /* moved by hand: what a step does must not hang on another thread */
	return vigia__lua_new(L, sizeof(struct lua_append), &append_key);
}

int vigia__lua_queued(lua_State *L)
{
	lua_pushboolean(L, 1);
	return 1;
}

static int settled(lua_State *L, struct lua_append *append)
{
	struct vigia_error err = append->pending.err;
	uint64_t first = append->pending.request.first_seq, last = append->pending.request.last_seq;
	bool list = append->pending.request.ends != NULL, existed = append->pending.request.existed;
	bool queued = append->pending.request.queued;
	int rc = vigia__store_settle(&append->pending);
	vigia__buf_deinit(&append->events);
	vigia__buf_deinit(&append->ends);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	if (queued) return vigia__lua_queued(L);
	lua_pushinteger(L, (lua_Integer)first);
	if (list) lua_pushinteger(L, (lua_Integer)last);
	if (existed) lua_pushboolean(L, 1);
	return 1 + list + existed;
}

/* Woken for whatever reason: durable by now? A stop does not end the wait: what was submitted will be stored. */
static int look_again(lua_State *L, int status, lua_KContext where)
{
	(void)status;
	struct lua_append *append = lua_touserdata(L, (int)where);
	if (atomic_load(&append->pending.done)) return settled(L, append);
	return vigia__lua_suspend(L, vigia__lua_running(L), INT64_MAX, true, where, look_again);
}

int vigia__lua_append_wait(lua_State *L, struct lua_append *append, struct vigia_store *store, const struct vigia__append *request)
{
	struct vigia_error err = {0};
	vigia__lua_listen_anything(vigia__lua_running(L));
	append->pending.request = *request;
	int rc = vigia__store_submit(store, &append->pending, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	return look_again(L, LUA_OK, lua_gettop(L));
}
