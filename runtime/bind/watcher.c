/*
 * watcher.c - the class vigia.Watcher: a handle on one watcher of a registry.
 *
 * It keeps: 1 the registry, 2 the handler's userdata, 3 on_error and 4 the predicate for a handler that is to come,
 * 5 the filter's lists.
 */
#include "watcher.h"

#include <stdio.h>
#include <string.h>

#include "../core/event.h"
#include "../drive/drive.h"
#include "../drive/clock.h"
#include "../store/clock.h"
#include "ask.h"
#include "results.h"
#include "coroutine.h"
#include "error.h"
#include "handler.h"
#include "iterator.h"
#include "lua_state.h"
#include "registry_handle.h"
#include "run.h"

static const struct vigia__lua_class watcher_class;
static const struct vigia__lua_class stopping_class = {.name = "vigia.stopping"};

/* Raises when the registry is closed. */
static struct lua_watcher *check_watcher(lua_State *L, int arg)
{
	struct lua_watcher *w = vigia__lua_check(L, arg, &watcher_class);
	luaL_argcheck(L, w->watcher && w->owner->registry, arg, "the watcher's registry is closed");
	return w;
}

struct vigia_watcher *vigia__lua_check_watcher(lua_State *L, int arg)
{
	return check_watcher(L, arg)->watcher;
}

struct lua_watcher *vigia__lua_watcher_new(lua_State *L, int registry_idx)
{
	registry_idx = lua_absindex(L, registry_idx);
	struct lua_registry *owner = vigia__lua_check_registry(L, registry_idx);
	struct lua_watcher *w = vigia__lua_new_keeping(L, sizeof *w, &watcher_class, VIGIA_LUA_WATCHER_LISTS);
	w->owner = owner;
	vigia__lua_check_registry(L, registry_idx); /* again: a finalizer may have closed it since */
	vigia__lua_keep_value(L, -1, 1, registry_idx);
	return w;
}

static int watcher_id(lua_State *L)
{
	lua_pushstring(L, vigia_watcher_id(check_watcher(L, 1)->watcher));
	return 1;
}

static void set_error(lua_State *L, const char *field, const struct vigia_error *err)
{
	if (err->code >= 0) return;
	vigia__lua_push_error(L, err);
	lua_setfield(L, -2, field);
}

static int push_stats(lua_State *L, struct lua_watcher *w, const struct vigia_watcher_stats stats)
{
	static const char *const states[] = {"idle", "running", "stopping", "stopped"};
	/* From here on a finalizer may close the registry, and with it goes the watcher. */
	const bool on_thread = !w->watcher->here;
	char id[256];
	snprintf(id, sizeof id, "%s", vigia_watcher_id(w->watcher));
	lua_createtable(L, 0, 20);
	vigia__lua_set_string(L, "id", id);
	vigia__lua_set_string(L, "state", states[stats.state]);
	vigia__lua_push_iterator(L, stats.next);
	lua_setfield(L, -2, "next_event_iterator");
	if (stats.has_checkpoint) {
		vigia__lua_push_iterator(L, (struct vigia_iterator){VIGIA_AFTER, stats.checkpoint});
		lua_setfield(L, -2, "checkpoint_iterator");
	}
	const struct vigia__lua_number numbers[] = {
		{"last_processed_seq_num", stats.last_processed_seq_num},
		{"last_processed_event_time", (uint64_t)stats.last_processed_at_ns},
		{"last_listen_time", (uint64_t)stats.last_listen_at_ns},
		{"lag", stats.lag},
		{"processed", stats.processed},
		{"failed", stats.failed},
		{"retried", stats.retried},
		{"skipped", stats.skipped},
		{"dead_lettered", stats.dead_lettered},
		{"missed", stats.missed},
		{"fetch_errors", stats.fetch_errors},
		{NULL, 0},
	};
	vigia__lua_set_integers(L, numbers);
	lua_pushboolean(L, stats.paused);
	lua_setfield(L, -2, "paused");
	if (on_thread) vigia__lua_set_integer(L, "reloads", stats.reloads);
	set_error(L, "last_reload_error", &stats.last_reload_error);
	set_error(L, "stop_error", &stats.stop_error);
	if (stats.blocked_seq_num) vigia__lua_set_integer(L, "blocked_on", stats.blocked_seq_num);
	if (stats.last_error.code < 0) {
		/* The handler's own has the value it raised. Another error came from C. */
		if (w->handler) vigia__lua_handler_push_error(L, w->handler);
		else lua_pushnil(L);
		bool own = stats.last_error.code == VIGIA_EHANDLER && !lua_isnil(L, -1);
		if (!own) {
			lua_pop(L, 1);
			bool open = w->owner->registry != NULL;
			if (!open || !vigia__lua_results_push_error(L, w->owner, w->watcher, &stats.last_error))
				vigia__lua_push_error(L, &stats.last_error);
		}
		lua_setfield(L, -2, "last_error");
	}
	return 1;
}

static int ask_stats(struct vigia_store *store, void *what, struct vigia_error *err)
{
	return vigia__watcher_known_ask(store, what);
}

/* What the store does not say is not known, as when it is closed. */
static int answer_stats(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	struct lua_watcher *w = check_watcher(L, 1);
	struct vigia_watcher_stats stats = {0};
	vigia__watcher_known_stats(w->watcher, what, &stats);
	return push_stats(L, w, stats);
}

static const struct vigia__lua_call stats_call = {
	.size = sizeof(struct vigia__watcher_known), .ask = ask_stats, .answer = answer_stats};

static int watcher_stats(lua_State *L)
{
	struct lua_watcher *w = check_watcher(L, 1);
	if (w->owner->lua_store == NULL && vigia__lua_asks(L, w->owner->registry->store)) {
		lua_settop(L, 1);
		struct vigia__watcher_known *known = vigia__lua_ask_new(L, &stats_call);
		w = check_watcher(L, 1); /* a finalizer may have closed the registry */
		vigia__watcher_known_begin(w->watcher, known);
		return vigia__lua_ask_made_of(L, w->owner->registry->store);
	}
	struct vigia_watcher_stats stats;
	struct vigia__lua_entered before = vigia__lua_registry_enter_call(w->owner, L);
	vigia_watcher_stats(w->watcher, &stats);
	vigia__lua_registry_leave(w->owner, before);
	return push_stats(L, w, stats);
}

static int move_watcher(lua_State *L, int (*move)(struct vigia_watcher *watcher, uint64_t n, struct vigia_error *err))
{
	struct lua_watcher *w = check_watcher(L, 1);
	uint64_t n = vigia__lua_check_seq(L, 2, "n");
	struct vigia_error err = {0};
	struct vigia__lua_entered before = vigia__lua_registry_enter_call(w->owner, L);
	int rc = move(w->watcher, n, &err);
	vigia__lua_registry_leave(w->owner, before);
	return vigia__lua_results_done(L, w->owner, rc, &err);
}

struct checkpoint {
	struct vigia_watcher *watcher;
	uint64_t n;
};

static int ask_checkpoint(struct vigia_store *store, void *what, struct vigia_error *err)
{
	const struct checkpoint *checkpoint = what;
	return vigia__watcher_checkpoint_ask(checkpoint->watcher, checkpoint->n, err);
}

static int answer_checkpoint(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	struct lua_watcher *w = check_watcher(L, 1);
	if (rc >= 0) vigia__watcher_checkpoint_saved(w->watcher, ((const struct checkpoint *)what)->n);
	return vigia__lua_results_done(L, w->owner, rc, err);
}

static const struct vigia__lua_call checkpoint_call = {
	.size = sizeof(struct checkpoint), .ask = ask_checkpoint, .answer = answer_checkpoint};

static int watcher_checkpoint(lua_State *L)
{
	struct lua_watcher *w = check_watcher(L, 1);
	struct vigia_error err = {0};
	if (w->owner->lua_store == NULL && w->watcher->here && vigia__lua_asks(L, w->owner->registry->store)) {
		uint64_t n = vigia__lua_check_seq(L, 2, "n");
		lua_settop(L, 2);
		struct checkpoint *checkpoint = vigia__lua_ask_new(L, &checkpoint_call);
		w = check_watcher(L, 1); /* a finalizer may have closed the registry */
		int rc = vigia__watcher_checkpoint_begin(w->watcher, &err);
		if (rc < 0) return vigia__lua_results_done(L, w->owner, rc, &err);
		*checkpoint = (struct checkpoint){w->watcher, n};
		vigia__lua_ask_use(L, w->watcher);
		return vigia__lua_ask_made_of(L, w->owner->registry->store);
	}
	return move_watcher(L, vigia_watcher_checkpoint);
}

struct seek {
	char id[VIGIA_NAME_MAX + 1];
	uint64_t n;
};

static int ask_seek(struct vigia_store *store, void *what, struct vigia_error *err)
{
	const struct seek *seek = what;
	return vigia__watcher_seek_ask(store, seek->id, seek->n, err);
}

/* In its own handler that is all: the save follows behind it. Another watcher's is waited for. */
static int answer_seek(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	struct lua_watcher *w = check_watcher(L, 1);
	if (rc >= 0) rc = vigia__watcher_seek_within(w->watcher, ((const struct seek *)what)->n, err);
	return vigia__lua_results_done(L, w->owner, rc, err);
}

static const struct vigia__lua_call seek_call = {.size = sizeof(struct seek), .ask = ask_seek, .answer = answer_seek};

static int watcher_seek(lua_State *L)
{
	struct lua_watcher *w = check_watcher(L, 1);
	if (w->owner->lua_store == NULL && w->watcher->here && vigia__lua_asks(L, w->owner->registry->store)) {
		uint64_t n = vigia__lua_check_seq(L, 2, "n");
		lua_settop(L, 2);
		struct seek *seek = vigia__lua_ask_new(L, &seek_call);
		w = check_watcher(L, 1); /* a finalizer may have closed the registry */
		seek->n = n;
		memcpy(seek->id, w->watcher->id, sizeof seek->id);
		return vigia__lua_ask_made_of(L, w->owner->registry->store);
	}
	return move_watcher(L, vigia_watcher_seek);
}

static int watcher_reload(lua_State *L)
{
	struct lua_watcher *w = check_watcher(L, 1);
	struct vigia_error err = {0};
	struct vigia__lua_entered before = vigia__lua_registry_enter(w->owner, L);
	int rc = vigia_watcher_reload(w->watcher, &err);
	vigia__lua_registry_leave(w->owner, before);
	return vigia__lua_done(L, rc, &err);
}

static int watcher_set_handler(lua_State *L)
{
	struct lua_watcher *w = check_watcher(L, 1);
	vigia__lua_check_type(L, 2, LUA_TFUNCTION, "handler");
	lua_settop(L, 2);
	struct vigia_error err = {0};
	vigia__lua_push_kept(L, 1, 1);                                    /* 3: the registry */
	vigia__lua_push_kept(L, 1, 3);                                    /* 4: on_error */
	struct lua_handler *handler = vigia__lua_handler_new(L, 3, 2, 4); /* 5 */
	struct vigia_handler c;
	vigia__lua_handler_c(handler, &c);
	vigia__lua_push_kept(L, 1, 4);
	vigia__lua_handler_set_where(L, 5, -1);
	lua_pop(L, 1);
	vigia__lua_handler_set_watcher(L, 5, 1);
	check_watcher(L, 1); /* again: a finalizer may have closed the registry since */
	int rc = vigia_watcher_set_handler(w->watcher, &c, &err);
	if (rc == VIGIA_OK) {
		handler->watcher = w->watcher;
		w->handler = handler;
		vigia__lua_keep(L, 1, 2);
	}
	return vigia__lua_done(L, rc, &err);
}

/* Let the registry keep_watcher the watcher, argument 1, alive under its id, or no longer. Nothing if it keeps another
 * one there. [-0, +0, m] */
static void keep_watcher(lua_State *L, struct lua_watcher *w, bool kept)
{
	vigia__lua_push_kept(L, 1, 1);
	vigia__lua_registry_push_kept(L, -1);
	lua_pushstring(L, vigia_watcher_id(w->watcher));
	lua_pushvalue(L, -1);
	lua_rawget(L, -3);
	bool other = !lua_isnil(L, -1) && !lua_rawequal(L, -1, 1);
	lua_pop(L, 1);
	if (kept) lua_pushvalue(L, 1);
	else lua_pushnil(L);
	if (!other) lua_rawset(L, -3);
	lua_settop(L, 1);
}

bool vigia__lua_starts_later(lua_State *L, const struct lua_registry *r)
{
	const struct lua_handler *running = vigia__lua_running(L);
	return r->lua_store == NULL && vigia__lua_asks(L, r->registry->store) && running->owner == r;
}

/* One that was watched, and could not start, never was. Its userdata is at `at`. [-0, +0, m] */
static void forget_watched(lua_State *L, struct lua_watcher *w, int at)
{
	struct vigia_error ignored;
	vigia__lua_push_kept(L, at, 1);
	vigia__lua_registry_push_kept(L, -1);
	lua_pushstring(L, vigia_watcher_id(w->watcher));
	lua_pushvalue(L, -1);
	lua_rawget(L, -3);
	bool own = lua_rawequal(L, -1, at);
	lua_pop(L, 1);
	lua_pushnil(L);
	if (own) lua_rawset(L, -3);
	vigia__registry_retire(w->owner->registry, w->watcher, &ignored);
}

static int look_at_start(lua_State *L, int status, lua_KContext watched);

/* The stack ends with its userdata. */
static int wait_for_start(lua_State *L, bool watched)
{
	const int at = lua_gettop(L);
	struct lua_watcher *w = check_watcher(L, at);
	struct lua_handler *h = vigia__lua_running(L);
	struct vigia_error err;
	if (vigia__watcher_starts(w->watcher)) {
		h->owner->registry->stop_waits++; /* its end is told as that of a stop is */
		return vigia__lua_suspend(L, h, INT64_MAX, true, watched, look_at_start);
	}
	int rc = vigia__watcher_started(w->watcher, &err);
	if (rc < 0 && watched) forget_watched(L, w, at);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	return watched ? 1 : vigia__lua_boolean(L, true);
}

static int look_at_start(lua_State *L, int status, lua_KContext watched)
{
	vigia__lua_running(L)->owner->registry->stop_waits--;
	return wait_for_start(L, watched);
}

int vigia__lua_watched(lua_State *L)
{
	return wait_for_start(L, true);
}

static int watcher_start(lua_State *L)
{
	struct lua_watcher *w = check_watcher(L, 1);
	struct vigia_error err = {0};
	lua_settop(L, 1);
	bool returns = w->watcher->detached;
	if (returns) {
		keep_watcher(L, w, true); /* before C has it again */
		check_watcher(L, 1);      /* again: a finalizer may have closed the registry */
	}
	bool later = vigia__lua_starts_later(L, w->owner);
	struct vigia__lua_entered before = vigia__lua_registry_enter_call(w->owner, L);
	w->owner->registry->starts_later = later;
	int rc = vigia_watcher_start(w->watcher, &err);
	w->owner->registry->starts_later = false;
	vigia__lua_registry_leave(w->owner, before);
	if (rc >= 0 && later) return wait_for_start(L, false);
	if (returns && w->watcher->detached) keep_watcher(L, w, false);
	return vigia__lua_results_done(L, w->owner, rc, &err);
}

static bool stop_watcher(lua_State *L, struct lua_watcher *w, int64_t timeout_ns)
{
	return vigia__lua_drive(L, w->owner, VIGIA_LUA_STOP, w->watcher, timeout_ns, NULL) == VIGIA_OK;
}

/* A stop_watcher that waits in a coroutine. The stack: the watcher, this. */
struct stopping {
	int64_t until_mono_ns;
	bool killed;
};

static int look_again(lua_State *L, int status, lua_KContext ctx);

static int look_at_stop(lua_State *L)
{
	struct lua_handler *h = vigia__lua_running(L);
	struct lua_watcher *w = check_watcher(L, 1);
	struct stopping *s = vigia__lua_check(L, 2, &stopping_class);
	bool own = h->owner == w->owner;
	if (!own) stop_watcher(L, w, 0); /* a turn: no other code drives that registry meanwhile */
	bool rests = vigia__watcher_rests(w->watcher);
	if (!rests && !s->killed && vigia__mono_ns() >= s->until_mono_ns) {
		struct vigia__lua_entered before = vigia__lua_registry_enter(w->owner, L);
		s->killed = vigia__watcher_kill(w->watcher);
		vigia__lua_registry_leave(w->owner, before);
		if (s->killed) s->until_mono_ns = vigia__time_after(NULL, VIGIA_KILL_NS);
	}
	/* One whose handler is on the stack below waits for this one: it cannot stop_watcher before. */
	if (!rests && !w->watcher->running_handler && vigia__mono_ns() < s->until_mono_ns) {
		int64_t next = own ? INT64_MAX : vigia__time_after(NULL, VIGIA_LUA_LOOK_NS);
		if (own) h->owner->registry->stop_waits++;
		vigia__lua_await(L, h, 1);
		return vigia__lua_suspend(L, h, next < s->until_mono_ns ? next : s->until_mono_ns, own, own, look_again);
	}
	return vigia__lua_boolean(L, rests && !s->killed);
}

static int look_again(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_watcher *w = vigia__lua_check(L, 1, &watcher_class);
	if (ctx) vigia__lua_running(L)->owner->registry->stop_waits--; /* of its own registry */
	if (w->owner->registry) return look_at_stop(L);
	return vigia__lua_boolean(L, true); /* closed meanwhile, which stops it */
}

static int watcher_stop(lua_State *L)
{
	struct lua_watcher *w = check_watcher(L, 1);
	int64_t timeout = vigia__lua_check_stop(L, 2);
	struct lua_handler *h = vigia__lua_running(L);
	/* A clock that is moved by hand does not end a wait for the time of a stop_watcher. */
	bool waits = timeout > 0 && vigia__lua_may_suspend(L, h) && h->owner->registry->clock == NULL;
	if (!waits) {
		return vigia__lua_boolean(L, stop_watcher(L, w, timeout));
	}
	lua_settop(L, 1);
	struct stopping *s = vigia__lua_new(L, sizeof *s, &stopping_class);
	*s = (struct stopping){.until_mono_ns = vigia__time_after(NULL, timeout)};
	if (stop_watcher(L, w, 0) || w->watcher->running_handler || vigia__lua_awaited_by(h, w->handler)) {
		return vigia__lua_boolean(L, vigia__watcher_rests(w->watcher));
	}
	return look_at_stop(L);
}

/* No reference to this handle is left. One that runs is kept by its registry, so this one was replaced, removed or
 * stopped for good, or goes together with its registry. */
static void free_watcher(lua_State *L, void *object)
{
	struct lua_watcher *w = object;
	if (w->watcher == NULL || w->owner->registry == NULL || w->owner->borrowed) return;
	if (!w->watcher->retired && !w->watcher->detached) return;
	if (w->handler) w->handler->watcher = NULL; /* what a finalizer may still see of a context */
	/* A source in Lua forgets what it kept for it. */
	struct vigia__lua_entered before = vigia__lua_registry_enter(w->owner, L);
	vigia_watcher_release(w->watcher);
	vigia__lua_registry_leave(w->owner, before);
	w->watcher = NULL;
}

static int watcher_tostring(lua_State *L)
{
	struct lua_watcher *w = vigia__lua_check(L, 1, &watcher_class);
	if (w->watcher && w->owner->registry) lua_pushfstring(L, "vigia.Watcher: %s", vigia_watcher_id(w->watcher));
	else lua_pushliteral(L, "vigia.Watcher (closed)");
	return 1;
}

static const struct vigia__lua_class watcher_class = {
	.name = "vigia.Watcher",
	.free = free_watcher,
	.metamethods = (const luaL_Reg[]){{"__tostring", watcher_tostring}, {NULL, NULL}},
	.methods = (const luaL_Reg[]){{"id", watcher_id},
                                  {"stats", watcher_stats},
                                  {"checkpoint", watcher_checkpoint},
                                  {"seek_to_offset", watcher_seek},
                                  {"set_handler", watcher_set_handler},
                                  {"reload", watcher_reload},
                                  {"start", watcher_start},
                                  {"stop", watcher_stop},
                                  {NULL, NULL}},
};
