/*
 * explain.c - store:explain.
 */
#include "explain.h"

#include <string.h>

#include "../core/serial.h"
#include "../store/store.h"
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

static void free_filter(lua_State *L, void *object)
{
	struct vigia__filter **filter = object;
	vigia__filter_free(*filter);
	*filter = NULL;
}

static const struct vigia__lua_class filter_class = {.name = "vigia.explained_filter", .free = free_filter};

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
	struct vigia__filter **filter = vigia__lua_new(L, sizeof(void *), &filter_class);
	bool predicate = false;
	vigia__lua_check_options(L, OPTIONS_AT, table, filter, "explain", explain_special, &predicate);
	vigia__lua_make_filter(L, OPTIONS_AT, filter);
	struct vigia_error err = {0};
	struct vigia_explain found;
	struct lua_store *h = vigia__lua_check_handle(L, 1); /* only now: a finalizer may have closed it meanwhile */
	int rc = h->store ? vigia__store_explain(h->store, from, *filter, &found, &err) : vigia__lua_closed(h, &err);
	free_filter(L, filter);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	const char *serializer = h->store->serializer;
	bool foreign = vigia__serializer_of((struct vigia_slice){serializer, strlen(serializer)}) == VIGIA_SERIALIZER_OTHER;
	push_explained(L, &found);
	push_not_pushed(L, &found, predicate, foreign);
	lua_setfield(L, -2, "not_pushed_down");
	return 1;
}
