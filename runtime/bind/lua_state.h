/*
 * lua_state.h - the floor of this room: what one Lua state shares, classes, calls that only C makes, checked arguments.
 *
 * The rules of the room:
 *   - All arguments are checked before any resource is taken. No raise jumps over a transaction, a lock or a malloc:
 *     memory that C owns while Lua may raise hangs in a full userdata with __gc.
 *   - The buffers in struct vigia__lua are shared by all calls of a state. They are safe to use from the first byte
 *     written to the last byte read as long as nothing in between can run Lua code: no call that allocates a Lua object
 *     (a collection runs finalizers, and those may call in here).
 *   - Wrong use raises and names the argument. What goes wrong at run time returns nil and a vigia.Error.
 *
 * Functions on the Lua stack are marked as in the manual: [-pops, +pushes, raises], with - never, m memory, v wrong use
 * too.
 */
#ifndef VIGIA_BIND_LUA_STATE_H
#define VIGIA_BIND_LUA_STATE_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/buf.h"
#include "vigia.h"

/* ---- what one Lua state shares ---- */

enum {
	VIGIA_LUA_NAMES = 256,   /* slots of the name cache, a power of two */
	VIGIA_LUA_NAME_LEN = 40, /* longer names are not kept */
	VIGIA_LUA_NAMELESS = 16, /* events that a state decodes before it keeps names */
	VIGIA_LUA_KEEP = 1 << 18 /* bytes a shared buffer keeps for the next call */
};

/* A name seen before: its Lua string is at the slot's index + 1 of the table in user value 1. */
struct vigia__lua_name {
	uint8_t len; /* 0: none */
	char bytes[VIGIA_LUA_NAME_LEN];
};

/* What one Lua state shares, coroutines included. Lives in a userdata in the registry. */
struct vigia__lua {
	struct vigia__buf events;     /* events being encoded */
	struct vigia__buf ends;       /* size_t offsets behind each */
	struct vigia__buf text;       /* JSON, lists of ids */
	struct vigia_batch *spare;    /* one batch, for the next read */
	struct lua_handler *handler;  /* the function handler that runs now (handler.c), NULL outside */
	struct lua_source *owned;     /* watchers over stores in Lua that run their ids (source.c) */
	struct vigia__worker *worker; /* whose thread this state belongs to (script.c), NULL: an application's */
	struct vigia__output *output; /* what this state's script prints goes there (output.h), NULL: an application's */
	lua_CFunction open_module;    /* opens vigia.core in another state */
	int idle_appends;             /* of coroutines, to be used again (append.c) */
	bool has_types;               /* classes are registered: user value 2 (serial.c) */
	uint8_t nameless;             /* events decoded so far, until names are kept */
	bool ended;                   /* the Lua state is closing */
	bool script;                  /* it is a script's: what belongs to the program is none of its business */
	/* `known` is read, `names` is written: VIGIA_LUA_NAMES slots. `known` points to an empty table until this state
	 * keeps names. `names` is memory of the state's allocator. */
	const struct vigia__lua_name *known;
	struct vigia__lua_name *names; /* NULL: none yet */
};

/* Create this state's struct vigia__lua. Do nothing if it exists: the module was loaded before. [-0, +0, m] */
void vigia__lua_state_init(lua_State *L);
/* This Lua state's struct vigia__lua. Raises when the state is closing: an object made then would never be freed.
 * [-0, +0, v] */
struct vigia__lua *vigia__lua_shared(lua_State *L);
/* Raise in a finalizer that lua_close() runs: an object made there is never finalized, so its C memory would leak.
 * [-0, +0, v] */
void vigia__lua_check_finalizes(lua_State *L);
/* Raise if this is a script's state, isolated or not. `what` affects the whole process (terminal, signals, standard
 * streams, fork), so only the program's own state may call it. [-0, +0, v] */
void vigia__lua_check_program(lua_State *L, const char *what);
/* Push the userdata of struct vigia__lua. [-0, +1, -] */
void vigia__lua_push_shared(lua_State *L);
/* The same for decoding one event, without the check that the state is closing. Pushes the table of names' strings, or
 * nil while no names are kept. [-0, +1, m] */
struct vigia__lua *vigia__lua_push_names(lua_State *L);

/* ---- classes ---- */

/* A class of userdata, or of tables. Its address is its key in the registry: it is found without making a string. It is
 * there by its name, too, as luaL_newmetatable makes them. */
struct vigia__lua_class {
	const char *name;
	const luaL_Reg *metamethods, *methods; /* NULL: none. With methods, __index is the table of them. */
	void (*free)(lua_State *L,
	             void *object); /* when the collector finds it. It may be called twice. NULL: nothing to do */
	bool sealed;                /* getmetatable() gives the name */
};

/* Its metatable, which is made when it is first asked for. [-0, +1, m] */
void vigia__lua_push_class(lua_State *L, const struct vigia__lua_class *class);
/* The same functions for the metatable on top, of a class whose methods are in other files. [-0, +0, m] */
void vigia__lua_set_methods(lua_State *L, const luaL_Reg *metamethods, const luaL_Reg *methods);
/* A zeroed userdata of the class on the stack. The class is also stored behind its bytes, so C recognises the object
 * even if Lua code changes its metatable. [-0, +1, m] */
void *vigia__lua_new(lua_State *L, size_t size, const struct vigia__lua_class *class);
/* The same, for one that keeps up to `count` values alive: what C points to from it. [-0, +1, m] */
void *vigia__lua_new_keeping(lua_State *L, size_t size, const struct vigia__lua_class *class, int count);
/* The value on top becomes number n, from 1, of what the object at idx keeps. It stays until another takes its place,
 * or as long as the object: debug.setuservalue does not reach it. [-1, +0, -] */
void vigia__lua_keep(lua_State *L, int idx, int n);
/* The same for the value at `value`, which stays where it is. [-0, +0, -] */
void vigia__lua_keep_value(lua_State *L, int idx, int n, int value);
/* The same for a table that C points into, hidden from debug.getuservalue. For the collector's sake something else must
 * keep it, too (module.c). [-1, +0, -] */
void vigia__lua_hide(lua_State *L, int idx, int n);
/* Push number n of what the object at idx keeps, nil where there is none. Returns its type. [-0, +1, -] */
int vigia__lua_push_kept(lua_State *L, int idx, int n);
/* The value on top is kept alive as long as the coroutine at idx. [-1, +0, m] */
void vigia__lua_keep_by(lua_State *L, int idx);
/* The userdata at idx if it was made of the class, whatever its metatable is by now, else NULL. [-0, +0, -] */
void *vigia__lua_test(lua_State *L, int idx, const struct vigia__lua_class *class);
/* For a __gc that frees what a call may be using: the argument, if it is the collector that calls and it is of the
 * class. Else NULL: Lua code called it, perhaps in the middle of that call. [-0, +0, -] */
void *vigia__lua_collected(lua_State *L, const struct vigia__lua_class *class);
/* As vigia__lua_test(), but raises. [-0, +0, v] */
void *vigia__lua_check(lua_State *L, int arg, const struct vigia__lua_class *class);

/* Field `name` of the table at idx, whatever its metatable says. Returns its type. [-0, +1, m] */
int vigia__lua_push_raw(lua_State *L, int idx, const char *name);

/* ---- calls that only C makes ---- */

/* What runs under vigia__lua_pcall(): as a lua_CFunction, with an argument that C gave. The stack is empty. */
typedef int (*vigia__lua_body)(lua_State *L, void *arg);
/* lua_pcall of body(L, arg). Its `results` or the error value are left on the stack. Lua code can find the function of
 * such a call (debug.getinfo), but it cannot call it: each call is made by C, and once. [-0, +(results|1), -] */
int vigia__lua_pcall(lua_State *L, vigia__lua_body body, void *arg, int results, int handler);
/* The same so that nothing it raises gets out. False: it raised. The value is gone. [-0, +0, -] */
bool vigia__lua_protected(lua_State *L, vigia__lua_body body, void *arg);

/* A message handler for lua_pcall: the error value as text, with a traceback. */
int vigia__lua_traceback(lua_State *L);
/* Lua modules are looked for in this folder first. [-0, +0, m] */
void vigia__lua_add_path(lua_State *L, const char *folder);
/* `require` finds this function for vigia.core. [-0, +0, m] */
void vigia__lua_preload_core(lua_State *L, lua_CFunction open);
/* Push what `require` returns for this module. [-0, +1, e] */
void vigia__lua_require(lua_State *L, const char *module);
/* The library of this name is on top, or nil and false. [-0, +1, m] */
bool vigia__lua_push_library(lua_State *L, const char *name);
/* Replace functions of the table on top. Each new one has the original as upvalue 1. A name that is missing in the
 * table is skipped. [-0, +0, m] */
void vigia__lua_replace_functions(lua_State *L, const luaL_Reg *functions);
/* Call the original of a function that took its place, upvalue 1, with the same arguments. [-all, +results, e] */
int vigia__lua_call_original(lua_State *L);
/* Push an empty table whose entries go with their keys. [-0, +1, m] */
void vigia__lua_push_weak_keys(lua_State *L);
/* Push it, and return 1: the end of a function of one result. [-0, +1, -] */
int vigia__lua_boolean(lua_State *L, bool value);
/* Set a field of the table on top. [-0, +0, m] */
void vigia__lua_set_string(lua_State *L, const char *field, const char *value);
void vigia__lua_set_integer(lua_State *L, const char *field, uint64_t value);
struct vigia__lua_number {
	const char *field; /* NULL ends a list */
	uint64_t value;
};
void vigia__lua_set_integers(lua_State *L, const struct vigia__lua_number *numbers);

/* ---- arguments ---- */

/* Argument `arg` as a string (no number), naming it `name` if it is none. [-0, +0, v] */
const char *vigia__lua_check_string(lua_State *L, int arg, const char *name, size_t *len);
/* The string at idx. Borrowed from Lua. [-0, +0, -] */
static inline struct vigia_slice vigia__lua_slice(lua_State *L, int idx)
{
	struct vigia_slice slice;
	slice.data = lua_tolstring(L, idx, &slice.len);
	return slice;
}
/* Argument `arg` must be of this type. [-0, +0, v] */
void vigia__lua_check_type(lua_State *L, int arg, int type, const char *name);
/* Argument `arg` as a string without a zero byte. [-0, +0, v] */
const char *vigia__lua_check_cstring(lua_State *L, int arg, const char *name);
/* Argument `arg` as a sequence number: an integer from 0 on. [-0, +0, v] */
uint64_t vigia__lua_check_seq(lua_State *L, int arg, const char *name);
/* Argument `arg` as seconds, in nanoseconds. At most about 292 years, math.huge too. [-0, +0, v] */
int64_t vigia__lua_check_seconds(lua_State *L, int arg, const char *name);

#endif
