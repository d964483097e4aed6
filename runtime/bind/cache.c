/*
 * cache.c - decoded events by number, least recently used first out.
 *
 * Slots are numbers from 1, and 0 is none. A slot in use is in the ring of use (slot 0 is its anchor: next is the most,
 * prev the least recently used) and in the chain of its bucket. Numbers of neighbours fall into neighbouring buckets,
 * so chains are short.
 */
#include "cache.h"

#include <string.h>

#include "lua_state.h"

static const struct vigia__lua_class cache_class = {.name = "vigia.cache"};

struct slot {
	uint64_t seq_num; /* 0: free */
	uint32_t prev, next, chain;
};

struct lua_cache {
	uint32_t size, used, mask;
	uint32_t *buckets;   /* behind the slots */
	struct slot slots[]; /* size + 1 */
};

struct lua_cache *vigia__lua_cache_new(lua_State *L, size_t size)
{
	size_t buckets = 16;
	while (buckets < size) buckets *= 2;
	size_t slots_len = (size + 1) * sizeof(struct slot);
	struct lua_cache *c =
		vigia__lua_new_keeping(L, sizeof *c + slots_len + buckets * sizeof *c->buckets, &cache_class, 1);
	c->size = (uint32_t)size;
	c->mask = (uint32_t)buckets - 1;
	c->buckets = (uint32_t *)(void *)((char *)c->slots + slots_len);
	lua_newtable(L);
	vigia__lua_keep(L, -2, 1);
	return c;
}

static uint32_t *bucket(struct lua_cache *c, uint64_t seq_num)
{
	return &c->buckets[seq_num & c->mask];
}

static uint32_t find_slot(struct lua_cache *c, uint64_t seq_num)
{
	uint32_t at = *bucket(c, seq_num);
	while (at && c->slots[at].seq_num != seq_num) at = c->slots[at].chain;
	return at;
}

static void leave_ring(struct lua_cache *c, uint32_t at)
{
	struct slot *slot = &c->slots[at];
	c->slots[slot->prev].next = slot->next;
	c->slots[slot->next].prev = slot->prev;
}

static void enter_ring(struct lua_cache *c, uint32_t at)
{
	struct slot *slot = &c->slots[at];
	slot->prev = 0;
	slot->next = c->slots[0].next;
	c->slots[slot->next].prev = at;
	c->slots[0].next = at;
}

static void leave_chain(struct lua_cache *c, uint32_t at)
{
	uint32_t *link = bucket(c, c->slots[at].seq_num);
	while (*link != at) link = &c->slots[*link].chain;
	*link = c->slots[at].chain;
}

lua_Integer vigia__lua_cache_use(struct lua_cache *c, uint64_t seq_num)
{
	uint32_t at = find_slot(c, seq_num);
	if (at != 0 && c->slots[0].next != at) {
		leave_ring(c, at);
		enter_ring(c, at);
	}
	return at;
}

bool vigia__lua_cache_has(struct lua_cache *c, uint64_t seq_num)
{
	return find_slot(c, seq_num) != 0;
}

/* The table of the cache at idx, which is `c` unless debug.setuservalue has put something else there. [-0, +1, v] */
static void push_table(lua_State *L, int idx, const struct lua_cache *c)
{
	if (vigia__lua_test(L, idx, &cache_class) != c || vigia__lua_push_kept(L, idx, 1) != LUA_TTABLE)
		luaL_error(L, "vigia: the cache of the store was replaced"); /* GCOVR_EXCL_LINE: Lua code did that (debug). */
}

void vigia__lua_cache_push_table(lua_State *L, int idx)
{
	const struct lua_cache *c = vigia__lua_test(L, idx, &cache_class);
	if (c == NULL) lua_pushnil(L);
	else push_table(L, lua_absindex(L, idx), c);
}

void vigia__lua_cache_put(lua_State *L, int idx, struct lua_cache *c, uint64_t seq_num)
{
	push_table(L, idx, c);
	lua_pushvalue(L, -2);
	uint32_t at = find_slot(c, seq_num);
	bool known = at != 0;
	if (!known) at = c->used < c->size ? c->used + 1 : c->slots[0].prev;
	lua_rawseti(L, -2, at); /* may raise for want of memory: nothing has changed but an event that is not found */
	lua_pop(L, 1);
	if (!known && at <= c->used) {
		leave_ring(c, at);
		if (c->slots[at].seq_num) leave_chain(c, at);
	} else if (!known) {
		c->used++;
	} else {
		leave_ring(c, at); /* its decoder had another registry handle it meanwhile */
		leave_chain(c, at);
	}
	c->slots[at].seq_num = seq_num;
	c->slots[at].chain = *bucket(c, seq_num);
	*bucket(c, seq_num) = at;
	enter_ring(c, at);
}

/* Make the slot the next one to be used again. */
void vigia__lua_cache_drop(lua_State *L, int idx, struct lua_cache *c, uint64_t seq_num)
{
	uint32_t at = find_slot(c, seq_num);
	if (at == 0) return;
	push_table(L, idx, c);
	lua_pushboolean(L, 0);
	lua_rawseti(L, -2, at); /* the slot is there: cannot raise */
	lua_pop(L, 1);
	leave_chain(c, at);
	leave_ring(c, at);
	struct slot *slot = &c->slots[at];
	slot->seq_num = 0;
	slot->next = 0;
	slot->prev = c->slots[0].prev;
	c->slots[slot->prev].next = at;
	c->slots[0].prev = at;
}
