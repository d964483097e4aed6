/*
 * handler.c - a Lua function as a vigia_handler: it runs in a coroutine of the registry's, so that it can wait without
 * holding up others.
 *
 * Handling an event pushes the C closure `run`, with the function and the context as upvalues, and resumes the
 * coroutine (coroutine.c).
 *
 * The closure, and the handler's own userdata, are on the stack of `home`, a thread that never runs. A weak table would
 * not do: the collector clears it before it calls the finalizers, and one of those may drive a registry for the last
 * time. No Lua error leaves this file on the C side: whatever may raise runs inside the coroutine or under
 * vigia__lua_protected().
 */
#include "handler.h"

#include <stdio.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../core/lane_key.h"
#include "../drive/worker.h"
#include "../drive/clock.h"
#include "../drive/drive.h"
#include "results.h"
#include "cache.h"
#include "cap.h"
#include "coroutine.h"
#include "decode.h"
#include "error.h"
#include "interrupt.h"
#include "letters.h"
#include "lua_state.h"
#include "registry_handle.h"
#include "store_handle.h"
#include "transaction.h"
#include "transaction_handle.h"
#include "../store/transaction.h"

/* What a handler's userdata keeps beside what a coroutine's does. */
enum {
	UV_CONTEXT = VIGIA_LUA_KEEPS_TASK + 1,
	UV_WATCHER,
	UV_WHERE,
	UV_CACHE,
	UV_ERROR,
	UV_TRANSACTION,
	UV_KEY,
	UV_LANE,
	UV_HOME,
	UV_COUNT = UV_HOME
};

/* ---- the context: what a handler is told beside the event ---- */

/* A context outlives its event, and its registry: the driver has taken back what it lent with the event then. */
static bool has_event_in_hand(const struct lua_handler *h)
{
	return h->owner->registry && h->watcher && (h->watcher->running_handler || h->watcher->pending);
}

/* ctx.tx, made when it is asked for. Upvalue 1: the handler's userdata. [-0, +1..3, m] */
static void push_transaction(lua_State *L, struct lua_handler *h)
{
	if (h->tx == NULL || !has_event_in_hand(h)) {
		lua_pushnil(L);
		return;
	}
	if (h->lent == NULL) {
		vigia__lua_push_kept(L, lua_upvalueindex(1), VIGIA_LUA_KEEPS_REGISTRY);
		vigia__lua_registry_push_store(L, -1);
		struct lua_transaction *lent = vigia__lua_transaction_push_lent(L, -1);
		vigia__lua_keep_value(L, lua_upvalueindex(1), UV_TRANSACTION, -1);
		h->lent = lent;
		vigia__lua_transaction_lend(lent, h->tx);
	}
	vigia__lua_push_kept(L, lua_upvalueindex(1), UV_TRANSACTION);
}

/* Upvalue 1: the handler's userdata. attempt and stopping are looked up when asked for, so that an event costs nothing
 * for them. */
static int context_index(lua_State *L)
{
	struct lua_handler *h = vigia__lua_own_coroutine(L, lua_upvalueindex(1));
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
	if (strcmp(key, "attempt") == 0) lua_pushinteger(L, (lua_Integer)h->attempt);
	else if (strcmp(key, "stopping") == 0) lua_pushboolean(L, vigia__lua_stopping(h));
	else if (strcmp(key, "tx") == 0) push_transaction(L, h);
	else if (strcmp(key, "dead_letter") == 0 && h->dead_letter && has_event_in_hand(h))
		vigia__lua_push_letter(L, h->dead_letter);
	else if (strcmp(key, "watcher") == 0) vigia__lua_push_kept(L, lua_upvalueindex(1), UV_WATCHER);
	else if (strcmp(key, "store") == 0) {
		vigia__lua_push_kept(L, lua_upvalueindex(1), VIGIA_LUA_KEEPS_REGISTRY);
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
	vigia__lua_set_string(L, "__name", "vigia.Context");
	lua_setmetatable(L, -2);
}

/* ---- the coroutine ---- */

static int call_handler(lua_State *L)
{
	lua_settop(L, 2);
	lua_pushvalue(L, lua_upvalueindex(3));
	lua_callk(L, 2, LUA_MULTRET, 0, vigia__lua_finish);
	return vigia__lua_finish(L, LUA_OK, 0);
}

/* The predicate's result is on top of the function and the event. */
static int looked_at(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_handler *h = vigia__lua_own_coroutine(L, lua_upvalueindex(1));
	h->dropped = !lua_toboolean(L, 3);
	return h->dropped ? 0 : call_handler(L);
}

static int ask_predicate(lua_State *L, struct lua_handler *h)
{
	if (!h->has_where) return call_handler(L);
	vigia__lua_push_kept(L, lua_upvalueindex(1), UV_WHERE);
	lua_pushvalue(L, 2);
	lua_callk(L, 1, 1, 0, looked_at);
	return looked_at(L, LUA_OK, 0);
}

/* The key is on top of the function and the event: whose lane is it? */
static int keyed(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_handler *h = vigia__lua_own_coroutine(L, lua_upvalueindex(1));
	struct vigia__token key = {.kind = VIGIA_TOKEN_NIL};
	int is_integer = 0;
	switch (lua_type(L, 3)) {
	case LUA_TNIL:
		break;
	case LUA_TBOOLEAN:
		key = (struct vigia__token){.kind = VIGIA_TOKEN_BOOL, .boolean = lua_toboolean(L, 3)};
		break;
	case LUA_TNUMBER:
		key = (struct vigia__token){.kind = VIGIA_TOKEN_INT, .integer = lua_tointegerx(L, 3, &is_integer)};
		if (!is_integer) key = (struct vigia__token){.kind = VIGIA_TOKEN_FLOAT, .number = lua_tonumber(L, 3)};
		break;
	case LUA_TSTRING:
		key = (struct vigia__token){.kind = VIGIA_TOKEN_STRING, .string = vigia__lua_slice(L, 3)};
		break;
	default:
		return luaL_error(L, "lane_key returned a %s, allowed: a string, a number, a boolean, nil",
		                  luaL_typename(L, 3));
	}
	uint64_t hash = vigia__lane_key_token(&key);
	bool mine;
	int rc = vigia__watcher_assign(h->watcher, &hash, &mine);
	h->asks_key = false;
	if (rc < 0) return luaL_error(L, "not enough memory");
	h->dropped = !mine;
	return mine ? ask_predicate(L, h) : 0;
}

/* Push the event in hand, or return false with h->decode_error. Upvalue 1: the handler's userdata, 4: the cache's
 * table. [-0, +1, m] */
static bool push_event(lua_State *L, struct lua_handler *h)
{
	int top = lua_gettop(L), store_at = 0, cache_at = 0;
	uint64_t seq_num = h->event->seq_num;
	if (h->owner->lua_store) return vigia__lua_results_push_event(L, h->watcher, seq_num, &h->decode_error) == VIGIA_OK;
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
		vigia__lua_push_kept(L, lua_upvalueindex(1), VIGIA_LUA_KEEPS_REGISTRY);
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
static int run_handler(lua_State *L)
{
	struct lua_handler *h = vigia__lua_own_coroutine(L, lua_upvalueindex(1));
	if (!h->begins || h->co != L) return luaL_error(L, "this function is internal to vigia: Lua code cannot call it");
	h->begins = false;
	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(2));
	if (!push_event(L, h)) return 0;
	if (h->dead_letter) return call_handler(L);
	bool mine = true;
	if (h->has_key && !vigia__watcher_lane_is_known(h->watcher, &mine)) {
		h->asks_key = true;
		vigia__lua_push_kept(L, lua_upvalueindex(1), UV_KEY);
		lua_pushvalue(L, 2);
		lua_callk(L, 1, 1, 0, keyed);
		return keyed(L, LUA_OK, 0);
	}
	h->dropped = !mine;
	return mine ? ask_predicate(L, h) : 0;
}

/* ---- failures ---- */

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
	bool known = vigia__lua_push_kept(L, 1, VIGIA_LUA_KEEPS_FUNCTION) == LUA_TFUNCTION;
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
	vigia__lua_push_raw(L, 2, "code");
	const char *code = lua_tostring(L, -1);
	bool end = code &&
	           (strcmp(code, "stopping") == 0 || strcmp(code, "interrupted") == 0 || strcmp(code, "store_closed") == 0);
	lua_pop(L, 1);
	return end;
}

/* Keep it for what the driver logs. Without memory it is not said. */
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

/* A task's failure goes to its on_error, or to the log. 1: the task, 2: what was raised, 3: its text. */
static void report_task(lua_State *L, const struct failure *f)
{
	struct lua_handler *h = f->h;
	push_place(L, h, f->raised);
	const char *text = lua_pushfstring(L, "%s %s", lua_tostring(L, 3), lua_tostring(L, -1));
	vigia__lua_push_kept(L, 1, VIGIA_LUA_KEEPS_ON_ERROR);
	if (!lua_isnil(L, -1)) {
		lua_pushstring(L, text);
		lua_pushboolean(L, is_end(L));
		if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
		/* GCOVR_EXCL_START: ours, and fails for want of memory only. */
		vigia__lua_push_text(L, -1);
		text = lua_tostring(L, -1);
		/* GCOVR_EXCL_STOP */
	}
	struct vigia_registry *registry = h->owner->registry;
	if (is_end(L)) vigia__log(registry, VIGIA_LOG_ERROR, "a task failed: %s", text);
	else vigia__log_failure(registry, &registry->limit, VIGIA_LOG_ERROR, "a task failed: %s", text);
}

/* A handler's failure becomes a vigia.Error, kept for the stats. 1: the handler, 2: what was raised, 3: its text.
 * [-0, +1, m] */
static void push_failure(lua_State *L, const struct failure *f)
{
	struct lua_handler *h = f->h;
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
	vigia__lua_keep_value(L, 1, UV_ERROR, 4);
}

/* The event in hand once more, as it is stored. Its userdata is at 1, the stack's top at 6. 7 is overwritten.
 * [-0, +1..3, m] */
static bool push_event_again(lua_State *L, const struct lua_handler *h)
{
	struct vigia_event event;
	struct vigia_error ignored = {0};
	vigia__lua_push_kept(L, 1, VIGIA_LUA_KEEPS_REGISTRY); /* 7 */
	if (h->owner->lua_store)
		return vigia__lua_results_push_event(L, h->watcher, vigia__watcher_seq_num(h->watcher), &ignored) == VIGIA_OK;
	vigia__lua_registry_push_store(L, 7);
	return vigia__watcher_event(h->watcher, &event, NULL) == VIGIA_OK &&
	       vigia__lua_push_checked_event(L, 8, &event, &ignored) == VIGIA_OK;
}

/* Call on_error, if there is one, with the error at 4, the event (nil if it cannot be decoded) and the context. */
static void call_on_error(lua_State *L, const struct lua_handler *h)
{
	vigia__lua_push_kept(L, 1, VIGIA_LUA_KEEPS_ON_ERROR); /* 5 */
	if (lua_isnil(L, 5)) return;
	lua_pushvalue(L, 4);
	if (!push_event_again(L, h)) lua_pushnil(L);
	lua_replace(L, 7);
	lua_settop(L, 7);
	vigia__lua_push_kept(L, 1, UV_CONTEXT);
	if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
		vigia__lua_push_text(L, -1);
		vigia__log_failure(h->owner->registry, &h->watcher->limit, VIGIA_LOG_ERROR, "watcher '%s': on_error failed: %s",
		                   VIGIA_SHOWN(vigia_watcher_id(h->watcher)), lua_tostring(L, -1));
	}
}

/* Under vigia__lua_protected(). */
static int report(lua_State *L, void *arg)
{
	struct failure *f = arg;
	struct lua_handler *h = f->h;
	vigia__lua_push_coroutine(L, h); /* 1: the handler */
	if (h->cache && !h->task) {      /* the next attempt decodes the event again, without this one's changes */
		vigia__lua_push_kept(L, 1, UV_CACHE);
		vigia__lua_cache_drop(L, 2, h->cache, vigia__watcher_seq_num(h->watcher));
		lua_settop(L, 1);
	}
	if (f->raised) {
		lua_xmove(h->co, L, 1);     /* 2: what was raised */
		vigia__lua_push_text(L, 2); /* 3: its text */
	} else {
		lua_pushnil(L);
		lua_pushstring(L, f->own_text);
	}
	if (f->known == NULL) vigia__error(f->err, VIGIA_EHANDLER, "%s", lua_tostring(L, 3));
	if (h->task) {
		report_task(L, f);
	} else {
		push_failure(L, f); /* 4 */
		call_on_error(L, h);
	}
	return 0;
}

static int fail_call(lua_State *L, struct failure *f)
{
	struct lua_handler *h = f->h;
	if (!vigia__lua_protected(L, report, f) && f->err->code >= 0)
		vigia__error(f->err, VIGIA_EHANDLER,
		             atomic_load(&vigia__interrupted) ? "interrupted" : "out of memory while reporting the error");
	/* Its to-be-closed variables run here. Then it is of no more use. */
	if (f->raised || h->suspended || f->own_text) vigia__lua_coroutine_close(h);
	return f->err->code;
}

int vigia__lua_handler_failed(struct lua_handler *handler, struct vigia_error *err)
{
	struct failure f = {.h = handler, .known = err, .err = err};
	return fail_call(handler->owner->L, &f);
}

/* ---- what C calls ---- */

/* Resume, and make of what comes out what C expects. */
static int go_on(struct lua_handler *h, int64_t *resume_mono_ns, struct vigia_error *err)
{
	lua_State *L = h->owner->L;
	struct vigia__lua *shared = h->shared->ended ? vigia__lua_shared(L) /* raises */ : h->shared;
	struct lua_handler *outer = shared->handler;
	int results;
	struct failure f = {.h = h, .err = err};
	if (vigia__lua_coroutine_lost(h)) {
		f.own_text = "other code closed the handler's coroutine while it waited";
		return fail_call(L, &f);
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
	if (status == LUA_OK) lua_settop(h->co, 0); /* dead for everybody else */
	bool mine = true;
	if (h->asks_key) vigia__watcher_assign(h->watcher, NULL, &mine); /* the key is not known */
	h->asks_key = false;
	if (!mine) { /* another lane has found it out meanwhile */
		vigia__lua_coroutine_close(h);
		return VIGIA_NONE;
	}
	int lost = h->tx ? vigia__transaction_lost(h->tx) : VIGIA_OK;
	if (lost != VIGIA_OK) { /* no failure of its own, whatever it made of it */
		if (status != LUA_OK) vigia__lua_coroutine_close(h);
		return lost;
	}
	const struct vigia_error *refused = h->lent ? vigia__lua_transaction_failed(h->lent) : NULL;
	if (status == LUA_YIELD) {
		f.own_text = "the handler yielded: in a handler only vigia's own functions may wait";
	} else if (status != LUA_OK) {
		f.raised = true;
	} else if (h->decode_error.code != VIGIA_OK) {
		*err = h->decode_error;
		f.known = err;
	} else if (refused) { /* a call on ctx.tx failed: without it the rest must not be stored */
		f.own_text = refused->message;
	} else {
		return h->dropped ? VIGIA_NONE : VIGIA_OK;
	}
	return fail_call(L, &f);
}

int vigia__lua_handler_continue(struct lua_handler *h, int64_t *resume_mono_ns, struct vigia_error *err)
{
	int rc = go_on(h, resume_mono_ns, err);
	if (rc == VIGIA_PENDING) return rc;
	if (h->lent) vigia__lua_transaction_lend(h->lent, NULL);
	h->tx = NULL;
	h->dead_letter = NULL;
	return rc;
}

static int handle(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                  int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct lua_handler *h = ctx;
	h->event = event;
	h->watcher = attempt->watcher;
	h->attempt = attempt->attempt;
	h->told_stopping = false;
	if (!vigia__lua_coroutine_ready(h)) return vigia__error(err, VIGIA_ENOMEM, "no memory to run the handler");
	if (!vigia__lua_push_from(h->co, h->home, VIGIA_LUA_HOME_RUN)) {
		lua_settop(h->co, 0);
		h->event = NULL;
		return vigia__error(err, VIGIA_EHANDLER,
		                    "other code closed or resumed a coroutine that belongs to the handler");
	}
	h->begins = true;
	h->tx = attempt->tx;
	h->dead_letter = attempt->dead_letter;
	if (h->lent) vigia__lua_transaction_lend(h->lent, h->tx);
	int rc = vigia__lua_handler_continue(h, resume_mono_ns, err);
	h->begins = false;
	h->event = NULL;
	return rc;
}

static int resume(void *ctx, bool stopping, int64_t *resume_mono_ns, struct vigia_error *err)
{
	struct lua_handler *h = ctx;
	if (!vigia__lua_wait_is_over(h, stopping)) {
		*resume_mono_ns = h->until_mono_ns; /* an append is not what it waits for */
		return VIGIA_PENDING;
	}
	return vigia__lua_handler_continue(h, resume_mono_ns, err);
}

static void damaged(void *ctx, const struct vigia_attempt *attempt, const struct vigia_error *err)
{
	struct lua_handler *h = ctx;
	h->watcher = attempt->watcher;
	h->attempt = attempt->attempt;
	h->decode_error = *err;
	struct failure f = {.h = h, .known = &h->decode_error, .err = &h->decode_error};
	fail_call(h->owner->L, &f);
}

static bool knows(void *ctx, uint64_t seq_num)
{
	struct lua_handler *h = ctx;
	return vigia__lua_cache_has(h->cache, seq_num);
}

static void *lane_of(void *ctx, unsigned lane)
{
	struct lua_handler *h = ctx;
	while (lane-- > 0 && h) h = h->next_lane;
	return h;
}

/* What a store in Lua returned is there as it is. */
static bool knows_all(void *ctx, uint64_t seq_num)
{
	return true;
}

bool vigia__lua_wait_ended(const struct vigia_handler *handler, void *ctx)
{
	const struct lua_handler *h = ctx;
	if (handler && handler->handle != handle) return false;
	return vigia__lua_coroutine_lost(h) || (h->suspended && h->asks && vigia__question_answered(h->asks, NULL, NULL));
}

void vigia__lua_handler_c(struct lua_handler *handler, struct vigia_handler *out)
{
	/* Nothing to free: the userdata is the registry's, and goes with it. */
	*out = (struct vigia_handler){.size = sizeof *out,
	                              .handle = handle,
	                              .resume = resume,
	                              .ctx = handler,
	                              .damaged = damaged,
	                              .lane = lane_of,
	                              .knows = handler->owner->lua_store ? knows_all
	                                       : handler->cache          ? knows
	                                                                 : NULL};
}

/* ---- life ---- */

struct lua_handler *vigia__lua_handler_new(lua_State *L, int registry_idx, int fn_idx, int on_error_idx)
{
	registry_idx = lua_absindex(L, registry_idx);
	struct lua_handler *h = vigia__lua_coroutine_new(L, registry_idx, fn_idx, on_error_idx, UV_COUNT);
	int self = lua_gettop(L);
	lua_State *home = lua_newthread(L);
	vigia__lua_keep(L, self, UV_HOME);
	lua_pushvalue(L, self); /* the upvalues of run_handler: 1 */
	vigia__lua_push_kept(L, self, VIGIA_LUA_KEEPS_FUNCTION);
	push_new_context(L, self);
	vigia__lua_keep_value(L, self, UV_CONTEXT, -1);
	vigia__lua_registry_push_store(L, registry_idx);
	if (h->owner->lua_store) lua_pushnil(L); /* its events are shared as the store likes */
	else h->cache = vigia__lua_push_cache(L, -1);
	vigia__lua_keep_value(L, self, UV_CACHE, -1);
	lua_replace(L, -2);
	vigia__lua_cache_push_table(L, -1);
	lua_replace(L, -2); /* 4 */
	lua_pushcclosure(L, run_handler, 4);
	lua_pushvalue(L, self);
	lua_insert(L, -2);
	lua_xmove(L, home, 2);
	h->home = home;
	return h;
}

void vigia__lua_handler_set_watcher(lua_State *L, int handler_idx, int watcher_idx)
{
	vigia__lua_keep_value(L, handler_idx, UV_WATCHER, watcher_idx);
}

void vigia__lua_handler_set_where(lua_State *L, int handler_idx, int where_idx)
{
	handler_idx = lua_absindex(L, handler_idx);
	vigia__lua_own_coroutine(L, handler_idx)->has_where = !lua_isnil(L, where_idx);
	vigia__lua_keep_value(L, handler_idx, UV_WHERE, where_idx);
}

void vigia__lua_handler_set_key(lua_State *L, int handler_idx, int key_idx)
{
	handler_idx = lua_absindex(L, handler_idx);
	vigia__lua_own_coroutine(L, handler_idx)->has_key = lua_isfunction(L, key_idx);
	vigia__lua_keep_value(L, handler_idx, UV_KEY, key_idx);
}

void vigia__lua_handler_set_next(lua_State *L, int handler_idx, int next_idx)
{
	handler_idx = lua_absindex(L, handler_idx);
	vigia__lua_own_coroutine(L, handler_idx)->next_lane = vigia__lua_own_coroutine(L, next_idx);
	vigia__lua_keep_value(L, handler_idx, UV_LANE, next_idx);
}

void vigia__lua_handler_push_error(lua_State *L, struct lua_handler *handler)
{
	vigia__lua_push_coroutine(L, handler);
	vigia__lua_push_kept(L, -1, UV_ERROR);
	lua_replace(L, -2);
}
