/*
 * bind.h - the door of the room that speaks Lua: what its files share, and what others may call.
 *
 * One file per noun: module (luaopen, what a Lua state shares), event (Lua values <-> an event's bytes), error,
 * iterator, options, store, reading (get_events), ndjson (the command line's bulk paths); serial, cache, edit, registry
 * and watcher have headers of their own.
 *
 * The rules of the room:
 *   - All arguments are checked before any resource is taken. No raise jumps over a transaction, a lock or a malloc:
 *     memory that C owns while Lua may raise hangs in a full userdata with __gc.
 *   - The buffers in struct vigia__lua are shared by all calls of a state. They are safe to use from the first byte
 *     written to the last byte read as long as nothing in between can run Lua code: no call that allocates a Lua object
 *     (a collection runs finalizers, and those may call in here).
 *   - Wrong use raises and names the argument; what goes wrong at run time returns nil and a vigia.Error.
 *
 * Functions on the Lua stack are marked as in the manual: [-pops, +pushes, raises], with - never, m memory, v wrong use
 * too.
 */
#ifndef VIGIA_BIND_BIND_H
#define VIGIA_BIND_BIND_H

#include <lauxlib.h>
#include <lua.h>

#include "../core/batch.h"
#include "../core/filter.h"
#include "../core/options.h"
#include "../store/store.h"

/* ---- module.c: the module, what one Lua state shares, classes ---- */

/* The C part of the module `vigia`. */
VIGIA_API int luaopen_vigia_core(lua_State *L);

enum {
	VIGIA_LUA_NAMES = 256,   /* slots of the name cache, a power of two */
	VIGIA_LUA_NAME_LEN = 40, /* longer names are not kept */
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
	const void *array_mt;         /* the metatable of vigia.array, by its address */
	struct lua_handler *handler;  /* the function handler that runs now (handler.c), NULL outside */
	struct vigia__worker *worker; /* whose thread this state belongs to (script.c), NULL: an application's */
	struct vigia__output *output; /* what this state's script prints goes there (output.h), NULL: an application's */
	int idle_appends;             /* of coroutines, to be used again (append.c) */
	bool has_types;               /* classes are registered: user value 2 (serial.c) */
	bool ended;                   /* the Lua state is closing */
	bool script;                  /* it is a script's: what belongs to the program is none of its business */
	struct vigia__lua_name names[VIGIA_LUA_NAMES];
};

/* What this Lua state shares. Raises when the state is closing: what would be made then, nobody would free.
 * [-0, +0, v] */
struct vigia__lua *vigia__lua_shared(lua_State *L);
/* Raises in a script's state, in a program of its own too: `what` concerns the whole process, its terminal, signals and
 * standard streams, or forks, and is for the state that the program itself runs in. [-0, +0, v] */
void vigia__lua_check_program(lua_State *L, const char *what);
/* The userdata of it. [-0, +1, -] */
void vigia__lua_push_shared(lua_State *L);
/* The same without that check, for reading; pushes the table of names' strings. [-0, +1, -] */
struct vigia__lua *vigia__lua_push_names(lua_State *L);

/* Make a class: a metatable under `name`, and under the address `key`, by which it is found without making a string.
 * Leaves it on the stack. `methods` may be NULL; then __index is one of the metamethods or absent. [-0, +1, m] */
void vigia__lua_class(lua_State *L, const char *name, const void *key, const luaL_Reg *metamethods,
                      const luaL_Reg *methods);
/* A zeroed userdata of the class on the stack. The class is written behind its bytes as well: debug.setmetatable and
 * what stands in for an object later change what Lua sees of it, never what C takes it for. [-0, +1, m] */
void *vigia__lua_new(lua_State *L, size_t size, const void *key);
/* The same, for one that keeps up to `count` values alive: what C points to from it. [-0, +1, m] */
void *vigia__lua_new_keeping(lua_State *L, size_t size, const void *key, int count);
/* The value on top becomes number n, from 1, of what the object at idx keeps. It stays until another takes its place,
 * or as long as the object: debug.setuservalue does not reach it. [-1, +0, -] */
void vigia__lua_keep(lua_State *L, int idx, int n);
/* The same for a value that Lua code must not find among the user values either: a table of what C points to. Something
 * else should keep it too, for the collector's sake (module.c). [-1, +0, -] */
void vigia__lua_hide(lua_State *L, int idx, int n);
/* Push number n of what the object at idx keeps, nil where there is none; answers its type. [-0, +1, -] */
int vigia__lua_push_kept(lua_State *L, int idx, int n);
/* The value on top is kept alive as long as the coroutine at idx. [-1, +0, m] */
void vigia__lua_keep_by(lua_State *L, int idx);
/* The userdata at idx if it was made of the class, whatever its metatable is by now, else NULL. [-0, +0, -] */
void *vigia__lua_test(lua_State *L, int idx, const void *key);
/* For a __gc that frees what a call may be using: the argument, if it is the collector that calls and it is of the
 * class. Else NULL: Lua code called it, perhaps in the middle of that call. [-0, +0, -] */
void *vigia__lua_collected(lua_State *L, const void *key);
/* The same, but raises. [-0, +0, v] */
void *vigia__lua_check(lua_State *L, int arg, const void *key, const char *name);

/* ---- module.c: calls that only C makes ---- */

/* What runs under vigia__lua_pcall(): as a lua_CFunction, with an argument that C gave. The stack is empty. */
typedef int (*vigia__lua_body)(lua_State *L, void *arg);
/* lua_pcall of body(L, arg); its `results` or the error value are left on the stack. Lua code can find the function of
 * such a call (debug.getinfo), but it cannot call it: each call is made by C, and once. [-0, +(results|1), -] */
int vigia__lua_pcall(lua_State *L, vigia__lua_body body, void *arg, int results, int handler);
/* The same so that nothing it raises gets out. False: it raised; the value is gone. [-0, +0, -] */
bool vigia__lua_protected(lua_State *L, vigia__lua_body body, void *arg);

/* ---- module.c: arguments ---- */

/* Argument `arg` as a string (no number), naming it `name` if it is none. [-0, +0, v] */
const char *vigia__lua_check_string(lua_State *L, int arg, const char *name, size_t *len);
/* Argument `arg` must be of this type. [-0, +0, v] */
void vigia__lua_check_type(lua_State *L, int arg, int type, const char *name);
/* Argument `arg` as a string without a zero byte. [-0, +0, v] */
const char *vigia__lua_check_cstring(lua_State *L, int arg, const char *name);
/* Argument `arg` as a sequence number: an integer from 0 on. [-0, +0, v] */
uint64_t vigia__lua_check_seq(lua_State *L, int arg, const char *name);
/* Argument `arg` as seconds, in nanoseconds; at most about 292 years, math.huge too. [-0, +0, v] */
int64_t vigia__lua_check_seconds(lua_State *L, int arg, const char *name);

/* ---- error.c ---- */

void vigia__lua_error_init(lua_State *L);
/* A vigia.Error: a table with code, message, cause, seq_num, watcher_id. [-0, +1, m] */
void vigia__lua_push_error(lua_State *L, const struct vigia_error *err);
/* nil and the error; answers 2, for `return vigia__lua_fail(...)`. An err that was not filled in gets the code's name.
 * [-0, +2, m] */
int vigia__lua_fail(lua_State *L, int rc, struct vigia_error *err);
/* core.new_error{code =, message =, ...}: the same table as a vigia.Error, for what is written in Lua. */
int vigia__lua_new_error(lua_State *L);
/* core.errors(): a list of {code =, help =}, one for each code, for the documentation. */
int vigia__lua_errors(lua_State *L);
/* Is the value at idx a vigia.Error? [-0, +0, -] */
bool vigia__lua_is_error(lua_State *L, int idx);

/* ---- iterator.c ---- */

void vigia__lua_iterator_init(lua_State *L);
void vigia__lua_push_iterator(lua_State *L, struct vigia_iterator it);        /* [-0, +1, m] */
const struct vigia_iterator *vigia__lua_test_iterator(lua_State *L, int idx); /* NULL: it is none. [-0, +0, -] */

int vigia__lua_trim_horizon(lua_State *L);
int vigia__lua_latest(lua_State *L);
int vigia__lua_at(lua_State *L);
int vigia__lua_after(lua_State *L);
int vigia__lua_iterator_parse(lua_State *L);

/* ---- options.c ---- */

/* Checks an option that only the caller understands: adds to `problems`, keeps what it needs in ctx. Must not raise and
 * must not make Lua objects. The value is at idx. */
typedef void (*vigia__lua_special_fn)(lua_State *L, int idx, const char *name, void *ctx,
                                      struct vigia__problems *problems);

/* Before it is looked at: a copy takes the place of the table of options at `arg`, and copies that of tables in it,
 * `levels` in all. Lua code that runs later (a finalizer, wherever something is allocated) cannot change it: what is
 * borrowed from it stays. [-0, +0, v] */
void vigia__lua_own_options(lua_State *L, int arg, int levels);
/* Fill `target` from the table at `arg` (nil and none: all defaults). Raises one message with all that is wrong.
 * Strings in target are borrowed from the table. [-0, +0, v] */
void vigia__lua_check_options(lua_State *L, int arg, const struct vigia__option *table, void *target, const char *what,
                              vigia__lua_special_fn special, void *ctx);
/* Fill `changes` from the table of settings of a file at `arg`; `refuse` complains of options that are none, or are
 * fixed. [-0, +0, v] */
void vigia__lua_check_settings(lua_State *L, int arg, struct vigia_store_options *changes,
                               vigia__lua_special_fn refuse);
/* For special functions: the option must be an iterator (kept in *out), a function, a filter. [-0, +0, -] */
void vigia__lua_option_iterator(lua_State *L, int idx, const char *name, struct vigia_iterator *out,
                                struct vigia__problems *problems);
void vigia__lua_option_function(lua_State *L, int idx, const char *name, struct vigia__problems *problems);
void vigia__lua_option_filter(lua_State *L, int idx, const char *name, struct vigia__problems *problems);

/* A Lua predicate: field `where`, or `filter` where that is a function; *seen tells whether there was one before. [-0,
 * +0, -] */
void vigia__lua_option_predicate(lua_State *L, int idx, const char *name, bool *seen, struct vigia__problems *problems);
/* The predicate of the options table at `arg`, which was checked before, or nil. [-0, +1, -] */
void vigia__lua_push_where(lua_State *L, int arg);

/* The filter in field `filter` of the table at `arg`, which was checked before, as C sees it. Pushes a userdata that
 * holds the lists and, if `keep`, their strings; else they are the table's, and safe until something is allocated.
 * [-0, +1, v] */
void vigia__lua_push_filter(lua_State *L, int arg, struct vigia_filter *out, bool keep);
/* The same, made for matching; the userdata on the stack owns it. NULL keeps all. [-0, +1, m] */
struct vigia__filter *vigia__lua_check_filter(lua_State *L, int arg);
void vigia__lua_options_init(lua_State *L);

/* Options of registry:watch at `arg`. `on_error`, if there, is a function. Pushes a userdata that holds out->filter's
 * lists: keep it and the table until the options were used. [-0, +1, v] */
void vigia__lua_check_watch_options(lua_State *L, int arg, struct vigia_watch_options *out);

/* The same for a handler that is a script; its filter is left to vigia__lua_push_filter(). [-0, +0, v] */
void vigia__lua_check_script_options(lua_State *L, int arg, struct vigia__script_options *out);

/* core.options(): the tables as Lua lists, for the documentation and the command line. */
int vigia__lua_options(lua_State *L);
/* core.nearest(wrong, names): the name of the list that was meant, or nil. */
int vigia__lua_nearest(lua_State *L);

/* ---- store.c ---- */

void vigia__lua_store_init(lua_State *L);
int vigia__lua_open(lua_State *L);
/* The store at `arg`; NULL once it is closed: answer vigia__lua_fail_closed() then. Raises if it is no vigia.Store.
 * [-0, +0, v] */
struct vigia_store *vigia__lua_check_store(lua_State *L, int arg);
/* A handle on a store that is somebody else's: closing it ends only this userdata. [-0, +1, m] */
void vigia__lua_push_store(lua_State *L, struct vigia_store *store);
/* nil and the error store_closed for the store at `arg`; answers 2. [-0, +2, m] */
int vigia__lua_fail_closed(lua_State *L, int arg);

/* ---- reading.c ---- */

void vigia__lua_reading_init(lua_State *L);
int vigia__lua_get_events(lua_State *L); /* the method */
/* A batch owned by the userdata it pushes; NULL without memory. Give it back when the events were pushed, or leave it
 * to the collector. [-0, +1, m] */
struct vigia_batch *vigia__lua_push_batch(lua_State *L);
void vigia__lua_return_batch(lua_State *L, int idx); /* [-0, +0, -] */

/* ---- owner.c: for the command line ---- */

/* core.wait_owner(store, watcher_id) -> true | nil, err ("interrupted") */
int vigia__lua_wait_owner(lua_State *L);

/* ---- verify.c: for the command line ---- */

/* core.verify(path [, from, upto, piece]) -> iterator of (what, number, number, number, text [, code]), nil, nil, to
 * close | nil, err */
int vigia__lua_verify(lua_State *L);

/* ---- ndjson.c: for the command line, not part of the module's public names ---- */

void vigia__lua_ndjson_init(lua_State *L);
/* core.has_input(fd) -> boolean | nil, err: waits until something can be read, or the end is there (false) */
int vigia__lua_has_input(lua_State *L);
/* core.ndjson_append(store, fd, on_progress | nil) -> count, last_seq, err | nil */
int vigia__lua_ndjson_append(lua_State *L);
/* core.ndjson_dump(store, {from =, filter =, limit =, follow =, fd =}) -> next_iterator, count, err | nil */
int vigia__lua_ndjson_dump(lua_State *L);

#endif
