/*
 * host.c - an application that uses the library itself and runs Lua code that requires it too; for
 * spec/package_spec.lua.
 *
 * host FILE SCRIPT: open the store, append one event, run the script (its `arg[1]` is FILE) while the store is open,
 * append another.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <vigia.h>

static int append(struct vigia_store *store, struct vigia_error *err)
{
	struct vigia_new_event event = {{"CREATE", 6}, {"Host", 4}, {"\x01", 1}};
	return vigia_store_append(store, &event, 1, NULL, err);
}

int main(int argc, char **argv)
{
	if (argc != 3) return 2;
	struct vigia_error err = {0};
	struct vigia_store *store = NULL;
	int rc = vigia_store_open(argv[1], NULL, &store, &err);
	if (rc == VIGIA_OK) rc = append(store, &err);
	lua_State *L = luaL_newstate();
	luaL_openlibs(L);
	lua_createtable(L, 1, 0);
	lua_pushstring(L, argv[1]);
	lua_rawseti(L, -2, 1);
	lua_setglobal(L, "arg");
	int bad = luaL_dofile(L, argv[2]);
	if (bad) fprintf(stderr, "host: %s\n", lua_tostring(L, -1));
	lua_close(L);
	if (rc == VIGIA_OK) rc = append(store, &err);
	if (rc < 0) fprintf(stderr, "host: %s\n", err.message);
	vigia_store_free(store);
	return bad || rc < 0;
}
