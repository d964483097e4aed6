/*
 * options.c - Lua tables of options -> C structs, by the tables of core/options.h, with everything that is wrong in one
 * message.
 */
#include "options.h"

#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/nearest.h"
#include "../core/options.h"
#include "../core/quantity.h"
#include "iterator.h"
#include "lua_state.h"

/* ---- Any table of options ---- */

/* The value on top as core/options.h takes it. Strings are borrowed from the Lua value. */
static struct vigia__value value_at(lua_State *L, int idx)
{
	struct vigia__value value = {.kind = VIGIA_VALUE_OTHER, .type_name = luaL_typename(L, idx)};
	switch (lua_type(L, idx)) {
	case LUA_TBOOLEAN:
		value.kind = VIGIA_VALUE_BOOL;
		value.boolean = lua_toboolean(L, idx);
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, idx)) {
			value.kind = VIGIA_VALUE_INT;
			value.integer = lua_tointeger(L, idx);
		} else {
			value.kind = VIGIA_VALUE_FLOAT;
			value.number = lua_tonumber(L, idx);
		}
		break;
	case LUA_TSTRING: {
		size_t len;
		value.string = lua_tolstring(L, idx, &len);
		if (strlen(value.string) == len) value.kind = VIGIA_VALUE_STRING;
		else value.type_name = "string with a zero byte";
		break;
	}
	default:
		break;
	}
	return value;
}

const char *vigia__lua_option_name(lua_State *L, const char *where, struct vigia__problems *problems)
{
	if (lua_type(L, -2) == LUA_TSTRING) return lua_tostring(L, -2);
	if (lua_isinteger(L, -2))
		vigia__problem(problems, "%s has the key [%lld], names are strings", where, (long long)lua_tointeger(L, -2));
	else vigia__problem(problems, "%s has a %s as a key, names are strings", where, luaL_typename(L, -2));
	return NULL;
}

/* `settings`: what does not belong to the file is for `special`, too. */
static void check_option_table(lua_State *L, int arg, const struct vigia__option *table, void *target, const char *what,
                               vigia__lua_special_fn special, void *ctx, bool settings)
{
	if (!lua_istable(L, arg))
		luaL_argerror(L, arg, lua_pushfstring(L, "%s: table expected, got %s", what, luaL_typename(L, arg)));
	luaL_checkstack(L, 8, NULL);
	struct vigia__problems problems = {0}; /* until problems_end nothing below raises */
	for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
		const char *name = vigia__lua_option_name(L, what, &problems);
		if (name == NULL) continue;
		const struct vigia__option *option = vigia__option_find(table, name);
		if (option && (option->type == VIGIA_OPTION_SPECIAL || option->or_other ||
		               (settings && option->scope != VIGIA_SCOPE_FILE))) {
			special(L, lua_gettop(L), name, ctx, &problems);
		} else {
			struct vigia__value value = value_at(L, -1);
			vigia__option_set(table, target, name, &value, &problems);
		}
	}
	if (table == vigia__store_option_table || table == vigia__watch_option_table || table == vigia__script_option_table)
		vigia__options_check(table, target, &problems);
	struct vigia_error err;
	if (vigia__problems_end(&problems, what, &err) != VIGIA_OK) luaL_argerror(L, arg, lua_pushstring(L, err.message));
}

void vigia__lua_push_copy(lua_State *L, int from, int levels)
{
	luaL_checkstack(L, 6, "options: too many values on the stack");
	lua_newtable(L);
	int to = lua_gettop(L);
	for (lua_pushnil(L); lua_next(L, from);) {
		if (levels > 1 && lua_istable(L, -1)) {
			vigia__lua_push_copy(L, lua_gettop(L), levels - 1);
			lua_replace(L, -2);
		}
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, to);
	}
}

void vigia__lua_own_options(lua_State *L, int arg, int levels)
{
	if (!lua_istable(L, arg)) return;
	vigia__lua_push_copy(L, arg, levels);
	lua_replace(L, arg);
}

void vigia__lua_check_options(lua_State *L, int arg, const struct vigia__option *table, void *target, const char *what,
                              vigia__lua_special_fn special, void *ctx)
{
	if (!lua_isnoneornil(L, arg)) check_option_table(L, arg, table, target, what, special, ctx, false);
}

void vigia__lua_check_settings(lua_State *L, int arg, struct vigia_store_options *changes, vigia__lua_special_fn refuse)
{
	check_option_table(L, arg, vigia__store_option_table, changes, "settings", refuse, NULL, true);
}

/* ---- Options that only Lua has ---- */

void vigia__lua_option_iterator(lua_State *L, int idx, const char *name, struct vigia_iterator *out,
                                struct vigia__problems *problems)
{
	const struct vigia_iterator *it = vigia__lua_test_iterator(L, idx);
	if (it) *out = *it;
	else
		vigia__problem(problems, "%s is a %s, allowed: an iterator, as from vigia.after_sequence_number(n)", name,
		               luaL_typename(L, idx));
}

void vigia__lua_option_function(lua_State *L, int idx, const char *name, struct vigia__problems *problems)
{
	if (!lua_isfunction(L, idx))
		vigia__problem(problems, "%s is a %s, allowed: a function", name, luaL_typename(L, idx));
}

void vigia__lua_option_names(lua_State *L, int idx, const char *where, struct vigia__problems *problems)
{
	if (!lua_istable(L, idx)) {
		vigia__problem(problems, "%s is a %s, allowed: a list of strings", where, luaL_typename(L, idx));
		return;
	}
	lua_Unsigned count = lua_rawlen(L, idx), found = 0;
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		if (!lua_isinteger(L, -2) || (lua_Unsigned)lua_tointeger(L, -2) - 1 >= count) {
			vigia__problem(problems, "%s has a key that is not 1..n, allowed: a list of strings", where);
			lua_pop(L, 2);
			return;
		}
		found++;
		char entry[96];
		snprintf(entry, sizeof entry, "%s[%lld]", where, (long long)lua_tointeger(L, -2));
		if (lua_type(L, -1) != LUA_TSTRING) {
			vigia__problem(problems, "%s is a %s, allowed: a string", entry, luaL_typename(L, -1));
			continue;
		}
		struct vigia_error err;
		if (vigia__name_check(vigia__lua_slice(L, -1), entry, &err) != 0) vigia__problem(problems, "%s", err.message);
	}
	if (found < count) vigia__problem(problems, "%s has a hole, allowed: a list of strings", where);
}

bool vigia__lua_option_seconds(lua_State *L, int idx, double *out)
{
	int64_t ns;
	size_t len;
	if (lua_type(L, idx) == LUA_TSTRING) {
		const char *text = lua_tolstring(L, idx, &len);
		if (!vigia__quantity_has_unit(text, len) ||
		    vigia__quantity_read(VIGIA_QUANTITY_DURATION, text, len, &ns) != VIGIA_QUANTITY_OK)
			return false;
		*out = (double)ns / 1e9;
		return true;
	}
	if (lua_type(L, idx) != LUA_TNUMBER || !(lua_tonumber(L, idx) >= 0)) return false;
	*out = lua_tonumber(L, idx);
	return true;
}

int vigia__lua_quantity(lua_State *L)
{
	static const char *const kinds[] = {"size", "duration", NULL};
	enum vigia__quantity_kind kind =
		luaL_checkoption(L, 1, NULL, kinds) == 0 ? VIGIA_QUANTITY_SIZE : VIGIA_QUANTITY_DURATION;
	size_t len;
	int64_t value;
	const char *text = luaL_checklstring(L, 2, &len);
	enum vigia__quantity_result result = vigia__quantity_read(kind, text, len, &value);
	if (result == VIGIA_QUANTITY_OK) {
		lua_pushinteger(L, (lua_Integer)value);
		return 1;
	}
	lua_pushnil(L);
	lua_pushstring(L, vigia__quantity_problem(kind, result));
	return 2;
}

/* ---- The tables themselves ---- */

void vigia__lua_push_option_value(lua_State *L, const struct vigia__option *option, const void *target)
{
	const void *field = (const char *)target + option->offset;
	struct vigia_slice word;
	switch (option->type) {
	case VIGIA_OPTION_BOOL:
		lua_pushboolean(L, *(const bool *)field);
		break;
	case VIGIA_OPTION_COUNT:
	case VIGIA_OPTION_BYTES:
		lua_pushinteger(L, (lua_Integer) * (const int64_t *)field);
		break;
	case VIGIA_OPTION_SECONDS:
		lua_pushnumber(L, (double)*(const int64_t *)field / 1e9);
		break;
	case VIGIA_OPTION_CHOICE:
		word = vigia__option_choice(option, *(const int *)field);
		lua_pushlstring(L, word.data, word.len);
		break;
	case VIGIA_OPTION_NAME:
		lua_pushstring(L, *(const char *const *)field);
		break;
	case VIGIA_OPTION_SPECIAL:
		lua_pushnil(L);
		break;
	}
}

/* `defaults`: the struct that the table describes. */
static void push_option(lua_State *L, const struct vigia__option *option, const void *defaults)
{
	static const char *const types[] = {"boolean", "count", "bytes", "seconds", "choice", "name", "special"};
	static const char *const units[] = {NULL, NULL, "bytes", "seconds", NULL, NULL, NULL};
	static const char *const scopes[] = {"handle", "file", "fixed"};
	lua_createtable(L, 0, 9);
	vigia__lua_set_string(L, "name", option->name);
	vigia__lua_set_string(L, "type", types[option->type]);
	if (units[option->type]) {
		vigia__lua_set_string(L, "unit", units[option->type]);
	}
	vigia__lua_set_string(L, "scope", scopes[option->scope]);
	vigia__lua_set_string(L, "help", option->help);
	vigia__lua_push_option_value(L, option, defaults);
	lua_setfield(L, -2, "default");
	if (option->type == VIGIA_OPTION_CHOICE) {
		vigia__lua_set_string(L, "choices", option->choices);
	} else if (option->type != VIGIA_OPTION_BOOL && option->type != VIGIA_OPTION_SPECIAL) {
		lua_pushnumber(L, option->min);
		lua_setfield(L, -2, "min");
		lua_pushnumber(L, option->max);
		lua_setfield(L, -2, "max");
	}
}

int vigia__lua_options(lua_State *L)
{
	static const char *const names[] = {"store", "watch", "registry", "script", "stop", NULL};
	const struct vigia__option *const tables[] = {vigia__store_option_table, vigia__watch_option_table,
	                                              vigia__registry_option_table, vigia__script_option_table,
	                                              vigia__stop_option_table};
	const struct vigia__option *table = tables[luaL_checkoption(L, 1, NULL, names)];
	union {
		struct vigia_store_options store;
		struct vigia__script_options script; /* which begins with a watcher's */
		struct vigia__stop_options stop;
	} defaults;
	vigia__options_init(table, &defaults);
	lua_newtable(L);
	lua_Integer count = 0;
	for (; table->name; table = vigia__option_next(table)) {
		push_option(L, table, &defaults);
		lua_rawseti(L, -2, ++count);
	}
	return 1;
}

/* A string of the list at index 2, which keeps it. The list ends at the first of its values that is none. */
static const char *listed_at(const void *ctx, int index)
{
	lua_State *L = (lua_State *)ctx;
	const char *name = lua_rawgeti(L, 2, index + 1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	lua_pop(L, 1);
	return name;
}

int vigia__lua_nearest(lua_State *L)
{
	const char *wrong = vigia__lua_check_string(L, 1, "wrong", NULL);
	vigia__lua_check_type(L, 2, LUA_TTABLE, "names");
	lua_pushstring(L, vigia__nearest(wrong, listed_at, L));
	return 1;
}
