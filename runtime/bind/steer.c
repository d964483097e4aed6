/*
 * steer.c - store:seek, pause, resume, retry, forget: what is asked of a watcher of any process. A coroutine of a
 * registry lets the others go on while it waits for the outcome; elsewhere the thread waits.
 */
#include "steer.h"

#include "../core/error.h"
#include "../drive/clock.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "coroutine.h"
#include "error.h"
#include "iterator.h"
#include "lua_state.h"
#include "store_handle.h"
#include "thread_wait.h"

enum { STORE = 1, ID, TO, TIMEOUT, STEERING }; /* the stack */

/* In memory of a userdata. */
static const struct vigia__lua_class steering_class = {.name = "vigia.steering"};

static struct vigia__steering *steering_at(lua_State *L)
{
	return vigia__lua_check(L, STEERING, &steering_class);
}

static int push_outcome(lua_State *L, const struct vigia__steering *s, int rc, struct vigia_error *err)
{
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	bool number = s->steer.kind == VIGIA_STEER_SEEK || s->steer.kind == VIGIA_STEER_RETRY;
	if (number) lua_pushinteger(L, (lua_Integer)s->steer.seq_num);
	else lua_pushboolean(L, true);
	return 1;
}

/* ---- in a coroutine ---- */

/* Look. While there is no outcome let the others go on. */
static int poll_outcome(lua_State *L, int status, lua_KContext until)
{
	struct vigia_store *store = vigia__lua_check_store(L, STORE);
	struct lua_handler *running = vigia__lua_running(L);
	struct vigia__steering *s = steering_at(L);
	struct vigia_error err = {0};
	if (store == NULL) return vigia__lua_fail_closed(L, STORE);
	int rc = vigia__steer_poll(store, s, &err);
	if (rc != VIGIA_NONE) return push_outcome(L, s, rc, &err);
	int64_t now = vigia__lua_now(running), next = now + VIGIA_STEER_LOOK_NS;
	bool stopping = vigia__lua_stopping(running);
	if (!stopping && now < until)
		return vigia__lua_suspend(L, running, next < until ? next : until, true, until, poll_outcome);
	rc = vigia__steer_withdraw(store, s, &err);
	if (rc != VIGIA_ETIMEOUT || !stopping) return push_outcome(L, s, rc, &err);
	if (status == LUA_YIELD) return vigia__lua_fail_stopping(L, running);
	return vigia__lua_yield_stopping(L, running, vigia__lua_stopped);
}

/* ---- in the thread ---- */

static int wait_for_outcome(struct vigia_store *store, const struct vigia__cancel *cancel, void *ctx,
                            struct vigia_error *err)
{
	return vigia__steer_wait(store, ctx, cancel, err);
}

static int wait_blocking(lua_State *L)
{
	struct vigia__steering *s = steering_at(L);
	struct vigia_error err = {0}, outcome_err = {0};
	int rc = vigia__lua_wait_in_thread(L, STORE, "the request", wait_for_outcome, s, &err);
	if (rc != VIGIA_ESTOPPING && rc != VIGIA_EINTERRUPTED) return push_outcome(L, s, rc, &err);
	int outcome = vigia__steer_withdraw(vigia__lua_check_store(L, STORE), s, &outcome_err);
	return outcome == VIGIA_ETIMEOUT ? push_outcome(L, s, rc, &err) : push_outcome(L, s, outcome, &outcome_err);
}

/* ---- the methods ---- */

static int64_t check_timeout(lua_State *L)
{
	static const int64_t second_ns = 1000000000;
	if (lua_isnoneornil(L, TIMEOUT)) return VIGIA_STEER_TIMEOUT_S * second_ns;
	int64_t ns = vigia__lua_check_seconds(L, TIMEOUT, "timeout");
	return ns == INT64_MAX ? -1 : ns;
}

/* What is at STORE, ID, TO and TIMEOUT. */
static int steer(lua_State *L, enum vigia__steer_kind kind)
{
	size_t len;
	struct vigia_error err = {0};
	struct vigia_iterator to = {0};
	vigia__lua_check_handle(L, STORE);
	const char *id = vigia__lua_check_string(L, ID, "watcher_id", &len);
	if (kind == VIGIA_STEER_SEEK) {
		const struct vigia_iterator *given = vigia__lua_test_iterator(L, TO);
		if (given == NULL)
			return luaL_argerror(L, TO,
			                     lua_pushfstring(L, "iterator: an iterator expected, got %s", luaL_typename(L, TO)));
		to = *given;
	}
	int64_t ns = check_timeout(L);
	int rc = vigia__watcher_id_check(id, len, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	struct vigia__steering *s = vigia__lua_new(L, sizeof *s, &steering_class);
	*s = (struct vigia__steering){.steer.kind = kind, .timeout_ns = ns};
	struct vigia_store *store = vigia__lua_check_store(L, STORE); /* a finalizer may have closed it */
	if (store == NULL) return vigia__lua_fail_closed(L, STORE);
	rc = vigia__steer_begin(store, s, id, to, &err);
	if (rc != VIGIA_PENDING) return push_outcome(L, s, rc, &err);
	struct lua_handler *running = vigia__lua_running(L);
	bool waits = running && !vigia__lua_stopping(running) && vigia__lua_may_suspend(L, running);
	if (!waits) return wait_blocking(L);
	vigia__registry_listen_anything(running->owner->registry);
	return poll_outcome(L, LUA_OK, vigia__time_after(running->owner->registry->clock, ns < 0 ? INT64_MAX : ns));
}

/* Without an iterator the timeout is the third argument. */
static int steer_plain(lua_State *L, enum vigia__steer_kind kind)
{
	lua_settop(L, 3);
	lua_pushnil(L);
	lua_insert(L, TO);
	return steer(L, kind);
}

int vigia__lua_store_seek(lua_State *L)
{
	lua_settop(L, TIMEOUT);
	return steer(L, VIGIA_STEER_SEEK);
}

int vigia__lua_store_pause(lua_State *L)
{
	return steer_plain(L, VIGIA_STEER_PAUSE);
}

int vigia__lua_store_resume(lua_State *L)
{
	return steer_plain(L, VIGIA_STEER_RESUME);
}

int vigia__lua_store_retry(lua_State *L)
{
	return steer_plain(L, VIGIA_STEER_RETRY);
}

int vigia__lua_store_forget(lua_State *L)
{
	size_t len;
	struct vigia_error err = {0};
	vigia__lua_check_handle(L, STORE);
	const char *id = vigia__lua_check_string(L, ID, "watcher_id", &len);
	struct vigia_store *store = vigia__lua_check_store(L, STORE);
	if (store == NULL) return vigia__lua_fail_closed(L, STORE);
	int rc = vigia__watcher_id_check(id, len, &err);
	if (rc == VIGIA_OK) rc = vigia_store_forget(store, id, &err);
	return vigia__lua_done(L, rc, &err);
}
