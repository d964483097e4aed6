/*
 * watch_options.c - the options of registry:watch and of scripts, with their filters.
 */
#include "watch_options.h"

#include <string.h>

#include "../core/nearest.h"
#include "cap.h"
#include "filter.h"
#include "options.h"

struct watch_target {
	struct vigia_watch_options *options;
	bool predicate;
};

static void watch_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct watch_target *target = ctx;
	if (strcmp(name, "initial_event_iterator") == 0)
		vigia__lua_option_iterator(L, idx, name, &target->options->initial_event_iterator, problems);
	else if (strcmp(name, "where") == 0) vigia__lua_option_predicate(L, idx, name, &target->predicate, problems);
	else if (strcmp(name, "filter") == 0) vigia__lua_option_filter(L, idx, name, &target->predicate, problems);
	else if (strcmp(name, "lane_key") == 0 && lua_type(L, idx) == LUA_TSTRING)
		target->options->lane_key = vigia__lua_slice(L, idx);
	else if (strcmp(name, "lane_key") == 0 && !lua_isfunction(L, idx))
		vigia__problem(problems, "lane_key is a %s, allowed: a string, a function", luaL_typename(L, idx));
	else vigia__lua_option_function(L, idx, name, problems);
}

void vigia__lua_check_watch_options(lua_State *L, int arg, struct vigia_watch_options *out)
{
	vigia_watch_options_init(out);
	struct watch_target target = {.options = out};
	vigia__lua_check_options(L, arg, vigia__watch_option_table, out, "watch options", watch_special, &target);
	struct vigia__lua_filter filter;
	vigia__lua_push_filter(L, arg, &filter, true);
	out->filter = filter.lists;
	out->where = filter.where;
	out->where_count = filter.where_count;
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
	vigia__lua_option_names(L, idx, name, problems);
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
