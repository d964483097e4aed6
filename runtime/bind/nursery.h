/*
 * nursery.h - the first memory of a script's Lua state: 64 KiB in one piece, of pages that are shared with the states
 * beside it.
 *
 * A state needs most of that for its libraries before any code of the script runs, in a thousand small blocks. Taken
 * from malloc they cost a header each, and a page fault for each page. With thousands of scripts that was half of what
 * a start cost. Nurseries lie 32 to a mapping, which is one huge page where the system gives one. What a state needs
 * beyond its nursery comes from malloc.
 *
 * A nursery belongs to one thread at a time. Making and freeing one: any thread, also in a forked child.
 */
#ifndef VIGIA_BIND_NURSERY_H
#define VIGIA_BIND_NURSERY_H

#include <lua.h>

struct vigia__nursery;

/* NULL: no memory. */
struct vigia__nursery *vigia__nursery_new(void);
/* After the state that used it is closed. NULL is fine. */
void vigia__nursery_free(struct vigia__nursery *nursery);

/* A lua_Alloc, with the nursery as its `ud`. NULL as `ud`: malloc alone. */
void *vigia__nursery_alloc(void *nursery, void *block, size_t old_size, size_t size);
/* A Lua state as luaL_newstate makes it, with this memory. NULL: no memory. */
lua_State *vigia__nursery_state(struct vigia__nursery *nursery);

#endif
