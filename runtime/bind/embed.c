/*
 * embed.c - handlers in Lua for an application in C: the whole of libvigia-lua, which brings Lua along so that the
 * application need not.
 *
 * A Lua state is made for the time of the call. In it the C registry is dressed as one of Lua's, and the script is
 * watched as Lua code would do it: so options and mistakes are the same. What stays is the watcher's worker with the
 * script's own state.
 */
#include <dlfcn.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../core/error.h"
#include "../drive/drive.h"
#include "lua_state.h"
#include "module.h"
#include "registry_handle.h"
#include "store_handle.h"
#include "watcher.h"

#ifndef VIGIA_LUA_DIR
#define VIGIA_LUA_DIR "" /* the source tree's lua/ */
#endif
#ifndef VIGIA_LUA_FROM_LIB
#define VIGIA_LUA_FROM_LIB "../share/lua/5.4" /* from the folder of the installed library */
#endif

struct request {
	struct vigia_registry *registry;
	const char *id, *script, *options;
	struct vigia_watcher *watcher;
	struct vigia_error *err;
	int rc;
};

/* The folder with vigia/script.lua: beside the installed library, else the source tree's. False: neither, so Lua's own
 * paths decide. */
static bool find_lua_beside_library(char *out, size_t size)
{
	Dl_info info;
	char file[4096 + 32];
	if (dladdr((void *)(uintptr_t)vigia_registry_watch_script, &info) != 0 && info.dli_fname) {
		const char *slash = strrchr(info.dli_fname, '/');
		int n = snprintf(out, size, "%.*s" VIGIA_LUA_FROM_LIB, slash ? (int)(slash + 1 - info.dli_fname) : 0,
		                 info.dli_fname);
		snprintf(file, sizeof file, "%s/vigia/script.lua", out);
		if (n > 0 && (size_t)n < size && access(file, R_OK) == 0) return true;
	}
	snprintf(out, size, "%s", VIGIA_LUA_DIR);
	snprintf(file, sizeof file, "%s/vigia/script.lua", out);
	return access(file, R_OK) == 0;
}

/* The text of `options` as a table, with `vigia` for iterators. [-0, +1, v] */
static void push_options(lua_State *L, const char *options)
{
	if (options == NULL) {
		lua_newtable(L);
		return;
	}
	lua_pushfstring(L, "return %s", options);
	size_t len;
	const char *text = lua_tolstring(L, -1, &len);
	if (luaL_loadbufferx(L, text, len, "=options", "t") != LUA_OK) lua_error(L);
	lua_createtable(L, 0, 1);
	lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
	lua_getfield(L, -1, "vigia.core");
	lua_setfield(L, -3, "vigia");
	lua_pop(L, 1);
	lua_setupvalue(L, -2, 1);
	lua_call(L, 0, 1);
	if (!lua_istable(L, -1)) luaL_error(L, "options: a Lua table expected, as in \"{retry_strategy = 'skip'}\"");
	lua_replace(L, -2);
}

/* The vigia.Error at idx as C has it. */
static int error_from(lua_State *L, int idx, const char *id, struct vigia_error *err)
{
	lua_getfield(L, idx, "code");
	int code = vigia__error_code(luaL_optstring(L, -1, ""));
	lua_getfield(L, idx, "message");
	lua_getfield(L, idx, "cause");
	const char *cause = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
	vigia__error_caused(err, code, cause, "%s", luaL_optstring(L, -2, ""));
	lua_pop(L, 3);
	if (err && id) snprintf(err->watcher_id, sizeof err->watcher_id, "%s", id);
	return code;
}

static int watch_script(lua_State *L, void *arg)
{
	struct request *r = arg;
	lua_pushnil(L); /* 1 */
	luaL_openlibs(L);
	char dir[4096];
	if (find_lua_beside_library(dir, sizeof dir)) vigia__lua_add_path(L, dir);
	luaL_requiref(L, "vigia.core", luaopen_vigia_core, 0);
	lua_settop(L, 1);
	vigia__lua_push_store(L, r->registry->store);                                  /* 2 */
	struct lua_registry *registry = vigia__lua_borrow_registry(L, 2, r->registry); /* 3 */
	lua_getfield(L, 3, "watch");
	lua_pushvalue(L, 3);
	if (r->id) lua_pushstring(L, r->id);
	else lua_pushnil(L);
	lua_pushstring(L, r->script);
	push_options(L, r->options);
	lua_call(L, 4, 2); /* 4, 5 */
	if (lua_isnil(L, 4)) r->rc = error_from(L, 5, r->id, r->err);
	else r->watcher = vigia__lua_check_watcher(L, 4);
	registry->L = NULL;
	return 0;
}

int vigia_registry_watch_script(struct vigia_registry *registry, const char *watcher_id, const char *script,
                                const char *options, struct vigia_watcher **out, struct vigia_error *err)
{
	vigia__error_clear(err);
	lua_State *L = luaL_newstate();
	if (L == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a Lua state");
	struct request request = {.registry = registry, .id = watcher_id, .script = script, .options = options, .err = err};
	int status = vigia__lua_pcall(L, watch_script, &request, 0, 0);
	if (status == LUA_ERRMEM) {
		/* GCOVR_EXCL_START: in the state's first allocations. */
		request.rc = vigia__error(err, VIGIA_ENOMEM, "no memory for a Lua state");
		/* GCOVR_EXCL_STOP */
	} else if (status != LUA_OK) {
		const char *message =
			lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error value that is not a string";
		request.rc =
			vigia__error(err, strstr(message, "(watch options: ") ? VIGIA_EOPTION : VIGIA_EINVAL, "%s", message);
	}
	lua_close(L);
	if (request.rc == VIGIA_OK && out) *out = request.watcher;
	return request.rc;
}
