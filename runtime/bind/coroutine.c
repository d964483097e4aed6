/*
 * coroutine.c - coroutines that the registry runs: which one runs, waiting, sleeping. What it promises is in
 * coroutine.h.
 *
 * The coroutine is kept from event to event. Between two events its stack is empty, so other code sees a dead
 * coroutine. C may start a finished one again, Lua cannot. After an error or a forbidden yield it is closed, and
 * another is made.
 *
 * Handlers can get at their coroutine (coroutine.running), so nothing here depends on which code resumes or closes it.
 * All waits go on in one continuation, `continued`. A resume that is not ours changes nothing: it yields false and a
 * message to the caller. A coroutine that was closed while it waited is a failure of its event.
 */
#include "coroutine.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "../core/error.h"
#include "../drive/clock.h"
#include "../drive/drive.h"
#include "../drive/worker.h"
#include "../store/clock.h"
#include "cap.h"
#include "error.h"
#include "hook.h"
#include "interrupt.h"
#include "lua_state.h"
#include "registry_handle.h"

static void forget_question(struct lua_handler *h)
{
	vigia__question_unref(h->asks);
	h->asks = NULL;
}

static void free_handler(lua_State *L, void *object)
{
	forget_question(object);
}

static const struct vigia__lua_class handler_class = {.name = "vigia.Handler", .free = free_handler};

struct lua_handler *vigia__lua_own_coroutine(lua_State *L, int idx)
{
	struct lua_handler *h = vigia__lua_test(L, idx, &handler_class);
	if (h == NULL) luaL_error(L, "vigia: the handler of this function was replaced");
	return h;
}

/* Its userdata. A task has no home: its registry keeps it until it ends. [-0, +1, v] */
void vigia__lua_push_coroutine(lua_State *L, struct lua_handler *h)
{
	if (h->home) {
		vigia__lua_push_from(L, h->home, VIGIA_LUA_HOME_SELF);
	} else if (vigia__lua_push_from(L, h->owner->home, 1)) {
		lua_rawgetp(L, -1, h);
		lua_replace(L, -2);
	}
	if (vigia__lua_own_coroutine(L, -1) != h) luaL_error(L, "vigia: the handler of this function was replaced");
}

/* [-0, +1, m] */
struct lua_handler *vigia__lua_coroutine_new(lua_State *L, int registry_idx, int fn_idx, int on_error_idx, int kept)
{
	fn_idx = lua_absindex(L, fn_idx);
	on_error_idx = lua_absindex(L, on_error_idx);
	struct lua_handler *h = vigia__lua_new_keeping(L, sizeof *h, &handler_class, kept);
	int self = lua_gettop(L);
	h->shared = vigia__lua_shared(L);
	h->owner = vigia__lua_check_registry(L, registry_idx);
	vigia__lua_keep_value(L, self, VIGIA_LUA_KEEPS_REGISTRY, registry_idx);
	vigia__lua_keep_value(L, self, VIGIA_LUA_KEEPS_FUNCTION, fn_idx);
	vigia__lua_keep_value(L, self, VIGIA_LUA_KEEPS_ON_ERROR, on_error_idx);
	return h;
}

/* ---- a coroutine that is ready to run ---- */

/* Under vigia__lua_protected(): a new coroutine for the handler. */
static int renew_coroutine(lua_State *L, void *arg)
{
	struct lua_handler *h = arg;
	vigia__lua_push_coroutine(L, h);
	lua_State *co = lua_newthread(L); /* 2 */
	lua_pushvalue(L, 1);
	vigia__lua_keep_by(L, 2); /* others may resume it when nothing else keeps the handler */
	vigia__lua_keep(L, 1, VIGIA_LUA_KEEPS_COROUTINE);
	h->co = co;
	vigia__hook_inherit(L, co, &h->hook);
	return 0;
}

/* Close the coroutine: its to-be-closed variables run. */
void vigia__lua_coroutine_close(struct lua_handler *h)
{
	lua_State *co = h->co;
	h->co = NULL;
	h->awaits = NULL;
	h->waits_in = NULL;
	forget_question(h);
	h->suspended = false;
	if (co == NULL) return;
	lua_State *before = vigia__cap_switch(vigia__cap_here(), co);
	lua_resetthread(co);
	lua_settop(co, 0); /* an error value left there would be called by the next resume */
	vigia__cap_switch(vigia__cap_here(), before);
}

/* A coroutine with nothing on its stack. False: no memory. */
bool vigia__lua_coroutine_ready(struct lua_handler *h)
{
	if (h->suspended) vigia__lua_coroutine_close(h); /* a wait that was given up */
	if (h->co == NULL && !vigia__lua_protected(h->owner->L, renew_coroutine, h)) return false;
	vigia__hook_restore(h->owner->L, h->co, &h->hook);
	return lua_checkstack(h->co, 4);
}

/* ---- which coroutine runs ---- */

struct lua_handler *vigia__lua_running(lua_State *L)
{
	return vigia__lua_shared(L)->handler;
}

int64_t vigia__lua_now(const struct lua_handler *handler)
{
	return vigia__time_now(handler->owner->registry->clock);
}

bool vigia__lua_stopping(const struct lua_handler *handler)
{
	/* A context outlives its registry: what it points to is gone then. */
	if (handler->owner->registry == NULL) return true;
	if (handler->owner->worker && atomic_load(vigia__worker_stopping(handler->owner->worker))) return true;
	return handler->watcher ? vigia__watcher_stopping(handler->watcher) : handler->stopping || handler->cancelled;
}

/* Other code closed the coroutine. */
bool vigia__lua_coroutine_lost(const struct lua_handler *h)
{
	return h->suspended && h->co && lua_status(h->co) != LUA_YIELD;
}

/* ---- waiting ---- */

/* The handler at -1 (or nil) is what h waits for. [-1, +0, v] */
static void set_awaited(lua_State *L, struct lua_handler *h)
{
	h->awaits = vigia__lua_test(L, -1, &handler_class);
	vigia__lua_push_coroutine(L, h);
	lua_insert(L, -2);
	vigia__lua_keep(L, -2, VIGIA_LUA_KEEPS_AWAITED);
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

bool vigia__lua_woken_by(const struct lua_handler *handler, const struct vigia_store *store)
{
	return handler->owner->registry->store->backend == store->backend;
}

bool vigia__lua_may_suspend(lua_State *L, const struct lua_handler *handler)
{
	return handler && handler->co == L && lua_isyieldable(L);
}

/* Where every wait goes on. `ctx` is the handler that waits. Its closure in this coroutine keeps it alive. */
static int continued(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_handler *h = (struct lua_handler *)ctx;
	lua_settop(L, h->wait_top); /* whatever it was resumed with */
	if (h->shared->handler == h && h->co == L) {
		if (h->asks) forget_question(h);
		if (h->awaits) {
			lua_pushnil(L);
			set_awaited(L, h);
		}
		return h->wait_k(L, status, h->wait_ctx);
	}
	/* Other code resumes it. An error would end the coroutine, so the reply is values, as close to Lua's own reply as a
	 * yield can be. */
	lua_pushboolean(L, 0);
	lua_pushliteral(L, "cannot resume non-suspended coroutine");
	return lua_yieldk(L, 2, ctx, continued);
}

static int suspend(lua_State *L, struct lua_handler *h, int64_t until_mono_ns, bool for_events, lua_KContext ctx,
                   lua_KFunction k)
{
	h->suspended = true;
	h->until_mono_ns = for_events && h->missed ? 0 : until_mono_ns;
	h->missed = false;
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

int vigia__lua_suspend_asking(lua_State *L, struct lua_handler *handler, struct vigia__question *question,
                              lua_KContext ctx, lua_KFunction k)
{
	handler->asks = vigia__question_ref(question);
	return suspend(L, handler, INT64_MAX, false, ctx, k);
}

/* A question is not cut short, as an append is not. What else would end the wait is looked at behind it. */
bool vigia__lua_wait_is_over(struct lua_handler *h, bool ends)
{
	if (vigia__lua_coroutine_lost(h)) return true;
	if (h->asks && !vigia__question_answered(h->asks, NULL, NULL)) {
		h->missed = true;
		return false;
	}
	return h->asks || (ends && !h->told_stopping) || h->for_events || vigia__lua_now(h) >= h->until_mono_ns;
}

int vigia__lua_yield_stopping(lua_State *L, struct lua_handler *handler, lua_KFunction k)
{
	enum { PACE_NS = 1000000 }; /* a loop that does not heed the error must not keep a processor busy */
	if (!vigia__lua_may_suspend(L, handler)) return k(L, LUA_OK, 0);
	int64_t pace = handler->told_stopping && handler->owner->registry->clock == NULL ? PACE_NS : 0;
	handler->told_stopping = true;
	return suspend(L, handler, vigia__lua_now(handler) + pace, false, 0, k);
}

int vigia__lua_fail_stopping(lua_State *L, const struct lua_handler *handler)
{
	struct vigia_error err = {0};
	const char *id = handler->watcher ? vigia_watcher_id(handler->watcher) : NULL;
	if (id) vigia__error(&err, VIGIA_ESTOPPING, "watcher '%s' is stopping", VIGIA_SHOWN(id));
	else vigia__error(&err, VIGIA_ESTOPPING, "the %s is stopping", handler->cancelled ? "watcher" : "registry");
	return vigia__lua_fail(L, vigia__error_watcher(&err, id, VIGIA_ESTOPPING), &err);
}

/* ---- vigia.sleep ---- */

static int slept(lua_State *L, int status, lua_KContext until)
{
	struct lua_handler *h = vigia__lua_running(L);
	if (h && vigia__lua_stopping(h) && vigia__lua_now(h) < (int64_t)until) return vigia__lua_fail_stopping(L, h);
	return vigia__lua_boolean(L, true);
}

int vigia__lua_stopped(lua_State *L, int status, lua_KContext ctx)
{
	return vigia__lua_fail_stopping(L, vigia__lua_running(L));
}

static int fail_sleep(lua_State *L, int code, const char *text)
{
	struct vigia_error err = {0};
	vigia__error(&err, code, "%s", text);
	return vigia__lua_fail(L, code, &err);
}

/* In a stock Lua what a hook raises that a signal handler sets ends it, too: poll(2) is never restarted, and no signal
 * comes between the look and the wait. */
int vigia__lua_block(lua_State *L, int64_t until_mono_ns, const bool *ended)
{
	struct vigia__worker *worker = vigia__lua_shared(L)->worker;
	if (worker) {
		if (!vigia__worker_sleep(worker, until_mono_ns))
			return fail_sleep(L, VIGIA_ESTOPPING, "the watcher is stopping");
		return vigia__lua_boolean(L, true);
	}
	struct vigia__hooks hooks;
	vigia__hooks_begin(L, &hooks);
	for (;;) {
		int64_t left = until_mono_ns - vigia__mono_ns();
		if (left <= 0 || (ended && *ended)) break;
		struct timespec ts = {left / 1000000000, left % 1000000000};
		struct pollfd fd = {.fd = vigia__interrupt_fd, .events = POLLIN};
		sigset_t all, mask;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &mask);
		int n = vigia__hooks_changed(&hooks) ? 0 : ppoll(&fd, 1, &ts, &mask);
		pthread_sigmask(SIG_SETMASK, &mask, NULL);
		if (n > 0) return fail_sleep(L, VIGIA_EINTERRUPTED, "the sleep was interrupted");
		if (vigia__hooks_changed(&hooks)) vigia__hooks_run(L, &hooks);
	}
	return vigia__lua_boolean(L, true);
}

int vigia__lua_sleep(lua_State *L)
{
	int64_t ns = vigia__lua_check_seconds(L, 1, "seconds");
	struct lua_handler *h = vigia__lua_running(L);
	if (h && vigia__lua_stopping(h)) return vigia__lua_yield_stopping(L, h, vigia__lua_stopped);
	if (!vigia__lua_may_suspend(L, h)) return vigia__lua_block(L, vigia__time_after(NULL, ns), NULL);
	int64_t until = vigia__time_after(h->owner->registry->clock, ns);
	return vigia__lua_suspend(L, h, until, false, (lua_KContext)until, slept);
}

/* ---- its end ---- */

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
int vigia__lua_finish(lua_State *L, int status, lua_KContext ctx)
{
	return refuses(L, 1) ? lua_error(L) : 0;
}
