/*
 * ask.c - calls of a store that a coroutine of a registry makes. What it promises is in ask.h.
 *
 * The question is memory of C, which the thread that asks shares: its userdata, which the coroutine keeps, may be
 * collected while it is under way.
 */
#include "ask.h"

#include <string.h>

#include "../core/error.h"
#include "../drive/drive.h"
#include "coroutine.h"
#include "error.h"
#include "lua_state.h"
#include "store_handle.h"

struct asked {
	const struct vigia__lua_call *call; /* never NULL */
	struct vigia__question *question;
};

/* Its results were pushed, or it is collected. */
static void free_asked(lua_State *L, void *object)
{
	struct asked *asked = object;
	vigia__question_unref(asked->question);
	asked->question = NULL;
}

static const struct vigia__lua_class asked_class = {.name = "vigia.asked", .free = free_asked};

bool vigia__lua_asks(lua_State *L, const struct vigia_store *store)
{
	if (store == NULL || !store->backend->waits) return false;
	const struct vigia__lua *shared = vigia__lua_shared(L);
	const struct lua_handler *running = shared->handler;
	/* A script is alone on its thread. With a clock that is moved by hand, what a step does must not hang on another
	 * thread. */
	return shared->worker == NULL && vigia__lua_may_suspend(L, running) && running->owner->registry &&
	       running->owner->registry->clock == NULL;
}

void *vigia__lua_ask_new(lua_State *L, const struct vigia__lua_call *call)
{
	vigia__lua_check_finalizes(L);
	struct asked *asked = vigia__lua_new(L, sizeof *asked, &asked_class);
	asked->call = call;
	asked->question = vigia__question_new(call->size, call->free);
	if (asked->question == NULL) luaL_error(L, "not enough memory");
	return vigia__question_body(asked->question);
}

/* What it holds may be much, and is not needed any more. The results may have taken its place. */
static int answer(lua_State *L, int at, int rc, struct vigia_error *err)
{
	struct asked *asked = lua_touserdata(L, at);
	int results = asked->call->answer(L, vigia__question_body(asked->question), rc, err);
	if (lua_touserdata(L, at) == asked) free_asked(L, asked);
	return results;
}

/* Woken for whatever reason: is it answered by now? */
static int look(lua_State *L, int status, lua_KContext at)
{
	struct asked *asked = vigia__lua_check(L, (int)at, &asked_class);
	struct vigia_error err;
	int rc;
	if (asked->question == NULL) return luaL_error(L, "vigia: the call has ended"); /* other code has put it there */
	if (vigia__question_answered(asked->question, &rc, &err)) return answer(L, (int)at, rc, &err);
	return vigia__lua_suspend_asking(L, vigia__lua_running(L), asked->question, at, look);
}

/* Where it cannot be asked that is the answer. */
static int ask_elsewhere(lua_State *L, struct vigia_store *store, struct asked *asked)
{
	struct vigia_error err;
	vigia__error_clear(&err);
	struct vigia_registry *registry = vigia__lua_running(L)->owner->registry;
	void *what = vigia__question_body(asked->question);
	int rc = VIGIA_ENOMEM;
	if (asked->call->keep == NULL || asked->call->keep(what))
		rc = vigia__question_ask(registry, asked->question, store, asked->call->ask, &err);
	return rc == VIGIA_PENDING ? look(L, LUA_OK, lua_gettop(L)) : answer(L, lua_gettop(L), rc, &err);
}

int vigia__lua_ask_made_of(lua_State *L, struct vigia_store *store)
{
	struct asked *asked = vigia__lua_check(L, -1, &asked_class);
	if (vigia__lua_asks(L, store)) return ask_elsewhere(L, store, asked);
	struct vigia_error err;
	vigia__error_clear(&err);
	int rc = asked->call->ask(store, vigia__question_body(asked->question), &err);
	return answer(L, lua_gettop(L), rc, &err);
}

int vigia__lua_ask_made(lua_State *L, int store_at)
{
	struct vigia_store *store = vigia__lua_check_store(L, store_at); /* a finalizer may have closed it */
	if (store) return vigia__lua_ask_made_of(L, store);
	free_asked(L, vigia__lua_check(L, -1, &asked_class));
	return vigia__lua_fail_closed(L, store_at);
}

int vigia__lua_ask(lua_State *L, int store_at, const struct vigia__lua_call *call, const void *what)
{
	struct vigia_store *store = vigia__lua_check_store(L, store_at);
	if (vigia__lua_asks(L, store)) {
		void *kept = vigia__lua_ask_new(L, call);
		store = vigia__lua_check_store(L, store_at); /* a finalizer may have closed it */
		if (store) {
			memcpy(kept, what, call->size);
			return ask_elsewhere(L, store, vigia__lua_check(L, -1, &asked_class));
		}
	}
	if (store == NULL) return vigia__lua_fail_closed(L, store_at);
	struct vigia_error err;
	vigia__error_clear(&err);
	int rc = call->ask(store, (void *)what, &err);
	return call->answer(L, (void *)what, rc, &err);
}

struct vigia__question *vigia__lua_ask_question(lua_State *L)
{
	return vigia__question_ref(((struct asked *)vigia__lua_check(L, -1, &asked_class))->question);
}

void vigia__lua_ask_use(lua_State *L, const struct vigia_watcher *watcher)
{
	vigia__question_use(((struct asked *)vigia__lua_check(L, -1, &asked_class))->question, watcher);
}
