/*
 * results.c - what a store written in Lua returned: errors, numbers, and the events that handlers get.
 */
#include "results.h"

#include <string.h>

#include "../core/error.h"
#include "../drive/drive.h"
#include "error.h"
#include "lua_state.h"

/* ---- what the registry keeps ---- */

/* The table of the watcher. [-0, +1, v] */
static void push_answers(lua_State *L, const struct lua_results *s)
{
	vigia__lua_push_home(L, s->r);
	if (lua_rawgetp(L, -1, s) != LUA_TTABLE)
		luaL_error(L, "vigia: the data of the watcher was removed"); /* GCOVR_EXCL_LINE: by Lua code (debug). */
	lua_replace(L, -2);
}

/* [-0, +1, v] */
void vigia__lua_results_push_at(lua_State *L, const struct lua_results *s, int n)
{
	push_answers(L, s);
	lua_rawgeti(L, -1, n);
	lua_replace(L, -2);
}

/* [-1, +0, m] */
void vigia__lua_results_keep_at(lua_State *L, const struct lua_results *s, int n)
{
	push_answers(L, s);
	lua_insert(L, -2);
	lua_rawseti(L, -2, n);
	lua_pop(L, 1);
}

/* [-0, +1, v] */
void vigia__lua_push_lua_store(lua_State *L, const struct lua_registry *r)
{
	vigia__lua_push_home(L, r);
	lua_rawgeti(L, -1, VIGIA_LUA_REGISTRY_STORE);
	lua_replace(L, -2);
}

/* ---- what a method returns ---- */

/* The error value at the top was made into err: it is what Lua code gets in its place, from the call that fails with it
 * and, if it is `lasting`, from the stats. [-1, +0, v] */
static void keep_error(lua_State *L, const struct lua_results *s, bool lasting, const struct vigia_error *err)
{
	if (lasting) {
		lua_pushvalue(L, -1);
		vigia__lua_results_keep_at(L, s, VIGIA_LUA_AT_ERROR);
		lua_pushstring(L, err->message);
		vigia__lua_results_keep_at(L, s, VIGIA_LUA_AT_ERROR_TEXT);
	}
	vigia__lua_push_home(L, s->r);
	lua_insert(L, -2);
	lua_rawseti(L, -2, VIGIA_LUA_REGISTRY_ERROR);
	lua_pushstring(L, err->message);
	lua_rawseti(L, -2, VIGIA_LUA_REGISTRY_ERROR_TEXT);
	lua_pop(L, 1);
}

/* The value at idx is an error if it is a table with a code. [-0, +0, m] */
static bool take_error(lua_State *L, int idx, struct vigia_error *err)
{
	if (!lua_istable(L, idx)) return false;
	lua_getfield(L, idx, "code");
	const char *code = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	if (code) {
		lua_getfield(L, idx, "message");
		vigia__error(err, vigia__error_code(code), "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : code);
		lua_getfield(L, idx, "seq_num");
		if (lua_isinteger(L, -1)) err->seq_num = (uint64_t)lua_tointeger(L, -1);
		lua_pop(L, 2);
	}
	lua_pop(L, 1);
	return code != NULL;
}

/* Did the method, which ended with `status`, succeed? Two values, or what it raised, are at `first`. Else *err, and the
 * value behind it, are filled in. [-0, +0, v] */
bool vigia__lua_results_check(lua_State *L, const struct lua_results *s, const char *method, int status, int first,
                              bool lasting, struct vigia_error *err)
{
	bool raised = status != LUA_OK && status != LUA_YIELD;
	if (!raised && lua_toboolean(L, first)) return true;
	int at = raised ? first : first + 1;
	if (take_error(L, at, err)) {
		lua_pushvalue(L, at);
	} else {
		bool nothing = lua_isnoneornil(L, at) || (lua_isboolean(L, at) && !lua_toboolean(L, at));
		if (nothing) lua_pushliteral(L, "the store returned nothing");
		else vigia__lua_push_text(L, at);
		vigia__error(err, VIGIA_EWATCHER, "%s: %s", method, lua_tostring(L, -1));
		vigia__error_watcher(err, s->watcher->id, err->code);
		lua_pop(L, 1);
		vigia__lua_push_error(L, err);
		if (!nothing) {
			lua_pushvalue(L, at);
			lua_setfield(L, -2, "cause");
		}
	}
	keep_error(L, s, lasting, err);
	return false;
}

/* The value at idx as the number of an event. [-0, +0, m] */
int vigia__lua_results_number(lua_State *L, const struct lua_results *s, const char *method, int idx, uint64_t *out,
                              struct vigia_error *err)
{
	int whole = 0, type = lua_type(L, idx);
	lua_Integer n = type == LUA_TNUMBER ? lua_tointegerx(L, idx, &whole) : 0;
	*out = (uint64_t)n;
	if (whole && n >= 0) return VIGIA_OK;
	static const char format[] = "%s: the store returned %s%s%s, not the number of an event";
	const char *text = luaL_tolstring(L, idx, NULL);
	if (type == LUA_TSTRING) vigia__error(err, VIGIA_EWATCHER, format, method, "the string '", VIGIA_SHOWN(text), "'");
	else if (type == LUA_TNUMBER) vigia__error(err, VIGIA_EWATCHER, format, method, text, "", "");
	else vigia__error(err, VIGIA_EWATCHER, format, method, "a ", lua_typename(L, type), "");
	lua_pop(L, 1);
	return vigia__error_watcher(err, s->watcher->id, err->code);
}

int vigia__lua_results_push_event(lua_State *L, const struct vigia_watcher *watcher, uint64_t seq_num,
                                  struct vigia_error *err)
{
	const struct lua_results *s = watcher->source_ctx;
	if (s->damage.code < 0 && s->damage.seq_num == seq_num) {
		*err = s->damage;
		return err->code;
	}
	vigia__lua_results_push_at(L, s, VIGIA_LUA_AT_EVENTS);
	lua_rawgeti(L, -1, (lua_Integer)seq_num);
	lua_replace(L, -2);
	return VIGIA_OK;
}

bool vigia__lua_results_push_error(lua_State *L, const struct lua_registry *registry,
                                   const struct vigia_watcher *watcher, const struct vigia_error *err)
{
	if (registry->lua_store == NULL) return false;
	const struct lua_results *s = watcher ? watcher->source_ctx : NULL;
	if (watcher && s == NULL) return false;
	int value = VIGIA_LUA_AT_ERROR, text = VIGIA_LUA_AT_ERROR_TEXT;
	if (s) push_answers(L, s);
	else {
		value = VIGIA_LUA_REGISTRY_ERROR;
		text = VIGIA_LUA_REGISTRY_ERROR_TEXT;
		vigia__lua_push_home(L, registry);
	}
	bool same = lua_rawgeti(L, -1, text) == LUA_TSTRING && strcmp(lua_tostring(L, -1), err->message) == 0;
	lua_pop(L, 1);
	if (same) lua_rawgeti(L, -1, value);
	lua_remove(L, same ? -2 : -1);
	return same;
}

int vigia__lua_results_done(lua_State *L, const struct lua_registry *registry, int rc, struct vigia_error *err)
{
	if (rc >= 0) return vigia__lua_done(L, rc, err);
	lua_pushnil(L);
	if (vigia__lua_results_push_error(L, registry, NULL, err)) return 2;
	lua_pop(L, 1);
	return vigia__lua_fail(L, rc, err);
}
