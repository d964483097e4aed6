/*
 * results.h - what a store written in Lua returned: errors, numbers, and the events that handlers get. Of one watcher.
 *
 * The registry keeps a table for it, under the address of its struct lua_results, which is what the watcher's
 * source_ctx points to.
 */
#ifndef VIGIA_BIND_RESULTS_H
#define VIGIA_BIND_RESULTS_H

#include "registry_handle.h"

struct vigia_watcher;

/* What that table has. The ERROR is the last error value of a read or save, with the text that C has of it. */
enum {
	VIGIA_LUA_AT_EVENTS = 1, /* of the batch in hand, by number */
	VIGIA_LUA_AT_RESULT,     /* which is looked at */
	VIGIA_LUA_AT_ERROR,
	VIGIA_LUA_AT_ERROR_TEXT,
	VIGIA_LUA_AT_LISTS /* of the filter, or nil */
};

/* Which of what a watcher's userdata keeps are the lists of its filter, or nil. */
enum { VIGIA_LUA_WATCHER_LISTS = 5 };

struct lua_results {
	struct vigia_watcher *watcher;
	struct lua_registry *r;
	struct vigia_error damage; /* why an event of the batch in hand, its seq_num, could not be decoded. Code 0: none */
};

/* What the table of the watcher has at n. [-0, +1, v] */
void vigia__lua_results_push_at(lua_State *L, const struct lua_results *results, int n);
/* [-1, +0, v] */
void vigia__lua_results_keep_at(lua_State *L, const struct lua_results *results, int n);
/* The store. [-0, +1, v] */
void vigia__lua_push_lua_store(lua_State *L, const struct lua_registry *registry);

/* Did the method, which ended with `status`, succeed? Two values, or what it raised, are at `first`. Else *err is
 * filled in, and the value behind it is kept for the call that fails with it and, if it is `lasting`, for the stats.
 * [-0, +0, v] */
bool vigia__lua_results_check(lua_State *L, const struct lua_results *results, const char *method, int status,
                              int first, bool lasting, struct vigia_error *err);
/* The value at idx as the number of an event. EWATCHER. [-0, +0, m] */
int vigia__lua_results_number(lua_State *L, const struct lua_results *results, const char *method, int idx,
                              uint64_t *out, struct vigia_error *err);
/* Event `seq_num` of the batch that the watcher has in hand, as its store returned it. EDAMAGED, EDESERIAL: it could
 * not be decoded there, nothing is pushed. [-0, +1, v] */
int vigia__lua_results_push_event(lua_State *L, const struct vigia_watcher *watcher, uint64_t seq_num,
                                  struct vigia_error *err);
/* If err was made of an error value of a store in Lua, push that value: of this watcher's, or (NULL) the last one in
 * the registry. [-0, +0|1, v] */
bool vigia__lua_results_push_error(lua_State *L, const struct lua_registry *registry,
                                   const struct vigia_watcher *watcher, const struct vigia_error *err);
/* As vigia__lua_done(), with the store's own error value where there is one. */
int vigia__lua_results_done(lua_State *L, const struct lua_registry *registry, int rc, struct vigia_error *err);

#endif
