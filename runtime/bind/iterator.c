/*
 * iterator.c - a place to read from, as an immutable Lua value that is equal by what it says.
 */
#include "iterator.h"

#include <string.h>

#include "../core/error.h"
#include "../core/iterator.h"
#include "error.h"
#include "lua_state.h"

static const struct vigia__lua_class iterator_class;

static const char *const kind_names[] = {"trim_horizon", "latest", "at_sequence_number", "after_sequence_number"};

void vigia__lua_push_iterator(lua_State *L, struct vigia_iterator it)
{
	struct vigia_iterator *made = vigia__lua_new(L, sizeof *made, &iterator_class);
	*made = it;
}

const struct vigia_iterator *vigia__lua_test_iterator(lua_State *L, int idx)
{
	return vigia__lua_test(L, idx, &iterator_class);
}

static const struct vigia_iterator *check_iterator(lua_State *L, int arg)
{
	return vigia__lua_check(L, arg, &iterator_class);
}

static int iterator_tostring(lua_State *L)
{
	char text[64];
	lua_pushstring(L, vigia__iterator_format(*check_iterator(L, 1), text, sizeof text));
	return 1;
}

static int iterator_eq(lua_State *L)
{
	const struct vigia_iterator *a = vigia__lua_test_iterator(L, 1), *b = vigia__lua_test_iterator(L, 2);
	return vigia__lua_boolean(L, a && b && vigia__iterator_equal(*a, *b));
}

static int iterator_index(lua_State *L)
{
	const struct vigia_iterator *it = check_iterator(L, 1);
	const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
	if (strcmp(key, "kind") == 0) lua_pushstring(L, kind_names[it->kind]);
	else if (strcmp(key, "seq_num") == 0) lua_pushinteger(L, (lua_Integer)it->seq_num);
	else lua_pushnil(L);
	return 1;
}

static int iterator_newindex(lua_State *L)
{
	return luaL_error(L, "a vigia.Iterator cannot be changed: make another one");
}

static const struct vigia__lua_class iterator_class = {
	.name = "vigia.Iterator",
	.metamethods = (const luaL_Reg[]){{"__tostring", iterator_tostring},
                                      {"__eq", iterator_eq},
                                      {"__index", iterator_index},
                                      {"__newindex", iterator_newindex},
                                      {NULL, NULL}},
	.sealed = true,
};

static int push_made(lua_State *L, enum vigia_iterator_kind kind, uint64_t seq_num)
{
	vigia__lua_push_iterator(L, (struct vigia_iterator){.kind = kind, .seq_num = seq_num});
	return 1;
}

int vigia__lua_trim_horizon(lua_State *L)
{
	return push_made(L, VIGIA_TRIM_HORIZON, 0);
}

int vigia__lua_latest(lua_State *L)
{
	return push_made(L, VIGIA_LATEST, 0);
}

int vigia__lua_at(lua_State *L)
{
	return push_made(L, VIGIA_AT, vigia__lua_check_seq(L, 1, "n"));
}

int vigia__lua_after(lua_State *L)
{
	return push_made(L, VIGIA_AFTER, vigia__lua_check_seq(L, 1, "n"));
}

/* core.iterator_parse("at:5"): the command line's form -> an iterator, or nil and the error. */
int vigia__lua_iterator_parse(lua_State *L)
{
	const char *text = vigia__lua_check_cstring(L, 1, "text");
	struct vigia_iterator it;
	struct vigia_error err = {0};
	int rc = vigia__iterator_parse(text, &it, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	return push_made(L, it.kind, it.seq_num);
}
