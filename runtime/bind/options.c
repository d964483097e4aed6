/*
 * options.c - Lua tables of options -> C structs, by the tables of core/options.h, with everything that is wrong in one
 * message.
 */
#include "options.h"

#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/filter.h"
#include "../core/nearest.h"
#include "../core/options.h"
#include "cap.h"
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

/* The key below the value on top, as a name. NULL after a complaint. */
static const char *name_at(lua_State *L, const char *where, struct vigia__problems *problems)
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
		const char *name = name_at(L, what, &problems);
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

/* ---- Filters ---- */

static const char *const list_names[] = {"object_types", "operations", NULL};

static const char *list_name_at(const void *ctx, int index)
{
	return list_names[index];
}

static void check_names(lua_State *L, int idx, const char *where, struct vigia__problems *problems)
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

void vigia__lua_option_filter(lua_State *L, int idx, const char *name, struct vigia__problems *problems)
{
	if (!lua_istable(L, idx)) {
		vigia__problem(problems,
		               "%s is a %s, allowed: a table {object_types = {...}, operations = {...}} or a function", name,
		               luaL_typename(L, idx));
		return;
	}
	if (!lua_checkstack(L, 8)) {
		/* GCOVR_EXCL_START: a stack of a million values. */
		vigia__problem(problems, "%s: the stack is full", name);
		return;
		/* GCOVR_EXCL_STOP */
	}
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		const char *list = name_at(L, name, problems);
		if (list == NULL) continue;
		if (strcmp(list, list_names[0]) != 0 && strcmp(list, list_names[1]) != 0) {
			const char *near = vigia__nearest(list, list_name_at, NULL);
			vigia__problem(problems, "%s: unknown field '%.48s' (%s%s%s)", name, list,
			               near ? "did you mean " : "allowed: ", near ? near : "object_types, operations",
			               near ? "?" : "");
			continue;
		}
		char where[64];
		snprintf(where, sizeof where, "%s.%s", name, list);
		check_names(L, lua_gettop(L), where, problems);
	}
}

void vigia__lua_option_predicate(lua_State *L, int idx, const char *name, bool *seen, struct vigia__problems *problems)
{
	vigia__lua_option_function(L, idx, name, problems);
	if (*seen) vigia__problem(problems, "filter and where are both functions, allowed: one of them");
	*seen = true;
}

void vigia__lua_push_where(lua_State *L, int arg)
{
	lua_pushnil(L);
	for (int i = 0; i < 2 && lua_istable(L, arg) && !lua_isfunction(L, -1); i++) {
		lua_pop(L, 1);
		vigia__lua_push_raw(L, arg, i == 0 ? "where" : "filter");
	}
	if (!lua_isfunction(L, -1)) {
		lua_pop(L, 1);
		lua_pushnil(L);
	}
}

/* The list `name` of the filter on top, or nothing in its place. [-0, +1, -] */
static size_t push_filter_list(lua_State *L, const char *name)
{
	return vigia__lua_push_raw(L, -1, name) == LUA_TTABLE ? lua_rawlen(L, -1) : 0;
}

/* From the list at idx. The strings go into the table at `kept`, behind the first `before`, if there is one. Allocates
 * nothing. */
static void fill_slices(lua_State *L, int idx, struct vigia_slice *slices, size_t count, int kept, size_t before)
{
	for (size_t i = 0; i < count; i++) {
		if (lua_rawgeti(L, idx, (lua_Integer)i + 1) != LUA_TSTRING) luaL_error(L, "filter: it was changed meanwhile");
		slices[i] = vigia__lua_slice(L, -1);
		if (kept) lua_rawseti(L, kept, (lua_Integer)(before + i) + 1);
		else lua_pop(L, 1);
	}
}

void vigia__lua_push_filter(lua_State *L, int arg, struct vigia_filter *out, bool keep)
{
	*out = (struct vigia_filter){0};
	luaL_checkstack(L, 8, NULL);
	int top = lua_gettop(L);
	lua_pushnil(L); /* the place of the result */
	if (!lua_istable(L, arg)) return;
	if (vigia__lua_push_raw(L, arg, "filter") == LUA_TTABLE) {
		size_t types = push_filter_list(L, list_names[0]);
		lua_insert(L, -2);
		size_t operations =
			push_filter_list(L, list_names[1]); /* the lists are at top + 2 and top + 4, the filter is between them */
		struct vigia_slice *slices = lua_newuserdatauv(L, (types + operations) * sizeof *slices, 1);
		lua_replace(L, top + 1);
		int kept = 0;
		if (keep && types + operations < INT32_MAX) {
			lua_createtable(L, (int)(types + operations), 0);
			kept = lua_gettop(L);
			lua_pushvalue(L, kept);
			lua_setiuservalue(L, top + 1, 1);
		}
		fill_slices(L, top + 2, slices, types, kept, 0);
		fill_slices(L, top + 4, slices + types, operations, kept, types);
		*out = (struct vigia_filter){.object_types = slices,
		                             .object_types_count = types,
		                             .operations = slices + types,
		                             .operations_count = operations};
	}
	lua_settop(L, top + 1);
}

void vigia__lua_make_filter(lua_State *L, int arg, struct vigia__filter **out)
{
	struct vigia_filter lists;
	struct vigia_error err = {0};
	vigia__lua_push_filter(L, arg, &lists, false);
	int rc = vigia__filter_new(&lists, out, &err);
	lua_pop(L, 1);
	if (rc < 0) luaL_error(L, "%s", rc == VIGIA_ENOMEM ? "not enough memory" : err.message);
}

/* ---- Options of registry:watch ---- */

struct watch_target {
	struct vigia_watch_options *options;
	bool predicate;
};

static void watch_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct watch_target *target = ctx;
	if (strcmp(name, "initial_event_iterator") == 0)
		vigia__lua_option_iterator(L, idx, name, &target->options->initial_event_iterator, problems);
	else if (strcmp(name, "where") == 0 || (strcmp(name, "filter") == 0 && lua_isfunction(L, idx)))
		vigia__lua_option_predicate(L, idx, name, &target->predicate, problems);
	else if (strcmp(name, "filter") == 0) vigia__lua_option_filter(L, idx, name, problems);
	else vigia__lua_option_function(L, idx, name, problems);
}

void vigia__lua_check_watch_options(lua_State *L, int arg, struct vigia_watch_options *out)
{
	vigia_watch_options_init(out);
	struct watch_target target = {.options = out};
	vigia__lua_check_options(L, arg, vigia__watch_option_table, out, "watch options", watch_special, &target);
	vigia__lua_push_filter(L, arg, &out->filter, true);
}

static const char *library_at(const void *ctx, int index)
{
	return vigia__cap_library_name(index);
}

/* A list of names of libraries, as bits. */
static unsigned libraries_at(lua_State *L, int idx, const char *name, struct vigia__problems *problems)
{
	if (!lua_istable(L, idx)) {
		vigia__problem(problems, "%s is a %s, allowed: a list of strings", name, luaL_typename(L, idx));
		return 0;
	}
	int before = problems->count;
	check_names(L, idx, name, problems);
	if (problems->count > before) return 0;
	unsigned bits = 0;
	for (lua_Integer i = 1; lua_rawgeti(L, idx, i) != LUA_TNIL; i++) {
		const char *library = lua_tostring(L, -1);
		unsigned bit = strcmp(library, "vigia") == 0 ? VIGIA_CAP_BASE : vigia__cap_library(library);
		if (bit == 0) {
			const char *near = vigia__nearest(library, library_at, NULL);
			vigia__problem(problems, "%s[%lld]: there is no library '%.48s'%s%s%s", name, (long long)i, library,
			               near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
		}
		bits |= bit;
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return bits;
}

/* Functions belong into the script, whose state they run in. `set` is looked at when it is encoded. */
static void script_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct watch_target *target = ctx;
	struct vigia__script_options *options =
		(struct vigia__script_options *)target->options; /* whose first member it is */
	if (lua_isfunction(L, idx)) {
		vigia__problem(problems,
		               "%s cannot be a function for a script, which has a state of its own: put it into "
		               "the table that it returns",
		               name);
	} else if (strcmp(name, "set") == 0) {
		if (!lua_istable(L, idx))
			vigia__problem(problems, "set is a %s, allowed: a table {name = value}", luaL_typename(L, idx));
	} else if (strcmp(name, "libraries") == 0) {
		options->libraries_given = true;
		options->libraries = libraries_at(L, idx, name, problems);
	} else {
		watch_special(L, idx, name, target, problems);
	}
}

void vigia__lua_check_script_options(lua_State *L, int arg, struct vigia__script_options *out)
{
	memset(out, 0, sizeof *out);
	out->watch.size = sizeof out->watch;
	vigia__options_init(vigia__script_option_table, out);
	struct watch_target target = {.options = &out->watch};
	vigia__lua_check_options(L, arg, vigia__script_option_table, out, "watch options", script_special, &target);
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
