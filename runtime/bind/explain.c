/*
 * explain.c - store:explain.
 */
#include "explain.h"

#include <string.h>

#include "../core/serial.h"
#include "../store/store.h"
#include "ask.h"
#include "error.h"
#include "filter.h"
#include "iterator.h"
#include "lua_state.h"
#include "options.h"
#include "store_handle.h"

enum { OPTIONS_AT = 2, FROM_AT = 3 }; /* the stack: store, {filter = the argument}, iterator or nil */

static void explain_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	vigia__lua_option_filter(L, idx, name, ctx, problems);
}

struct explaining {
	struct vigia_iterator from;
	struct vigia__filter *filter;
	bool predicate;
	/* out */
	bool foreign; /* only the application's serializer reads the objects */
	struct vigia_explain found;
};

static int ask_explain(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct explaining *e = what;
	const char *serializer = store->serializer;
	e->foreign = vigia__serializer_of((struct vigia_slice){serializer, strlen(serializer)}) == VIGIA_SERIALIZER_OTHER;
	return vigia__store_explain(store, e->from, e->filter, &e->found, err);
}

static void free_explain(void *what)
{
	vigia__filter_free(((struct explaining *)what)->filter);
}

/* Add a line to the list on top. [-0, +0, m] */
static void add_line(lua_State *L, const char *line)
{
	lua_pushstring(L, line);
	lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* What C does not test on the bytes. [-0, +1, m] */
static void push_not_pushed(lua_State *L, const struct vigia_explain *found, bool predicate, bool foreign)
{
	lua_newtable(L);
	if (predicate) add_line(L, "the function: it is called for each event that the rest of the filter keeps");
	if (found->places > 0 && foreign)
		add_line(L,
		         "filter.where: only the application's serializer can read these objects, and each counts as matching");
}

static void push_explained(lua_State *L, const struct vigia_explain *found)
{
	const struct vigia__lua_number numbers[] = {{"from", found->from},
	                                            {"to", found->to},
	                                            {"events", found->events},
	                                            {"events_looked_at", found->events_looked_at},
	                                            {"blocks", found->blocks},
	                                            {"blocks_indexed", found->blocks_indexed},
	                                            {"blocks_looked_at", found->blocks_looked_at},
	                                            {"places", found->places},
	                                            {NULL, 0}};
	lua_createtable(L, 0, 10);
	vigia__lua_set_integers(L, numbers);
	lua_pushboolean(L, found->by_index);
	lua_setfield(L, -2, "by_index");
}

static int answer_explain(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct explaining *e = what;
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	push_explained(L, &e->found);
	push_not_pushed(L, &e->found, e->predicate, e->foreign);
	lua_setfield(L, -2, "not_pushed_down");
	return 1;
}

static const struct vigia__lua_call explain_call = {
	.size = sizeof(struct explaining), .ask = ask_explain, .answer = answer_explain, .free = free_explain};

int vigia__lua_store_explain(lua_State *L)
{
	static const struct vigia__option table[] = {{.name = "filter", .type = VIGIA_OPTION_SPECIAL}, {.name = NULL}};
	vigia__lua_check_handle(L, 1);
	lua_settop(L, FROM_AT);
	struct vigia_iterator from = {.kind = VIGIA_TRIM_HORIZON};
	if (!lua_isnil(L, FROM_AT)) {
		const struct vigia_iterator *given = vigia__lua_test_iterator(L, FROM_AT);
		if (given == NULL)
			return luaL_argerror(L, FROM_AT,
			                     lua_pushfstring(L, "from: an iterator expected, got %s", luaL_typename(L, FROM_AT)));
		from = *given;
	}
	lua_createtable(L, 0, 1);
	lua_pushvalue(L, OPTIONS_AT);
	lua_setfield(L, -2, "filter");
	lua_replace(L, OPTIONS_AT);
	struct explaining *e = vigia__lua_ask_new(L, &explain_call);
	e->from = from;
	vigia__lua_check_options(L, OPTIONS_AT, table, e, "explain", explain_special, &e->predicate);
	vigia__lua_make_filter(L, OPTIONS_AT, &e->filter);
	return vigia__lua_ask_made(L, 1);
}
