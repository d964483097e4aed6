/*
 * step.c - core/stepper for Lua, and what else lua_registry.lua builds on: a watcher as a step function, tasks that can
 * be told to end.
 *
 * Nothing here is part of the module's public names.
 */
#include "step.h"

#include <string.h>

#include "../core/error.h"
#include "../core/stepper.h"
#include "../drive/drive.h"
#include "../core/limit.h"
#include "../drive/clock.h"
#include "../store/clock.h"
#include "coroutine.h"
#include "error.h"
#include "iterator.h"
#include "lua_state.h"
#include "options.h"
#include "registry_handle.h"
#include "task.h"
#include "tell.h"

static const char class_key, seqs_key;
static const char class_name[] = "vigia.Stepper";

/* It keeps, as 1, a userdata with the numbers of the batch. */
struct lua_stepper {
	struct vigia__stepper watcher;
	struct vigia__limit limit; /* of its failures */
};

static const char *const input_names[] = {"start",    "batch", "fetch_failed", "handled", "failed",
                                          "deferred", "saved", "save_failed",  "wake",    "tick",
                                          "stop",     "seek",  "reread",       NULL};
static const char *const action_names[] = {"none", "read", "handle", "save", "listen", "wait", "stopped"};
static const char *const state_names[] = {"idle", "running", "stopping", "stopped"};

/* The numbers that core/stepper looks at must be the stepper's still. */
static struct lua_stepper *check(lua_State *L)
{
	struct lua_stepper *s = vigia__lua_check(L, 1, &class_key, class_name);
	if (s->watcher.seqs) {
		vigia__lua_push_kept(L, 1, 1);
		if (vigia__lua_test(L, -1, &seqs_key) != s->watcher.seqs)
			luaL_error(L, "vigia: the batch of the stepper was replaced");
		lua_pop(L, 1);
	}
	return s;
}

static void set_integer(lua_State *L, const char *name, uint64_t n)
{
	lua_pushinteger(L, (lua_Integer)n);
	lua_setfield(L, -2, name);
}

/* ---- making one ---- */

/* core.stepper(watch options) -> the stepper, and {batch_size, auto_start, ephemeral, checkpoint,
 * initial_event_iterator, where} */
static int stepper_new(lua_State *L)
{
	static const char *const modes[] = {"batch", "event", "manual"};
	lua_settop(L, 1);
	struct vigia_watch_options options;
	vigia__lua_check_watch_options(L, 1, &options); /* 2: its filter */
	struct lua_stepper *s = vigia__lua_new_keeping(L, sizeof *s, &class_key, 1);
	vigia__stepper_init(&s->watcher,
	                    &(struct vigia__stepper_options){
							.backoff = {options.initial_backoff_ns, options.max_backoff_ns, options.jitter},
							.max_retries = (uint64_t)options.max_retries,
							.retry_strategy = options.retry_strategy,
							.on_gap = options.on_gap,
							.on_damage = options.on_damage,
							.checkpoint = options.checkpoint,
							.ephemeral = options.ephemeral,
						});
	lua_createtable(L, 0, 6);
	set_integer(L, "batch_size",
	            (uint64_t)(options.batch_size < options.buffer_size ? options.batch_size : options.buffer_size));
	lua_pushboolean(L, options.auto_start);
	lua_setfield(L, -2, "auto_start");
	lua_pushboolean(L, options.ephemeral);
	lua_setfield(L, -2, "ephemeral");
	lua_pushstring(L, modes[options.checkpoint]);
	lua_setfield(L, -2, "checkpoint");
	vigia__lua_push_iterator(L, options.initial_event_iterator);
	lua_setfield(L, -2, "initial_event_iterator");
	vigia__lua_push_where(L, 1);
	lua_setfield(L, -2, "where");
	return 2;
}

/* ---- a step ---- */

static uint64_t get_count(lua_State *L, const char *name)
{
	lua_Integer n = 0;
	int type = lua_getfield(L, 2, name);
	int whole = 0;
	if (type == LUA_TNUMBER) n = lua_tointegerx(L, -1, &whole);
	if (type != LUA_TNIL && (!whole || n < 0))
		luaL_error(L, "%s: a number of an event expected, got %s", name, luaL_tolstring(L, -1, NULL));
	lua_pop(L, 1);
	return (uint64_t)n;
}

static bool get_flag(lua_State *L, const char *name)
{
	lua_getfield(L, 2, name);
	bool flag = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return flag;
}

/* Copy input.seqs into a userdata, which the stepper keeps as long as core/stepper may look at it: left on the stack.
 * [-0, +1, v] */
static void get_seqs(lua_State *L, struct vigia__input *input)
{
	if (lua_getfield(L, 2, "seqs") != LUA_TTABLE) luaL_error(L, "seqs: a table expected, got %s", luaL_typename(L, -1));
	input->count = lua_rawlen(L, -1);
	uint64_t *seqs = vigia__lua_new(L, input->count * sizeof *seqs, &seqs_key);
	for (size_t i = 0; i < input->count; i++) {
		lua_rawgeti(L, -2, (lua_Integer)i + 1);
		int whole = 0;
		if (lua_type(L, -1) == LUA_TNUMBER) seqs[i] = (uint64_t)lua_tointegerx(L, -1, &whole);
		if (!whole) luaL_error(L, "the %d. event has no number", (int)i + 1);
		lua_pop(L, 1);
	}
	lua_replace(L, -2);
	input->seqs = seqs;
}

static int push_action(lua_State *L, const struct vigia__action *action)
{
	lua_createtable(L, 0, 6);
	lua_pushstring(L, action_names[action->kind]);
	lua_setfield(L, -2, "kind");
	switch (action->kind) {
	case VIGIA_ACTION_READ:
	case VIGIA_ACTION_LISTEN:
		vigia__lua_push_iterator(L, action->from);
		lua_setfield(L, -2, "from");
		break;
	case VIGIA_ACTION_HANDLE:
		set_integer(L, "index", action->index + 1);
		set_integer(L, "seq_num", action->seq_num);
		set_integer(L, "attempt", action->attempt);
		break;
	case VIGIA_ACTION_SAVE:
		set_integer(L, "seq_num", action->seq_num);
		lua_pushboolean(L, action->backwards);
		lua_setfield(L, -2, "backwards");
		break;
	case VIGIA_ACTION_WAIT:
		set_integer(L, "until_ns", (uint64_t)action->until_mono_ns);
		break;
	default:
		break;
	}
	return 1;
}

/* stepper:step{kind =, now =, ...} -> {kind =, ...}: see core/stepper.h; raises for an input that does not fit, and
 * changes nothing */
static int stepper_step(lua_State *L)
{
	struct lua_stepper *s = check(L);
	vigia__lua_check_type(L, 2, LUA_TTABLE, "input");
	lua_settop(L, 2);
	lua_getfield(L, 2, "kind");
	struct vigia__input input = {.kind = (enum vigia__input_kind)luaL_checkoption(L, 3, NULL, input_names)};
	lua_getfield(L, 2, "now");
	int64_t now = lua_tointeger(L, 4);
	lua_getfield(L, 2, "random");
	input.random = (uint64_t)lua_tointeger(L, 5);
	input.seq_num = get_count(L, "seq_num");
	input.gone = get_count(L, "gone");
	input.dropped = get_flag(L, "dropped");
	input.permanent = get_flag(L, "permanent");
	input.sought = get_flag(L, "sought");
	if (lua_getfield(L, 2, "next") != LUA_TNIL) {
		const struct vigia_iterator *next = vigia__lua_test_iterator(L, -1);
		if (next == NULL) luaL_error(L, "next: an iterator expected, got %s", luaL_typename(L, -1));
		input.next = *next;
	}
	lua_settop(L, 5);
	if (input.kind == VIGIA_INPUT_BATCH) get_seqs(L, &input);
	const char *wrong = vigia__stepper_misfit(&s->watcher, &input);
	if (wrong) luaL_error(L, "%s", wrong);
	check(L); /* again: what was asked for above may have run Lua code */
	if (input.kind == VIGIA_INPUT_BATCH) vigia__lua_keep(L, 1, 1);
	struct vigia__action action = vigia__stepper_step(&s->watcher, &input, now);
	return push_action(L, &action);
}

/* ---- what it knows ---- */

static int stepper_state(lua_State *L)
{
	lua_pushstring(L, state_names[check(L)->watcher.state]);
	return 1;
}

static int stepper_position(lua_State *L)
{
	vigia__lua_push_iterator(L, vigia__stepper_position(&check(L)->watcher));
	return 1;
}

/* How far it has come, and what of it is saved; with an argument: so much was saved by another hand. */
static int stepper_progress(lua_State *L)
{
	struct lua_stepper *s = check(L);
	if (!lua_isnoneornil(L, 2)) s->watcher.saved = vigia__lua_check_seq(L, 2, "saved");
	lua_pushinteger(L, (lua_Integer)s->watcher.done);
	lua_pushinteger(L, (lua_Integer)s->watcher.saved);
	return 2;
}

/* The fields of a watcher's stats that the stepper knows, and gap, stuck. */
static int stepper_stats(lua_State *L)
{
	const struct vigia__stepper *w = &check(L)->watcher;
	lua_createtable(L, 0, 20);
	lua_pushstring(L, state_names[w->state]);
	lua_setfield(L, -2, "state");
	vigia__lua_push_iterator(L, vigia__stepper_position(w));
	lua_setfield(L, -2, "next_event_iterator");
	set_integer(L, "last_processed_seq_num", w->last_processed);
	set_integer(L, "processed", w->processed);
	set_integer(L, "failed", w->failed);
	set_integer(L, "retried", w->retried);
	set_integer(L, "skipped", w->skipped);
	set_integer(L, "missed", w->missed);
	set_integer(L, "fetch_errors", w->fetch_errors);
	uint64_t blocked = vigia__stepper_blocked(w);
	if (blocked) set_integer(L, "blocked_on", blocked);
	return 1;
}

static int stepper_trouble(lua_State *L)
{
	const struct vigia__stepper *w = &check(L)->watcher;
	lua_pushinteger(L, (lua_Integer)w->gap);
	lua_pushinteger(L, (lua_Integer)w->stuck);
	lua_pushinteger(L, (lua_Integer)w->skipped);
	return 3;
}

/* ---- tasks ---- */

/* core.task(registry, f, on_error) -> the task | nil, err: as registry:spawn(f); on_error(text, ended) is told when it
 * failed; ended: because it was to end */
static int task_new(lua_State *L)
{
	vigia__lua_check_registry(L, 1);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	luaL_checktype(L, 3, LUA_TFUNCTION);
	lua_settop(L, 3);
	struct vigia_error err = {0};
	int rc = vigia__lua_task_push(L, 1, 2, 3, &err);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : 1;
}

/* core.cancel(task, flag): while true, whatever it waits for ends at once, with the error "stopping" */
static int task_cancel(lua_State *L)
{
	struct lua_handler *task = vigia__lua_check_task(L, 1);
	bool cancelled = lua_toboolean(L, 2);
	if (cancelled != task->cancelled) task->told_stopping = false;
	task->cancelled = cancelled;
	if (task->cancelled && task->owner->registry) {
		vigia__tasks_wake(task->owner->registry);
		vigia__registry_ring(task->owner->registry);
	}
	return 0;
}

/* core.wake(registry): all tasks look again, but those that sleep */
static int registry_wake(lua_State *L)
{
	struct vigia_registry *registry = vigia__lua_check_registry(L, 1)->registry;
	vigia__tasks_wake(registry);
	vigia__registry_ring(registry);
	return 0;
}

static int waited(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	lua_pushboolean(L, vigia__lua_stopping(vigia__lua_running(L)));
	return 1;
}

/* core.wait(seconds) -> is it to end: in a task; until then, an append, or a wake() */
static int task_wait(lua_State *L)
{
	int64_t ns = vigia__lua_check_seconds(L, 1, "seconds");
	struct lua_handler *h = vigia__lua_running(L);
	if (!vigia__lua_may_suspend(L, h)) return luaL_error(L, "core.wait: not in a task");
	return vigia__lua_suspend(L, h, vigia__time_after(h->owner->registry->clock, ns), true, 0, waited);
}

/* core.inside(registry) -> nil: no task or handler of the registry is running; else whether it may wait right here, and
 * the task */
static int registry_inside(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	struct lua_handler *h = vigia__lua_running(L);
	if (h == NULL || h->owner != r) return 0;
	lua_pushboolean(L, vigia__lua_may_suspend(L, h));
	vigia__lua_push_task(L, h);
	return 2;
}

/* core.may_wait() -> may a handler or task, of any registry, wait right here? */
static int task_may_wait(lua_State *L)
{
	lua_pushboolean(L, vigia__lua_may_suspend(L, vigia__lua_running(L)));
	return 1;
}

/* core.now(registry) -> nanoseconds on the registry's clock, and whether that is moved by hand */
static int registry_now(lua_State *L)
{
	struct lua_registry *r = vigia__lua_check_registry(L, 1);
	lua_pushinteger(L, vigia__time_now(r->registry->clock));
	lua_pushboolean(L, r->registry->clock != NULL);
	return 2;
}

/* core.unhook(): in a task, take away a hook that what it called has left behind */
static int task_unhook(lua_State *L)
{
	struct lua_handler *h = vigia__lua_running(L);
	if (h) vigia__lua_drop_hook(L, h);
	return 0;
}

static int wall_time(lua_State *L)
{
	lua_pushinteger(L, vigia__wall_ns());
	return 1;
}

/* core.tell(registry, stepper or nil, level, text): a failure that no log function takes, of a watcher or a task */
static int registry_tell(lua_State *L)
{
	static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
	struct vigia_registry *registry = vigia__lua_check_registry(L, 1)->registry;
	struct vigia__limit *limit = &registry->limit;
	if (!lua_isnoneornil(L, 2)) limit = &((struct lua_stepper *)vigia__lua_check(L, 2, &class_key, class_name))->limit;
	int level = luaL_checkoption(L, 3, NULL, levels);
	const char *text = luaL_checkstring(L, 4);
	if (registry->tell) registry->tell(limit, (enum vigia_log_level)level, text);
	return 0;
}

/* core.tell_failures(registry): write failures to standard error in place of the log function, for a program */
static int registry_tell_failures(lua_State *L)
{
	vigia__lua_check_program(L, "tell_failures");
	vigia__lua_check_registry(L, 1)->registry->tell = vigia__tell;
	return 0;
}

void vigia__lua_step_functions(lua_State *L)
{
	static const luaL_Reg functions[] = {{"stepper", stepper_new},
	                                     {"task", task_new},
	                                     {"cancel", task_cancel},
	                                     {"wake", registry_wake},
	                                     {"wait", task_wait},
	                                     {"inside", registry_inside},
	                                     {"may_wait", task_may_wait},
	                                     {"now", registry_now},
	                                     {"wall_time", wall_time},
	                                     {"unhook", task_unhook},
	                                     {"outcome", vigia__lua_outcome},
	                                     {"tell", registry_tell},
	                                     {"tell_failures", registry_tell_failures},
	                                     {NULL, NULL}};
	luaL_setfuncs(L, functions, 0);
}

void vigia__lua_step_init(lua_State *L)
{
	static const luaL_Reg metamethods[] = {{NULL, NULL}};
	static const luaL_Reg methods[] = {{"step", stepper_step},
	                                   {"state", stepper_state},
	                                   {"position", stepper_position},
	                                   {"progress", stepper_progress},
	                                   {"stats", stepper_stats},
	                                   {"trouble", stepper_trouble},
	                                   {NULL, NULL}};
	vigia__lua_class(L, class_name, &class_key, metamethods, methods);
	lua_pop(L, 1);
}
