/*
 * registry.h - registries, watchers and function handlers in Lua: what handler.c, registry.c and watcher.c share, and
 * what a function that waits needs in order to let other watchers go on.
 */
#ifndef VIGIA_BIND_REGISTRY_H
#define VIGIA_BIND_REGISTRY_H

#include "interrupt.h"
#include "lua_state.h"

struct lua_registry {
	struct vigia_registry *registry; /* NULL once closed */
	struct vigia__interrupt_hook hook;
	struct vigia__worker *worker; /* whose registry this is; NULL: nobody's */
	bool borrowed;                /* it is freed by somebody else */
	lua_State *home; /* a thread that never runs; at 1 of its stack what the registry keeps. The registry keeps it: 2 */
	lua_State *L;    /* who drives it now: runs the log function, resumes the handlers; NULL outside of a call */
};

/* ---- registry.c: calls that wait in C, and let hooks that a signal handler sets run meanwhile ---- */

enum vigia__lua_drive { VIGIA_LUA_RUN, VIGIA_LUA_STEP, VIGIA_LUA_STOP };

/* Run, step or stop the registry, or stop `only` one of its watchers; returns what C does. [-0, +0, e] */
int vigia__lua_drive(lua_State *L, struct lua_registry *r, enum vigia__lua_drive what, struct vigia_watcher *only,
                     int64_t timeout_ns, struct vigia_error *err);

/* A coroutine that waits for a registry other than its own is not woken by it: it looks so often. */
enum { VIGIA_LUA_LOOK_NS = 2000000 };

/* ---- handler.c: a Lua function as a vigia_handler, in a coroutine of its own ---- */

struct lua_handler {
	struct lua_registry *owner;
	struct vigia_watcher *watcher; /* NULL for a task */
	bool task;                     /* a function of registry:spawn */
	lua_State *co;                 /* NULL: to be made anew */
	lua_State *home;               /* a thread that never runs, with what C pushes; NULL for a task */
	lua_Hook hook;                 /* the hook its coroutine was born with */
	int hook_mask, hook_count;
	const struct vigia_event *event; /* while handle() is on the stack */
	uint64_t attempt;
	struct vigia_error decode_error; /* of the event in hand; code 0 = none */
	struct vigia__lua *shared;       /* of its Lua state */
	struct lua_cache *cache;         /* decoded events to share; NULL: none */
	bool has_where;                  /* a predicate looks at each event first */
	bool dropped;                    /* and did not want this one */
	bool begins;                     /* C begins an event, and its function is not running yet */
	bool suspended;                  /* yielded by vigia__lua_suspend, not by the handler itself */
	bool for_events;                 /* an append ends the wait, too */
	bool stopping;                   /* a task of a registry that stops; a watcher's handler asks the watcher */
	bool cancelled;                  /* a task whose waits are to end */
	bool told_stopping;              /* a wait ended with "stopping" already: the next one that does is paced */
	unsigned appends_at_once;        /* since it last waited: appends that needed no wait */
	struct lua_handler *awaits;      /* while suspended: the handler of the watcher whose stop it waits for, or NULL */
	int64_t until_mono_ns;
	int wait_top; /* of a wait: the stack it goes on with, and what goes on */
	lua_KContext wait_ctx;
	lua_KFunction wait_k;
};

void vigia__lua_handler_init(lua_State *L);
/* The value at idx of a home's stack. False, and nil: other code has found the thread, and closed or resumed it.
 * [-0, +1, -] */
bool vigia__lua_push_from(lua_State *L, lua_State *home, int idx);
/* The userdata of a task that has not ended. [-0, +1, -] */
void vigia__lua_push_task(lua_State *L, struct lua_handler *task);
/* A userdata that holds the functions at fn_idx and on_error_idx (or nil) and the registry at registry_idx.
 * [-0, +1, m] */
struct lua_handler *vigia__lua_handler_new(lua_State *L, int registry_idx, int fn_idx, int on_error_idx);
/* What C calls. */
void vigia__lua_handler_c(struct lua_handler *handler, struct vigia_handler *out);
/* A registry's wait_ended (drive.h). */
bool vigia__lua_wait_ended(const struct vigia_handler *handler, void *ctx);
/* An attempt has failed for this reason, which is none of the handler's: on_error and the stats are told of it. Answers
 * err->code. */
int vigia__lua_handler_failed(struct lua_handler *handler, struct vigia_error *err);
/* The watcher's userdata, for ctx.watcher; the handler at idx. [-1, +0, m] */
void vigia__lua_handler_set_watcher(lua_State *L, int handler_idx);
/* The predicate at where_idx (or nil) decides which events the handler sees. [-0, +0, -] */
void vigia__lua_handler_set_where(lua_State *L, int handler_idx, int where_idx);
/* A task: the function at fn_idx, run in the rounds of the registry at registry_idx. 0, ENOMEM. [-0, +0, m] */
int vigia__lua_task_new(lua_State *L, int registry_idx, int fn_idx, struct vigia_error *err);
/* The same, with a function that is told the text of its error instead of the log (or nil); leaves the task's userdata.
 * [-0, +1, m] */
int vigia__lua_task_push(lua_State *L, int registry_idx, int fn_idx, int on_error_idx, struct vigia_error *err);
struct lua_handler *vigia__lua_check_task(lua_State *L, int arg); /* raises if it is none. [-0, +0, v] */
/* The last error the handler made, as on_error saw it, or nil. [-0, +1, m] */
void vigia__lua_handler_push_error(lua_State *L, struct lua_handler *handler);

/* The handler that runs now in this Lua state (perhaps below other coroutines), NULL outside. [-0, +0, -] */
struct lua_handler *vigia__lua_running(lua_State *L);
/* Is its watcher to stop? Also of a handler whose registry is closed. */
bool vigia__lua_stopping(const struct lua_handler *handler);
/* May L, right here, yield to the registry? Not in another coroutine, a sort callback or a metamethod of C. */
bool vigia__lua_may_suspend(lua_State *L, const struct lua_handler *handler);
/* The time of its registry's clock. [-0, +0, -] */
int64_t vigia__lua_now(const struct lua_handler *handler);
/* In its own coroutine: take away a hook that was set since the coroutine was made. [-0, +0, -] */
void vigia__lua_drop_hook(lua_State *L, struct lua_handler *handler);
/* core.outcome(what a handler returned...) -> true | false, the error value (contract W5, R6) */
int vigia__lua_outcome(lua_State *L);
/* Yield until the time or, `for_events`, an append; then, or when the watcher is to stop, k goes on. Use as
 * `return vigia__lua_suspend(...)`. */
int vigia__lua_suspend(lua_State *L, struct lua_handler *handler, int64_t until_mono_ns, bool for_events,
                       lua_KContext ctx, lua_KFunction k);
/* A wait of a handler that is to stop: let the others have a turn where that can be, then k tells it. Use as `return
 * ...`. */
int vigia__lua_yield_stopping(lua_State *L, struct lua_handler *handler, lua_KFunction k);
int vigia__lua_stopped(lua_State *L, int status, lua_KContext ctx); /* such a k: nil and the error "stopping" */
/* The handler waits, in a wait that follows, for a stop of the watcher at idx. [-0, +0, v] */
void vigia__lua_await(lua_State *L, struct lua_handler *handler, int idx);
/* Does `other` wait, perhaps through others, for a watcher whose handler this one is? */
bool vigia__lua_awaited_by(const struct lua_handler *handler, const struct lua_handler *other);
/* Do appends to this store wake the handler's registry? Not those to another file. */
bool vigia__lua_hears(const struct lua_handler *handler, const struct vigia_store *store);
/* Be woken by every append from now on. */
void vigia__lua_listen_anything(const struct lua_handler *handler);
/* nil and the error "stopping"; answers 2. [-0, +2, m] */
int vigia__lua_fail_stopping(lua_State *L, const struct lua_handler *handler);

/* ---- step.c: what a registry written in Lua builds on ---- */

void vigia__lua_step_init(lua_State *L);
void vigia__lua_step_functions(lua_State *L); /* into the table on top. [-0, +0, m] */

/* ---- clock.c: the class vigia.Clock, moved by hand ---- */

struct vigia__manual_clock;

void vigia__lua_clock_init(lua_State *L);
int vigia__lua_clock(lua_State *L);                                       /* core.clock() */
struct vigia__manual_clock *vigia__lua_test_clock(lua_State *L, int idx); /* NULL: it is none. [-0, +0, -] */

/* ---- registry.c, watcher.c ---- */

void vigia__lua_registry_init(lua_State *L);
int vigia__lua_registry(lua_State *L);
int vigia__lua_sleep(lua_State *L);
/* A registry that is the worker's own: handlers can be made for it. The store is the userdata at store_idx.
 * [-0, +1, m] */
struct lua_registry *vigia__lua_worker_registry(lua_State *L, int store_idx, struct vigia__worker *worker);
/* A registry that C code made and frees; it must outlive the state. The store is the userdata at store_idx.
 * [-0, +1, m] */
struct lua_registry *vigia__lua_borrow_registry(lua_State *L, int store_idx, struct vigia_registry *registry);
/* The registry at arg; raises if it is closed. [-0, +0, v] */
struct lua_registry *vigia__lua_check_registry(lua_State *L, int arg);
/* The table of what the registry at idx keeps. [-0, +1, v] */
void vigia__lua_registry_push_kept(lua_State *L, int idx);
/* The store's userdata of the registry at idx. [-0, +1, v] */
void vigia__lua_registry_push_store(lua_State *L, int idx);
/* Callbacks of the registry run on L from now on; answers who was there before: give it back with leave. */
lua_State *vigia__lua_registry_enter(struct lua_registry *r, lua_State *L);
void vigia__lua_registry_leave(struct lua_registry *r, lua_State *before);

void vigia__lua_watcher_init(lua_State *L);
/* The watcher at arg; raises if there is none, or its registry is closed. [-0, +0, v] */
struct vigia_watcher *vigia__lua_check_watcher(lua_State *L, int arg);
/* A watcher's userdata, still empty; keeps the registry at registry_idx alive. [-0, +1, m] */
struct lua_watcher *vigia__lua_watcher_new(lua_State *L, int registry_idx);

struct lua_watcher {
	struct lua_registry *owner;
	struct vigia_watcher *watcher;
	struct lua_handler *handler; /* it keeps it: 2; NULL: none yet. 4: the predicate for one to come, or nil */
	const void *on_error;        /* not NULL: 3 is the function for a handler to come */
};

/* The timeout in nanoseconds that the options of a stop at arg tell. [-0, +0, v] */
int64_t vigia__lua_check_stop(lua_State *L, int arg);

#endif
