/*
 * steer.c - store:seek, pause, resume, retry, forget: what is asked of a watcher of any process. A coroutine of a
 * registry lets the others go on while it waits for the outcome; elsewhere the thread waits.
 */
#include "steer.h"

#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../drive/clock.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "ask.h"
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

/* A call about it: asked of the store, what it says is copied there and back. */
struct turn {
	struct vigia__steering s;
	struct vigia_iterator to;
	int64_t until; /* of the wait in a coroutine */
	bool waited;   /* others had a turn */
	int (*call)(struct vigia_store *store, struct turn *turn, struct vigia_error *err);
	int (*then)(lua_State *L, const struct turn *turn, int rc, struct vigia_error *err);
};

static int ask_turn(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct turn *turn = what;
	return turn->call(store, turn, err);
}

static int answer_turn(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	struct turn *turn = what;
	*steering_at(L) = turn->s;
	return turn->then(L, turn, rc, err);
}

static const struct vigia__lua_call turn_call = {.size = sizeof(struct turn), .ask = ask_turn, .answer = answer_turn};

/* The next call of it. */
static int take_turn(lua_State *L, struct turn turn,
                     int (*call)(struct vigia_store *store, struct turn *turn, struct vigia_error *err),
                     int (*then)(lua_State *L, const struct turn *turn, int rc, struct vigia_error *err))
{
	lua_settop(L, STEERING);
	turn.s = *steering_at(L);
	turn.call = call;
	turn.then = then;
	return vigia__lua_ask(L, STORE, &turn_call, &turn);
}

/* ---- in a coroutine ---- */

static int withdraw(struct vigia_store *store, struct turn *turn, struct vigia_error *err)
{
	return vigia__steer_withdraw(store, &turn->s, err);
}

static int withdrawn(lua_State *L, const struct turn *turn, int rc, struct vigia_error *err)
{
	struct lua_handler *running = vigia__lua_running(L);
	if (rc != VIGIA_ETIMEOUT || !vigia__lua_stopping(running)) return push_outcome(L, &turn->s, rc, err);
	if (turn->waited) return vigia__lua_fail_stopping(L, running);
	return vigia__lua_yield_stopping(L, running, vigia__lua_stopped);
}

static int look(struct vigia_store *store, struct turn *turn, struct vigia_error *err)
{
	return vigia__steer_poll(store, &turn->s, err);
}

static int poll_again(lua_State *L, int status, lua_KContext until);

/* While there is no outcome let the others go on. */
static int looked(lua_State *L, const struct turn *turn, int rc, struct vigia_error *err)
{
	struct lua_handler *running = vigia__lua_running(L);
	if (rc != VIGIA_NONE) return push_outcome(L, &turn->s, rc, err);
	int64_t until = turn->until, now = vigia__lua_now(running), next = now + VIGIA_STEER_LOOK_NS;
	if (vigia__lua_stopping(running) || now >= until) return take_turn(L, *turn, withdraw, withdrawn);
	return vigia__lua_suspend(L, running, next < until ? next : until, true, until, poll_again);
}

static int poll_outcome(lua_State *L, int64_t until, bool waited)
{
	return take_turn(L, (struct turn){.until = until, .waited = waited}, look, looked);
}

static int poll_again(lua_State *L, int status, lua_KContext until)
{
	return poll_outcome(L, until, true);
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

static int begin(struct vigia_store *store, struct turn *turn, struct vigia_error *err)
{
	char id[sizeof turn->s.id];
	memcpy(id, turn->s.id, sizeof id);
	return vigia__steer_begin(store, &turn->s, id, turn->to, err);
}

static int begun(lua_State *L, const struct turn *turn, int rc, struct vigia_error *err)
{
	if (rc != VIGIA_PENDING) return push_outcome(L, &turn->s, rc, err);
	struct lua_handler *running = vigia__lua_running(L);
	int64_t ns = turn->s.timeout_ns;
	bool waits = vigia__lua_asks(L, vigia__lua_check_store(L, STORE)) ||
	             (running && !vigia__lua_stopping(running) && vigia__lua_may_suspend(L, running));
	lua_settop(L, STEERING);
	if (!waits) return wait_blocking(L);
	vigia__registry_listen_anything(running->owner->registry);
	return poll_outcome(L, vigia__time_after(running->owner->registry->clock, ns < 0 ? INT64_MAX : ns), false);
}

/* What is at STORE, ID, TO and TIMEOUT. */
static int steer(lua_State *L, enum vigia__steer_kind kind)
{
	size_t len;
	struct vigia_error err = {0};
	struct turn turn = {0};
	vigia__lua_check_handle(L, STORE);
	const char *id = vigia__lua_check_string(L, ID, "watcher_id", &len);
	if (kind == VIGIA_STEER_SEEK) {
		const struct vigia_iterator *given = vigia__lua_test_iterator(L, TO);
		if (given == NULL)
			return luaL_argerror(L, TO,
			                     lua_pushfstring(L, "iterator: an iterator expected, got %s", luaL_typename(L, TO)));
		turn.to = *given;
	}
	int64_t ns = check_timeout(L);
	int rc = vigia__watcher_id_check(id, len, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	struct vigia__steering *s = vigia__lua_new(L, sizeof *s, &steering_class);
	*s = (struct vigia__steering){.steer.kind = kind, .timeout_ns = ns};
	memcpy(s->id, id, len + 1);
	/* That a handler cannot wait for itself is known on its own thread. */
	const struct vigia_store *store = vigia__lua_check_store(L, STORE); /* a finalizer may have closed it */
	if (store && vigia__in_handler_of(store, id)) {
		rc = vigia__steer_begin(vigia__lua_check_store(L, STORE), s, id, turn.to, &err);
		return push_outcome(L, s, rc, &err);
	}
	return take_turn(L, turn, begin, begun);
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

struct forgetting {
	char id[VIGIA_NAME_MAX + 1];
};

static int ask_forget(struct vigia_store *store, void *what, struct vigia_error *err)
{
	return vigia_store_forget(store, ((const struct forgetting *)what)->id, err);
}

static int answer_forget(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	return vigia__lua_done(L, rc, err);
}

static const struct vigia__lua_call forget_call = {
	.size = sizeof(struct forgetting), .ask = ask_forget, .answer = answer_forget};

int vigia__lua_store_forget(lua_State *L)
{
	size_t len;
	struct vigia_error err = {0};
	struct forgetting forgetting;
	vigia__lua_check_handle(L, STORE);
	const char *id = vigia__lua_check_string(L, ID, "watcher_id", &len);
	if (vigia__lua_check_store(L, STORE) == NULL) return vigia__lua_fail_closed(L, STORE);
	int rc = vigia__watcher_id_check(id, len, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	memcpy(forgetting.id, id, len + 1);
	return vigia__lua_ask(L, STORE, &forget_call, &forgetting);
}
