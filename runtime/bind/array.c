/*
 * array.c - vigia.array: marks a table as an array, also an empty one.
 */
#include "array.h"

#include "lua_state.h"

const struct vigia__lua_class vigia__lua_array_class = {.name = "vigia.array"};

int vigia__lua_array(lua_State *L)
{
	vigia__lua_check_type(L, 1, LUA_TTABLE, "t");
	lua_settop(L, 1);
	vigia__lua_push_class(L, &vigia__lua_array_class);
	if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, 2))
		return luaL_argerror(L, 1, "the table has another metatable");
	lua_pushvalue(L, 2);
	lua_setmetatable(L, 1);
	lua_settop(L, 1);
	return 1;
}

int vigia__lua_is_array(lua_State *L)
{
	luaL_checkany(L, 1);
	vigia__lua_push_class(L, &vigia__lua_array_class);
	bool is = lua_istable(L, 1) && lua_getmetatable(L, 1) && lua_rawequal(L, -1, -2);
	return vigia__lua_boolean(L, is);
}
