/*
 * append.c - appends of coroutines: submit, yield, and go on when the commit is durable.
 */
#include "append.h"

#include "../core/error.h"
#include "../drive/drive.h"
#include "../core/buf.h"
#include "../store/backend.h"
#include "../store/store.h"
#include "coroutine.h"
#include "error.h"
#include "lua_state.h"

enum { AT_ONCE_MAX = 256 }; /* appends of one coroutine that are done at once, until it lets others run */

static const char idle_key; /* of the list of those that can be used again */

enum { IDLE_MAX = 128, KEEP_BYTES = 4096 };

static void free_append(lua_State *L, void *object)
{
	struct lua_append *append = object;
	/* A dropped coroutine does not idle_or_new its event back: the committing thread still reads the bytes. */
	vigia__store_await(&append->pending);
	vigia__store_settle(&append->pending);
	vigia__buf_deinit(&append->events);
	vigia__buf_deinit(&append->ends);
}

static const struct vigia__lua_class append_class = {.name = "vigia.append", .free = free_append};

void vigia__lua_append_init(lua_State *L)
{
	lua_createtable(L, IDLE_MAX, 0);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &idle_key);
}

/* It is on the stack at idx, and nothing is under way in it any more. A new one for each append would cost more than
 * the append does. */
static void keep_append(lua_State *L, struct lua_append *append, int idx)
{
	struct vigia__lua *shared = append->shared;
	vigia__buf_clear(&append->events, KEEP_BYTES);
	vigia__buf_clear(&append->ends, KEEP_BYTES);
	if (shared->idle_appends == IDLE_MAX) return;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &idle_key);
	lua_pushvalue(L, idx);
	lua_rawseti(L, -2, ++shared->idle_appends);
	lua_pop(L, 1);
}

/* [-0, +1, m] */
static struct lua_append *idle_or_new(lua_State *L, struct vigia__lua *shared)
{
	struct lua_append *append;
	if (shared->idle_appends > 0) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, &idle_key);
		lua_rawgeti(L, -1, shared->idle_appends);
		lua_pushnil(L); /* a dropped coroutine takes it along, and its __gc waits for the commit */
		lua_rawseti(L, -3, shared->idle_appends--);
		lua_remove(L, -2);
		append = vigia__lua_check(L, -1, &append_class);
		vigia__error_clear(&append->pending.err);
	} else append = vigia__lua_new(L, sizeof *append, &append_class);
	append->shared = shared;
	return append;
}

bool vigia__lua_append_may_wait(lua_State *L, const struct vigia__lua *shared, const struct vigia_store *store)
{
	if (shared->worker) return false; /* alone on its thread: no other coroutine waits */
	const struct lua_handler *running = shared->handler;
	/* Another store's commits do not wake this registry: it looks now and then where they wait for a server. With a
	 * clock that is moved by hand, what a step does must not hang on another thread. */
	return vigia__lua_may_suspend(L, running) && (store->backend->waits || vigia__lua_woken_by(running, store)) &&
	       running->owner->registry->clock == NULL;
}

int vigia__lua_suspend_pending(lua_State *L, const struct vigia_store *store, lua_KContext ctx, lua_KFunction k)
{
	enum { FOREIGN_LOOK_NS = 2000000 };
	struct lua_handler *running = vigia__lua_running(L);
	int64_t until = vigia__lua_woken_by(running, store) ? INT64_MAX : vigia__lua_now(running) + FOREIGN_LOOK_NS;
	return vigia__lua_suspend(L, running, until, true, ctx, k);
}

struct lua_append *vigia__lua_append_begin(lua_State *L, struct vigia__lua *shared, const struct vigia_store *store)
{
	return vigia__lua_append_may_wait(L, shared, store) ? idle_or_new(L, shared) : NULL;
}

int vigia__lua_push_stored(lua_State *L, const struct vigia__append *request)
{
	if (request->queued) return vigia__lua_boolean(L, true);
	bool list = request->ends != NULL;
	lua_pushinteger(L, (lua_Integer)request->first_seq);
	if (list) lua_pushinteger(L, (lua_Integer)request->last_seq);
	if (request->existed) lua_pushboolean(L, 1);
	return 1 + list + request->existed;
}

static int settled(lua_State *L, struct lua_append *append, int idx)
{
	struct vigia__append request = append->pending.request;
	int rc = vigia__store_settle(&append->pending);
	if (rc < 0) {
		struct vigia_error err = append->pending.err;
		keep_append(L, append, idx);
		return vigia__lua_fail(L, rc, &err);
	}
	keep_append(L, append, idx);
	return vigia__lua_push_stored(L, &request);
}

/* Woken for whatever reason: durable by now? A stop does not end the wait: what was submitted will be stored. */
static int look_at_append(lua_State *L, int status, lua_KContext where)
{
	struct lua_append *append = vigia__lua_check(L, (int)where, &append_class);
	if (atomic_load(&append->pending.done)) return settled(L, append, (int)where);
	return vigia__lua_suspend_pending(L, append->pending.store, where, look_at_append);
}

int vigia__lua_append_wait(lua_State *L, struct lua_append *append, struct vigia_store *store,
                           const struct vigia__append *request)
{
	struct vigia_error err;
	vigia__error_clear(&err);
	vigia__registry_listen_anything(append->shared->handler->owner->registry);
	append->pending.request = *request;
	int rc = vigia__store_submit(store, &append->pending, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	/* In memory, and in the queue of durability "interval", nothing is waited for: a loop of appends must let others
	 * run all the same. */
	struct lua_handler *running = append->shared->handler;
	if (atomic_load(&append->pending.done) && ++running->appends_at_once >= AT_ONCE_MAX)
		return vigia__lua_suspend(L, running, vigia__lua_now(running), false, lua_gettop(L), look_at_append);
	return look_at_append(L, LUA_OK, lua_gettop(L));
}
