/*
 * registry_handle.h - the userdata of a registry: what all that belongs to a registry knows of it.
 */
#ifndef VIGIA_BIND_REGISTRY_HANDLE_H
#define VIGIA_BIND_REGISTRY_HANDLE_H

#include "interrupt.h"
#include "lua_state.h"

/* What the table that a registry keeps has, beside watchers by id and coroutines by their address. The ERRORs are the
 * last error value of a store in Lua, and the text that C has of it. */
enum {
	VIGIA_LUA_REGISTRY_STORE = 1,
	VIGIA_LUA_REGISTRY_LOG,
	VIGIA_LUA_REGISTRY_CLOCK,
	VIGIA_LUA_REGISTRY_SELF,
	VIGIA_LUA_REGISTRY_HOST,
	VIGIA_LUA_REGISTRY_ERROR,
	VIGIA_LUA_REGISTRY_ERROR_TEXT
};

/* How soon a registry's scripts are started one after the other. */
struct vigia__script_pace {
	int64_t begun_mono_ns; /* the last start */
	unsigned in_a_row;     /* starts that followed one another at once */
};

struct lua_registry {
	struct vigia_registry *registry; /* NULL once closed */
	const void *lua_store;           /* the address of its store, if that is written in Lua (source.c). */
	bool wrapped;                    /* that is a wrapper, and the store below wakes its watchers */
	lua_Integer latest;              /* the last number of one that is no wrapper, at the last look */
	bool at_once;                    /* a call of the API waits for what its methods return: they block */
	struct vigia__interrupt_hook hook;
	struct vigia__script_pace pace; /* of its scripts */
	struct vigia__worker *worker;   /* on whose thread it runs. NULL: an application's */
	bool borrowed;                  /* it is freed by somebody else */
	lua_State *home; /* a thread that never runs. At 1 of its stack what the registry keeps. The registry keeps it: 2 */
	lua_State
		*L; /* the state that drives it now: runs the log function, resumes the handlers. NULL outside of a call */
};

extern const struct vigia__lua_class vigia__lua_registry_class; /* its methods are in registry.c */

/* The registry at arg. Raises if it is closed. [-0, +0, v] */
struct lua_registry *vigia__lua_check_registry(lua_State *L, int arg);
/* The same for what Lua code asks of it: raises for one of another owner, too, which outlives what this state would put
 * into it, and goes on while this state has closed it. [-0, +0, v] */
struct lua_registry *vigia__lua_check_own_registry(lua_State *L, int arg);
/* The table of what the registry at idx keeps. [-0, +1, v] */
void vigia__lua_registry_push_kept(lua_State *L, int idx);
/* The store's userdata of the registry at idx. [-0, +1, v] */
void vigia__lua_registry_push_store(lua_State *L, int idx);
/* The value at idx of a home's stack. False, and nil: other code has found the thread, and closed or resumed it.
 * [-0, +1, -] */
bool vigia__lua_push_from(lua_State *L, lua_State *home, int idx);
/* The table that the registry keeps. Raises if that thread was found. [-0, +1, v] */
void vigia__lua_push_home(lua_State *L, const struct lua_registry *r);
/* Callbacks of the registry run on L from now on. Returns what was before: give it back with leave. */
struct vigia__lua_entered {
	lua_State *L;
	bool at_once;
};
struct vigia__lua_entered vigia__lua_registry_enter(struct lua_registry *r, lua_State *L);
/* The same for a call that tells of the outcome of what a store in Lua is asked for. */
struct vigia__lua_entered vigia__lua_registry_enter_call(struct lua_registry *r, lua_State *L);
void vigia__lua_registry_leave(struct lua_registry *r, struct vigia__lua_entered before);
/* The table on top is what the registry at idx keeps. [-1, +0, m] */
void vigia__lua_registry_keep(lua_State *L, struct lua_registry *r, int idx);
/* A registry that C code made and frees. It must outlive the state. The store is the userdata at store_idx.
 * [-0, +1, m] */
struct lua_registry *vigia__lua_borrow_registry(lua_State *L, int store_idx, struct vigia_registry *registry);

#endif
