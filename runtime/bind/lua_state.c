/*
 * lua_state.c - what one Lua state shares, classes, calls that only C makes, checked arguments. What it promises is in
 * lua_state.h.
 */
#include "lua_state.h"

#include <math.h>
#include <string.h>

#include "../core/batch.h"
#include "../core/buf.h"

/* ---- What one Lua state shares ---- */

static const char shared_key; /* its address is the key in the registry */
static const char kept_key;   /* the same, of what objects keep */

static const struct vigia__lua_name no_names[VIGIA_LUA_NAMES];

static void free_names(lua_State *L, struct vigia__lua *shared)
{
	void *ud;
	lua_Alloc allocate = lua_getallocf(L, &ud);
	if (shared->names) allocate(ud, shared->names, sizeof no_names, 0);
	shared->names = NULL;
	shared->known = no_names;
}

static void free_shared(lua_State *L, void *object)
{
	struct vigia__lua *shared = object;
	shared->ended = true;
	free_names(L, shared);
	vigia__buf_deinit(&shared->events);
	vigia__buf_deinit(&shared->ends);
	vigia__buf_deinit(&shared->text);
	vigia_batch_free(shared->spare);
	shared->spare = NULL;
}

static const struct vigia__lua_class shared_class = {.name = "vigia.shared", .free = free_shared};

/* The address of its class stands behind an object's own bytes, at the end of the userdata. [-0, +1, m] */
static void *new_object(lua_State *L, size_t size, const struct vigia__lua_class *class, int user_values)
{
	size_t class_at = (size + sizeof class - 1) / sizeof class * sizeof class;
	char *object = lua_newuserdatauv(L, class_at + sizeof class, user_values);
	memset(object, 0, class_at);
	memcpy(object + class_at, &class, sizeof class);
	vigia__lua_push_class(L, class);
	lua_setmetatable(L, -2);
	return object;
}

void vigia__lua_push_weak_keys(lua_State *L)
{
	lua_newtable(L);
	lua_createtable(L, 0, 1);
	vigia__lua_set_string(L, "__mode", "k");
	lua_setmetatable(L, -2);
}

void vigia__lua_state_init(lua_State *L)
{
	bool there = lua_rawgetp(L, LUA_REGISTRYINDEX, &shared_key) == LUA_TUSERDATA;
	lua_pop(L, 1);
	if (there) return;
	vigia__lua_push_weak_keys(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &kept_key);
	struct vigia__lua *shared = new_object(L, sizeof *shared, &shared_class, 2);
	shared->known = no_names;
	lua_rawsetp(L, LUA_REGISTRYINDEX, &shared_key);
}

struct vigia__lua *vigia__lua_shared(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &shared_key);
	struct vigia__lua *shared = lua_touserdata(L, -1);
	lua_pop(L, 1);
	if (shared == NULL || shared->ended) luaL_error(L, "vigia cannot be used while the Lua state is closing");
	return shared;
}

#if LUA_VERSION_RELEASE_NUM >= 50404
/* One of the levels of L that is a finalizer, as far as Lua tells: not one that made a tail call. */
static bool has_finalizer(lua_State *L)
{
	lua_Debug ar;
	for (int level = 0; lua_getstack(L, level, &ar); level++) {
		if (lua_getinfo(L, "n", &ar) && ar.name && strcmp(ar.name, "__gc") == 0) return true;
	}
	return false;
}

/* lua_close() calls finalizers with nothing below them on the main thread. One that ended with a tail call has lost its
 * name there; so has a program that did, whose finalizer is then another level, as a rule. */
static bool is_closing(lua_State *L)
{
	lua_Debug ar;
	lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
	lua_State *main = lua_tothread(L, -1);
	lua_pop(L, 1);
	int levels = 0;
	while (main && lua_getstack(main, levels, &ar)) levels++;
	if (levels == 0 || !lua_getstack(main, levels - 1, &ar) || !lua_getinfo(main, "nt", &ar)) return false;
	if (ar.istailcall) return !has_finalizer(main) && !has_finalizer(L);
	return ar.name && strcmp(ar.name, "__gc") == 0;
}
#endif

void vigia__lua_check_finalizes(lua_State *L)
{
#if LUA_VERSION_RELEASE_NUM >= 50404         /* older ones do finalize them */
	if (lua_gc(L, LUA_GCCOUNT) >= 0) return; /* not in a finalizer */
	if (is_closing(L)) luaL_error(L, "vigia cannot be used while the Lua state is closing");
#endif
}

void vigia__lua_check_program(lua_State *L, const char *what)
{
	if (vigia__lua_shared(L)->script) luaL_error(L, "core.%s is the program's own: a script cannot call it", what);
}

void vigia__lua_push_shared(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &shared_key);
}

/* At the top is the user value that holds their table, and below it the userdata. Names take 15 KB: a state that
 * decodes few events does without. [-0, +0, m] */
static void keep_names(lua_State *L, struct vigia__lua *shared)
{
	if (shared->names) luaL_error(L, "vigia: its table of names was replaced");
	if (shared->ended || ++shared->nameless < VIGIA_LUA_NAMELESS) return;
	lua_createtable(L, VIGIA_LUA_NAMES, 0);
	for (int i = 1; i <= VIGIA_LUA_NAMES; i++) {
		lua_pushboolean(L, 0);
		lua_rawseti(L, -2, i);
	}
	if (shared->names) { /* a finalizer came here meanwhile */
		/* GCOVR_EXCL_START: in the middle of an allocation. */
		lua_pop(L, 1);
		lua_getiuservalue(L, -2, 1);
		/* GCOVR_EXCL_STOP */
	} else {
		void *ud;
		lua_Alloc allocate = lua_getallocf(L, &ud);
		shared->names = allocate(ud, NULL, 0, sizeof no_names);
		if (shared->names == NULL) luaL_error(L, "not enough memory");
		memset(shared->names, 0, sizeof no_names);
		shared->known = shared->names;
		lua_pushvalue(L, -1);
		lua_setiuservalue(L, -4, 1);
	}
	lua_replace(L, -2);
}

struct vigia__lua *vigia__lua_push_names(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &shared_key);
	struct vigia__lua *shared = lua_touserdata(L, -1);
	if (lua_getiuservalue(L, -1, 1) != LUA_TTABLE) keep_names(L, shared);
	lua_replace(L, -2);
	return shared;
}

/* ---- Classes ---- */

void vigia__lua_set_methods(lua_State *L, const luaL_Reg *metamethods, const luaL_Reg *methods)
{
	if (metamethods) luaL_setfuncs(L, metamethods, 0);
	if (methods == NULL) return;
	int count = 0;
	while (methods[count].name) count++;
	lua_createtable(L, 0, count); /* its size at once: to grow it entry by entry is most of what a class costs */
	luaL_setfuncs(L, methods, 0);
	lua_setfield(L, -2, "__index");
}

/* The __gc of each class that has a `free`. Upvalue 1: the class. Lua code may have put another one there, or call
 * this: only the collector's object of that class is freed. */
static int collect_object(lua_State *L)
{
	const struct vigia__lua_class *class = lua_touserdata(L, lua_upvalueindex(1));
	void *object = class ? vigia__lua_collected(L, class) : NULL;
	if (object && class->free) class->free(L, object);
	return 0;
}

void vigia__lua_push_class(lua_State *L, const struct vigia__lua_class *class)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, class) == LUA_TTABLE) return;
	lua_pop(L, 1);
	lua_createtable(L, 0, 8);
	vigia__lua_set_string(L, "__name", class->name);
	if (class->sealed) vigia__lua_set_string(L, "__metatable", class->name);
	vigia__lua_set_methods(L, class->metamethods, class->methods);
	if (class->free) {
		lua_pushlightuserdata(L, (void *)(uintptr_t) class);
		lua_pushcclosure(L, collect_object, 1);
		lua_setfield(L, -2, "__gc");
	}
	bool there = lua_rawgetp(L, LUA_REGISTRYINDEX, class) == LUA_TTABLE; /* made by a finalizer meanwhile */
	lua_remove(L, there ? -2 : -1);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, class);
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, class->name);
}

void *vigia__lua_new(lua_State *L, size_t size, const struct vigia__lua_class *class)
{
	return new_object(L, size, class, 0);
}

/* What an object keeps is a list in a table of the registry that is weak in its keys, the objects. Lua's own user
 * values are reached with debug.setuservalue, after which C would point to what was collected. They hold the same
 * values all the same, for the collector: what only a weak table keeps it marks in one go. An entry outlives the
 * finalizers of its key, since a key that is finalized stays until the next cycle. */

/* [-0, +1, -] */
static bool push_kept_list(lua_State *L, int idx)
{
	idx = lua_absindex(L, idx);
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &kept_key) == LUA_TTABLE) {
		lua_pushvalue(L, idx);
		lua_rawget(L, -2);
		lua_replace(L, -2);
	}
	return lua_istable(L, -1);
}

void *vigia__lua_new_keeping(lua_State *L, size_t size, const struct vigia__lua_class *class, int count)
{
	void *object = new_object(L, size, class, count);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &kept_key);
	luaL_checktype(L, -1, LUA_TTABLE);
	lua_pushvalue(L, -2);
	lua_createtable(L, count, 0);
	lua_rawset(L, -3);
	lua_pop(L, 1);
	return object;
}

void vigia__lua_hide(lua_State *L, int idx, int n)
{
	if (!push_kept_list(L, idx)) luaL_error(L, "vigia: the data of its objects was removed from the Lua registry");
	lua_insert(L, -2);
	lua_rawseti(L, -2, n); /* the list has its place already: cannot raise */
	lua_pop(L, 1);
}

void vigia__lua_keep(lua_State *L, int idx, int n)
{
	idx = lua_absindex(L, idx);
	lua_pushvalue(L, -1);
	vigia__lua_hide(L, idx, n);
	lua_setiuservalue(L, idx, n);
}

void vigia__lua_keep_value(lua_State *L, int idx, int n, int value)
{
	idx = lua_absindex(L, idx);
	lua_pushvalue(L, value);
	vigia__lua_keep(L, idx, n);
}

int vigia__lua_push_kept(lua_State *L, int idx, int n)
{
	bool there = push_kept_list(L, idx);
	if (there) lua_rawgeti(L, -1, n);
	else lua_pushnil(L); /* GCOVR_EXCL_LINE: Lua code took it away (debug). */
	lua_replace(L, -2);
	return lua_type(L, -1);
}

void vigia__lua_keep_by(lua_State *L, int idx)
{
	idx = lua_absindex(L, idx);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &kept_key);
	luaL_checktype(L, -1, LUA_TTABLE);
	lua_pushvalue(L, idx);
	lua_pushvalue(L, -3);
	lua_rawset(L, -3);
	lua_pop(L, 2);
}

void *vigia__lua_test(lua_State *L, int idx, const struct vigia__lua_class *class)
{
	if (lua_type(L, idx) != LUA_TUSERDATA) return NULL;
	size_t len = lua_rawlen(L, idx);
	char *object = lua_touserdata(L, idx);
	return len >= sizeof class && memcmp(object + len - sizeof class, &class, sizeof class) == 0 ? object : NULL;
}

void *vigia__lua_collected(lua_State *L, const struct vigia__lua_class *class)
{
#if LUA_VERSION_RELEASE_NUM >= 50404 /* older ones do not tell a finalizer from another call */
	/* While C calls a hook, Lua names the finalizer "hook". A hook written in Lua is called so, too, but with text. */
	lua_Debug ar;
	if (!lua_getstack(L, 0, &ar) || !lua_getinfo(L, "n", &ar)) return NULL;
	bool finalizer = strcmp(ar.namewhat, "metamethod") == 0 && strcmp(ar.name, "__gc") == 0;
	if (!finalizer && strcmp(ar.namewhat, "hook") != 0) return NULL;
#endif
	return vigia__lua_test(L, 1, class);
}

void *vigia__lua_check(lua_State *L, int arg, const struct vigia__lua_class *class)
{
	void *object = vigia__lua_test(L, arg, class);
	if (object == NULL) luaL_typeerror(L, arg, class->name);
	return object;
}

int vigia__lua_push_raw(lua_State *L, int idx, const char *name)
{
	idx = lua_absindex(L, idx);
	lua_pushstring(L, name);
	return lua_rawget(L, idx);
}

/* ---- Calls that only C makes ---- */

/* One that was not begun yet. */
struct call {
	vigia__lua_body body; /* NULL: it was */
	void *arg;
	lua_State *L;
	struct call *outer;
};

static _Thread_local struct call *calls;

/* What Lua sees of all of them. Argument 1: the call. A hook may make others between it and its function. */
static int begin_call(lua_State *L)
{
	const void *wanted = lua_touserdata(L, 1);
	struct call *call = calls;
	while (call && !(call == wanted && call->L == L && call->body)) call = call->outer;
	if (call == NULL) return luaL_error(L, "this function is internal to vigia: Lua code cannot call it");
	vigia__lua_body body = call->body;
	call->body = NULL;
	lua_settop(L, 0);
	return body(L, call->arg);
}

int vigia__lua_pcall(lua_State *L, vigia__lua_body body, void *arg, int results, int handler)
{
	struct call call = {.body = body, .arg = arg, .L = L, .outer = calls};
	calls = &call;
	lua_pushcfunction(L, begin_call);
	lua_pushlightuserdata(L, &call);
	int status = lua_pcall(L, 1, results, handler);
	calls = call.outer;
	return status;
}

bool vigia__lua_protected(lua_State *L, vigia__lua_body body, void *arg)
{
	if (!lua_checkstack(L, 4)) return false;
	int top = lua_gettop(L);
	bool good = vigia__lua_pcall(L, body, arg, 0, 0) == LUA_OK;
	lua_settop(L, top);
	return good;
}

int vigia__lua_traceback(lua_State *L)
{
	const char *message = luaL_tolstring(L, 1, NULL);
	luaL_traceback(L, L, message, 1);
	return 1;
}

void vigia__lua_add_path(lua_State *L, const char *folder)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "path");
	lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", folder, folder, lua_tostring(L, -1));
	lua_setfield(L, -3, "path");
	lua_pop(L, 2);
}

void vigia__lua_preload_core(lua_State *L, lua_CFunction open)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, open);
	lua_setfield(L, -2, "vigia.core");
	lua_pop(L, 1);
}

void vigia__lua_require(lua_State *L, const char *module)
{
	lua_getglobal(L, "require");
	lua_pushstring(L, module);
	lua_call(L, 1, 1);
}

bool vigia__lua_push_library(lua_State *L, const char *name)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
	bool there = lua_getfield(L, -1, name) == LUA_TTABLE;
	lua_replace(L, -2);
	return there;
}

void vigia__lua_replace_functions(lua_State *L, const luaL_Reg *functions)
{
	for (; functions->name; functions++) {
		if (lua_getfield(L, -1, functions->name) == LUA_TFUNCTION) {
			lua_pushcclosure(L, functions->func, 1);
			lua_setfield(L, -2, functions->name);
		} else lua_pop(L, 1); /* GCOVR_EXCL_LINE: a Lua without this function. */
	}
}

int vigia__lua_call_original(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

int vigia__lua_boolean(lua_State *L, bool value)
{
	lua_pushboolean(L, value);
	return 1;
}

void vigia__lua_set_string(lua_State *L, const char *field, const char *value)
{
	lua_pushstring(L, value);
	lua_setfield(L, -2, field);
}

void vigia__lua_set_integer(lua_State *L, const char *field, uint64_t value)
{
	lua_pushinteger(L, (lua_Integer)value);
	lua_setfield(L, -2, field);
}

void vigia__lua_set_integers(lua_State *L, const struct vigia__lua_number *numbers)
{
	for (; numbers->field; numbers++) vigia__lua_set_integer(L, numbers->field, numbers->value);
}

/* ---- Arguments ---- */

void vigia__lua_check_type(lua_State *L, int arg, int type, const char *name)
{
	if (lua_type(L, arg) != type)
		luaL_argerror(
			L, arg, lua_pushfstring(L, "%s: %s expected, got %s", name, lua_typename(L, type), luaL_typename(L, arg)));
}

const char *vigia__lua_check_string(lua_State *L, int arg, const char *name, size_t *len)
{
	vigia__lua_check_type(L, arg, LUA_TSTRING, name);
	return lua_tolstring(L, arg, len);
}

const char *vigia__lua_check_cstring(lua_State *L, int arg, const char *name)
{
	size_t len;
	const char *s = vigia__lua_check_string(L, arg, name, &len);
	if (strlen(s) != len) luaL_argerror(L, arg, lua_pushfstring(L, "%s: must not contain a zero byte", name));
	return s;
}

uint64_t vigia__lua_check_seq(lua_State *L, int arg, const char *name)
{
	int whole = 0;
	lua_Integer n = lua_type(L, arg) == LUA_TNUMBER ? lua_tointegerx(L, arg, &whole)
	                                                : 0; /* 3.0 is one, as in Lua's own functions */
	if (!whole) {
		const char *got = lua_type(L, arg) == LUA_TNUMBER ? lua_pushfstring(L, "the float %f", lua_tonumber(L, arg))
		                                                  : luaL_typename(L, arg);
		luaL_argerror(L, arg, lua_pushfstring(L, "%s: integer expected, got %s", name, got));
	}
	if (n < 0) luaL_argerror(L, arg, lua_pushfstring(L, "%s: must be 0 or more, got %I", name, n));
	return (uint64_t)n;
}

int64_t vigia__lua_check_seconds(lua_State *L, int arg, const char *name)
{
	if (lua_type(L, arg) != LUA_TNUMBER)
		luaL_argerror(L, arg,
		              lua_pushfstring(L, "%s: number of seconds expected, got %s", name, luaL_typename(L, arg)));
	double seconds = lua_tonumber(L, arg);
	if (!(seconds >= 0))
		luaL_argerror(L, arg, lua_pushfstring(L, "%s: must be 0 seconds or more, got %f", name, seconds));
	return seconds < 9.2e9 ? (int64_t)llround(seconds * 1e9) : INT64_MAX;
}
