/*
 * watch.c - registry:watch: makes a watcher of a function, or of a script on a thread of its own.
 */
#include "watch.h"

#include <string.h>

#include "../core/buf.h"
#include "../core/error.h"
#include "../core/options.h"
#include "../drive/job.h"
#include "../drive/worker.h"
#include "results.h"
#include "cap.h"
#include "encode.h"
#include "error.h"
#include "filter.h"
#include "handler.h"
#include "iterator.h"
#include "lua_state.h"
#include "options.h"
#include "registry_handle.h"
#include "script.h"
#include "tell.h"
#include "watch_options.h"
#include "watcher.h"

/* ---- scripts ---- */

/* In the table at the top: field `name` = the string at the top of it. */
static void copy_field(lua_State *L, int from, const char *name)
{
	lua_getfield(L, from, name);
	lua_setfield(L, -2, name);
}

/* The options that a watcher has, as plain values: all but the script's own. [-0, +1, m] */
static void push_plain_options(lua_State *L, int arg)
{
	lua_newtable(L);
	if (!lua_istable(L, arg)) return;
	for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
		const char *name =
			lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : ""; /* checked, but it may have changed since */
		if (vigia__option_find(vigia__watch_option_table, name) == NULL) continue;
		if (vigia__lua_test_iterator(L, -1)) {
			lua_createtable(L, 0, 2);
			copy_field(L, -2, "kind");
			copy_field(L, -2, "seq_num");
			lua_setfield(L, -4, name);
			continue;
		}
		lua_pushvalue(L, -1);
		lua_setfield(L, -4, name);
	}
}

/* The table that goes over to the thread. [-0, +1, m] */
static void push_new_order(lua_State *L)
{
	lua_createtable(L, 0, 4);
	lua_pushvalue(L, 3);
	lua_setfield(L, -2, "source");
	push_plain_options(L, 4);
	lua_setfield(L, -2, "options");
	if (lua_istable(L, 4)) copy_field(L, 4, "set");
}

/* The script's package.path and package.cpath: those of this state. [-0, +0, m] */
static void add_paths(lua_State *L, struct vigia__buf *paths)
{
	static const char *const names[] = {"path", "cpath"};
	int top = lua_gettop(L);
	lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
	bool there = lua_getfield(L, -1, "package") == LUA_TTABLE;
	for (int i = 0; i < 2; i++) {
		bool given = there && lua_getfield(L, top + 2, names[i]) == LUA_TSTRING;
		const char *path = given ? lua_tostring(L, -1) : "";
		if (vigia__buf_add(paths, path, strlen(path) + 1) != 0) luaL_error(L, "not enough memory");
	}
	lua_settop(L, top);
}

/* In the order on top: what lua/vigia/isolated_host.lua must know of the options at 4. The caps are the other
 * program's then. [-0, +0, m] */
static void push_isolation(lua_State *L, const struct vigia__cap_limits *limits)
{
	lua_createtable(L, 0, 5);
	vigia__lua_push_raw(L, 4, "worker_program"); /* only now: a finalizer may have changed the table meanwhile */
	if (lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) > 0) lua_setfield(L, -2, "program");
	else lua_pop(L, 1);
	const struct vigia__lua_number numbers[] = {{"memory", (uint64_t)limits->memory_bytes},
	                                            {"cpu", (uint64_t)limits->cpu_ns},
	                                            {"choose", limits->choose},
	                                            {"libraries", limits->libraries},
	                                            {NULL, 0}};
	vigia__lua_set_integers(L, numbers);
	lua_setfield(L, -2, "isolation");
}

static void free_order(lua_State *L, void *object)
{
	struct vigia__script_order *order = object;
	vigia__buf_deinit(&order->bytes);
	vigia__buf_deinit(&order->paths);
}

static const struct vigia__lua_class order_class = {.name = "vigia.order", .free = free_order};

/* "object.set.x: ..." is at home in the options. */
static const char *without_object(const char *message)
{
	return strncmp(message, "object.", 7) == 0 ? message + 7 : message;
}

static int fail_script(lua_State *L, const char *id)
{
	struct vigia_error err = {0};
	int rc =
		vigia__error(&err, VIGIA_EUNSUPPORTED,
	                 "watcher '%s': a store written in Lua lives in one Lua state: a script, which has its own, cannot "
	                 "watch it",
	                 VIGIA_SHOWN(id ? id : ""));
	return vigia__lua_fail(L, vigia__error_watcher(&err, id, rc), &err);
}

/* registry:watch with a path or a module's name for a handler. */
static int watch_script(lua_State *L)
{
	enum { ORDER_MAX = 1 << 28 };
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	if (r->worker) vigia__lua_check_own_registry(L, 1);
	const char *id = lua_isnil(L, 2) ? NULL : vigia__lua_check_cstring(L, 2, "id");
	vigia__lua_check_cstring(L, 3, "handler");
	lua_settop(L, 4);
	if (r->lua_store) return fail_script(L, id);
	vigia__lua_check_finalizes(L); /* the order's memory */
	struct vigia__script_options options;
	vigia__lua_check_script_options(L, 4, &options);
	struct vigia__script_order *order = vigia__lua_new(L, sizeof *order, &order_class); /* 5 */
	bool endless = options.cpu_limit_ns == INT64_MAX;                                   /* math.huge */
	struct vigia__cap_limits limits = {.memory_bytes = options.memory_limit_bytes,
	                                   .cpu_ns = endless ? 0 : options.cpu_limit_ns,
	                                   .choose = options.libraries_given,
	                                   .libraries = options.libraries};
	order->reload = options.reload;
	order->isolated = options.isolation;
	order->open_module = vigia__lua_shared(L)->open_module;
	order->registry = r->registry;
	order->pace = &r->pace;
	add_paths(L, &order->paths);
	push_new_order(L); /* 6 */
	if (options.isolation) push_isolation(L, &limits);
	else order->limits = limits;
	lua_pushliteral(L, "ORDER"); /* 7 */
	struct vigia_error err = {0};
	int rc = vigia__lua_encode_event(L, 7, 7, 6, &order->bytes, ORDER_MAX, &err);
	if (rc == VIGIA_ENOMEM) return vigia__lua_fail(L, rc, &err);
	if (rc < 0) return luaL_argerror(L, 4, lua_pushstring(L, without_object(err.message)));

	vigia__lua_registry_push_kept(L, 1);                  /* 8 */
	struct lua_watcher *w = vigia__lua_watcher_new(L, 1); /* 9 */
	struct vigia__job job;
	if (vigia__script_job(order, &job) < 0) return luaL_error(L, "not enough memory");
	struct vigia__lua_entered before = vigia__lua_registry_enter(r, L);
	rc = vigia__registry_watch_job(r->registry, id, &job, &w->watcher, &err);
	vigia__lua_registry_leave(r, before);
	if (rc < 0) {
		job.free(job.ctx);
		return vigia__lua_fail(L, rc, &err);
	}
	/* Kept under its id for get_watcher. Should this raise for want of memory, the watcher runs, and is the registry's
	 * all the same. */
	lua_pushstring(L, vigia_watcher_id(w->watcher));
	lua_pushvalue(L, 9);
	lua_rawset(L, 8);
	lua_settop(L, 9);
	return 1;
}

/* ---- functions ---- */

/* The watcher of the id at idx in the keeping table on top. [-0, +1, -] */
static void push_watcher(lua_State *L, int kept, int id)
{
	lua_pushvalue(L, id);
	lua_rawget(L, kept);
}

/* A handler for each further lane, behind the one at 9. [-0, +0, v] */
static void add_lanes(lua_State *L, const struct vigia_watch_options *options)
{
	if (lua_getfield(L, 4, "lane_key") == LUA_TNIL)
		luaL_argerror(L, 4, "lane_key: missing, it says which events are handled in order");
	int key = lua_gettop(L), last = 9;
	vigia__lua_handler_set_key(L, 9, key);
	for (int64_t lane = 1; lane < options->lanes; lane++) {
		vigia__lua_handler_new(L, 1, 3, 7);
		vigia__lua_handler_set_watcher(L, -1, 8);
		vigia__lua_push_kept(L, 8, 4);
		vigia__lua_handler_set_where(L, -2, -1);
		lua_pop(L, 1);
		vigia__lua_handler_set_key(L, -1, key);
		vigia__lua_handler_set_next(L, last, -1);
		if (last == 9) last = lua_gettop(L);
		else lua_replace(L, last);
	}
	lua_settop(L, 9);
}

int vigia__lua_watch(lua_State *L)
{
	if (lua_type(L, 3) == LUA_TSTRING) return watch_script(L);
	struct lua_registry *r = vigia__lua_check_own_registry(L, 1);
	const char *id = vigia__lua_check_cstring(L, 2, "id");
	if (!lua_isnoneornil(L, 3)) vigia__lua_check_type(L, 3, LUA_TFUNCTION, "handler");
	lua_settop(L, 4);
	struct vigia_watch_options options;
	vigia__lua_own_options(L, 4, 4);
	vigia__lua_check_watch_options(L, 4, &options); /* 5: its filter */
	vigia__lua_registry_push_kept(L, 1);            /* 6 */
	if (lua_istable(L, 4)) lua_getfield(L, 4, "on_error");
	else lua_pushnil(L);                                  /* 7 */
	struct lua_watcher *w = vigia__lua_watcher_new(L, 1); /* 8 */
	vigia__lua_keep_value(L, 8, 3, 7);
	vigia__lua_push_where(L, 4);
	vigia__lua_keep(L, 8, 4);
	if (lua_istable(L, 4) && lua_getfield(L, 4, "filter") == LUA_TTABLE) {
		lua_pushnil(L); /* a store in Lua gets the table: the predicate is the handler's */
		lua_setfield(L, -2, "predicate");
		vigia__lua_keep(L, 8, VIGIA_LUA_WATCHER_LISTS);
	}
	lua_settop(L, 8);
	struct vigia_handler handler;
	if (!lua_isnil(L, 3)) {
		w->handler = vigia__lua_handler_new(L, 1, 3, 7); /* 9 */
		vigia__lua_handler_set_watcher(L, 9, 8);
		vigia__lua_push_kept(L, 8, 4);
		vigia__lua_handler_set_where(L, 9, -1);
		lua_pop(L, 1);
		vigia__lua_keep_value(L, 8, 2, 9);
		vigia__lua_handler_c(w->handler, &handler);
		if (options.lanes > 1) add_lanes(L, &options);
	}
	vigia__lua_check_registry(L, 1); /* again: a finalizer may have closed it since. From here on nothing allocates */
	/* Kept before C knows of it: what follows must not raise. The one that stood under the id is put back if nothing
	 * comes of it. */
	push_watcher(L, 6, 2); /* 9 or 10: the one before */
	int old = lua_gettop(L);
	lua_pushvalue(L, 2);
	lua_pushvalue(L, 8);
	lua_rawset(L, 6);
	struct vigia_error err = {0};
	bool later = vigia__lua_starts_later(L, r);
	struct vigia__lua_entered before = vigia__lua_registry_enter_call(r, L);
	r->registry->starts_later = later;
	int rc = vigia_registry_watch(r->registry, id, w->handler ? &handler : NULL, &options, &w->watcher, &err);
	r->registry->starts_later = false;
	vigia__lua_registry_leave(r, before);
	if (rc < 0) {
		push_watcher(L, 6, 2);
		if (lua_rawequal(L, -1, 8)) { /* else the log function watched the id meanwhile */
			lua_pushvalue(L, 2);
			lua_pushvalue(L, old);
			lua_rawset(L, 6);
		}
		return vigia__lua_results_done(L, r, rc, &err);
	}
	if (w->handler) w->handler->watcher = w->watcher;
	lua_pushvalue(L, 8);
	return later ? vigia__lua_watched(L) : 1;
}

/* ---- for the command line ---- */

int vigia__lua_hold(lua_State *L)
{
	vigia__lua_check_program(L, "hold");
	const struct vigia_watcher *watcher = vigia__lua_check_watcher(L, 1);
	luaL_argcheck(L, vigia__watcher_worker(watcher), 1, "a script's watcher expected");
	for (; watcher; watcher = watcher->next_lane)
		vigia__worker_hold(vigia__watcher_worker(watcher), lua_toboolean(L, 2));
	return 0;
}

/* core.hold_late(registry): for a program that watches all before it starts any, and may start none. */
int vigia__lua_hold_late(lua_State *L)
{
	vigia__lua_check_program(L, "hold_late");
	vigia__lua_check_registry(L, 1)->registry->holds_late = true;
	return 0;
}

int vigia__lua_tell_failures(lua_State *L)
{
	vigia__lua_check_program(L, "tell_failures");
	vigia__lua_check_registry(L, 1)->registry->tell = vigia__tell;
	return 0;
}
