/*
 * serve.c - a store over HTTP, for the command line: tables of options into what serve/ wants.
 */
#include "serve.h"

#include <string.h>

#include "../serve/serve.h"
#include "error.h"
#include "interrupt.h"
#include "lua_state.h"
#include "notify.h"
#include "store_handle.h"
#include "tell.h"

enum { HOSTS_MAX = 32 };

struct serving {
	struct vigia__server *server;
	const char *hosts[HOSTS_MAX];
	struct vigia__limit limits[VIGIA_LOG_ERROR + 1]; /* of records of each level */
};

static void free_serving(lua_State *L, void *object)
{
	struct serving *serving = object;
	vigia__serve_free(serving->server);
	serving->server = NULL;
}

static const struct vigia__lua_class serving_class = {.name = "vigia.server", .free = free_serving};

/* The text of a field of the options, which keep it. NULL: none. */
static const char *text_of(lua_State *L, const char *name)
{
	int type = vigia__lua_push_raw(L, 2, name);
	if (type != LUA_TSTRING && type != LUA_TNIL) luaL_error(L, "%s: string expected", name);
	const char *text = type == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	lua_pop(L, 1);
	return text;
}

static size_t hosts_of(lua_State *L, const char **hosts)
{
	size_t count = 0;
	if (vigia__lua_push_raw(L, 2, "hosts") == LUA_TTABLE)
		while (count < HOSTS_MAX && lua_rawgeti(L, -1, (lua_Integer)count + 1) == LUA_TSTRING) {
			hosts[count++] = lua_tostring(L, -1);
			lua_pop(L, 1);
		}
	lua_settop(L, 4);
	return count;
}

/* A client can cause failures and refusals at any rate. */
static void log_record(void *ctx, enum vigia_log_level level, const char *message)
{
	struct serving *serving = ctx;
	if (level == VIGIA_LOG_INFO) vigia__tell_record(level, message, strlen(message));
	else vigia__tell(&serving->limits[level], level, message);
}

static void beat(void *ctx)
{
	vigia__notify("WATCHDOG=1");
}

static void stopping(void *ctx)
{
	vigia__notify("STOPPING=1\nSTATUS=stopping");
}

static int serve(lua_State *L)
{
	vigia__lua_check_program(L, "serve");
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	luaL_checktype(L, 2, LUA_TTABLE);
	luaL_checktype(L, 3, LUA_TFUNCTION);
	lua_settop(L, 3);
	if (store == NULL) return vigia__lua_fail_closed(L, 1);
	struct serving *serving = vigia__lua_new(L, sizeof *serving, &serving_class);
	struct vigia__serve_options options = {.listen = text_of(L, "listen"),
	                                       .token = text_of(L, "token"),
	                                       .cert = text_of(L, "tls_cert"),
	                                       .key = text_of(L, "tls_key"),
	                                       .hosts = serving->hosts,
	                                       .stop = &vigia__interrupted,
	                                       .stop_fd = vigia__interrupt_fd,
	                                       .log = log_record,
	                                       .stopping = stopping,
	                                       .ctx = serving};
	vigia__lua_push_raw(L, 2, "client_timeout");
	options.client_timeout_ns = vigia__lua_check_seconds(L, -1, "client_timeout");
	vigia__lua_push_raw(L, 2, "max_connections");
	options.clients_max = luaL_checkinteger(L, -1);
	vigia__lua_push_raw(L, 2, "insecure");
	options.insecure = lua_toboolean(L, -1);
	vigia__lua_push_raw(L, 2, "verbose");
	options.log_requests = lua_toboolean(L, -1);
	options.hosts_count = hosts_of(L, serving->hosts);
	if (vigia__notify_watches(&options.beat_ns)) options.beat = beat;
	struct vigia_error err = {0};
	int rc = vigia__serve_new(store, &options, &serving->server, &err);
	if (rc == VIGIA_OK) {
		lua_pushvalue(L, 3);
		lua_pushstring(L, vigia__serve_url(serving->server));
		lua_call(L, 1, 0);
		rc = vigia__serve_run(serving->server, &err);
	}
	free_serving(L, serving);
	return vigia__lua_done(L, rc, &err);
}

static int open_server(lua_State *L)
{
	lua_pushcfunction(L, serve);
	return 1;
}

void vigia__lua_preload_server(lua_State *L)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, open_server);
	lua_setfield(L, -2, "vigia.server");
	lua_pop(L, 1);
}
