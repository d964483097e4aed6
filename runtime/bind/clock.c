/*
 * clock.c - the class vigia.Clock: a clock for registries and stores that is moved by hand, so that tests need not
 * wait.
 */
#include "clock.h"

#include "../core/error.h"
#include "../drive/clock.h"
#include "../drive/store_clock.h"
#include "error.h"
#include "lua_state.h"
#include "store_handle.h"

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

static int clock_time(lua_State *L)
{
	struct vigia__manual_clock *clock = vigia__lua_check(L, 1, &clock_class);
	lua_pushinteger(L, (lua_Integer)vigia__manual_clock_wall(clock));
	return 1;
}

static int clock_set_time(lua_State *L)
{
	struct vigia__manual_clock *clock = vigia__lua_check(L, 1, &clock_class);
	vigia__manual_clock_set_wall(clock, (int64_t)vigia__lua_check_seq(L, 2, "at_ns"));
	return clock_time(L);
}

/* ---- a store that goes by it ---- */

static void free_store_clock(lua_State *L, void *object)
{
	vigia__store_clock_leave(object);
}

static const struct vigia__lua_class store_clock_class = {.name = "vigia.store_clock", .free = free_store_clock};

int vigia__lua_use_clock(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia__manual_clock *clock = vigia__lua_check(L, 2, &clock_class);
	struct vigia_error err = {0};
	lua_settop(L, 2);
	/* It keeps the clock, and the store keeps it: while the store is there, both are. */
	struct vigia__store_clock *joined = vigia__lua_new_keeping(L, sizeof *joined, &store_clock_class, 1);
	vigia__lua_keep_value(L, 3, 1, 2);
	int rc = h->store ? vigia__store_clock_join(joined, clock, h->store, &err) : vigia__lua_closed(h, &err);
	if (rc == VIGIA_OK) vigia__lua_keep(L, 1, VIGIA_LUA_STORE_CLOCK);
	return vigia__lua_done(L, rc, &err);
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
	.methods = (const luaL_Reg[]){{"now", clock_now},
                                  {"advance", clock_advance},
                                  {"time", clock_time},
                                  {"set_time", clock_set_time},
                                  {NULL, NULL}},
};
