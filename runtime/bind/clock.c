/*
 * clock.c - the class vigia.Clock: a clock for registries that is moved by hand, so that tests need not wait.
 */
#include "clock.h"

#include "../drive/clock.h"
#include "lua_state.h"

static const struct vigia__lua_class clock_class;

/* Where it begins. Not 0, which means "none" in some places. now() counts from here. */
enum { BEGIN_NS = 1000000000 };

struct vigia__manual_clock *vigia__lua_test_clock(lua_State *L, int idx)
{
	return vigia__lua_test(L, idx, &clock_class);
}

int vigia__lua_clock(lua_State *L)
{
	struct vigia__manual_clock *clock = vigia__lua_new(L, sizeof *clock, &clock_class);
	vigia__manual_clock_init(clock, BEGIN_NS);
	return 1;
}

static int clock_now(lua_State *L)
{
	struct vigia__manual_clock *clock = vigia__lua_check(L, 1, &clock_class);
	lua_pushnumber(L, (double)(vigia__time_now(clock) - BEGIN_NS) / 1e9);
	return 1;
}

static int clock_advance(lua_State *L)
{
	struct vigia__manual_clock *clock = vigia__lua_check(L, 1, &clock_class);
	vigia__manual_clock_advance(clock, vigia__lua_check_seconds(L, 2, "seconds"));
	return clock_now(L);
}

static int clock_tostring(lua_State *L)
{
	clock_now(L);
	lua_pushfstring(L, "vigia.Clock: %f s", lua_tonumber(L, -1));
	return 1;
}

static const struct vigia__lua_class clock_class = {
	.name = "vigia.Clock",
	.metamethods = (const luaL_Reg[]){{"__tostring", clock_tostring}, {NULL, NULL}},
	.methods = (const luaL_Reg[]){{"now", clock_now}, {"advance", clock_advance}, {NULL, NULL}},
};
