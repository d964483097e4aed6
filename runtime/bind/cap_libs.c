/*
 * cap_libs.c - what a capped script sees: the libraries it may have, without the ways around the caps.
 *
 * What is replaced, and why:
 *   coroutine.resume, wrap, close   hooks are per coroutine, so the cap must know which one runs
 *   xpcall                          its message handler runs without hooks when the error came from one
 *   setmetatable, getmetatable      no __gc (finalizers run without hooks), no metatables of userdata (which have one)
 *   load, loadfile, dofile, require only source, no bytecode (it can crash the interpreter)
 *   string.rep, table.move, insert, remove   can loop in C for ever over nothing
 *   os.exit, os.setlocale           concern the whole process
 *   debug                           only getinfo and traceback
 *   vigia.registry                  runs until it is stopped: a script has its watcher already
 * Libraries that were not chosen are missing from the globals and from package.loaded. Strings keep their methods.
 * The replacements have the original as upvalue 1. The cap is the one that this thread has entered: none for a REPL's
 * coroutines.
 */
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "cap.h"
#include "edit.h"
#include "lua_state.h"

enum { CLOSING_MAX = 8, LOOK_EVERY = 4096 };

static const struct {
	const char *name;  /* in vigia's options */
	const char *field; /* in package.loaded */
	unsigned bit;
} libraries[] = {
	{"base", LUA_GNAME, VIGIA_CAP_BASE},
	{"coroutine", LUA_COLIBNAME, VIGIA_CAP_COROUTINE},
	{"debug", LUA_DBLIBNAME, VIGIA_CAP_DEBUG},
	{"io", LUA_IOLIBNAME, VIGIA_CAP_IO},
	{"math", LUA_MATHLIBNAME, VIGIA_CAP_MATH},
	{"os", LUA_OSLIBNAME, VIGIA_CAP_OS},
	{"package", LUA_LOADLIBNAME, VIGIA_CAP_PACKAGE},
	{"string", LUA_STRLIBNAME, VIGIA_CAP_STRING},
	{"table", LUA_TABLIBNAME, VIGIA_CAP_TABLE},
	{"utf8", LUA_UTF8LIBNAME, VIGIA_CAP_UTF8},
};

enum { LIBRARIES = sizeof libraries / sizeof *libraries };

const char *vigia__cap_library_name(int index)
{
	return index < LIBRARIES ? libraries[index].name : NULL;
}

unsigned vigia__cap_library(const char *name)
{
	for (int i = 0; i < LIBRARIES; i++)
		if (strcmp(libraries[i].name, name) == 0) return libraries[i].bit;
	return 0;
}

/* ---- coroutines, as in lcorolib.c but telling the cap which one runs ---- */

static lua_State *check_coroutine(lua_State *L, int arg)
{
	lua_State *co = lua_tothread(L, arg);
	luaL_argexpected(L, co, arg, "coroutine");
	return co;
}

/* The number of results on L's stack. -1: an error value is there. Does not come back if the cap tripped meanwhile. */
static int resume_in(struct vigia__cap *cap, lua_State *L, lua_State *co, int count)
{
	if (!lua_checkstack(co, count)) {
		lua_pushliteral(L, "too many arguments to resume");
		return -1;
	}
	lua_xmove(L, co, count);
	vigia__cap_switch(cap, co);
	int results, status = lua_resume(co, L, count, &results);
	vigia__cap_switch(cap, L);
	if (vigia__cap_tripped(cap)) return vigia__cap_stop(L);
	if (status != LUA_OK && status != LUA_YIELD) {
		lua_xmove(co, L, 1);
		return -1;
	}
	if (!lua_checkstack(L, results + 1)) {
		lua_pop(co, results);
		lua_pushliteral(L, "too many results to resume");
		return -1;
	}
	lua_xmove(co, L, results);
	return results;
}

/* Run what a coroutine has to close. What runs there may close another one: Lua 5.4.4 does not count that as depth of
 * the C stack. */
static int close_in(struct vigia__cap *cap, lua_State *L, lua_State *co)
{
	int uncapped = 0;
	int *depth = cap ? vigia__cap_closing(cap) : &uncapped;
	if (*depth >= CLOSING_MAX)
		return luaL_error(L, "C stack overflow: coroutines that close coroutines, %d deep", CLOSING_MAX);
	++*depth;
	vigia__cap_switch(cap, co);
	int status = lua_resetthread(co); /* raises nothing */
	vigia__cap_switch(cap, L);
	--*depth;
	if (vigia__cap_tripped(cap)) return vigia__cap_stop(L);
	return status;
}

static int capped_resume(lua_State *L)
{
	lua_State *co = check_coroutine(L, 1);
	int results = resume_in(vigia__cap_here(), L, co, lua_gettop(L) - 1);
	lua_pushboolean(L, results >= 0);
	if (results < 0) {
		lua_insert(L, -2);
		return 2;
	}
	lua_insert(L, -(results + 1));
	return results + 1;
}

/* Upvalue 1: the coroutine. */
static int capped_wrapped(lua_State *L)
{
	struct vigia__cap *cap = vigia__cap_here();
	lua_State *co = lua_tothread(L, lua_upvalueindex(1));
	if (co == NULL) return luaL_error(L, "there is no coroutine");
	int results = resume_in(cap, L, co, lua_gettop(L));
	if (results >= 0) return results;
	int status = lua_status(co);
	if (status != LUA_OK && status != LUA_YIELD) {
		status = close_in(cap, L, co);
		lua_xmove(co, L, 1);
	}
	if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
		luaL_where(L, 1);
		lua_insert(L, -2);
		lua_concat(L, 2);
	}
	return lua_error(L);
}

static int capped_wrap(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_State *co = lua_newthread(L);
	lua_pushvalue(L, 1);
	lua_xmove(L, co, 1);
	lua_pushcclosure(L, capped_wrapped, 1);
	return 1;
}

static int capped_close(lua_State *L)
{
	lua_State *co = check_coroutine(L, 1);
	lua_Debug ar;
	if (co == L) return luaL_error(L, "cannot close a running coroutine");
	if (lua_status(co) == LUA_OK && lua_getstack(co, 0, &ar)) return luaL_error(L, "cannot close a normal coroutine");
	int status = close_in(vigia__cap_here(), L, co);
	lua_pushboolean(L, status == LUA_OK);
	if (status == LUA_OK) return 1;
	lua_xmove(co, L, 1);
	return 2;
}

static const luaL_Reg coroutines[] = {
	{"resume", capped_resume}, {"wrap", capped_wrap}, {"close", capped_close}, {NULL, NULL}};

int vigia__lua_edit_coroutines(lua_State *L)
{
	lua_newtable(L);
	if (vigia__cap_here()) return 1; /* a capped state has them, and would lose its cap by others */
	luaL_setfuncs(L, coroutines, 0);
	return 1;
}

/* ---- base ---- */

/* Upvalue 1: the script's message handler. */
static int message_handler(lua_State *L)
{
	lua_settop(L, 1);
	if (vigia__cap_tripped(vigia__cap_here())) return 1; /* the hook raised this: here it could not raise again */
	return vigia__lua_call_original(L);
}

static int finish_xpcall(lua_State *L, int status, lua_KContext ctx)
{
	if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - (int)ctx;
	lua_pushboolean(L, 0);
	lua_pushvalue(L, -2);
	return 2;
}

static int capped_xpcall(lua_State *L)
{
	int count = lua_gettop(L);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_pushvalue(L, 2);
	lua_pushcclosure(L, message_handler, 1);
	lua_replace(L, 2);
	lua_pushboolean(L, 1);
	lua_pushvalue(L, 1);
	lua_rotate(L, 3, 2); /* below the arguments */
	return finish_xpcall(L, lua_pcallk(L, count - 2, LUA_MULTRET, 2, 2, finish_xpcall), 2);
}

static int capped_setmetatable(lua_State *L)
{
	if (lua_istable(L, 2)) {
		if (vigia__lua_push_raw(L, 2, "__gc") != LUA_TNIL)
			luaL_argerror(L, 2, "__gc cannot be used in a limited script: use __close");
		lua_pop(L, 1);
	}
	return vigia__lua_call_original(L);
}

/* Is the table on top a class of C's, as luaL_newmetatable makes them? [-0, +0, m] */
static bool is_class(lua_State *L)
{
	lua_pushliteral(L, "__name");
	bool same = false;
	if (lua_rawget(L, -2) == LUA_TSTRING) {
		lua_rawget(L, LUA_REGISTRYINDEX);
		same = lua_rawequal(L, -1, -2);
	}
	lua_pop(L, 1);
	return same;
}

/* A finalizer that is put into a metatable which C gives to objects to come would run without hooks: that of a class
 * (vigia.array and vigia.Error are tables), and whatever a userdata has. */
static int capped_getmetatable(lua_State *L)
{
	luaL_checkany(L, 1);
	if (lua_isuserdata(L, 1) || !lua_getmetatable(L, 1) || is_class(L)) lua_pushnil(L);
	else if (luaL_getmetafield(L, 1, "__metatable") == LUA_TNIL) return 1;
	return 1;
}

/* ---- no bytecode ---- */

/* The mode at `arg` becomes "t". Returns false if the caller did not ask for text. */
static bool text_mode(lua_State *L, int arg)
{
	const char *mode = luaL_optstring(L, arg, "bt");
	if (strchr(mode, 't') == NULL) return false;
	if (lua_gettop(L) < arg) lua_settop(L, arg);
	lua_pushliteral(L, "t");
	lua_replace(L, arg);
	return true;
}

/* load(chunk, name, mode, env), loadfile(file, mode, env) with the original as upvalue 1. */
static int text_load(lua_State *L, int mode_arg)
{
	if (!text_mode(L, mode_arg)) {
		lua_pushnil(L);
		lua_pushliteral(L, "bytecode is never loaded: the mode must allow text");
		return 2;
	}
	return vigia__lua_call_original(L);
}

static int capped_load(lua_State *L)
{
	return text_load(L, 3);
}

static int capped_loadfile(lua_State *L)
{
	return text_load(L, 2);
}

static int finish_dofile(lua_State *L, int status, lua_KContext ctx)
{
	return lua_gettop(L) - 1;
}

static int capped_dofile(lua_State *L)
{
	const char *path = luaL_optstring(L, 1, NULL);
	lua_settop(L, 1);
	if (luaL_loadfilex(L, path, "t") != LUA_OK) return lua_error(L);
	lua_callk(L, 0, LUA_MULTRET, 0, finish_dofile);
	return finish_dofile(L, LUA_OK, 0);
}

/* package.searchers[2]. Upvalue 1: the table package, 2: package.searchpath. */
static int text_searcher(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	lua_settop(L, 1);
	lua_pushvalue(L, lua_upvalueindex(2));
	lua_pushvalue(L, 1);
	if (lua_getfield(L, lua_upvalueindex(1), "path") != LUA_TSTRING)
		return luaL_error(L, "'package.path' must be a string");
	lua_call(L, 2, 2);
	if (lua_isnil(L, 2)) return 1; /* where it looked */
	lua_settop(L, 2);
	if (luaL_loadfilex(L, lua_tostring(L, 2), "t") != LUA_OK)
		return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", name, lua_tostring(L, 2),
		                  lua_tostring(L, -1));
	lua_pushvalue(L, 2);
	return 2;
}

/* ---- loops in C ---- */

static int capped_rep(lua_State *L)
{
	size_t len, separator = 0;
	luaL_checklstring(L, 1, &len);
	luaL_optlstring(L, 3, "", &separator);
	if (len == 0 && separator == 0) {
		luaL_checkinteger(L, 2);
		lua_pushliteral(L, "");
		return 1;
	}
	return vigia__lua_call_original(L);
}

/* t2[to..] = t1[from..last], in the order that an overlap needs. As ltablib.c does it, but it can be stopped. */
static void move_elements(lua_State *L, int source, int target, lua_Integer from, lua_Integer last, lua_Integer to,
                          bool up)
{
	lua_Integer count = last - from + 1;
	for (lua_Integer done = 0; done < count; done++) {
		lua_Integer i = up ? done : count - 1 - done;
		lua_geti(L, source, from + i);
		lua_seti(L, target, to + i);
		if (done % LOOK_EVERY == 0 && vigia__cap_tripped(vigia__cap_here()))
			vigia__cap_stop(L); /* does not come back */
	}
}

static void check_table_like(lua_State *L, int arg)
{
	if (!lua_istable(L, arg) && luaL_getmetafield(L, arg, "__index") == LUA_TNIL) luaL_checktype(L, arg, LUA_TTABLE);
}

static int capped_move(lua_State *L)
{
	lua_Integer from = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3), to = luaL_checkinteger(L, 4);
	int target = lua_isnoneornil(L, 5) ? 1 : 5;
	check_table_like(L, 1);
	check_table_like(L, target);
	if (last >= from) {
		luaL_argcheck(L, from > 0 || last < LUA_MAXINTEGER + from, 3, "too many elements to move");
		luaL_argcheck(L, to <= LUA_MAXINTEGER - (last - from), 4, "destination wrap around");
		bool up = to > last || to <= from || (target != 1 && !lua_compare(L, 1, target, LUA_OPEQ));
		move_elements(L, 1, target, from, last, to, up);
	}
	lua_pushvalue(L, target);
	return 1;
}

static int capped_insert(lua_State *L)
{
	check_table_like(L, 1);
	lua_Integer end = (lua_Integer)((lua_Unsigned)luaL_len(L, 1) + 1), position = end;
	if (lua_gettop(L) == 3) {
		position = luaL_checkinteger(L, 2);
		luaL_argcheck(L, (lua_Unsigned)position - 1u < (lua_Unsigned)end, 2, "position out of bounds");
		if (end > position) move_elements(L, 1, 1, position, end - 1, position + 1, false);
	} else if (lua_gettop(L) != 2) return luaL_error(L, "wrong number of arguments to 'insert'");
	lua_seti(L, 1, position);
	return 0;
}

static int capped_remove(lua_State *L)
{
	check_table_like(L, 1);
	lua_Integer size = luaL_len(L, 1), position = luaL_optinteger(L, 2, size);
	if (position != size)
		luaL_argcheck(L, (lua_Unsigned)position - 1u <= (lua_Unsigned)size, 2, "position out of bounds");
	lua_geti(L, 1, position);
	if (position < size) {
		move_elements(L, 1, 1, position + 1, size, position, true);
		position = size;
	}
	lua_pushnil(L);
	lua_seti(L, 1, position);
	return 1;
}

/* ---- the process ---- */

static int no_exit(lua_State *L)
{
	return luaL_error(L, "os.exit would end the whole process: a limited script cannot call it");
}

static int no_setlocale(lua_State *L)
{
	return luaL_error(L, "os.setlocale changes the whole process: a limited script cannot call it");
}

static int no_registry(lua_State *L)
{
	return luaL_error(L, "a limited script has no vigia.registry: it is already a watcher's handler");
}

/* `require` for a script that may not have `package`: what is loaded, and nothing else. Upvalue 1: package.loaded. */
static int require_loaded(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	lua_settop(L, 1);
	if (lua_getfield(L, lua_upvalueindex(1), name) == LUA_TNIL)
		return luaL_error(L, "module '%s' is not among the libraries of this script", name);
	return 1;
}

/* ---- putting it together ---- */

static void replace_all(lua_State *L, const char *library, const luaL_Reg *functions)
{
	if (vigia__lua_push_library(L, library)) vigia__lua_replace_functions(L, functions);
	lua_pop(L, 1);
}

void vigia__cap_text_only(lua_State *L)
{
	static const luaL_Reg base[] = {
		{"load", capped_load}, {"loadfile", capped_loadfile}, {"dofile", capped_dofile}, {NULL, NULL}};
	replace_all(L, LUA_GNAME, base);
	if (vigia__lua_push_library(L, LUA_LOADLIBNAME)) {
		if (lua_getfield(L, -1, "searchers") == LUA_TTABLE) {
			lua_pushvalue(L, -2);
			lua_getfield(L, -1, "searchpath");
			lua_pushcclosure(L, text_searcher, 2);
			lua_rawseti(L, -2, 2);
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

/* Of debug only what cannot change anything. */
static void reduce_debug(lua_State *L)
{
	if (!vigia__lua_push_library(L, LUA_DBLIBNAME)) {
		/* GCOVR_EXCL_START: a Lua without this library. */
		lua_pop(L, 1);
		return;
		/* GCOVR_EXCL_STOP */
	}
	for (lua_pushnil(L); lua_next(L, -2);) {
		lua_pop(L, 1);
		const char *name = lua_tostring(L, -1);
		if (strcmp(name, "getinfo") == 0 || strcmp(name, "traceback") == 0) continue;
		lua_pushnil(L);
		lua_setfield(L, -3, name);
	}
	lua_pop(L, 1);
}

/* May the script have the library of this name in package.loaded? What is no library it may. */
static bool chosen(const char *field, unsigned libraries_chosen)
{
	for (int i = 0; i < LIBRARIES; i++)
		if (strcmp(libraries[i].field, field) == 0) return libraries_chosen & libraries[i].bit;
	return true;
}

/* Other globals for what is loaded from now on, with the libraries that were chosen. Our own modules keep those they
 * have. */
static void choose_globals(lua_State *L, struct vigia__cap *cap)
{
	unsigned bits = vigia__cap_limits(cap)->libraries | VIGIA_CAP_BASE;
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
	int loaded = lua_gettop(L);
	lua_newtable(L);
	int globals = lua_gettop(L);
	lua_pushglobaltable(L);
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		if (lua_type(L, -2) == LUA_TSTRING && !chosen(lua_tostring(L, -2), bits)) continue;
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, globals);
	}
	lua_settop(L, globals);
	lua_pushvalue(L, globals);
	lua_setfield(L, globals, LUA_GNAME);
	if (!(bits & VIGIA_CAP_PACKAGE)) {
		lua_pushvalue(L, loaded);
		lua_pushcclosure(L, require_loaded, 1);
		lua_setfield(L, globals, "require");
	}
	for (int i = 0; i < LIBRARIES; i++) {
		if (bits & libraries[i].bit) continue;
		lua_pushnil(L);
		lua_setfield(L, loaded, libraries[i].field);
	}
	lua_pushvalue(L, globals);
	lua_setfield(L, loaded, LUA_GNAME);
	lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
	lua_pop(L, 1);
}

void vigia__cap_guard(lua_State *L, struct vigia__cap *cap)
{
	static const luaL_Reg base[] = {{"xpcall", capped_xpcall},
	                                {"setmetatable", capped_setmetatable},
	                                {"getmetatable", capped_getmetatable},
	                                {NULL, NULL}};
	static const luaL_Reg string[] = {{"rep", capped_rep}, {NULL, NULL}};
	static const luaL_Reg table[] = {
		{"move", capped_move}, {"insert", capped_insert}, {"remove", capped_remove}, {NULL, NULL}};
	static const luaL_Reg os[] = {{"exit", no_exit}, {"setlocale", no_setlocale}, {NULL, NULL}};
	static const luaL_Reg module[] = {{"registry", no_registry}, {NULL, NULL}};
	luaL_checkstack(L, 10, NULL);
	vigia__lua_require(L, "vigia");
	lua_pop(L, 1);
	vigia__cap_text_only(L);
	replace_all(L, LUA_GNAME, base);
	replace_all(L, LUA_COLIBNAME, coroutines);
	replace_all(L, LUA_STRLIBNAME, string);
	replace_all(L, LUA_TABLIBNAME, table);
	replace_all(L, LUA_OSLIBNAME, os);
	replace_all(L, "vigia", module);
	replace_all(L, "vigia.core", module);
	reduce_debug(L);
	if (vigia__cap_limits(cap)->choose) choose_globals(L, cap);
}
