/*
 * settings.c - the settings of a store's file in Lua, by the rows of the table in core/option_tables.c.
 */
#include "settings.h"

#include "../core/error.h"
#include "../core/options.h"
#include "../core/settings.h"
#include "ask.h"
#include "error.h"
#include "options.h"
#include "store_handle.h"

/* Only what belongs to the file, and of that only what may change. */
static void refuse_setting(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	const struct vigia__option *o = vigia__option_find(vigia__store_option_table, name);
	if (o->scope == VIGIA_SCOPE_FIXED)
		vigia__problem(problems, "%s cannot be changed: it is fixed when the file is made", name);
	else vigia__problem(problems, "%s belongs to a handle, not to the file: give it to vigia.open", name);
}

static int ask_configure(struct vigia_store *store, void *what, struct vigia_error *err)
{
	return vigia_store_configure(store, what, err);
}

static int answer_configure(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	return vigia__lua_done(L, rc, err);
}

/* The strings in it are the defaults: those of the file are fixed. */
static const struct vigia__lua_call configure_call = {
	.size = sizeof(struct vigia_store_options), .ask = ask_configure, .answer = answer_configure};

int vigia__lua_store_configure(lua_State *L)
{
	vigia__lua_check_store(L, 1);
	luaL_checktype(L, 2, LUA_TTABLE);
	struct vigia_store_options changes;
	vigia_store_options_init(&changes);
	vigia__lua_check_settings(L, 2, &changes, refuse_setting);
	return vigia__lua_ask(L, 1, &configure_call, &changes);
}

void vigia__lua_set_settings(lua_State *L, const struct vigia__settings *settings)
{
	for (const struct vigia__option *o = vigia__store_option_table; o->name; o++) {
		if (o->scope == VIGIA_SCOPE_HANDLE) continue;
		vigia__lua_push_option_value(L, o, &settings->values);
		lua_setfield(L, -2, o->name);
	}
}
