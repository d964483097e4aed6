/*
 * registry.c - the class vigia.Registry: watchers driven by the Lua state that made it.
 *
 * It keeps, as 1, a table of what C refers to: the store, the log function, the clock and more (registry_handle.h),
 * watchers by id, and tasks by their address. As 2 it keeps a thread with this table on its stack, for callbacks of C.
 * All of it goes with the registry: a cycle through a handler's upvalues is a cycle of Lua objects, and is collected.
 */
#include "registry.h"

#include <string.h>

#include "../core/error.h"
#include "../drive/worker.h"
#include "../core/options.h"
#include "../drive/clock.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "cap.h"
#include "clock.h"
#include "coroutine.h"
#include "error.h"
#include "handler.h"
#include "interrupt.h"
#include "lua_state.h"
#include "options.h"
#include "registry_handle.h"
#include "run.h"
#include "source.h"
#include "store_handle.h"
#include "task.h"
#include "tell.h"
#include "watch.h"

static const struct vigia__lua_class stopping_class = {.name = "vigia.stopping"};
static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* ---- callbacks ---- */

struct record {
	struct lua_registry *r;
	enum vigia_log_level level;
	const char *message;
};

static int call_log(lua_State *L, void *arg)
{
	struct record *record = arg;
	if (!vigia__lua_push_from(L, record->r->home, 1)) return 0;
	lua_rawgeti(L, -1, VIGIA_LUA_REGISTRY_LOG);
	if (!lua_isfunction(L, -1)) return 0;
	lua_pushstring(L, level_names[record->level]);
	lua_pushstring(L, record->message);
	lua_call(L, 2, 0);
	return 0;
}

/* A log function that fails cannot be reported. */
static void log_record(void *ctx, enum vigia_log_level level, const char *message)
{
	struct lua_registry *r = ctx;
	struct record record = {r, level, message};
	if (r->L) vigia__lua_protected(r->L, call_log, &record);
}

static void interrupt(void *ctx)
{
	vigia_registry_interrupt(ctx);
}

/* Under vigia__lua_protected(): nothing here keeps the watcher any more. */
static int forget_userdata(lua_State *L, void *arg)
{
	struct vigia_watcher *watcher = arg;
	struct lua_registry *r = watcher->registry->forgotten_ctx;
	if (!vigia__lua_push_from(L, r->home, 1)) return 0; /* it stays until the registry goes */
	lua_pushstring(L, vigia_watcher_id(watcher));
	lua_pushnil(L);
	lua_rawset(L, -3);
	return 0;
}

static void forgotten(void *ctx, struct vigia_watcher *watcher)
{
	struct lua_registry *r = ctx;
	if (r->L) vigia__lua_protected(r->L, forget_userdata, watcher);
}

/* Discard an interrupt that arrived while the registry was not running. */
static void forget_interrupt(void *ctx)
{
	struct vigia_registry *registry = ctx;
	atomic_store(&registry->interrupted, false);
}

/* ---- life ---- */

static void registry_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct vigia__manual_clock **clock = ctx;
	if (strcmp(name, "log") == 0 && lua_isboolean(L, idx) && !lua_toboolean(L, idx)) return; /* not even failures */
	if (strcmp(name, "clock") != 0) vigia__lua_option_function(L, idx, name, problems);
	else if ((*clock = vigia__lua_test_clock(L, idx)) == NULL)
		vigia__problem(problems, "clock is a %s, allowed: a clock, as from require \"vigia.testing\".clock()",
		               luaL_typename(L, idx));
}

int vigia__lua_registry(lua_State *L)
{
	if (vigia__cap_here())
		return luaL_error(L, "a limited script has no vigia.registry: it is already a watcher's handler");
	vigia__lua_check_finalizes(L);
	bool in_lua = lua_istable(L, 1), wrapped = false;
	if (!in_lua) vigia__lua_check_store(L, 1);
	lua_settop(L, 2);
	struct vigia__manual_clock *clock = NULL;
	vigia__lua_own_options(L, 2, 1);
	vigia__lua_check_options(L, 2, vigia__registry_option_table, NULL, "registry options", registry_special, &clock);
	if (!in_lua) lua_pushvalue(L, 1); /* 3: the store whose words wake it */
	else if (vigia__lua_push_host(L, 1, &wrapped) == 2) return 2;
	if (vigia__lua_check_store(L, 3) == NULL) return vigia__lua_fail_closed(L, 3);
	struct lua_registry *r = vigia__lua_new_keeping(L, sizeof *r, &vigia__lua_registry_class, 2); /* 4 */
	lua_createtable(L, VIGIA_LUA_REGISTRY_ERROR_TEXT, 0);
	lua_pushvalue(L, 1);
	lua_rawseti(L, -2, VIGIA_LUA_REGISTRY_STORE);
	lua_pushvalue(L, 3);
	lua_rawseti(L, -2, VIGIA_LUA_REGISTRY_HOST);
	bool log_given = false;
	if (lua_istable(L, 2)) {
		log_given = lua_getfield(L, 2, "log") != LUA_TNIL;
		lua_rawseti(L, -2, VIGIA_LUA_REGISTRY_LOG);
		lua_getfield(L, 2, "clock");
		lua_rawseti(L, -2, VIGIA_LUA_REGISTRY_CLOCK);
	}
	vigia__lua_registry_keep(L, r, 4);
	struct vigia_store *store = vigia__lua_check_store(L, 3); /* a finalizer may have closed it since */
	if (store == NULL) return vigia__lua_fail_closed(L, 3);
	r->registry = vigia_registry_new(store);
	if (r->registry == NULL) {
		struct vigia_error err = {0};
		vigia__error(&err, VIGIA_ENOMEM, "no memory for a registry");
		return vigia__lua_fail(L, VIGIA_ENOMEM, &err);
	}
	if (clock) vigia__registry_use_clock(r->registry, clock);
	r->registry->forgotten = forgotten;
	r->registry->wait_ended = vigia__lua_wait_ended;
	r->registry->forgotten_ctx = r;
	vigia_registry_log(r->registry, r, log_record);
	if (!log_given) r->registry->tell = vigia__tell;
	r->hook = (struct vigia__interrupt_hook){.fn = interrupt, .ctx = r->registry, .undo = forget_interrupt};
	vigia__interrupt_add(&r->hook);
	if (in_lua) vigia__lua_source_attach(L, 4, wrapped);
	return 1;
}

/* close(), __gc, __close: safe twice. A registry of another owner is closed by the collector only. Progress is saved.
 * No handler runs any more, one that waits does not go on, and its event comes again. A script's handler in progress is
 * waited for. */
static int registry_close(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &vigia__lua_registry_class);
	if (r->borrowed && vigia__lua_collected(L, &vigia__lua_registry_class) == NULL) vigia__lua_check_own_registry(L, 1);
	if (r->registry && r->registry->depth > 0)
		return luaL_error(L, "a registry cannot be closed from one of its handlers");
	struct vigia_registry *registry = r->registry;
	r->registry = NULL;
	if (registry) vigia__worker_drop_ahead(registry);
	if (registry && !r->borrowed) {
		vigia__interrupt_remove(&r->hook);
		vigia_registry_free(registry);
	}
	return 0;
}

/* A stop or close that waits in a coroutine. The stack: the registry, this. */
struct stopping {
	int64_t until_mono_ns;
	bool begun, own; /* own: of the coroutine's own registry */
	bool killed;
	struct vigia_error err; /* what had not stopped when programs were killed */
};

/* May a stop or close wait in the coroutine that runs? A clock that is moved by hand ends no wait for the time of a
 * stop. */
static bool may_wait(lua_State *L, const struct lua_handler *h)
{
	return vigia__lua_may_suspend(L, h) && h->owner->registry->clock == NULL;
}

static struct stopping *stopping_new(lua_State *L, int64_t timeout_ns)
{
	lua_settop(L, 1);
	struct stopping *s = vigia__lua_new(L, sizeof *s, &stopping_class);
	*s = (struct stopping){.until_mono_ns = vigia__time_after(NULL, timeout_ns)};
	return s;
}

/* Kill what can be killed once the time has passed. True: wait on. */
static bool has_time(struct stopping *s, struct vigia_registry *registry)
{
	if (!s->killed && vigia__mono_ns() >= s->until_mono_ns) {
		s->killed = vigia__registry_kill(registry);
		if (s->killed) s->until_mono_ns = vigia__time_after(NULL, VIGIA_KILL_NS);
	}
	return vigia__mono_ns() < s->until_mono_ns;
}

static int wait_for_stop(lua_State *L, struct stopping *s, lua_KFunction k)
{
	struct lua_handler *h = vigia__lua_running(L);
	int64_t next = s->until_mono_ns;
	if (s->own) h->owner->registry->stop_waits++;
	else if (vigia__time_after(NULL, VIGIA_LUA_LOOK_NS) < next) next = vigia__time_after(NULL, VIGIA_LUA_LOOK_NS);
	return vigia__lua_suspend(L, h, next, s->own, 0, k);
}

static struct stopping *waited_for_stop(lua_State *L)
{
	struct stopping *s = vigia__lua_check(L, 2, &stopping_class);
	if (s->own) vigia__lua_running(L)->owner->registry->stop_waits--;
	return s;
}

static int close_again(lua_State *L, int status, lua_KContext ctx);

/* The threads of scripts end first, while other coroutines go on. */
static int close_waiting(lua_State *L, struct stopping *s)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &vigia__lua_registry_class);
	bool runs = r->registry && r->registry->depth == 0 && vigia__registry_stop_workers(r->registry);
	if (runs) {
		if (vigia__mono_ns() >= s->until_mono_ns && !s->killed) s->killed = vigia__registry_kill(r->registry);
		s->until_mono_ns = s->killed ? INT64_MAX : s->until_mono_ns;
		return wait_for_stop(L, s, close_again);
	}
	registry_close(L);
	return vigia__lua_boolean(L, true);
}

static int close_again(lua_State *L, int status, lua_KContext ctx)
{
	return close_waiting(L, waited_for_stop(L));
}

static int registry_close_method(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &vigia__lua_registry_class);
	bool runs = r->registry && !r->borrowed && r->registry->depth == 0 && may_wait(L, vigia__lua_running(L)) &&
	            vigia__registry_stop_workers(r->registry);
	if (runs) return close_waiting(L, stopping_new(L, VIGIA_END_GRACE_NS));
	/* A store in Lua saves progress while it can be called. */
	if (r->registry && r->lua_store && r->registry->depth == 0) {
		struct vigia_error err;
		vigia__lua_drive(L, r, VIGIA_LUA_STOP, NULL, 0, &err);
	}
	registry_close(L);
	return vigia__lua_boolean(L, true);
}

static int registry_tostring(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &vigia__lua_registry_class);
	if (r->registry && r->lua_store) {
		vigia__lua_registry_push_store(L, 1);
		lua_pushfstring(L, "vigia.Registry: %s", luaL_tolstring(L, -1, NULL));
	} else if (r->registry) lua_pushfstring(L, "vigia.Registry: %s", r->registry->store->path);
	else lua_pushliteral(L, "vigia.Registry (closed)");
	return 1;
}

/* ---- watchers ---- */

static int registry_spawn(lua_State *L)
{
	vigia__lua_check_own_registry(L, 1);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	struct vigia_error err = {0};
	int rc = vigia__lua_task_new(L, 1, 2, &err);
	return vigia__lua_done(L, rc, &err);
}

static int registry_get_watcher(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_own_registry(L, 1);
	const char *id = vigia__lua_check_cstring(L, 2, "id");
	struct vigia_error err = {0};
	struct vigia_watcher *watcher;
	int rc = vigia_registry_get(r->registry, id, &watcher, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	vigia__lua_registry_push_kept(L, 1);
	lua_pushvalue(L, 2);
	lua_rawget(L, -2);
	return 1;
}

static int registry_remove(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_own_registry(L, 1);
	const char *id = vigia__lua_check_cstring(L, 2, "id");
	struct vigia_error err = {0};
	struct vigia_watcher *watcher = NULL;
	struct vigia__lua_entered before = vigia__lua_registry_enter(r, L);
	int rc = vigia_registry_get(r->registry, id, &watcher, &err);
	if (rc == VIGIA_OK) rc = vigia__registry_retire(r->registry, watcher, &err);
	vigia__lua_registry_leave(r, before);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	vigia__lua_registry_push_kept(L, 1); /* what is left of it goes with its userdata */
	lua_pushvalue(L, 2);
	lua_pushnil(L);
	lua_rawset(L, -3);
	return vigia__lua_boolean(L, true);
}

/* ---- driving ---- */

static int registry_run(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_own_registry(L, 1);
	struct vigia_error err = {0};
	int rc = vigia__lua_drive(L, r, VIGIA_LUA_RUN, NULL, 0, &err);
	return vigia__lua_done(L, rc, &err);
}

static int registry_step(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_own_registry(L, 1);
	int64_t timeout = lua_isnoneornil(L, 2) ? 0 : vigia__lua_check_seconds(L, 2, "timeout");
	struct vigia_error err = {0};
	int rc = vigia__lua_drive(L, r, VIGIA_LUA_STEP, NULL, timeout, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	return vigia__lua_boolean(L, rc == VIGIA_OK);
}

static int registry_pollfd(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_own_registry(L, 1);
	struct vigia_error err = {0};
	int fd = vigia_registry_pollfd(r->registry, &err);
	if (fd < 0) return vigia__lua_fail(L, fd, &err);
	lua_pushinteger(L, fd);
	return 1;
}

static int stop_again(lua_State *L, int status, lua_KContext ctx);

static int stop_waiting(lua_State *L, struct stopping *s)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &vigia__lua_registry_class);
	struct vigia_error err = {0};
	int rc = VIGIA_OK;
	if (r->registry) { /* else it was closed meanwhile, which has stopped it */
		struct vigia__lua_entered before = vigia__lua_registry_enter(r, L);
		rc = vigia__registry_stop_turn(r->registry, !s->begun, &err);
		s->own = vigia__lua_running(L)->owner == r;
		s->begun = true;
		bool had_killed = s->killed, waits = rc == VIGIA_PENDING && has_time(s, r->registry);
		vigia__lua_registry_leave(r, before);
		if (s->killed && !had_killed) s->err = err;
		if (waits) return wait_for_stop(L, s, stop_again);
	}
	if (s->killed || rc != VIGIA_OK) return vigia__lua_fail(L, VIGIA_ESTATE, s->killed ? &s->err : &err);
	return vigia__lua_boolean(L, true);
}

static int stop_again(lua_State *L, int status, lua_KContext ctx)
{
	return stop_waiting(L, waited_for_stop(L));
}

static int registry_stop(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_own_registry(L, 1);
	int64_t timeout = vigia__lua_check_stop(L, 2);
	struct vigia_error err = {0};
	if (timeout > 0 && may_wait(L, vigia__lua_running(L))) return stop_waiting(L, stopping_new(L, timeout));
	int rc = vigia__lua_drive(L, r, VIGIA_LUA_STOP, NULL, timeout, &err);
	return vigia__lua_done(L, rc, &err);
}

void vigia__lua_registry_init(lua_State *L)
{
	static const luaL_Reg metamethods[] = {
		{"__gc", registry_close}, {"__close", registry_close_method}, {"__tostring", registry_tostring}, {NULL, NULL}};
	static const luaL_Reg methods[] = {
		{"watch", vigia__lua_watch},
		{"spawn", registry_spawn},
		{"get_watcher", registry_get_watcher},
		{"remove", registry_remove},
		{"run", registry_run},
		{"step", registry_step},
		{"pollfd", registry_pollfd},
		{"stop", registry_stop},
		{"close", registry_close_method},
		{NULL, NULL},
	};
	vigia__lua_push_class(L, &vigia__lua_registry_class);
	vigia__lua_set_methods(L, metamethods, methods);
	lua_pop(L, 1);
}
