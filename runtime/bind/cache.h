/*
 * cache.h - decoded events that the watchers of one handle share (option cache_size): by number, the least recently used goes first.
 *
 * A cache is a userdata, kept by its store and by the handlers that look into it; its user value 1 is the table slot -> event.
 */
#ifndef VIGIA_BIND_CACHE_H
#define VIGIA_BIND_CACHE_H

#include "bind.h"

struct lua_cache;

void vigia__lua_cache_init(lua_State *L);
/* A cache for `size` events, at least one. [-0, +1, m] */
struct lua_cache *vigia__lua_cache_new(lua_State *L, size_t size);
/* Push the event, if it is there; the cache is at idx. [-0, +(0|1), -] */
bool vigia__lua_cache_get(lua_State *L, int idx, struct lua_cache *cache, uint64_t seq_num);
/* Keep the event on top. [-0, +0, -] */
void vigia__lua_cache_put(lua_State *L, int idx, struct lua_cache *cache, uint64_t seq_num);
/* Forget it. [-0, +0, -] */
void vigia__lua_cache_drop(lua_State *L, int idx, struct lua_cache *cache, uint64_t seq_num);

/* ---- store.c ---- */

/* The cache of the store at idx, or nil and NULL. [-0, +1, -] */
struct lua_cache *vigia__lua_push_cache(lua_State *L, int idx);

#endif
