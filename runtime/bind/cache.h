/*
 * cache.h - decoded events that the watchers of one handle share (option cache_size): by number, the least recently
 * used goes first.
 *
 * A cache is a userdata, kept by its store and by the handlers that look into it. It keeps, as 1, the table slot ->
 * event.
 */
#ifndef VIGIA_BIND_CACHE_H
#define VIGIA_BIND_CACHE_H

#include "lua_state.h"

struct lua_cache;

/* A cache for `size` events, at least one. [-0, +1, m] */
struct lua_cache *vigia__lua_cache_new(lua_State *L, size_t size);
/* The index of the event in the cache's table, 0: it is not there. The event becomes the most recently used. */
lua_Integer vigia__lua_cache_use(struct lua_cache *cache, uint64_t seq_num);
bool vigia__lua_cache_has(struct lua_cache *cache, uint64_t seq_num);
/* Push the table index -> event of the cache at idx, which may be nil. [-0, +1, -] */
void vigia__lua_cache_push_table(lua_State *L, int idx);
/* Keep the event on top. [-0, +0, -] */
void vigia__lua_cache_put(lua_State *L, int idx, struct lua_cache *cache, uint64_t seq_num);
/* Forget it. [-0, +0, -] */
void vigia__lua_cache_drop(lua_State *L, int idx, struct lua_cache *cache, uint64_t seq_num);

#endif
