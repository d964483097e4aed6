/*
 * nursery.c - blocks of a nursery, and the mappings that nurseries lie in. What it promises is in nursery.h.
 *
 * Blocks: Lua tells a block's size when it frees it, so none is written down. Sizes are whole units of 16 bytes. A free
 * block of up to SMALL_UNITS is in the list of its size. A larger one is in one list and is carved up again when
 * nothing else is left. Nothing is joined again: what a state's libraries need they hold until its end.
 */
#include "nursery.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../core/alloc.h"

enum {
	BYTES = 64 * 1024,
	UNIT = 16,
	SMALL_UNITS = 64,
	MAPPED_BYTES = 2 * 1024 * 1024, /* a huge page, on most machines */
	PER_MAPPING = MAPPED_BYTES / BYTES,
	/* The number of mappings before huge pages are requested: then the unused part of a huge page is small beside the
	 * rest. */
	HUGE_FROM = 4
};

struct mapping {
	struct mapping *next;
	char *memory;
	uint32_t free; /* a bit for each nursery */
};

/* A free block. */
struct block {
	struct block *next;
	size_t units; /* of one in `large` */
};
_Static_assert(sizeof(struct block) <= UNIT, "a free block of one unit");

struct vigia__nursery {
	struct mapping *mapping;
	char *fresh, *end; /* what was not handed out yet */
	struct block *small[SMALL_UNITS + 1];
	struct block *large;
};

/* ---- mappings ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mapping *mappings; /* few: each holds many nurseries */
static unsigned mapping_count;

static void lock_mappings(void)
{
	pthread_mutex_lock(&mutex);
}

static void unlock_mappings(void)
{
	pthread_mutex_unlock(&mutex);
}

static void watch_forks(void)
{
	pthread_atfork(lock_mappings, unlock_mappings, unlock_mappings);
}

/* At a multiple of its size. NULL: no memory. */
static char *map(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *at = mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (at == MAP_FAILED) return NULL;
	size_t over = (uintptr_t)at % MAPPED_BYTES;
	if (over == 0) return at;
	munmap(at, MAPPED_BYTES);
	at = mmap(NULL, 2 * (size_t)MAPPED_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (at == MAP_FAILED) return NULL;
	over = (uintptr_t)at % MAPPED_BYTES;
	size_t before = over ? MAPPED_BYTES - over : 0;
	if (before > 0) munmap(at, before);
	munmap(at + before + MAPPED_BYTES, MAPPED_BYTES - before);
	return at + before;
}

/* NULL: no memory. */
static struct mapping *new_mapping(void)
{
	struct mapping *m = vigia__calloc(sizeof *m);
	if (m == NULL) return NULL;
	m->memory = map();
	if (m->memory == NULL) {
		vigia__free(m);
		return NULL;
	}
	m->free = UINT32_MAX;
	if (mapping_count++ >= HUGE_FROM) madvise(m->memory, MAPPED_BYTES, MADV_HUGEPAGE);
	m->next = mappings;
	mappings = m;
	return m;
}

struct vigia__nursery *vigia__nursery_new(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	_Static_assert(PER_MAPPING == 32, "a bit for each nursery");
	pthread_once(&once, watch_forks);
	lock_mappings();
	struct mapping *m = mappings;
	while (m && m->free == 0) m = m->next;
	if (m == NULL) m = new_mapping();
	int at = 0;
	if (m) {
		at = __builtin_ctz(m->free);
		m->free &= m->free - 1;
	}
	unlock_mappings();
	if (m == NULL) return NULL;
	char *memory = m->memory + (size_t)at * BYTES;
#ifdef MADV_POPULATE_WRITE
	/* All of it will be used, and one call is less than a fault for each page. */
	madvise(memory, BYTES, MADV_POPULATE_WRITE);
#endif
	struct vigia__nursery *nursery = (struct vigia__nursery *)(void *)memory;
	*nursery = (struct vigia__nursery){.mapping = m, .end = memory + BYTES};
	nursery->fresh = memory + (sizeof *nursery + UNIT - 1) / UNIT * UNIT;
	return nursery;
}

void vigia__nursery_free(struct vigia__nursery *nursery)
{
	if (nursery == NULL) return;
	struct mapping *m = nursery->mapping;
	lock_mappings();
	m->free |= UINT32_C(1) << (size_t)((char *)nursery - m->memory) / BYTES;
	/* The last one stays, for a script that is reloaded or started again. */
	bool unused = m->free == UINT32_MAX && mapping_count > 1;
	if (unused) {
		struct mapping **at = &mappings;
		while (*at != m) at = &(*at)->next;
		*at = m->next;
		mapping_count--;
	}
	unlock_mappings();
	if (!unused) return;
	munmap(m->memory, MAPPED_BYTES);
	vigia__free(m);
}

/* ---- blocks ---- */

static bool is_inside(const struct vigia__nursery *n, const void *block)
{
	return (uintptr_t)block - (uintptr_t)n < BYTES;
}

static size_t units_of(size_t size)
{
	return (size + UNIT - 1) / UNIT;
}

static void put_block(struct vigia__nursery *n, void *at, size_t units)
{
	struct block *block = at;
	if (units == 0) return;
	struct block **list = units <= SMALL_UNITS ? &n->small[units] : &n->large;
	block->next = *list;
	if (units > SMALL_UNITS) block->units = units;
	*list = block;
}

/* The rest of what is fresh goes into the lists, and a large block takes its place. False: there is none so large. */
static bool refresh(struct vigia__nursery *n, size_t units)
{
	struct block **link = &n->large;
	while (*link && (*link)->units < units) link = &(*link)->next;
	struct block *block = *link;
	if (block == NULL) return false;
	*link = block->next;
	put_block(n, n->fresh, (size_t)(n->end - n->fresh) / UNIT);
	n->fresh = (char *)block;
	n->end = n->fresh + block->units * UNIT;
	return true;
}

/* NULL: nothing here is so large. */
static void *take_block(struct vigia__nursery *n, size_t size)
{
	size_t units = units_of(size);
#ifdef __SANITIZE_ADDRESS__
	return NULL; /* what is done to a block that was freed shall be seen */
#endif
	if (units <= SMALL_UNITS && n->small[units]) {
		struct block *block = n->small[units];
		n->small[units] = block->next;
		return block;
	}
	if (units * UNIT > (size_t)(n->end - n->fresh) && !refresh(n, units)) return NULL;
	void *block = n->fresh;
	n->fresh += units * UNIT;
	return block;
}

/* The last of the fresh ones grows where it is. */
static bool grow_block(struct vigia__nursery *n, char *block, size_t before, size_t after)
{
	if (block + before * UNIT != n->fresh || (after - before) * UNIT > (size_t)(n->end - n->fresh)) return false;
	n->fresh += (after - before) * UNIT;
	return true;
}

void *vigia__nursery_alloc(void *nursery, void *block, size_t old_size, size_t size)
{
	struct vigia__nursery *n = nursery;
	void *moved = NULL;
	if (block == NULL) {
		if (size == 0) return NULL;
		if (n && size < BYTES) moved = take_block(n, size);
		return moved ? moved : malloc(size);
	}
	if (n == NULL || !is_inside(n, block)) {
		if (size > 0) return realloc(block, size);
		free(block);
		return NULL;
	}
	size_t before = units_of(old_size), after = units_of(size);
	if (after <= before) { /* never fails: Lua relies on that */
		put_block(n, (char *)block + after * UNIT, before - after);
		return size > 0 ? block : NULL;
	}
	if (grow_block(n, block, before, after)) return block;
	if (size < BYTES) moved = take_block(n, size);
	if (moved == NULL) moved = malloc(size);
	if (moved == NULL) return NULL;
	memcpy(moved, block, old_size);
	put_block(n, block, before);
	return moved;
}

/* ---- a state ---- */

lua_State *vigia__nursery_state(struct vigia__nursery *nursery)
{
	/* The little it takes before comes from realloc(), whose blocks the nursery's function can move and free. */
	lua_State *L = luaL_newstate();
	if (L) lua_setallocf(L, vigia__nursery_alloc, nursery);
	return L;
}
