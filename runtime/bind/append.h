/*
 * append.h - appends of coroutines: several of one Lua state share a commit, and the state's thread never waits in a
 * sync.
 */
#ifndef VIGIA_BIND_APPEND_H
#define VIGIA_BIND_APPEND_H

#include "../core/buf.h"
#include "../store/store.h"
#include "../store/backend.h"
#include "lua_state.h"

/* An append under way. In a userdata: its coroutine may be dropped before it is durable. */
struct lua_append {
	struct vigia__pending pending;
	struct vigia__lua *shared;
	struct vigia__buf events; /* the bytes, until they are committed */
	struct vigia__buf ends;
	char key[VIGIA_KEY_MAX];
};

void vigia__lua_append_init(lua_State *L);
/* What an append that went well returns: the first number, for a list the last one, and true if the key was there
 * already. For one that waits in the queue only true. Returns how many values that is. [-0, +1..3, -] */
int vigia__lua_push_stored(lua_State *L, const struct vigia__append *request);
/* Where L may yield to a registry over this store: an empty one, pushed. Else NULL, and nothing pushed.
 * [-0, +0|1, m] */
struct lua_append *vigia__lua_append_begin(lua_State *L, struct vigia__lua *shared, const struct vigia_store *store);
/* May an append of this coroutine be submitted, and waited for by a yield? [-0, +0, -] */
bool vigia__lua_append_may_wait(lua_State *L, const struct vigia__lua *shared, const struct vigia_store *store);
/* Yield until what was submitted to the store may be durable. */
int vigia__lua_suspend_pending(lua_State *L, const struct vigia_store *store, lua_KContext ctx, lua_KFunction k);
/* Submit the request, whose bytes are in `append`, and yield until it is durable. Then one number for one event, two
 * for a list. Use as `return vigia__lua_append_wait(...)`. `append` is on top of the stack. */
int vigia__lua_append_wait(lua_State *L, struct lua_append *append, struct vigia_store *store,
                           const struct vigia__append *request);

#endif
