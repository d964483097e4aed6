/*
 * handler.c - a Lua function as a vigia_handler: it runs in a coroutine of the registry's, so that it can wait without
 * holding up others.
 *
 * The coroutine is kept from event to event. Handling an event pushes the C closure `run`, with the function and the
 * context as upvalues, and resumes; between two events the stack is empty, so other code sees a dead coroutine. C may
 * start a finished one again, Lua cannot. After an error or a forbidden yield it is closed, and a new one is made.
 *
 * Handlers can get at their coroutine (coroutine.running), so nothing here takes for granted who resumes or closes it.
 * All waits go on in one continuation, `continued`. Where the resume is not ours it changes nothing: it yields false
 * and a message to the caller. A coroutine that was closed while it waited is a failure of its event.
 *
 * The closure, and the handler's own userdata, are on the stack of `home`, a thread that never runs. A weak table would
 * not do: the collector clears it before it calls the finalizers, and one of those may drive a registry for the last
 * time. No Lua error leaves this file on the C side: whatever may raise runs inside the coroutine or under
 * vigia__lua_protected().
 */
#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../drive/worker.h"
#include "../drive/clock.h"
#include "cache.h"
#include "cap.h"
#include "decode.h"
#include "edit.h"
#include "error.h"
#include "interrupt.h"
#include "lua_state.h"
#include "registry.h"

/* What the handler's userdata keeps; a task's, the first ones. */
enum {
	UV_REGISTRY = 1,
	UV_FUNCTION,
	UV_ON_ERROR,
	UV_COROUTINE,
	UV_AWAITS,
	UV_TASK_COUNT = UV_AWAITS,
	UV_CONTEXT,
	UV_WATCHER,
	UV_WHERE,
	UV_CACHE,
	UV_ERROR,
	UV_HOME,
	UV_COUNT = UV_HOME
};
/* What is on the stack of a handler's home. */
enum { HOME_SELF = 1, HOME_RUN };

static const char class_key;
static const char hook_table[] =
	"_HOOKKEY"; /* in the registry: where debug.sethook keeps its functions, by coroutine (ldblib.c) */

static struct lua_handler *check(lua_State *L, int idx)
{
	struct lua_handler *h = vigia__lua_test(L, idx, &class_key);
	if (h == NULL) luaL_error(L, "vigia: the handler of this function was replaced");
	return h;
}

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

/* Its userdata. A task has no home: its registry keeps it until it ends. [-0, +1, v] */
static void push_self(lua_State *L, struct lua_handler *h)
{
	if (h->home) {
		vigia__lua_push_from(L, h->home, HOME_SELF);
	} else if (vigia__lua_push_from(L, h->owner->home, 1)) {
		lua_rawgetp(L, -1, h);
		lua_replace(L, -2);
	}
	if (check(L, -1) != h) luaL_error(L, "vigia: the handler of this function was replaced");
}

void vigia__lua_push_task(lua_State *L, struct lua_handler *task)
{
	push_self(L, task);
}

/* ---- the context: what a handler is told beside the event ---- */

/* Upvalue 1: the handler's userdata. attempt and stopping are looked up when asked for, so that an event costs nothing
 * for them. */
static int context_index(lua_State *L)
{
	struct lua_handler *h = check(L, lua_upvalueindex(1));
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
	if (strcmp(key, "attempt") == 0) lua_pushinteger(L, (lua_Integer)h->attempt);
	else if (strcmp(key, "stopping") == 0) lua_pushboolean(L, vigia__lua_stopping(h));
	else if (strcmp(key, "watcher") == 0) vigia__lua_push_kept(L, lua_upvalueindex(1), UV_WATCHER);
	else if (strcmp(key, "store") == 0) {
		vigia__lua_push_kept(L, lua_upvalueindex(1), UV_REGISTRY);
		vigia__lua_registry_push_store(L, -1);
	} else lua_pushnil(L);
	return 1;
}

/* [-0, +1, m] */
static void push_new_context(lua_State *L, int handler_idx)
{
	lua_newtable(L);
	lua_createtable(L, 0, 1);
	lua_pushvalue(L, handler_idx);
	lua_pushcclosure(L, context_index, 1);
	lua_setfield(L, -2, "__index");
	lua_pushliteral(L, "vigia.Context");
	lua_setfield(L, -2, "__name");
	lua_setmetatable(L, -2);
}

/* ---- the coroutine ---- */

/* Is what a handler returned, from `first` on, a failure? Then the error value is on top. [-0, +0|1, m] */
static bool refuses(lua_State *L, int first)
{
	int type = lua_type(L, first);
	if (type == LUA_TFUNCTION || type == LUA_TTHREAD) {
		lua_pushfstring(L, "the handler returned a %s, which is not run: do the work before it returns",
		                lua_typename(L, type));
		return true;
	}
	if (lua_gettop(L) <= first || lua_toboolean(L, first) || lua_isnil(L, first + 1)) return false;
	lua_pushvalue(L, first + 1);
	return true;
}

int vigia__lua_outcome(lua_State *L)
{
	bool failed = refuses(L, 1);
	lua_pushboolean(L, !failed);
	if (!failed) return 1;
	lua_insert(L, -2);
	return 2;
}

/* What the handler returned is on the stack from 1 on. */
static int finish(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	return refuses(L, 1) ? lua_error(L) : 0;
}

/* What a task's function returned; a function is as good as anything else. */
static int finish_task(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	if (lua_type(L, 1) == LUA_TNIL || lua_type(L, 1) == LUA_TBOOLEAN) return finish(L, LUA_OK, 0);
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

/* The predicate's answer is on top of the function and the event. */
static int looked_at(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	struct lua_handler *h = check(L, lua_upvalueindex(1));
	h->dropped = !lua_toboolean(L, 3);
	if (h->dropped) return 0;
	lua_settop(L, 2);
	lua_pushvalue(L, lua_upvalueindex(3));
	lua_callk(L, 2, LUA_MULTRET, 0, finish);
	return finish(L, LUA_OK, 0);
}

/* Push the event in hand, or answer false with h->decode_error. Upvalue 1: the handler's userdata, 4: the cache's
 * table. [-0, +1, m] */
static bool push_event(lua_State *L, struct lua_handler *h)
{
	int top = lua_gettop(L), store_at = 0, cache_at = 0;
	uint64_t seq_num = h->event->seq_num;
	if (h->cache) {
		lua_Integer at = vigia__lua_cache_use(h->cache, seq_num);
		if (at > 0 && lua_istable(L, lua_upvalueindex(4))) {
			lua_rawgeti(L, lua_upvalueindex(4), at);
			return true;
		}
		vigia__lua_push_kept(L, lua_upvalueindex(1), UV_CACHE);
		cache_at = lua_gettop(L);
	}
	if (h->event->serializer.len > 0) { /* that may take the store's functions */
		vigia__lua_push_kept(L, lua_upvalueindex(1), UV_REGISTRY);
		vigia__lua_registry_push_store(L, -1);
		store_at = lua_gettop(L);
	}
	if (vigia__lua_push_checked_event(L, store_at, h->event, &h->decode_error) < 0) return false;
	if (h->cache) vigia__lua_cache_put(L, cache_at, h->cache, seq_num);
	if (store_at || cache_at) {
		lua_replace(L, top + 1);
		lua_settop(L, top + 1);
	}
	return true;
}

/* Upvalues: the handler's userdata, the function, the context, the cache's table. Lua code finds this function on its
 * stack: it runs once for each time that handle() says so. */
static int run(lua_State *L)
{
	struct lua_handler *h = check(L, lua_upvalueindex(1));
	if (!h->begins || h->co != L) return luaL_error(L, "this function is vigia's own: nobody else can call it");
	h->begins = false;
	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(2));
	if (!push_event(L, h)) return 0;
	if (h->has_where) {
		vigia__lua_push_kept(L, lua_upvalueindex(1), UV_WHERE);
		lua_pushvalue(L, 2);
		lua_callk(L, 1, 1, 0, looked_at);
		return looked_at(L, LUA_OK, 0);
	}
	lua_pushvalue(L, lua_upvalueindex(3));
	lua_callk(L, 2, LUA_MULTRET, 0, finish);
	return finish(L, LUA_OK, 0);
}

/* ---- hooks ---- */

/* A prompt's or a cap's: they come and go with the coroutine that runs. */
static bool hook_is_ours(lua_State *co)
{
	return vigia__edit_hooked(co) || vigia__cap_hooked(co);
}

/* Take away the function that debug.sethook was given for the coroutine. [-0, +0, m] */
static void forget_hook_function(lua_State *L, lua_State *co)
{
	if (lua_getfield(L, LUA_REGISTRYINDEX, hook_table) == LUA_TTABLE) {
		lua_pushthread(co);
		lua_xmove(co, L, 1);
		lua_pushnil(L);
		lua_rawset(L, -3);
	}
	lua_pop(L, 1);
}

/* A new coroutine inherits the hook of who makes it. A profiler's, in C, stays; one of debug.sethook knows only its own
 * coroutine. */
static void inherit_hook(lua_State *L, struct lua_handler *h)
{
	h->hook = lua_gethook(h->co);
	if (h->hook == NULL) return;
	bool of_lua = false;
	if (lua_getfield(L, LUA_REGISTRYINDEX, hook_table) == LUA_TTABLE) {
		lua_pushthread(L);
		of_lua = lua_rawget(L, -2) != LUA_TNIL;
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	h->hook_mask = lua_gethookmask(h->co);
	h->hook_count = lua_gethookcount(h->co);
	bool ours = hook_is_ours(h->co);
	if (ours || of_lua) h->hook = NULL;
	if (of_lua && !ours) lua_sethook(h->co, NULL, 0, 0);
}

/* Under vigia__lua_protected(). */
static int restore_hook(lua_State *L, void *arg)
{
	struct lua_handler *h = arg;
	forget_hook_function(L, h->co);
	lua_sethook(h->co, h->hook, h->hook ? h->hook_mask : 0, h->hook ? h->hook_count : 0);
	return 0;
}

/* A hook that an event left behind, or that somebody else set meanwhile, is not for the next event. */
static void drop_hook(lua_State *L, struct lua_handler *h)
{
	if (lua_gethook(h->co) != h->hook && !hook_is_ours(h->co)) vigia__lua_protected(L, restore_hook, h);
}

void vigia__lua_drop_hook(lua_State *L, struct lua_handler *handler)
{
	if (handler->co == L) drop_hook(L, handler);
}

/* ---- a coroutine that is ready to run ---- */

/* Under vigia__lua_protected(): a new coroutine for the handler. */
static int renew(lua_State *L, void *arg)
{
	struct lua_handler *h = arg;
	push_self(L, h);
	lua_State *co = lua_newthread(L); /* 2 */
	lua_pushvalue(L, 1);
	vigia__lua_keep_by(L, 2); /* others may resume it when nothing else keeps the handler */
	vigia__lua_keep(L, 1, UV_COROUTINE);
	h->co = co;
	inherit_hook(L, h);
	return 0;
}

/* Close the coroutine: its to-be-closed variables run. */
static void close_coroutine(struct lua_handler *h)
{
	lua_State *co = h->co;
	h->co = NULL;
	h->awaits = NULL;
	h->suspended = false;
	if (co == NULL) return;
	lua_State *before = vigia__cap_switch(vigia__cap_here(), co);
	lua_resetthread(co);
	vigia__cap_switch(vigia__cap_here(), before);
}

/* A coroutine with nothing on its stack. False: no memory. */
static bool ready(struct lua_handler *h)
{
	if (h->suspended) close_coroutine(h); /* a wait that was given up */
	if (h->co == NULL && !vigia__lua_protected(h->owner->L, renew, h)) return false;
	drop_hook(h->owner->L, h);
	return lua_checkstack(h->co, 4);
}

/* ---- failures ---- */

static int to_text(lua_State *L)
{
	luaL_tolstring(L, 1, NULL);
	return 1;
}

/* The text of the value at idx; one whose __tostring fails is named by its type. [-0, +1, m] */
static void push_text(lua_State *L, int idx)
{
	idx = lua_absindex(L, idx);
	lua_pushcfunction(L, to_text);
	lua_pushvalue(L, idx);
	if (lua_pcall(L, 1, 1, 0) == LUA_OK) return;
	lua_pop(L, 1);
	lua_pushfstring(L, "(an error object: %s whose __tostring fails)", luaL_typename(L, idx));
}

/* What was raised, at 2, says where by itself: it comes out of an isolated script's program. [-0, +1, m] or
 * [-0, +0, m] */
static bool push_own_place(lua_State *L)
{
	int type = luaL_getmetafield(L, 2, "__vigia_place");
	if (type == LUA_TSTRING) return true;
	if (type != LUA_TNIL) lua_pop(L, 1);
	return false;
}

/* For the log: where the handler failed, or, where nothing of Lua is on its stack any more, where it is. Its userdata
 * is at 1. [-0, +1, m] */
static void push_place(lua_State *L, const struct lua_handler *h, bool raised)
{
	lua_Debug ar;
	bool lua = false;
	if (raised && push_own_place(L)) {
		luaL_gsub(L, lua_tostring(L, -1), "\n\t", " ");
		lua_replace(L, -2);
		return;
	}
	for (int level = 0; raised && !lua && lua_getstack(h->co, level, &ar); level++)
		lua = lua_getinfo(h->co, "S", &ar) && *ar.what != 'C';
	if (lua) {
		luaL_traceback(L, h->co, NULL, 0);
		luaL_gsub(L, lua_tostring(L, -1), "\n\t", " "); /* a record is a line */
		lua_replace(L, -2);
		return;
	}
	bool known = vigia__lua_push_kept(L, 1, UV_FUNCTION) == LUA_TFUNCTION;
	if (known) lua_getinfo(L, ">S", &ar);
	if (!known || *ar.what == 'C') lua_pushliteral(L, "in a function of C");
	else lua_pushfstring(L, "in the function at %s:%d", ar.short_src, ar.linedefined);
}

/* Is the value at 2 what a wait fails with when the watcher, the store or the program comes to its end? Whatever fails
 * after a Ctrl-C is taken for that. [-0, +0, m] */
static bool is_end(lua_State *L)
{
	if (atomic_load(&vigia__interrupted)) return true;
	if (!vigia__lua_is_error(L, 2)) return false;
	lua_pushliteral(L, "code");
	lua_rawget(L, 2);
	const char *code = lua_tostring(L, -1);
	bool end = code &&
	           (strcmp(code, "stopping") == 0 || strcmp(code, "interrupted") == 0 || strcmp(code, "store_closed") == 0);
	lua_pop(L, 1);
	return end;
}

/* Keep it for what the driver logs; without memory it is not said. */
static void note_place(lua_State *L, const struct lua_handler *h, bool raised)
{
	struct vigia_registry *registry = h->owner->registry;
	registry->failed_at_end = is_end(L);
	push_place(L, h, raised);
	vigia__free(registry->trace);
	registry->trace = vigia__strdup(lua_tostring(L, -1));
	lua_pop(L, 1);
}

struct failure {
	struct lua_handler *h;
	const struct vigia_error *known; /* the event could not be decoded: no error value of the handler's */
	const char *own_text;            /* not raised by the handler */
	struct vigia_error *err;         /* out */
	bool raised;                     /* the value is on top of the coroutine's stack */
};

/* Under vigia__lua_protected(): make the vigia.Error, keep it for the stats, tell on_error. */
static int report(lua_State *L, void *arg)
{
	struct failure *f = arg;
	struct lua_handler *h = f->h;
	push_self(L, h);            /* 1: the handler */
	if (h->cache && !h->task) { /* the next attempt sees what is stored, not what this one made of it */
		vigia__lua_push_kept(L, 1, UV_CACHE);
		vigia__lua_cache_drop(L, 2, h->cache, vigia__watcher_seq_num(h->watcher));
		lua_settop(L, 1);
	}
	if (f->raised) {
		lua_xmove(h->co, L, 1); /* 2: what was raised */
		push_text(L, 2);        /* 3: its text */
	} else {
		lua_pushnil(L);
		lua_pushstring(L, f->own_text);
	}
	const char *text = lua_tostring(L, 3);
	if (f->known == NULL) vigia__error(f->err, VIGIA_EHANDLER, "%s", text);
	if (h->task) {
		push_place(L, h, f->raised);
		text = lua_pushfstring(L, "%s %s", text, lua_tostring(L, -1));
		vigia__lua_push_kept(L, 1, UV_ON_ERROR);
		if (!lua_isnil(L, -1)) {
			lua_pushstring(L, text);
			lua_pushboolean(L, is_end(L));
			if (lua_pcall(L, 2, 0, 0) == LUA_OK) return 0;
			push_text(L, -1);
			text = lua_tostring(L, -1);
		}
		struct vigia_registry *registry = h->owner->registry;
		if (is_end(L)) vigia__log(registry, VIGIA_LOG_ERROR, "a task failed: %s", text);
		else vigia__log_failure(registry, &registry->limit, VIGIA_LOG_ERROR, "a task failed: %s", text);
		return 0;
	}
	snprintf(f->err->watcher_id, sizeof f->err->watcher_id, "%s", vigia_watcher_id(h->watcher));
	f->err->seq_num = vigia__watcher_seq_num(h->watcher);
	vigia__lua_push_error(L, f->err); /* 4 */
	if (f->known == NULL) {
		lua_pushvalue(L, 3); /* in full: the C struct has bounds */
		lua_setfield(L, 4, "message");
		lua_pushvalue(L, 2);
		lua_setfield(L, 4, "cause");
		if (f->raised) {
			if (!push_own_place(L)) luaL_traceback(L, h->co, NULL, 0);
			lua_setfield(L, 4, "traceback");
		}
		note_place(L, h, f->raised);
	}
	lua_pushvalue(L, 4);
	vigia__lua_keep(L, 1, UV_ERROR);
	vigia__lua_push_kept(L, 1, UV_ON_ERROR); /* 5 */
	if (lua_isnil(L, 5)) return 0;
	lua_pushvalue(L, 4);
	struct vigia_event event;
	struct vigia_error ignored = {0};
	vigia__lua_push_kept(L, 1, UV_REGISTRY); /* 7 */
	vigia__lua_registry_push_store(L, 7);
	if (vigia__watcher_event(h->watcher, &event, NULL) < 0 || vigia__lua_push_checked_event(L, 8, &event, &ignored) < 0)
		lua_pushnil(L);
	lua_replace(L, 7);
	lua_settop(L, 7);
	vigia__lua_push_kept(L, 1, UV_CONTEXT);
	if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
		push_text(L, -1);
		vigia__log_failure(h->owner->registry, &h->watcher->limit, VIGIA_LOG_ERROR, "watcher '%s': on_error failed: %s",
		                   VIGIA_SHOWN(vigia_watcher_id(h->watcher)), lua_tostring(L, -1));
	}
	return 0;
}

static int fail(lua_State *L, struct failure *f)
{
	struct lua_handler *h = f->h;
	if (!vigia__lua_protected(L, report, f) && f->err->code >= 0)
		vigia__error(f->err, VIGIA_EHANDLER,
		             atomic_load(&vigia__interrupted) ? "interrupted" : "not enough memory to tell the error");
	/* Its to-be-closed variables run here; then it is of no more use. */
	if (f->raised || h->suspended || f->own_text) close_coroutine(h);
	return f->err->code;
}

int vigia__lua_handler_failed(struct lua_handler *handler, struct vigia_error *err)
{
	struct failure f = {.h = handler, .known = err, .err = err};
	return fail(handler->owner->L, &f);
}

int64_t vigia__lua_now(const struct lua_handler *handler)
{
	return vigia__time_now(handler->owner->registry->clock);
}

/* ---- what C calls ---- */

/* Other code closed the coroutine. */
static bool wait_ended(const struct lua_handler *h)
{
	return h->suspended && h->co && lua_status(h->co) != LUA_YIELD;
}

/* Resume, and make of what comes out what C expects. */
static int go_on(struct lua_handler *h, int64_t *resume_mono_ns, struct vigia_error *err)
{
	lua_State *L = h->owner->L;
	struct vigia__lua *shared = h->shared->ended ? vigia__lua_shared(L) /* raises */ : h->shared;
	struct lua_handler *outer = shared->handler;
	int results;
	if (wait_ended(h)) {
		struct failure closed = {
			.h = h, .err = err, .own_text = "other code closed the handler's coroutine while it waited"};
		return fail(L, &closed);
	}
	h->suspended = h->dropped = false;
	h->decode_error.code = VIGIA_OK;
	shared->handler = h;
	struct vigia__cap *cap = vigia__cap_here();
	lua_State *before = vigia__cap_switch(cap, h->co);
	int status = lua_resume(h->co, L, 0, &results);
	vigia__cap_switch(cap, before);
	shared->handler = outer;
	if (status == LUA_YIELD && h->suspended) {
		lua_pop(h->co, results);
		*resume_mono_ns = h->until_mono_ns;
		return VIGIA_PENDING;
	}
	struct failure f = {.h = h, .err = err};
	if (status == LUA_YIELD) {
		f.own_text = "the handler yielded: in a handler only vigia's own functions may wait";
		return fail(L, &f);
	}
	if (status != LUA_OK) {
		f.raised = true;
		return fail(L, &f);
	}
	lua_settop(h->co, 0); /* dead for everybody else */
	if (h->decode_error.code != VIGIA_OK) {
		*err = h->decode_error;
		f.known = err;
		return fail(L, &f);
	}
	return h->dropped ? VIGIA_NONE : VIGIA_OK;
}

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct lua_handler *h = ctx;
	h->event = event;
	h->watcher = attempt->watcher;
	h->attempt = attempt->attempt;
	h->told_stopping = false;
	if (!ready(h)) return vigia__error(err, VIGIA_ENOMEM, "not enough memory to run the handler");
	if (!vigia__lua_push_from(h->co, h->home, HOME_RUN)) {
		lua_settop(h->co, 0);
		h->event = NULL;
		return vigia__error(err, VIGIA_EHANDLER,
		                    "other code closed or resumed a coroutine that belongs to the handler");
	}
	h->begins = true;
	int rc = go_on(h, resume_mono_ns, err);
	h->begins = false;
	h->event = NULL;
	return rc;
}

static int resume(void *ctx, bool stopping, int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct lua_handler *h = ctx;
	if (!wait_ended(h) && !(stopping && !h->told_stopping) && !h->for_events && vigia__lua_now(h) < h->until_mono_ns) {
		*resume_mono_ns = h->until_mono_ns; /* an append is not what it waits for */
		return VIGIA_PENDING;
	}
	return go_on(h, resume_mono_ns, err);
}

static void damaged(void *ctx, const struct vigia_attempt *attempt, const struct vigia_error *err)
{
	struct lua_handler *h = ctx;
	h->watcher = attempt->watcher;
	h->attempt = attempt->attempt;
	h->decode_error = *err;
	struct failure f = {.h = h, .known = &h->decode_error, .err = &h->decode_error};
	fail(h->owner->L, &f);
}

static bool knows(void *ctx, uint64_t seq_num)
{
	struct lua_handler *h = ctx;
	return vigia__lua_cache_has(h->cache, seq_num);
}

bool vigia__lua_wait_ended(const struct vigia_handler *handler, void *ctx)
{
	return (handler == NULL || handler->handle == handle) && wait_ended(ctx);
}

void vigia__lua_handler_c(struct lua_handler *handler, struct vigia_handler *out)
{
	/* Nothing to free: the userdata is the registry's, and goes with it. */
	*out = (struct vigia_handler){.size = sizeof *out,
	                              .handle = handle,
	                              .resume = resume,
	                              .ctx = handler,
	                              .damaged = damaged,
	                              .knows = handler->cache ? knows : NULL};
}

/* [-0, +1, m] */
static struct lua_handler *new_handler(lua_State *L, int registry_idx, int fn_idx, int on_error_idx, int kept)
{
	fn_idx = lua_absindex(L, fn_idx);
	on_error_idx = lua_absindex(L, on_error_idx);
	struct lua_handler *h = vigia__lua_new_keeping(L, sizeof *h, &class_key, kept);
	int self = lua_gettop(L);
	h->shared = vigia__lua_shared(L);
	h->owner = vigia__lua_check_registry(L, registry_idx);
	lua_pushvalue(L, registry_idx);
	vigia__lua_keep(L, self, UV_REGISTRY);
	lua_pushvalue(L, fn_idx);
	vigia__lua_keep(L, self, UV_FUNCTION);
	lua_pushvalue(L, on_error_idx);
	vigia__lua_keep(L, self, UV_ON_ERROR);
	return h;
}

/* ---- tasks ---- */

/* Under vigia__lua_protected(): a task that ended is the registry's no more. */
static int forget_task(lua_State *L, void *arg)
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
	push_self(L, h);
	vigia__lua_push_kept(L, -1, UV_FUNCTION);
	lua_pushcclosure(L, run_task, 2);
	lua_xmove(L, h->co, 1);
	return 0;
}

static int resume_task(void *ctx, bool stopping, int64_t *resume_mono_ns)
{
	struct lua_handler *h = ctx;
	struct vigia_error err;
	vigia__error_clear(&err);
	h->stopping = stopping;
	bool ends = (stopping || h->cancelled) && !h->told_stopping;
	if (h->suspended && !wait_ended(h) && !ends && !h->for_events && vigia__lua_now(h) < h->until_mono_ns) {
		*resume_mono_ns = h->until_mono_ns;
		return VIGIA_PENDING;
	}
	int rc = VIGIA_ENOMEM;
	if (h->suspended || (ready(h) && vigia__lua_protected(h->owner->L, push_task_function, h)))
		rc = go_on(h, resume_mono_ns, &err);
	if (rc != VIGIA_PENDING) vigia__lua_protected(h->owner->L, forget_task, h);
	return rc;
}

int vigia__lua_task_push(lua_State *L, int registry_idx, int fn_idx, int on_error_idx, struct vigia_error *err)
{
	registry_idx = lua_absindex(L, registry_idx);
	struct lua_handler *h = new_handler(L, registry_idx, fn_idx, on_error_idx, UV_TASK_COUNT);
	int self = lua_gettop(L);
	h->task = true;
	vigia__lua_registry_push_kept(L, registry_idx); /* kept alive until it ends */
	lua_pushvalue(L, self);
	lua_rawsetp(L, -2, h);
	vigia__lua_check_registry(L,
	                          registry_idx); /* a finalizer may have closed it since. From here on nothing allocates */
	int rc = vigia__registry_spawn(h->owner->registry, resume_task, h, err);
	if (rc < 0) {
		lua_pushnil(L);
		lua_rawsetp(L, -2, h);
	}
	lua_settop(L, self);
	return rc;
}

int vigia__lua_task_new(lua_State *L, int registry_idx, int fn_idx, struct vigia_error *err)
{
	int top = lua_gettop(L);
	registry_idx = lua_absindex(L, registry_idx);
	fn_idx = lua_absindex(L, fn_idx);
	lua_pushnil(L);
	int rc = vigia__lua_task_push(L, registry_idx, fn_idx, top + 1, err);
	lua_settop(L, top);
	return rc;
}

struct lua_handler *vigia__lua_check_task(lua_State *L, int arg)
{
	struct lua_handler *h = vigia__lua_check(L, arg, &class_key, "vigia.Handler");
	luaL_argcheck(L, h->task, arg, "it is no task");
	return h;
}

/* ---- waiting ---- */

struct lua_handler *vigia__lua_running(lua_State *L)
{
	return vigia__lua_shared(L)->handler;
}

bool vigia__lua_stopping(const struct lua_handler *handler)
{
	/* A context outlives its registry: what it points to is gone then. */
	if (handler->owner->registry == NULL) return true;
	if (handler->owner->worker && atomic_load(vigia__worker_stopping(handler->owner->worker))) return true;
	return handler->watcher ? vigia__watcher_stopping(handler->watcher) : handler->stopping || handler->cancelled;
}

/* The handler at -1 (or nil) is what h waits for. [-1, +0, v] */
static void set_awaited(lua_State *L, struct lua_handler *h)
{
	h->awaits = vigia__lua_test(L, -1, &class_key);
	push_self(L, h);
	lua_insert(L, -2);
	vigia__lua_keep(L, -2, UV_AWAITS);
	lua_pop(L, 1);
}

void vigia__lua_await(lua_State *L, struct lua_handler *handler, int idx)
{
	vigia__lua_push_kept(L, idx, 2);
	set_awaited(L, handler);
}

/* One that was closed by others awaits nothing, whatever is still written there. */
bool vigia__lua_awaited_by(const struct lua_handler *handler, const struct lua_handler *other)
{
	while (other && other != handler && other->suspended && other->co && lua_status(other->co) == LUA_YIELD)
		other = other->awaits;
	return other == handler;
}

bool vigia__lua_hears(const struct lua_handler *handler, const struct vigia_store *store)
{
	return handler->owner->registry->store->backend == store->backend;
}

void vigia__lua_listen_anything(const struct lua_handler *handler)
{
	vigia__registry_listen_anything(handler->owner->registry);
}

bool vigia__lua_may_suspend(lua_State *L, const struct lua_handler *handler)
{
	return handler && handler->co == L && lua_isyieldable(L);
}

/* Where every wait goes on. `ctx` is the handler that waits; its closure in this coroutine keeps it alive. */
static int continued(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_handler *h = (struct lua_handler *)ctx;
	lua_settop(L, h->wait_top); /* whatever it was resumed with */
	if (h->shared->handler == h && h->co == L) {
		if (h->awaits) {
			lua_pushnil(L);
			set_awaited(L, h);
		}
		return h->wait_k(L, status, h->wait_ctx);
	}
	/* Somebody else resumes it. An error would end it, so the answer comes as values: as near to Lua's own as a yield
	 * can be. */
	lua_pushboolean(L, 0);
	lua_pushliteral(L, "cannot resume non-suspended coroutine");
	return lua_yieldk(L, 2, ctx, continued);
}

static int suspend(lua_State *L, struct lua_handler *h, int64_t until_mono_ns, bool for_events, lua_KContext ctx,
                   lua_KFunction k)
{
	h->suspended = true;
	h->until_mono_ns = until_mono_ns;
	h->for_events = for_events;
	h->appends_at_once = 0;
	h->wait_k = k;
	h->wait_ctx = ctx;
	h->wait_top = lua_gettop(L);
	return lua_yieldk(L, 0, (lua_KContext)h, continued);
}

int vigia__lua_suspend(lua_State *L, struct lua_handler *handler, int64_t until_mono_ns, bool for_events,
                       lua_KContext ctx, lua_KFunction k)
{
	handler->told_stopping = false;
	return suspend(L, handler, until_mono_ns, for_events, ctx, k);
}

int vigia__lua_yield_stopping(lua_State *L, struct lua_handler *handler, lua_KFunction k)
{
	enum { PACE_NS = 1000000 }; /* a loop that does not heed the answer must not keep a processor busy */
	if (!vigia__lua_may_suspend(L, handler)) return k(L, LUA_OK, 0);
	int64_t pace = handler->told_stopping && handler->owner->registry->clock == NULL ? PACE_NS : 0;
	handler->told_stopping = true;
	return suspend(L, handler, vigia__lua_now(handler) + pace, false, 0, k);
}

int vigia__lua_fail_stopping(lua_State *L, const struct lua_handler *handler)
{
	struct vigia_error err = {0};
	if (handler->watcher == NULL) {
		vigia__error(&err, VIGIA_ESTOPPING, "the %s is stopping", handler->cancelled ? "watcher" : "registry");
		return vigia__lua_fail(L, VIGIA_ESTOPPING, &err);
	}
	vigia__error(&err, VIGIA_ESTOPPING, "watcher '%s' is stopping", VIGIA_SHOWN(vigia_watcher_id(handler->watcher)));
	snprintf(err.watcher_id, sizeof err.watcher_id, "%s", vigia_watcher_id(handler->watcher));
	return vigia__lua_fail(L, VIGIA_ESTOPPING, &err);
}

/* ---- life ---- */

struct lua_handler *vigia__lua_handler_new(lua_State *L, int registry_idx, int fn_idx, int on_error_idx)
{
	registry_idx = lua_absindex(L, registry_idx);
	struct lua_handler *h = new_handler(L, registry_idx, fn_idx, on_error_idx, UV_COUNT);
	int self = lua_gettop(L);
	lua_State *home = lua_newthread(L);
	vigia__lua_keep(L, self, UV_HOME);
	lua_pushvalue(L, self); /* the upvalues of run: 1 */
	vigia__lua_push_kept(L, self, UV_FUNCTION);
	push_new_context(L, self);
	lua_pushvalue(L, -1);
	vigia__lua_keep(L, self, UV_CONTEXT);
	vigia__lua_registry_push_store(L, registry_idx);
	h->cache = vigia__lua_push_cache(L, -1);
	lua_pushvalue(L, -1);
	vigia__lua_keep(L, self, UV_CACHE);
	lua_replace(L, -2);
	vigia__lua_cache_push_table(L, -1);
	lua_replace(L, -2); /* 4 */
	lua_pushcclosure(L, run, 4);
	lua_pushvalue(L, self);
	lua_insert(L, -2);
	lua_xmove(L, home, 2);
	h->home = home;
	return h;
}

void vigia__lua_handler_set_watcher(lua_State *L, int handler_idx)
{
	vigia__lua_keep(L, handler_idx, UV_WATCHER);
}

void vigia__lua_handler_set_where(lua_State *L, int handler_idx, int where_idx)
{
	handler_idx = lua_absindex(L, handler_idx);
	check(L, handler_idx)->has_where = !lua_isnil(L, where_idx);
	lua_pushvalue(L, where_idx);
	vigia__lua_keep(L, handler_idx, UV_WHERE);
}

void vigia__lua_handler_push_error(lua_State *L, struct lua_handler *handler)
{
	push_self(L, handler);
	vigia__lua_push_kept(L, -1, UV_ERROR);
	lua_replace(L, -2);
}

void vigia__lua_handler_init(lua_State *L)
{
	static const luaL_Reg none[] = {{NULL, NULL}};
	vigia__lua_class(L, "vigia.Handler", &class_key, none, NULL);
	lua_pop(L, 1);
}
