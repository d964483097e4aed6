/*
 * signal.c - the class vigia.Signal: handlers and tasks wait for what other code of the Lua state sets.
 *
 * A signal keeps the value that no wait has taken, and a set of its waits with weak keys. A wait is on the stack of its
 * coroutine. It keeps the value it was woken with, and the coroutine's userdata, which C points to.
 */
#include "signal.h"

#include "../core/error.h"
#include "../drive/clock.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "coroutine.h"
#include "error.h"
#include "lua_state.h"

struct lua_signal {
	bool has_value;
};

struct lua_wait {
	struct lua_handler *handler;
	int64_t until_mono_ns;
	bool woken;
};

enum { KEEPS_VALUE = 1, SIGNAL_KEEPS_WAITS = 2, WAIT_KEEPS_COROUTINE = 2 };
enum { SIGNAL = 1, TIMEOUT, WAIT }; /* the stack of wait() */

static const struct vigia__lua_class signal_class;
static const struct vigia__lua_class wait_class = {.name = "vigia.wait"};

int vigia__lua_signal(lua_State *L)
{
	vigia__lua_new_keeping(L, sizeof(struct lua_signal), &signal_class, 2);
	vigia__lua_push_weak_keys(L);
	vigia__lua_keep(L, -2, SIGNAL_KEEPS_WAITS);
	return 1;
}

/* ---- set ---- */

/* A coroutine may have been closed in its wait, by other code or with its registry. */
static bool still_waits(const struct lua_wait *wait)
{
	const struct lua_handler *h = wait->handler;
	return h->waits_in == wait && h->owner->registry && !vigia__lua_coroutine_lost(h);
}

static void wake(struct lua_handler *h)
{
	struct vigia_registry *registry = h->owner->registry;
	h->until_mono_ns = INT64_MIN;
	if (h->watcher) h->watcher->resume_now = true;
	else vigia__tasks_wake(registry);
	vigia__registry_ring(registry);
}

/* The waits end with the value at 2. Nothing here runs Lua code. */
static bool wake_all(lua_State *L)
{
	bool any = false;
	vigia__lua_push_kept(L, 1, SIGNAL_KEEPS_WAITS);
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		struct lua_wait *wait = vigia__lua_check(L, -2, &wait_class);
		if (!wait->woken && still_waits(wait)) {
			vigia__lua_keep_value(L, -2, KEEPS_VALUE, 2);
			wait->woken = any = true;
			wake(wait->handler);
		}
	}
	return any;
}

static int signal_set(lua_State *L)
{
	struct lua_signal *signal = vigia__lua_check(L, 1, &signal_class);
	lua_settop(L, 2);
	bool woken = wake_all(L);
	if (!woken) {
		vigia__lua_keep_value(L, 1, KEEPS_VALUE, 2);
		signal->has_value = true;
	}
	return vigia__lua_boolean(L, woken);
}

/* ---- wait ---- */

static int take_value(lua_State *L, struct lua_signal *signal)
{
	vigia__lua_push_kept(L, SIGNAL, KEEPS_VALUE);
	lua_pushnil(L);
	vigia__lua_keep(L, SIGNAL, KEEPS_VALUE);
	signal->has_value = false;
	return 1;
}

static int fail_timeout(lua_State *L)
{
	struct vigia_error err = {0};
	return vigia__lua_fail(L, vigia__error(&err, VIGIA_ETIMEOUT, "the signal was not set in time"), &err);
}

/* Woken, stopped, or the time is up. */
static int waited(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_wait *wait = vigia__lua_check(L, WAIT, &wait_class);
	struct lua_handler *h = wait->handler;
	h->waits_in = NULL;
	vigia__lua_push_kept(L, SIGNAL, SIGNAL_KEEPS_WAITS);
	lua_pushvalue(L, WAIT);
	lua_pushnil(L);
	lua_rawset(L, -3);
	if (wait->woken) {
		vigia__lua_push_kept(L, WAIT, KEEPS_VALUE);
		return 1;
	}
	if (vigia__lua_stopping(h) && vigia__lua_now(h) < wait->until_mono_ns) return vigia__lua_fail_stopping(L, h);
	return fail_timeout(L);
}

static int wait_blocking(lua_State *L, struct lua_signal *signal, int64_t ns)
{
	int results = vigia__lua_block(L, vigia__time_after(NULL, ns), &signal->has_value);
	if (signal->has_value) return take_value(L, signal);
	return results == 1 ? fail_timeout(L) : results;
}

static int wait_suspended(lua_State *L, struct lua_handler *h, int64_t ns)
{
	struct lua_wait *wait = vigia__lua_new_keeping(L, sizeof *wait, &wait_class, 2); /* WAIT */
	wait->handler = h;
	wait->until_mono_ns = vigia__time_after(h->owner->registry->clock, ns);
	vigia__lua_push_coroutine(L, h);
	vigia__lua_keep(L, WAIT, WAIT_KEEPS_COROUTINE);
	vigia__lua_push_kept(L, SIGNAL, SIGNAL_KEEPS_WAITS);
	lua_pushvalue(L, WAIT);
	lua_pushboolean(L, 1);
	lua_rawset(L, -3);
	lua_settop(L, WAIT);
	h->waits_in = wait;
	return vigia__lua_suspend(L, h, wait->until_mono_ns, false, 0, waited);
}

static int signal_wait(lua_State *L)
{
	struct lua_signal *signal = vigia__lua_check(L, SIGNAL, &signal_class);
	int64_t ns = lua_isnoneornil(L, TIMEOUT) ? INT64_MAX : vigia__lua_check_seconds(L, TIMEOUT, "timeout");
	lua_settop(L, TIMEOUT);
	if (signal->has_value) return take_value(L, signal);
	struct lua_handler *h = vigia__lua_running(L);
	if (h && vigia__lua_stopping(h)) return vigia__lua_yield_stopping(L, h, vigia__lua_stopped);
	return vigia__lua_may_suspend(L, h) ? wait_suspended(L, h, ns) : wait_blocking(L, signal, ns);
}

static const struct vigia__lua_class signal_class = {
	.name = "vigia.Signal",
	.methods = (const luaL_Reg[]){{"set", signal_set}, {"wait", signal_wait}, {NULL, NULL}},
};
