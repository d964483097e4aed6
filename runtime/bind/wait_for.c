/*
 * wait_for.c - store:wait_for: waits for the checkpoint of a watcher, in a coroutine of a registry or in the thread.
 */
#include "wait_for.h"

#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../drive/clock.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "ask.h"
#include "coroutine.h"
#include "error.h"
#include "lua_state.h"
#include "store_handle.h"
#include "thread_wait.h"

enum { STORE = 1, ID, NUMBER, TIMEOUT }; /* the stack */

/* How often a coroutine of another store's registry looks: saves in this one do not wake it. */
enum { FOREIGN_LOOK_NS = 50000000 };

/* What is at ID and NUMBER stays there. */
struct wanted {
	const char *id;
	uint64_t seq_num;
};

static struct wanted wanted_at(lua_State *L)
{
	return (struct wanted){lua_tostring(L, ID), (uint64_t)lua_tointeger(L, NUMBER)};
}

static int push_saved(lua_State *L, uint64_t saved)
{
	lua_pushinteger(L, (lua_Integer)saved);
	return 1;
}

/* A look in a coroutine. */
struct look {
	char id[VIGIA_NAME_MAX + 1];
	uint64_t seq_num, saved;
	int64_t until;
	bool waited; /* others had a turn */
};

static int ask_look(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct look *look = what;
	return vigia__checkpoint_look(store, look->id, look->seq_num, true, &look->saved, err);
}

static int poll_again(lua_State *L, int status, lua_KContext until);

/* While it is not reached let the others go on. */
static int answer_look(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct look *look = what;
	struct vigia_store *store = vigia__lua_check_store(L, STORE);
	struct lua_handler *running = vigia__lua_running(L);
	if (store == NULL) return vigia__lua_fail_closed(L, STORE);
	bool stopping = rc == VIGIA_NONE && vigia__lua_stopping(running);
	int64_t until = look->until, now = stopping ? 0 : vigia__lua_now(running), first = until;
	if (rc == VIGIA_NONE && !stopping && now >= until)
		rc = vigia__checkpoint_late(look->id, look->seq_num, look->saved, err);
	if (rc == VIGIA_NONE && !stopping) {
		if (!vigia__lua_woken_by(running, store) && now + FOREIGN_LOOK_NS < until) first = now + FOREIGN_LOOK_NS;
		lua_settop(L, TIMEOUT);
		return vigia__lua_suspend(L, running, first, true, until, poll_again);
	}
	vigia__checkpoint_unwant(store, look->id, look->seq_num);
	if (stopping && look->waited) return vigia__lua_fail_stopping(L, running);
	if (stopping) return vigia__lua_yield_stopping(L, running, vigia__lua_stopped);
	return rc < 0 ? vigia__lua_fail(L, rc, err) : push_saved(L, look->saved);
}

static const struct vigia__lua_call look_call = {.size = sizeof(struct look), .ask = ask_look, .answer = answer_look};

static int poll_checkpoint(lua_State *L, int64_t until, bool waited)
{
	struct vigia_store *store = vigia__lua_check_store(L, STORE);
	struct wanted wanted = wanted_at(L);
	struct look look = {.seq_num = wanted.seq_num, .until = until, .waited = waited};
	struct vigia_error err = {0};
	memcpy(look.id, wanted.id, strlen(wanted.id) + 1);
	/* That a handler cannot wait for itself is known on its own thread. */
	if (store == NULL || !vigia__in_handler_of(store, wanted.id)) return vigia__lua_ask(L, STORE, &look_call, &look);
	int rc = ask_look(store, &look, &err);
	return answer_look(L, &look, rc, &err);
}

static int poll_again(lua_State *L, int status, lua_KContext until)
{
	return poll_checkpoint(L, until, true);
}

/* A wait of the thread. */
struct waiting {
	struct wanted wanted;
	int64_t until_mono_ns; /* INT64_MAX: without a limit */
	uint64_t saved;
};

static int wait_for_checkpoint(struct vigia_store *store, const struct vigia__cancel *cancel, void *ctx,
                               struct vigia_error *err)
{
	struct waiting *w = ctx;
	int64_t left = -1;
	if (w->until_mono_ns != INT64_MAX) {
		left = w->until_mono_ns - vigia__mono_ns();
		if (left < 0) left = 0;
	}
	return vigia__checkpoint_wait(store, w->wanted.id, w->wanted.seq_num, left, cancel, &w->saved, err);
}

static int wait_blocking(lua_State *L, int64_t ns)
{
	struct vigia_error err = {0};
	struct waiting w = {.wanted = wanted_at(L), .until_mono_ns = vigia__time_after(NULL, ns)};
	int rc = vigia__lua_wait_in_thread(L, STORE, "wait_for", wait_for_checkpoint, &w, &err);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : push_saved(L, w.saved);
}

int vigia__lua_store_wait_for(lua_State *L)
{
	size_t len;
	struct vigia_error err = {0};
	vigia__lua_check_handle(L, STORE);
	const char *id = vigia__lua_check_string(L, ID, "watcher_id", &len);
	uint64_t seq_num = vigia__lua_check_seq(L, NUMBER, "n");
	int64_t ns = lua_isnoneornil(L, TIMEOUT) ? INT64_MAX : vigia__lua_check_seconds(L, TIMEOUT, "timeout");
	int rc = vigia__watcher_id_check(id, len, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_settop(L, TIMEOUT);
	lua_pushinteger(L, (lua_Integer)seq_num); /* of a float, the integer */
	lua_replace(L, NUMBER);
	if (vigia__lua_check_store(L, STORE) == NULL) return vigia__lua_fail_closed(L, STORE);
	struct lua_handler *running = vigia__lua_running(L);
	bool stopping = running && vigia__lua_stopping(running);
	if (!stopping && !vigia__lua_may_suspend(L, running)) return wait_blocking(L, ns);
	if (!stopping) vigia__registry_listen_anything(running->owner->registry);
	return poll_checkpoint(L, stopping ? INT64_MAX : vigia__time_after(running->owner->registry->clock, ns), false);
}
