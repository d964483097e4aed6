/*
 * error.c - struct vigia_error -> what Lua code gets beside nil: a table with the class vigia.Error.
 */
#include "error.h"

#include <string.h>

#include "../core/error.h"
#include "lua_state.h"

/* The sentence, with the cause in brackets where it is a text of its own. */
static int error_tostring(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (vigia__lua_push_raw(L, 1, "message") != LUA_TSTRING) lua_pushliteral(L, "vigia.Error");
	if (vigia__lua_push_raw(L, 1, "cause") == LUA_TSTRING && lua_rawlen(L, -1) > 0 &&
	    strstr(lua_tostring(L, -2), lua_tostring(L, -1)) == NULL)
		lua_pushfstring(L, "%s (%s)", lua_tostring(L, -2), lua_tostring(L, -1));
	else lua_pop(L, 1);
	return 1;
}

/* "text" .. err: an error is mostly printed behind something. */
static int error_concat(lua_State *L)
{
	luaL_tolstring(L, 1, NULL);
	luaL_tolstring(L, 2, NULL);
	lua_concat(L, 2);
	return 1;
}

static const struct vigia__lua_class error_class = {
	.name = "vigia.Error",
	.metamethods = (const luaL_Reg[]){{"__tostring", error_tostring}, {"__concat", error_concat}, {NULL, NULL}}};

void vigia__lua_push_error(lua_State *L, const struct vigia_error *err)
{
	lua_createtable(L, 0, 5);
	vigia__lua_set_string(L, "code", vigia_error_name(err->code));
	vigia__lua_set_string(L, "message", err->message);
	if (err->cause[0]) vigia__lua_set_string(L, "cause", err->cause);
	if (err->watcher_id[0]) vigia__lua_set_string(L, "watcher_id", err->watcher_id);
	if (err->seq_num) vigia__lua_set_integer(L, "seq_num", err->seq_num);
	vigia__lua_push_class(L, &error_class);
	lua_setmetatable(L, -2);
}

static int to_text(lua_State *L)
{
	luaL_tolstring(L, 1, NULL);
	return 1;
}

void vigia__lua_push_text(lua_State *L, int idx)
{
	idx = lua_absindex(L, idx);
	lua_pushcfunction(L, to_text);
	lua_pushvalue(L, idx);
	if (lua_pcall(L, 1, 1, 0) == LUA_OK) return;
	lua_pop(L, 1);
	lua_pushfstring(L, "(an error object: %s whose __tostring fails)", luaL_typename(L, idx));
}

int vigia__lua_fail(lua_State *L, int rc, struct vigia_error *err)
{
	if (err->code != rc) vigia__error(err, rc, "%s", vigia_error_name(rc));
	lua_pushnil(L);
	vigia__lua_push_error(L, err);
	return 2;
}

int vigia__lua_done(lua_State *L, int rc, struct vigia_error *err)
{
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	return vigia__lua_boolean(L, true);
}

int vigia__lua_new_error(lua_State *L)
{
	vigia__lua_check_type(L, 1, LUA_TTABLE, "fields");
	lua_settop(L, 1);
	if (lua_getfield(L, 1, "code") != LUA_TSTRING || lua_getfield(L, 1, "message") != LUA_TSTRING)
		luaL_argerror(L, 1, "fields: code and message must be strings");
	lua_settop(L, 1);
	vigia__lua_push_class(L, &error_class);
	lua_setmetatable(L, 1);
	return 1;
}

bool vigia__lua_is_error(lua_State *L, int idx)
{
	if (!lua_istable(L, idx) || !lua_getmetatable(L, idx)) return false;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &error_class);
	bool same = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return same;
}

int vigia__lua_errors(lua_State *L)
{
#define X(name, number, text, help) {text, help},
	static const struct {
		const char *code, *help;
	} errors[] = {VIGIA_ERROR_MAP(X)};
#undef X
	int count = (int)(sizeof errors / sizeof errors[0]);
	lua_createtable(L, count, 0);
	for (int i = 0; i < count; i++) {
		lua_createtable(L, 0, 2);
		vigia__lua_set_string(L, "code", errors[i].code);
		vigia__lua_set_string(L, "help", errors[i].help);
		lua_rawseti(L, -2, i + 1);
	}
	return 1;
}
