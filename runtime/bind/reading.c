/*
 * reading.c - store:get_events: one reading from its request to its result, blocking or waiting in a handler's
 * coroutine. Also the batches for it.
 *
 * What C owns while Lua may raise is in userdata: a reading under way with its filter and batch, and a batch in a box
 * of its own.
 */
#include "reading.h"

#include <math.h>
#include <string.h>

#include "../core/error.h"
#include "../core/iterator.h"
#include "../drive/worker.h"
#include "../core/batch.h"
#include "../core/options.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "../store/store.h"
#include "ask.h"
#include "coroutine.h"
#include "decode.h"
#include "error.h"
#include "filter.h"
#include "hook.h"
#include "interrupt.h"
#include "iterator.h"
#include "lua_state.h"
#include "options.h"
#include "store_handle.h"

/* ---- Batches ---- */

static void free_batch(lua_State *L, void *object)
{
	struct vigia_batch **box = object;
	vigia_batch_free(*box);
	*box = NULL;
}

static const struct vigia__lua_class batch_class = {.name = "vigia.batch", .free = free_batch};

struct vigia_batch *vigia__lua_push_batch(lua_State *L)
{
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia_batch **box = vigia__lua_new(L, sizeof *box, &batch_class);
	*box = shared->spare ? shared->spare : vigia_batch_new();
	shared->spare = NULL;
	return *box;
}

/* Keep the batch for the next call, or free it: while the Lua state closes, no collector would. */
static void give_back(struct vigia__lua *shared, struct vigia_batch **batch)
{
	if (shared->spare == NULL && *batch) {
		shared->spare = *batch;
		vigia__batch_clear(shared->spare);
		shared->spare->taken = 0;
	} else {
		vigia_batch_free(*batch);
	}
	*batch = NULL;
}

void vigia__lua_return_batch(lua_State *L, int idx)
{
	give_back(vigia__lua_shared(L), vigia__lua_check(L, idx, &batch_class));
}

/* ---- The request ---- */

enum {
	WHERE_AT = 4,
	LIST_AT = 5, /* in a coroutine */
	WHERE_AT_ONCE = 100,
	WHERE_NS = 10000000
}; /* the stack of get_events: store, request, reading, predicate */

/* A get_events under way. In a userdata, so that it can outlive its C function's frame. */
struct reading {
	struct vigia_read request; /* `from` moves on */
	bool timeout_given;
	bool has_where;               /* the predicate is at WHERE_AT */
	int64_t limit;                /* of events that the predicate wants. request.limit bounds what it looks at */
	bool to_end;                  /* continue to the end of the log (request.scan, or in slices) */
	int scan;                     /* the option */
	lua_Integer kept;             /* events in the list */
	bool at_once;                 /* it waits for no event, but for a server */
	bool ended;                   /* the list ends before what was read does: at damage, or at the limit */
	struct vigia__filter *filter; /* the userdata's */
	struct vigia_batch *batch;    /* the same */
	struct vigia_iterator next;
	int64_t until_mono_ns; /* in a handler: when to return without events */
	/* in a handler: what a look is pending for, and the store that it is pending in, which it keeps. NULL: none is */
	struct vigia__arrival arrival;
	struct vigia_store *store;
};

static void forget_arrival(struct reading *r)
{
	if (r->store == NULL) return;
	if (r->store->fork_generation == vigia__fork_generation())
		r->store->backend->forget_scan(r->store->backend, &r->arrival);
	vigia__store_unref(r->store);
	r->store = NULL;
}

static void free_reading(lua_State *L, void *object)
{
	struct reading *r = object;
	forget_arrival(r);
	vigia__filter_free(r->filter);
	vigia_batch_free(r->batch);
	r->filter = NULL;
	r->batch = NULL;
}

static const struct vigia__lua_class reading_class = {.name = "vigia.reading", .free = free_reading};

static const struct vigia__option read_option_table[] = {
	{.name = "event_iterator", .type = VIGIA_OPTION_SPECIAL, .help = "where to start (default: trim horizon)"},
	{.name = "limit",
     .type = VIGIA_OPTION_COUNT,
     .offset = offsetof(struct reading, request.limit),
     .max = 0x1p63,
     .help = "most events to return, 0 = no limit"},
	{.name = "filter",
     .type = VIGIA_OPTION_SPECIAL,
     .help = "what to keep: object_types, operations, places, or a function"},
	{.name = "where", .type = VIGIA_OPTION_SPECIAL, .help = "a function (event) -> boolean: which events to return"},
	{.name = "timeout",
     .type = VIGIA_OPTION_SECONDS,
     .offset = offsetof(struct reading, request.timeout_ns),
     .given_offset = offsetof(struct reading, timeout_given),
     .max = HUGE_VAL,
     .help = "how long to wait for an event; math.huge: until there is one"},
	{.name = "scan",
     .type = VIGIA_OPTION_CHOICE,
     .offset = offsetof(struct reading, scan),
     .choices = "slice end",
     .help = "slice: look at about 10 ms of events that the filter drops; end: continue to the end of the log"},
	{.name = "watcher_id", .type = VIGIA_OPTION_SPECIAL, .help = "for logs"},
	{.name = NULL},
};

static void read_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct reading *r = ctx;
	if (strcmp(name, "event_iterator") == 0) vigia__lua_option_iterator(L, idx, name, &r->request.from, problems);
	else if (strcmp(name, "where") == 0) vigia__lua_option_predicate(L, idx, name, &r->has_where, problems);
	else if (strcmp(name, "filter") == 0) vigia__lua_option_filter(L, idx, name, &r->has_where, problems);
	else if (lua_type(L, idx) != LUA_TSTRING)
		vigia__problem(problems, "watcher_id is a %s, allowed: a string", luaL_typename(L, idx));
}

/* A userdata with all that the request at `arg` says. [-0, +1, v] */
static struct reading *push_reading(lua_State *L, int arg)
{
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct reading *r = vigia__lua_new(L, sizeof *r, &reading_class);
	vigia__lua_check_options(L, arg, read_option_table, r, "request", read_special, r);
	if (!r->timeout_given) r->request.timeout_ns = -1;
	r->to_end = r->scan == VIGIA_SCAN_END;
	r->next = r->request.from;
	r->limit = r->request.limit;
	if (r->has_where && r->limit > 0 && r->limit < WHERE_AT_ONCE) r->request.limit = WHERE_AT_ONCE;
	vigia__lua_make_filter(L, arg, &r->filter);
	r->batch = shared->spare ? shared->spare : vigia_batch_new();
	shared->spare = NULL;
	if (r->batch == NULL) luaL_error(L, "not enough memory");
	return r;
}

/* ---- Looking and answering ---- */

/* One look, without a wait. With no event, r->next tells whether the position moved. */
static int read_once(struct vigia_store *store, struct reading *r, struct vigia_error *err)
{
	struct vigia_read request = r->request;
	request.timeout_ns = 0;
	return vigia__store_read(store, &request, r->filter, NULL, r->batch, &r->next, err);
}

/* Wake the registries whose coroutines look for events. */
static void look_again(void *ctx)
{
	const struct vigia_store *store = ctx;
	struct vigia__wake_set none;
	vigia__wake_set_clear(&none);
	vigia__wake_publish(store->backend->wake, &none);
}

/* The same, which does not wait for a server either: VIGIA_PENDING. */
static int look_now(struct vigia_store *store, struct reading *r, struct vigia_error *err)
{
	if (!store->backend->waits) return read_once(store, r, err);
	if (r->store == NULL) {
		vigia__store_ref(store);
		r->store = store;
		r->arrival.tell = look_again;
		r->arrival.ctx = store;
		r->arrival.asks = true; /* what other processes stored before counts, also where that was not told yet */
	}
	int rc = vigia__store_look(store, &r->request, r->filter, &r->arrival, r->batch, &r->next, err);
	if (rc != VIGIA_PENDING) r->arrival.asks = false;
	return rc;
}

/* On a script's thread: a stop ends the wait. */
static int look_until_stop(struct vigia_store *store, struct reading *r, int64_t timeout_ns,
                           struct vigia__worker *worker, struct vigia_error *err)
{
	const atomic_bool *stopping = vigia__worker_stopping(worker);
	struct vigia__cancel cancel = {.flag = stopping, .bell = &vigia__worker_registry(worker)->bell};
	struct vigia_read request = r->request;
	request.timeout_ns = timeout_ns;
	int rc = vigia__store_read(store, &request, r->filter, &cancel, r->batch, &r->next, err);
	if (rc == VIGIA_OK && r->batch->count == 0 && atomic_load(stopping))
		rc = vigia__error(err, VIGIA_ESTOPPING, "the watcher is stopping");
	return rc;
}

/* In the program `vigia` a signal ends the wait. Elsewhere a hook that a signal handler sets runs meanwhile.
 * [-0, +0, e] */
static int look_and_wait(lua_State *L, struct reading *r, int64_t timeout_ns, struct vigia_error *err)
{
	struct vigia__hooks hooks;
	vigia__hooks_begin(L, &hooks);
	struct vigia__interrupt_bell interruption = {0};
	struct vigia__cancel cancel = {.flag = &vigia__interrupted, .bell = &interruption.bell, .ctx = &hooks};
	if (hooks.watched) cancel.asks = vigia__hooks_changed;
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	if (store && timeout_ns < 0) timeout_ns = store->options.long_polling_timeout_ns;
	int64_t start = vigia__mono_ns(), until = timeout_ns > INT64_MAX - start ? INT64_MAX : start + timeout_ns;
	for (;;) {
		if (store == NULL) { /* the hook closed it: no events, and the position reached (contract S6) */
			/* GCOVR_EXCL_START: closed by a hook, between two waits. */
			vigia__batch_clear(r->batch);
			return VIGIA_OK;
			/* GCOVR_EXCL_STOP */
		}
		struct vigia_read request = r->request;
		struct vigia__interrupt_hook hook = {.fn = vigia__interrupt_ring, .ctx = &interruption};
		interruption.wake = store->backend->wake;
		request.timeout_ns = timeout_ns;
		vigia__interrupt_add(&hook);
		int rc = vigia__store_read(store, &request, r->filter, &cancel, r->batch, &r->next, err);
		vigia__interrupt_remove(&hook);
		if (rc < 0 || r->batch->count > 0) return rc;
		if (atomic_load(&vigia__interrupted))
			return vigia__error(err, VIGIA_EINTERRUPTED, "get_events was interrupted");
		if (!vigia__hooks_changed(&hooks)) return rc;
		r->request.from = r->next;
		vigia__hooks_run(L, &hooks);
		store = vigia__lua_check_store(L, 1);
		timeout_ns = until - vigia__mono_ns();
		if (timeout_ns <= 0 && !(request.scan == VIGIA_SCAN_END && !r->batch->at_end)) return rc;
		if (timeout_ns < 0) timeout_ns = 0;
	}
}

/* One look, waiting up to timeout_ns (-1: as long as the store's option says) in this thread. [-0, +0, e] */
static int look_blocking(lua_State *L, struct vigia_store *store, struct reading *r, int64_t timeout_ns,
                         struct vigia_error *err)
{
	struct vigia__worker *worker = vigia__lua_shared(L)->worker;
	if (timeout_ns == 0 && r->request.scan == VIGIA_SCAN_SLICE) return read_once(store, r, err);
	return worker ? look_until_stop(store, r, timeout_ns, worker, err) : look_and_wait(L, r, timeout_ns, err);
}

/* Does the predicate want the event on top? What it raises goes to the caller. */
static bool wanted(lua_State *L)
{
	lua_pushvalue(L, WHERE_AT);
	lua_pushvalue(L, -2);
	lua_call(L, 1, 1);
	bool yes = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return yes;
}

/* Add the events in the batch that are wanted to the list on top. r->next moves behind the last one looked at. Damage
 * ends the list: what is before it comes first, and the next look, which begins with the damaged event, tells of it: <
 * 0, and the list is gone. */
static int add_events(lua_State *L, struct reading *r, struct vigia_error *err)
{
	size_t count = r->batch->count;
	for (size_t i = 0; i < count; i++) {
		int rc = vigia__lua_push_event(L, 1, r->batch, i, err);
		if (rc < 0 && i == 0 && r->kept == 0) {
			lua_pop(L, 1);
			return rc;
		}
		if (rc < 0) {
			r->next = i > 0 ? vigia__iterator_after(r->batch->entries[i - 1].seq_num) : r->request.from;
			r->ended = true;
			break;
		}
		if (r->has_where && !wanted(L)) {
			lua_pop(L, 1);
			continue;
		}
		lua_rawseti(L, -2, ++r->kept);
		if (r->to_end) r->batch->taken += r->batch->entries[i].len;
		if (r->has_where && r->kept == r->limit && i + 1 < count) {
			r->next = vigia__iterator_after(r->batch->entries[i].seq_num);
			r->ended = true;
			break;
		}
	}
	return VIGIA_OK;
}

/* Is there more to look at, for one that goes on to the end? Not where the last look got nowhere: the result is as
 * large as it may be. */
static bool goes_on(const struct reading *r)
{
	return r->to_end && !r->ended && !r->batch->at_end && !(r->limit > 0 && r->kept >= r->limit) &&
	       !vigia__iterator_equal(r->next, r->request.from);
}

/* Look on from where the last look came to. */
static void move_on(struct reading *r)
{
	r->request.from = r->next;
	if (r->limit > 0 && !r->has_where) r->request.limit = r->limit - r->kept;
}

/* It has come to its end. */
static void release_reading(lua_State *L, struct reading *r)
{
	forget_arrival(r);
	give_back(vigia__lua_shared(L), &r->batch);
	vigia__filter_free(r->filter);
	r->filter = NULL;
}

static int fail_reading(lua_State *L, struct reading *r, int rc, struct vigia_error *err)
{
	release_reading(L, r);
	return vigia__lua_fail(L, rc, err);
}

/* Push {events = the list on top, next_event_iterator =, at_end =}. */
static int answer_list(lua_State *L, struct reading *r)
{
	lua_createtable(L, 0, 3);
	lua_insert(L, -2);
	lua_setfield(L, -2, "events");
	vigia__lua_push_iterator(L, r->next);
	lua_setfield(L, -2, "next_event_iterator");
	lua_pushboolean(L, r->batch->at_end && !r->ended);
	lua_setfield(L, -2, "at_end");
	release_reading(L, r);
	return 1;
}

static int push_result(lua_State *L, struct reading *r)
{
	struct vigia_error err = {0};
	lua_createtable(L, r->batch->count < INT32_MAX ? (int)r->batch->count : 0, 0);
	int rc = add_events(L, r, &err);
	return rc < 0 ? fail_reading(L, r, rc, &err) : answer_list(L, r);
}

/* With a predicate: look until it wants something, the time is over or, without one, for a little while. With the scan
 * "end": to the end of the log. */
static int search_events(lua_State *L, struct reading *r)
{
	struct vigia_error err = {0};
	int64_t start = vigia__mono_ns(), timeout = r->request.timeout_ns;
	if (timeout < 0) timeout = vigia__lua_check_store(L, 1)->options.long_polling_timeout_ns;
	int64_t until = timeout > INT64_MAX - start ? INT64_MAX : start + timeout,
			enough = timeout ? until : start + WHERE_NS;
	lua_newtable(L);
	for (;;) {
		struct vigia_store *store = vigia__lua_check_store(L, 1); /* the predicate may have closed it */
		if (store == NULL) {
			vigia__batch_clear(r->batch);
			return answer_list(L, r);
		}
		int64_t left = timeout && r->kept == 0 ? until - vigia__mono_ns() : 0;
		int rc = look_blocking(L, store, r, left > 0 ? left : 0, &err);
		if (rc == VIGIA_OK) rc = add_events(L, r, &err);
		if (rc < 0) return fail_reading(L, r, rc, &err);
		if (!goes_on(r) && (r->kept > 0 || r->ended || r->batch->count == 0 || vigia__mono_ns() >= enough))
			return answer_list(L, r);
		move_on(r);
	}
}

/* How often a coroutine of another store's registry looks for events. */
enum { FOREIGN_LOOK_NS = 50000000 };

/* In a handler's coroutine (stack: store, request, reading, predicate, list): look. While there is nothing let the
 * other watchers go on. */
static int poll_events(lua_State *L, int status, lua_KContext ctx)
{
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	struct reading *r = vigia__lua_check(L, 3, &reading_class);
	struct lua_handler *running = vigia__lua_running(L);
	struct vigia_error err = {0};
	if (vigia__lua_stopping(running) && !r->at_once) {
		release_reading(L, r);
		return vigia__lua_fail_stopping(L, running);
	}
	if (store == NULL) { /* closed while it waited: no events, and the position reached (contract S6) */
		vigia__batch_clear(r->batch);
		return answer_list(L, r);
	}
	int rc = look_now(store, r, &err);
	bool comes = rc == VIGIA_PENDING; /* the server was asked */
	if (rc == VIGIA_OK) rc = add_events(L, r, &err);
	if (rc < 0) return fail_reading(L, r, rc, &err);
	int64_t until = r->until_mono_ns;
	bool more = comes || goes_on(r);
	if (comes) until = INT64_MAX; /* it answers soon, or is found to be away */
	if (!more && (r->kept > 0 || r->ended || vigia__lua_now(running) >= until)) return answer_list(L, r);
	bool moved = !vigia__iterator_equal(r->next, r->request.from);
	move_on(r);
	if (!vigia__lua_woken_by(running,
	                         store)) { /* appends to another file do not wake this registry: look again now and then */
		int64_t soon = vigia__lua_now(running) + FOREIGN_LOOK_NS;
		until = soon < until ? soon : until;
	}
	return vigia__lua_suspend(L, running, moved && !comes ? 0 : until, true, 0, poll_events);
}

/* Where it begins, for a read that does not wait for the server. */
static int ask_start(struct vigia_store *store, void *what, struct vigia_error *err)
{
	return vigia__store_resolve(store, what, err);
}

static int answer_start(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	struct reading *r = vigia__lua_check(L, 3, &reading_class);
	if (rc < 0) return fail_reading(L, r, rc, err);
	r->request.from = *(const struct vigia_iterator *)what;
	lua_settop(L, LIST_AT);
	return poll_events(L, LUA_OK, 0);
}

static const struct vigia__lua_call start_call = {
	.size = sizeof(struct vigia_iterator), .ask = ask_start, .answer = answer_start};

int vigia__lua_get_events(lua_State *L)
{
	vigia__lua_check_store(L, 1);
	lua_settop(L, 2);
	struct reading *r = push_reading(L, 2);
	vigia__lua_push_where(L, 2);
	struct vigia_error err = {0};
	struct vigia_store *store = vigia__lua_check_store(L, 1); /* only now: a finalizer may have closed it meanwhile */
	if (store == NULL) {
		release_reading(L, r);
		return vigia__lua_fail_closed(L, 1);
	}
	struct lua_handler *running = vigia__lua_running(L);
	bool waits = r->request.timeout_ns != 0 || r->to_end;
	if (running && waits && vigia__lua_stopping(running)) {
		release_reading(L, r);
		return vigia__lua_yield_stopping(L, running, vigia__lua_stopped);
	}
	r->at_once = !waits;
	if (waits ? vigia__lua_may_suspend(L, running) : vigia__lua_asks(L, store)) {
		int64_t now = vigia__lua_now(running);
		int64_t timeout = r->request.timeout_ns < 0 ? store->options.long_polling_timeout_ns : r->request.timeout_ns;
		r->until_mono_ns = timeout > INT64_MAX - now ? INT64_MAX : now + timeout;
		vigia__registry_listen_anything(running->owner->registry);
		lua_newtable(L);
		enum vigia_iterator_kind kind = r->request.from.kind;
		bool known = kind != VIGIA_TRIM_HORIZON && kind != VIGIA_LATEST;
		if (!known && vigia__lua_asks(L, vigia__lua_check_store(L, 1)))
			return vigia__lua_ask(L, 1, &start_call, &r->request.from);
		return poll_events(L, LUA_OK, 0);
	}
	r->request.scan = r->scan;
	if (r->has_where) return search_events(L, r);
	int rc = look_blocking(L, store, r, r->request.timeout_ns, &err);
	return rc < 0 ? fail_reading(L, r, rc, &err) : push_result(L, r);
}
