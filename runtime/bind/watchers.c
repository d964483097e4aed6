/*
 * watchers.c - what is known of the watchers of a store in Lua.
 */
#include "watchers.h"

#include <string.h>

#include "../core/buf.h"
#include "../core/error.h"
#include "ask.h"
#include "error.h"
#include "lua_state.h"
#include "store_handle.h"

/* Copies: a status, its id, its error and its host, each with a zero byte. */
struct statuses {
	struct vigia__buf bytes;
	uint64_t unshown;
};

static void free_statuses(void *what)
{
	vigia__buf_deinit(&((struct statuses *)what)->bytes);
}

static int keep(void *ctx, const struct vigia_watcher_status *status)
{
	struct vigia__buf *bytes = &((struct statuses *)ctx)->bytes;
	bool fits = vigia__buf_add(bytes, status, sizeof *status) == 0 &&
	            vigia__buf_add(bytes, status->watcher_id, strlen(status->watcher_id) + 1) == 0 &&
	            vigia__buf_add(bytes, status->last_error, strlen(status->last_error) + 1) == 0 &&
	            vigia__buf_add(bytes, status->host, strlen(status->host) + 1) == 0;
	return fits ? VIGIA_OK : VIGIA_ENOMEM;
}

static void set_number(lua_State *L, const char *field, double value)
{
	lua_pushnumber(L, value);
	lua_setfield(L, -2, field);
}

static void set_time(lua_State *L, const char *field, int64_t at_ns)
{
	if (at_ns != 0) vigia__lua_set_integer(L, field, (uint64_t)at_ns);
}

/* What it says of itself. */
static void set_told(lua_State *L, const struct vigia_watcher_status *s)
{
	const struct vigia__lua_number numbers[] = {
		{"processed", s->processed},
		{"failed", s->failed},
		{"retried", s->retried},
		{"skipped", s->skipped},
		{"dead_lettered", s->dead_lettered},
		{"missed", s->missed},
		{"fetch_errors", s->fetch_errors},
		{NULL, 0},
	};
	vigia__lua_set_integers(L, numbers);
	set_number(L, "rate", s->rate);
	set_time(L, "started", s->started_at_ns);
}

static void push_status(lua_State *L, const struct vigia_watcher_status *s)
{
	static const char *const states[] = {"idle", "running", "stopping", "stopped"};
	lua_createtable(L, 0, 26);
	vigia__lua_set_string(L, "watcher", s->watcher_id);
	vigia__lua_set_string(L, "state", s->died ? "died" : states[s->state]);
	lua_pushboolean(L, s->ephemeral);
	lua_setfield(L, -2, "ephemeral");
	if (s->paused) lua_pushboolean(L, true), lua_setfield(L, -2, "paused");
	if (s->request[0]) vigia__lua_set_string(L, "request", s->request);
	if (s->pid > 0) vigia__lua_set_integer(L, "pid", (uint64_t)s->pid);
	if (s->host[0]) vigia__lua_set_string(L, "host", s->host);
	if (s->has_checkpoint || s->has_hold)
		vigia__lua_set_integer(L, s->has_checkpoint ? "checkpoint" : "hold", s->checkpoint);
	vigia__lua_set_integer(L, "position", s->position);
	vigia__lua_set_integer(L, "lag", s->lag);
	set_number(L, "lag_seconds", (double)s->lag_ns / 1e9);
	if (s->told) set_told(L, s);
	if (s->blocked_seq_num > 0) {
		vigia__lua_set_integer(L, "blocked_on", s->blocked_seq_num);
		vigia__lua_set_integer(L, "attempts", s->attempts);
		set_time(L, "next_attempt", s->next_attempt_at_ns);
	}
	if (s->last_error[0]) {
		vigia__lua_set_string(L, "last_error", s->last_error);
		set_time(L, "last_error_time", s->failed_at_ns);
	}
}

static int ask_statuses(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct statuses *statuses = what;
	int rc = vigia_store_watchers(store, keep, statuses, &statuses->unshown, err);
	if (rc == VIGIA_ENOMEM && err->code == VIGIA_OK) vigia__no_memory(err);
	return rc;
}

static int answer_statuses(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct statuses *statuses = what;
	if (rc < 0) return vigia__lua_fail_store(L, rc, err);
	const char *at = (const char *)statuses->bytes.data, *end = at + statuses->bytes.len;
	lua_newtable(L);
	for (lua_Integer n = 1; at < end; n++) {
		struct vigia_watcher_status status;
		memcpy(&status, at, sizeof status);
		status.watcher_id = at + sizeof status; /* `request` is a constant */
		status.last_error = status.watcher_id + strlen(status.watcher_id) + 1;
		status.host = status.last_error + strlen(status.last_error) + 1;
		at = status.host + strlen(status.host) + 1;
		push_status(L, &status);
		lua_rawseti(L, -2, n);
	}
	lua_pushinteger(L, (lua_Integer)statuses->unshown);
	return 2;
}

static const struct vigia__lua_call statuses_call = {
	.size = sizeof(struct statuses), .ask = ask_statuses, .answer = answer_statuses, .free = free_statuses};

int vigia__lua_store_watchers(lua_State *L)
{
	lua_settop(L, 1);
	vigia__lua_check_store(L, 1);
	vigia__lua_ask_new(L, &statuses_call);
	return vigia__lua_ask_made(L, 1);
}
