/*
 * test_module.c - the module in Lua states that want memory: wherever it runs out while the module is loaded, loading
 * it again gives all of it.
 */
#include "bind/module.h"

#include <lauxlib.h>
#include <lualib.h>

#include "lib/test.h"

/* The allocation to be refused, counted from now; 0: none. */
static long refused;

static void *allocate(void *ud, void *block, size_t old_size, size_t size)
{
	if (size == 0) {
		free(block);
		return NULL;
	}
	/* Lua asks once more after a collection, and a block that becomes smaller is never refused. */
	if ((block == NULL || size > old_size) && refused > 0 && (refused == 1 || --refused == 1)) return NULL;
	return realloc(block, size);
}

static int load(lua_State *L)
{
	luaL_requiref(L, "vigia.core", luaopen_vigia_core, 0);
	lua_setglobal(L, "core");
	return 0;
}

static const char use[] =
	"local store = assert(core.open(':memory:'))\n"
	"assert(store:store_event('CREATE', 'A', {core.array{}}))\n"
	"local registry, done = assert(core.registry(store)), 0\n"
	"assert(registry:watch('w', function() done = done + 1 end))\n"
	"assert(registry:step(0))\n"
	"assert(done == 1 and tostring(core.null) == 'null' and tostring(core.latest()) == 'latest')\n"
	"assert(registry:close() and store:close())\n"
	"assert(debug.getmetatable(store).__gc and debug.getmetatable(registry).__gc)\n";

static void test_want_of_memory(void **state)
{
	bool loaded = false;
	long n = 0;
	while (!loaded) {
		lua_State *L = lua_newstate(allocate, NULL);
		assert_non_null(L);
		luaL_openlibs(L);
		refused = ++n + 1;
		lua_pushcfunction(L, load);
		int status = lua_pcall(L, 0, 0, 0);
		loaded = status == LUA_OK;
		assert_true(loaded || status == LUA_ERRMEM);
		refused = 0;
		lua_settop(L, 0);
		lua_pushcfunction(L, load);
		assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
		if (luaL_dostring(L, use) != LUA_OK) fail_msg("allocation %ld: %s", n, lua_tostring(L, -1));
		lua_close(L);
	}
	assert_true(n > 50);
	print_message("# %ld allocations\n", n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_want_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
