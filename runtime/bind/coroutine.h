/*
 * coroutine.h - coroutines that a registry runs, for handlers and tasks: which one runs, waiting, sleeping.
 */
#ifndef VIGIA_BIND_COROUTINE_H
#define VIGIA_BIND_COROUTINE_H

#include "hook.h"
#include "registry_handle.h"

/* What a coroutine's userdata keeps. A handler's keeps more (handler.c). */
enum {
	VIGIA_LUA_KEEPS_REGISTRY = 1,
	VIGIA_LUA_KEEPS_FUNCTION,
	VIGIA_LUA_KEEPS_ON_ERROR,
	VIGIA_LUA_KEEPS_COROUTINE,
	VIGIA_LUA_KEEPS_AWAITED,
	VIGIA_LUA_KEEPS_TASK = VIGIA_LUA_KEEPS_AWAITED
};
/* What is on the stack of a handler's home. */
enum { VIGIA_LUA_HOME_SELF = 1, VIGIA_LUA_HOME_RUN };

struct lua_handler {
	struct lua_registry *owner;
	struct vigia_watcher *watcher;   /* NULL for a task */
	bool task;                       /* a function of registry:spawn, or a method of a store in Lua */
	struct lua_call *call;           /* that method's (source.c). NULL: none, or its watcher is gone */
	lua_State *co;                   /* NULL: another one is made */
	lua_State *home;                 /* a thread that never runs, with what C pushes. NULL for a task */
	struct vigia__hook hook;         /* what its coroutine was made with */
	const struct vigia_event *event; /* while handle() is on the stack */
	uint64_t attempt;
	struct vigia_error decode_error;             /* of the event in hand. Code 0 = none */
	struct vigia__lua *shared;                   /* of its Lua state */
	struct vigia_transaction *tx;                /* of a transactional watcher, while it handles an event; else NULL */
	struct lua_handler *next_lane;               /* of a watcher with lanes, which it keeps */
	bool has_key;                                /* a function tells the lane of an event */
	bool asks_key;                               /* it is on the stack */
	const struct vigia_dead_letter *dead_letter; /* while it is handled again; else NULL */
	struct lua_transaction *lent;                /* ctx.tx, which it keeps. NULL: nobody asked for it yet */
	struct lua_cache *cache;                     /* decoded events to share. NULL: none */
	bool has_where;                              /* a predicate looks at each event first */
	bool dropped;                                /* and did not want this one */
	bool begins;                                 /* C begins an event, and its function is not running yet */
	bool suspended;                              /* yielded by vigia__lua_suspend, not by the handler itself */
	bool for_events;                             /* an append ends the wait, too */
	bool stopping;                /* a task of a registry that stops. A watcher's handler asks the watcher */
	bool cancelled;               /* a call of a store whose waits must end */
	bool told_stopping;           /* a wait ended with "stopping" already: the next one that does is paced */
	unsigned appends_at_once;     /* since it last waited: appends that needed no wait */
	struct lua_handler *awaits;   /* while suspended: the handler of the watcher whose stop it waits for, or NULL */
	struct vigia__question *asks; /* while suspended: whose answer ends that wait, or NULL. A reference */
	bool missed;                  /* an append came during that: a wait for one that follows ends at once */
	const void *waits_in;         /* while suspended in a signal's wait: that wait (signal.c), else NULL */
	int64_t until_mono_ns;
	int wait_top; /* of a wait: the stack it goes on with, and what goes on */
	lua_KContext wait_ctx;
	lua_KFunction wait_k;
};

/* A userdata that keeps `kept` values, the first of them the registry at registry_idx and the functions at fn_idx and
 * on_error_idx (or nil). [-0, +1, m] */
struct lua_handler *vigia__lua_coroutine_new(lua_State *L, int registry_idx, int fn_idx, int on_error_idx, int kept);
/* That userdata at idx, as C has put it there. [-0, +0, v] */
struct lua_handler *vigia__lua_own_coroutine(lua_State *L, int idx);
/* Push its userdata. A task has no home: its registry keeps it until it ends. [-0, +1, v] */
void vigia__lua_push_coroutine(lua_State *L, struct lua_handler *handler);
/* Make the coroutine ready to run, with nothing on its stack. False: no memory. [-0, +0, -] */
bool vigia__lua_coroutine_ready(struct lua_handler *handler);
/* Close the coroutine: its to-be-closed variables run. */
void vigia__lua_coroutine_close(struct lua_handler *handler);
/* Has other code closed the coroutine while it waited? */
bool vigia__lua_coroutine_lost(const struct lua_handler *handler);
/* A lua_KFunction: what the function returned is on the stack from 1 on. Raises if that is a failure. */
int vigia__lua_finish(lua_State *L, int status, lua_KContext ctx);

/* The handler that runs now in this Lua state (perhaps below other coroutines), NULL outside. [-0, +0, -] */
struct lua_handler *vigia__lua_running(lua_State *L);
/* Is its watcher to stop? Also of a handler whose registry is closed. */
bool vigia__lua_stopping(const struct lua_handler *handler);
/* May L, right here, yield to the registry? Not in another coroutine, a sort callback or a metamethod of C. */
bool vigia__lua_may_suspend(lua_State *L, const struct lua_handler *handler);
/* The time of its registry's clock. [-0, +0, -] */
int64_t vigia__lua_now(const struct lua_handler *handler);
/* core.outcome(what a handler returned...) -> true | false, the error value (contract W5, R6) */
int vigia__lua_outcome(lua_State *L);
/* Yield until the time or, `for_events`, an append. Then, or when the watcher must stop, k goes on. Use as
 * `return vigia__lua_suspend(...)`. */
int vigia__lua_suspend(lua_State *L, struct lua_handler *handler, int64_t until_mono_ns, bool for_events,
                       lua_KContext ctx, lua_KFunction k);
/* Yield until the question is answered, whatever else happens. `k` keeps it. */
int vigia__lua_suspend_asking(lua_State *L, struct lua_handler *handler, struct vigia__question *question,
                              lua_KContext ctx, lua_KFunction k);
/* Is the handler to go on, although its time has not come? `ends`: its watcher or registry stops. */
bool vigia__lua_wait_is_over(struct lua_handler *handler, bool ends);
/* A wait of a handler that must stop: let the others have a turn where that can be, then k tells it. Use as `return
 * ...`. */
int vigia__lua_yield_stopping(lua_State *L, struct lua_handler *handler, lua_KFunction k);
int vigia__lua_stopped(lua_State *L, int status, lua_KContext ctx); /* such a k: nil and the error "stopping" */
/* The handler waits, in a wait that follows, for a stop of the watcher at idx. [-0, +0, v] */
void vigia__lua_await(lua_State *L, struct lua_handler *handler, int idx);
/* Does `other` wait, perhaps through others, for a watcher whose handler this one is? */
bool vigia__lua_awaited_by(const struct lua_handler *handler, const struct lua_handler *other);
/* Do appends to this store wake the handler's registry? Not those to another file. */
bool vigia__lua_woken_by(const struct lua_handler *handler, const struct vigia_store *store);
/* nil and the error "stopping". Returns 2. [-0, +2, m] */
int vigia__lua_fail_stopping(lua_State *L, const struct lua_handler *handler);
/* Block until the time, or until a hook sets *ended (NULL: none does). An interrupt ends it, and on a script's thread a
 * stop: nil and an error. Else true. [-0, +(1|2), e] */
int vigia__lua_block(lua_State *L, int64_t until_mono_ns, const bool *ended);
int vigia__lua_sleep(lua_State *L);

#endif
