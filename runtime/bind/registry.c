/*
 * registry.c - the class vigia.Registry: watchers driven by the Lua state that made it; and vigia.sleep.
 *
 * It keeps: 1, a table of what C refers to: [1] the store, [2] the log function, [3] the clock, watchers by id, and
 * tasks by their address; 2, a thread with this table on its stack, for callbacks of C. All of it goes with the
 * registry: a cycle through a handler's upvalues is a cycle of Lua objects, and is collected.
 */
#include "registry.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "../core/error.h"
#include "../drive/worker.h"
#include "../core/options.h"
#include "../drive/clock.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "cap.h"
#include "error.h"
#include "hook.h"
#include "interrupt.h"
#include "lua_state.h"
#include "options.h"
#include "script.h"
#include "store.h"
#include "tell.h"

static const char class_key, stopping_key;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* ---- arguments ---- */

struct lua_registry *vigia__lua_check_registry(lua_State *L, int arg)
{
	struct lua_registry *r = vigia__lua_check(L, arg, &class_key, "vigia.Registry");
	luaL_argcheck(L, r->registry != NULL, arg, "the registry is closed");
	return r;
}

void vigia__lua_registry_push_kept(lua_State *L, int idx)
{
	vigia__lua_check(L, idx, &class_key, "vigia.Registry");
	if (vigia__lua_push_kept(L, idx, 1) != LUA_TTABLE)
		luaL_error(L, "vigia: what its objects keep was taken out of the Lua registry");
}

void vigia__lua_registry_push_store(lua_State *L, int idx)
{
	vigia__lua_registry_push_kept(L, idx);
	lua_rawgeti(L, -1, 1);
	lua_replace(L, -2);
}

int64_t vigia__lua_check_stop(lua_State *L, int arg)
{
	struct vigia__stop_options options;
	vigia__options_init(vigia__stop_option_table, &options);
	vigia__lua_check_options(L, arg, vigia__stop_option_table, &options, "stop options", NULL, NULL);
	return options.timeout_ns;
}

/* ---- callbacks ---- */

lua_State *vigia__lua_registry_enter(struct lua_registry *r, lua_State *L)
{
	lua_State *before = r->L;
	r->L = L;
	return before;
}

void vigia__lua_registry_leave(struct lua_registry *r, lua_State *before)
{
	r->L = before;
}

struct record {
	struct lua_registry *r;
	enum vigia_log_level level;
	const char *message;
};

static int call_log(lua_State *L, void *arg)
{
	struct record *record = arg;
	if (!vigia__lua_push_from(L, record->r->home, 1)) return 0;
	lua_rawgeti(L, -1, 2);
	if (!lua_isfunction(L, -1)) return 0;
	lua_pushstring(L, level_names[record->level]);
	lua_pushstring(L, record->message);
	lua_call(L, 2, 0);
	return 0;
}

/* A log function that fails has nobody to tell. */
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
static int forget(lua_State *L, void *arg)
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
	if (r->L) vigia__lua_protected(r->L, forget, watcher);
}

/* It was not driven then: the next time it is, nobody wants it to end. */
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

/* The table on top is what the registry at idx keeps. [-1, +0, m] */
static void keep(lua_State *L, struct lua_registry *r, int idx)
{
	lua_State *home = lua_newthread(L);
	vigia__lua_keep(L, idx, 2);
	lua_pushvalue(L, -1);
	vigia__lua_hide(L, idx, 1);
	lua_xmove(L, home, 1);
	r->home = home;
}

int vigia__lua_registry(lua_State *L)
{
	if (vigia__cap_here())
		return luaL_error(L, "vigia.registry is not there in a capped script: it is a watcher's handler already");
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	lua_settop(L, 2);
	struct vigia__manual_clock *clock = NULL;
	vigia__lua_own_options(L, 2, 1);
	vigia__lua_check_options(L, 2, vigia__registry_option_table, NULL, "registry options", registry_special, &clock);
	if (store == NULL) return vigia__lua_fail_closed(L, 1);
	struct lua_registry *r = vigia__lua_new_keeping(L, sizeof *r, &class_key, 2); /* 3 */
	lua_createtable(L, 2, 0);
	lua_pushvalue(L, 1);
	lua_rawseti(L, -2, 1);
	bool log_given = false;
	if (lua_istable(L, 2)) {
		log_given = lua_getfield(L, 2, "log") != LUA_TNIL;
		lua_rawseti(L, -2, 2);
		lua_getfield(L, 2, "clock");
		lua_rawseti(L, -2, 3);
	}
	keep(L, r, 3);
	store = vigia__lua_check_store(L, 1); /* a finalizer may have closed it since */
	if (store == NULL) return vigia__lua_fail_closed(L, 1);
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
	return 1;
}

struct lua_registry *vigia__lua_borrow_registry(lua_State *L, int store_idx, struct vigia_registry *registry)
{
	store_idx = lua_absindex(L, store_idx);
	struct lua_registry *r = vigia__lua_new_keeping(L, sizeof *r, &class_key, 2);
	lua_createtable(L, 1, 0);
	lua_pushvalue(L, store_idx);
	lua_rawseti(L, -2, 1);
	keep(L, r, lua_gettop(L) - 1);
	r->registry = registry;
	r->borrowed = true;
	r->L = L;
	return r;
}

struct lua_registry *vigia__lua_worker_registry(lua_State *L, int store_idx, struct vigia__worker *worker)
{
	struct lua_registry *r = vigia__lua_borrow_registry(L, store_idx, vigia__worker_registry(worker));
	r->worker = worker;
	return r;
}

/* close(), __gc, __close: safe twice. Progress is saved; no handler runs any more, one that waits does not go on, and
 * its event comes again. A script's handler in progress is waited for. */
static int registry_close(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &class_key, "vigia.Registry");
	if (r->registry && r->registry->depth > 0)
		return luaL_error(L, "a registry cannot be closed from one of its handlers");
	struct vigia_registry *registry = r->registry;
	r->registry = NULL;
	if (registry && !r->borrowed) {
		vigia__interrupt_remove(&r->hook);
		vigia_registry_free(registry);
	}
	return 0;
}

/* A stop or close that waits in a coroutine; the stack: the registry, this. */
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
	struct stopping *s = vigia__lua_new(L, sizeof *s, &stopping_key);
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
	struct stopping *s = vigia__lua_check(L, 2, &stopping_key, "vigia.stopping");
	if (s->own) vigia__lua_running(L)->owner->registry->stop_waits--;
	return s;
}

static int close_again(lua_State *L, int status, lua_KContext ctx);

/* The threads of scripts end first, while other coroutines go on. */
static int close_waiting(lua_State *L, struct stopping *s)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &class_key, "vigia.Registry");
	bool runs = r->registry && r->registry->depth == 0 && vigia__registry_stop_workers(r->registry);
	if (runs) {
		if (vigia__mono_ns() >= s->until_mono_ns && !s->killed) s->killed = vigia__registry_kill(r->registry);
		s->until_mono_ns = s->killed ? INT64_MAX : s->until_mono_ns;
		return wait_for_stop(L, s, close_again);
	}
	registry_close(L);
	lua_pushboolean(L, 1);
	return 1;
}

static int close_again(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	return close_waiting(L, waited_for_stop(L));
}

static int registry_close_method(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &class_key, "vigia.Registry");
	bool runs = r->registry && !r->borrowed && r->registry->depth == 0 && may_wait(L, vigia__lua_running(L)) &&
	            vigia__registry_stop_workers(r->registry);
	if (runs) return close_waiting(L, stopping_new(L, VIGIA_END_GRACE_NS));
	registry_close(L);
	lua_pushboolean(L, 1);
	return 1;
}

static int registry_tostring(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &class_key, "vigia.Registry");
	if (r->registry) lua_pushfstring(L, "vigia.Registry: %s", r->registry->store->path);
	else lua_pushliteral(L, "vigia.Registry (closed)");
	return 1;
}

/* ---- watchers ---- */

/* The watcher of the id at idx in the keeping table on top. [-0, +1, -] */
static void push_watcher(lua_State *L, int kept, int id)
{
	lua_pushvalue(L, id);
	lua_rawget(L, kept);
}

static int registry_watch(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	if (lua_type(L, 3) == LUA_TSTRING) return vigia__lua_watch_script(L);
	const char *id = vigia__lua_check_cstring(L, 2, "id");
	if (!lua_isnoneornil(L, 3)) vigia__lua_check_type(L, 3, LUA_TFUNCTION, "handler");
	lua_settop(L, 4);
	struct vigia_watch_options options;
	vigia__lua_own_options(L, 4, 3);
	vigia__lua_check_watch_options(L, 4, &options); /* 5: its filter */
	vigia__lua_registry_push_kept(L, 1);            /* 6 */
	if (lua_istable(L, 4)) lua_getfield(L, 4, "on_error");
	else lua_pushnil(L);                                  /* 7 */
	struct lua_watcher *w = vigia__lua_watcher_new(L, 1); /* 8 */
	lua_pushvalue(L, 7);
	vigia__lua_keep(L, 8, 3);
	w->on_error = lua_topointer(L, 7);
	vigia__lua_push_where(L, 4);
	vigia__lua_keep(L, 8, 4);
	struct vigia_handler handler;
	if (!lua_isnil(L, 3)) {
		w->handler = vigia__lua_handler_new(L, 1, 3, 7); /* 9 */
		lua_pushvalue(L, 8);
		vigia__lua_handler_set_watcher(L, 9);
		vigia__lua_push_kept(L, 8, 4);
		vigia__lua_handler_set_where(L, 9, -1);
		lua_pop(L, 1);
		lua_pushvalue(L, 9);
		vigia__lua_keep(L, 8, 2);
		vigia__lua_handler_c(w->handler, &handler);
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
	lua_State *before = vigia__lua_registry_enter(r, L);
	int rc = vigia_registry_watch(r->registry, id, w->handler ? &handler : NULL, &options, &w->watcher, &err);
	vigia__lua_registry_leave(r, before);
	if (rc < 0) {
		push_watcher(L, 6, 2);
		if (lua_rawequal(L, -1, 8)) { /* else the log function watched the id meanwhile */
			lua_pushvalue(L, 2);
			lua_pushvalue(L, old);
			lua_rawset(L, 6);
		}
		return vigia__lua_fail(L, rc, &err);
	}
	if (w->handler) w->handler->watcher = w->watcher;
	lua_pushvalue(L, 8);
	return 1;
}

static int registry_spawn(lua_State *L)
{
	vigia__lua_check_registry(L, 1);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	struct vigia_error err = {0};
	int rc = vigia__lua_task_new(L, 1, 2, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushboolean(L, 1);
	return 1;
}

static int registry_get_watcher(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	const char *id = vigia__lua_check_cstring(L, 2, "id");
	struct vigia_error err = {0};
	struct vigia_watcher *watcher;
	int rc = vigia_registry_get(r->registry, id, &watcher, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	vigia__lua_registry_push_kept(L, 1);
	push_watcher(L, lua_gettop(L), 2);
	return 1;
}

static int registry_remove(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	const char *id = vigia__lua_check_cstring(L, 2, "id");
	struct vigia_error err = {0};
	struct vigia_watcher *watcher = NULL;
	lua_State *before = vigia__lua_registry_enter(r, L);
	int rc = vigia_registry_get(r->registry, id, &watcher, &err);
	if (rc == VIGIA_OK) rc = vigia__registry_retire(r->registry, watcher, &err);
	vigia__lua_registry_leave(r, before);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	vigia__lua_registry_push_kept(L, 1); /* what is left of it goes with its userdata */
	lua_pushvalue(L, 2);
	lua_pushnil(L);
	lua_rawset(L, -3);
	lua_pushboolean(L, 1);
	return 1;
}

/* ---- driving ---- */

static int drive_once(struct vigia_registry *registry, enum vigia__lua_drive what, struct vigia_watcher *only,
                      int64_t timeout_ns, struct vigia_error *err)
{
	switch (what) {
	case VIGIA_LUA_RUN:
		return vigia_registry_run(registry, err);
	case VIGIA_LUA_STEP:
		return vigia_registry_step(registry, timeout_ns, err);
	case VIGIA_LUA_STOP:
		break;
	}
	return only ? vigia_watcher_stop(only, timeout_ns, err) : vigia_registry_stop(registry, timeout_ns, err);
}

int vigia__lua_drive(lua_State *L, struct lua_registry *r, enum vigia__lua_drive what, struct vigia_watcher *only,
                     int64_t timeout_ns, struct vigia_error *err)
{
	struct vigia__hooks hooks;
	int64_t until = vigia__time_after(NULL, timeout_ns);
	vigia__hooks_begin(L, &hooks);
	for (;;) {
		struct vigia_registry *registry = r->registry;
		if (registry == NULL) luaL_error(L, "the registry was closed by a hook");
		bool (*signalled)(void *ctx) =
			registry->signalled; /* of a call further down, which one of its handlers makes */
		void *signalled_ctx = registry->signalled_ctx;
		lua_State *before = vigia__lua_registry_enter(r, L);
		registry->signalled = hooks.watched ? vigia__hooks_changed : NULL;
		registry->signalled_ctx = &hooks;
		int rc = drive_once(registry, what, only, timeout_ns, err);
		registry->signalled = signalled;
		registry->signalled_ctx = signalled_ctx;
		vigia__lua_registry_leave(r, before);
		if (rc != VIGIA__SIGNALLED) return rc;
		vigia__hooks_run(L, &hooks);
		if (timeout_ns > 0) timeout_ns = until - vigia__mono_ns();
		if (timeout_ns < 0) timeout_ns = 1; /* 0 would only ask */
	}
}

static int registry_run(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	struct vigia_error err = {0};
	int rc = vigia__lua_drive(L, r, VIGIA_LUA_RUN, NULL, 0, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushboolean(L, 1);
	return 1;
}

static int registry_step(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	int64_t timeout = lua_isnoneornil(L, 2) ? 0 : vigia__lua_check_seconds(L, 2, "timeout");
	struct vigia_error err = {0};
	int rc = vigia__lua_drive(L, r, VIGIA_LUA_STEP, NULL, timeout, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushboolean(L, rc == VIGIA_OK);
	return 1;
}

static int registry_pollfd(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	struct vigia_error err = {0};
	int fd = vigia_registry_pollfd(r->registry, &err);
	if (fd < 0) return vigia__lua_fail(L, fd, &err);
	lua_pushinteger(L, fd);
	return 1;
}

static int stop_again(lua_State *L, int status, lua_KContext ctx);

static int stop_waiting(lua_State *L, struct stopping *s)
{
	struct lua_registry *r = vigia__lua_check(L, 1, &class_key, "vigia.Registry");
	struct vigia_error err = {0};
	int rc = VIGIA_OK;
	if (r->registry) { /* else it was closed meanwhile, which has stopped it */
		lua_State *before = vigia__lua_registry_enter(r, L);
		rc = vigia__registry_stop_turn(r->registry, !s->begun, &err);
		s->own = vigia__lua_running(L)->owner == r;
		s->begun = true;
		bool had_killed = s->killed, waits = rc == VIGIA_PENDING && has_time(s, r->registry);
		vigia__lua_registry_leave(r, before);
		if (s->killed && !had_killed) s->err = err;
		if (waits) return wait_for_stop(L, s, stop_again);
	}
	if (s->killed || rc != VIGIA_OK) return vigia__lua_fail(L, VIGIA_ESTATE, s->killed ? &s->err : &err);
	lua_pushboolean(L, 1);
	return 1;
}

static int stop_again(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	return stop_waiting(L, waited_for_stop(L));
}

static int registry_stop(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	int64_t timeout = vigia__lua_check_stop(L, 2);
	struct vigia_error err = {0};
	if (timeout > 0 && may_wait(L, vigia__lua_running(L))) return stop_waiting(L, stopping_new(L, timeout));
	int rc = vigia__lua_drive(L, r, VIGIA_LUA_STOP, NULL, timeout, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushboolean(L, 1);
	return 1;
}

/* ---- vigia.sleep ---- */

static int slept(lua_State *L, int status, lua_KContext until)
{
	(void)status;
	struct lua_handler *h = vigia__lua_running(L);
	if (h && vigia__lua_stopping(h) && vigia__lua_now(h) < (int64_t)until) return vigia__lua_fail_stopping(L, h);
	lua_pushboolean(L, 1);
	return 1;
}

int vigia__lua_stopped(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	return vigia__lua_fail_stopping(L, vigia__lua_running(L));
}

/* Outside of a handler's own coroutine the call blocks; an interrupt ends it, on a script's thread a stop, and in a
 * stock Lua what a hook raises that a signal handler sets: poll(2) is never restarted, and no signal comes between the
 * look and the wait. */
static int sleep_blocking(lua_State *L, int64_t until_mono_ns)
{
	struct vigia__worker *worker = vigia__lua_shared(L)->worker;
	if (worker) {
		if (!vigia__worker_sleep(worker, until_mono_ns)) {
			struct vigia_error err = {0};
			vigia__error(&err, VIGIA_ESTOPPING, "the watcher is stopping");
			return vigia__lua_fail(L, VIGIA_ESTOPPING, &err);
		}
		lua_pushboolean(L, 1);
		return 1;
	}
	struct vigia__hooks hooks;
	vigia__hooks_begin(L, &hooks);
	for (;;) {
		int64_t left = until_mono_ns - vigia__mono_ns();
		if (left <= 0) break;
		struct timespec ts = {left / 1000000000, left % 1000000000};
		struct pollfd fd = {.fd = vigia__interrupt_fd, .events = POLLIN};
		sigset_t all, mask;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &mask);
		int n = vigia__hooks_changed(&hooks) ? 0 : ppoll(&fd, 1, &ts, &mask);
		pthread_sigmask(SIG_SETMASK, &mask, NULL);
		if (n > 0) {
			struct vigia_error err = {0};
			vigia__error(&err, VIGIA_EINTERRUPTED, "the sleep was interrupted");
			return vigia__lua_fail(L, VIGIA_EINTERRUPTED, &err);
		}
		if (vigia__hooks_changed(&hooks)) vigia__hooks_run(L, &hooks);
	}
	lua_pushboolean(L, 1);
	return 1;
}

int vigia__lua_sleep(lua_State *L)
{
	int64_t ns = vigia__lua_check_seconds(L, 1, "seconds");
	struct lua_handler *h = vigia__lua_running(L);
	if (h && vigia__lua_stopping(h)) return vigia__lua_yield_stopping(L, h, vigia__lua_stopped);
	if (!vigia__lua_may_suspend(L, h)) return sleep_blocking(L, vigia__time_after(NULL, ns));
	int64_t until = vigia__time_after(h->owner->registry->clock, ns);
	return vigia__lua_suspend(L, h, until, false, (lua_KContext)until, slept);
}

void vigia__lua_registry_init(lua_State *L)
{
	static const luaL_Reg metamethods[] = {
		{"__gc", registry_close}, {"__close", registry_close_method}, {"__tostring", registry_tostring}, {NULL, NULL}};
	static const luaL_Reg methods[] = {
		{"watch", registry_watch},
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
	vigia__lua_class(L, "vigia.Registry", &class_key, metamethods, methods);
	lua_pop(L, 1);
	vigia__lua_clock_init(L);
	vigia__lua_step_init(L);
	vigia__lua_handler_init(L);
	vigia__lua_watcher_init(L);
}
