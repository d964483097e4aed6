/*
 * timer.c - store:schedule, store:unschedule and store:scheduled: events that are appended later.
 */
#include "timer.h"

#include <string.h>

#include "../core/batch.h"
#include "../core/error.h"
#include "../drive/drive.h"
#include "../store/store_timers.h"
#include "append.h"
#include "ask.h"
#include "coroutine.h"
#include "decode.h"
#include "error.h"
#include "lua_state.h"
#include "options.h"
#include "reading.h"
#include "serial.h"
#include "store_append.h"
#include "store_handle.h"

/* ---- schedule ---- */

struct delay {
	double after;
	bool given;
};

static void delay_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct delay *delay = ctx;
	delay->given = vigia__lua_option_seconds(L, idx, &delay->after);
	if (!delay->given)
		vigia__problem(problems, "after: a number of seconds, 0 or more, or text such as \"1h\", expected");
}

static const struct vigia__option delay_table[] = {
	{.name = "after", .type = VIGIA_OPTION_SPECIAL, .help = "seconds from now"},
	{.name = NULL},
};

/* The time at `arg`: an integer, or {after = seconds}. Nothing of a store is looked at. [-0, +0, v] */
static bool check_time(lua_State *L, int arg, int64_t *at_ns, double *after)
{
	int whole = 0;
	if (lua_type(L, arg) == LUA_TTABLE) {
		struct delay delay = {0};
		vigia__lua_check_options(L, arg, delay_table, &delay, "at", delay_special, &delay);
		if (!delay.given) luaL_argerror(L, arg, "at: {after = seconds} expected");
		*after = delay.after;
		return false;
	}
	if (lua_type(L, arg) == LUA_TNUMBER) *at_ns = lua_tointegerx(L, arg, &whole);
	if (!whole)
		luaL_argerror(L, arg,
		              lua_pushfstring(L, "at: integer of nanoseconds, or {after = seconds}, expected, got %s",
		                              lua_type(L, arg) == LUA_TNUMBER ? "a float" : luaL_typename(L, arg)));
	if (*at_ns < 0) luaL_argerror(L, arg, "at: a time before 1970");
	return true;
}

/* So far ahead that it never comes. */
static int64_t time_after(int64_t now_ns, double seconds)
{
	double ns = seconds * 1e9;
	return ns >= 0x1p63 - (double)now_ns - 1024 ? INT64_MAX : now_ns + (int64_t)ns;
}

/* The id, and where its key was known true, and the number if its event is stored. [-0, +1..3, m] */
static int push_scheduled(lua_State *L, const struct vigia__schedule *schedule)
{
	lua_pushinteger(L, (lua_Integer)schedule->id);
	if (!schedule->existed) return 1;
	lua_pushboolean(L, 1);
	if (schedule->seq_num == 0) return 2;
	lua_pushinteger(L, (lua_Integer)schedule->seq_num);
	return 3;
}

enum { STORE = 1, AT, OPERATION, TYPE, OBJECT, OPTIONS, WAITING };

/* One that a coroutine waits for. */
struct lua_schedule {
	struct vigia__schedule schedule;
	struct vigia__pending pending;
	struct vigia__buf event;
	char key[VIGIA_KEY_MAX];
};

/* A dropped coroutine takes it along while the committing thread still uses it. */
static void free_schedule(lua_State *L, void *object)
{
	struct lua_schedule *waiting = object;
	vigia__store_await(&waiting->pending);
	vigia__store_settle(&waiting->pending);
	vigia__buf_deinit(&waiting->event);
}

static const struct vigia__lua_class schedule_class = {.name = "vigia.schedule", .free = free_schedule};

/* Woken for whatever reason: is it durable by now? A stop does not end the wait: what was submitted will be stored. */
static int look_at_schedule(lua_State *L, int status, lua_KContext at)
{
	struct lua_schedule *waiting = vigia__lua_check(L, (int)at, &schedule_class);
	if (!atomic_load(&waiting->pending.done))
		return vigia__lua_suspend_pending(L, waiting->pending.store, at, look_at_schedule);
	int rc = vigia__store_settle(&waiting->pending);
	return rc < 0 ? vigia__lua_fail(L, rc, &waiting->pending.err) : push_scheduled(L, &waiting->schedule);
}

/* In a handler's coroutine, while others run. Use as `return submit(...)`. */
static int submit(lua_State *L, struct vigia_store *store, struct lua_schedule *waiting,
                  const struct vigia__schedule *schedule)
{
	struct vigia_error err = {0};
	waiting->schedule = *schedule;
	if (schedule->key.len > 0) memcpy(waiting->key, schedule->key.data, schedule->key.len);
	waiting->schedule.key.data = waiting->key;
	vigia__registry_listen_anything(vigia__lua_running(L)->owner->registry);
	int rc = vigia__store_schedule_submit(store, &waiting->schedule, &waiting->pending, &err);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : look_at_schedule(L, LUA_OK, WAITING);
}

int vigia__lua_store_schedule(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, STORE);
	struct vigia__schedule schedule = {0};
	double after = 0;
	bool is_time = check_time(L, AT, &schedule.at_ns, &after);
	vigia__lua_check_string(L, OPERATION, "operation", NULL);
	vigia__lua_check_string(L, TYPE, "object_type", NULL);
	if (lua_isnone(L, OBJECT)) luaL_argerror(L, OBJECT, "object: value expected (nil is allowed)");
	lua_settop(L, OPTIONS);
	schedule.key = vigia__lua_check_key(L, OPTIONS);
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia_error err = {0};
	if (h->store == NULL) return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	if (h->serializer.functions || h->serializer.strict) {
		int refused = vigia__lua_marshal(L, &h->serializer, STORE, OPERATION, TYPE, OBJECT, &err);
		if (refused < 0) return vigia__lua_fail(L, refused, &err);
		if (h->store == NULL) return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	}
	struct lua_schedule *waiting = NULL;
	if (vigia__lua_append_may_wait(L, shared, h->store)) {
		waiting = vigia__lua_new(L, sizeof *waiting, &schedule_class);
		if (h->store == NULL) return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	}
	struct vigia__buf *buf = waiting ? &waiting->event : &shared->events;
	vigia__buf_clear(buf, VIGIA_LUA_KEEP);
	int rc = vigia__lua_encode_for(L, h->store, &h->serializer, OPERATION, TYPE, OBJECT, buf, &err);
	schedule.event = buf->data;
	schedule.len = buf->len;
	if (!is_time) schedule.at_ns = time_after(vigia__store_wall_ns(h->store), after);
	if (rc == 0 && waiting) return submit(L, h->store, waiting, &schedule);
	if (rc == 0) rc = vigia__store_schedule(h->store, &schedule, &err);
	vigia__buf_clear(buf, VIGIA_LUA_KEEP);
	return rc < 0 ? vigia__lua_fail_store(L, rc, &err) : push_scheduled(L, &schedule);
}

static int ask_unschedule(struct vigia_store *store, void *what, struct vigia_error *err)
{
	return vigia_unschedule(store, *(const uint64_t *)what, err);
}

static int answer_unschedule(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	return rc < 0 ? vigia__lua_fail(L, rc, err) : vigia__lua_boolean(L, rc == VIGIA_OK);
}

static const struct vigia__lua_call unschedule_call = {
	.size = sizeof(uint64_t), .ask = ask_unschedule, .answer = answer_unschedule};

int vigia__lua_store_unschedule(lua_State *L)
{
	vigia__lua_check_handle(L, STORE);
	uint64_t id = vigia__lua_check_seq(L, 2, "id");
	return vigia__lua_ask(L, STORE, &unschedule_call, &id);
}

/* ---- scheduled ---- */

struct query {
	struct vigia_timer_query wanted;
	struct vigia__buf copies; /* of its strings, on another thread */
	struct vigia_batch *batch;
};

static const struct vigia__option query_table[] = {
	{.name = "from",
     .type = VIGIA_OPTION_COUNT,
     .offset = offsetof(struct query, wanted.from_at_ns),
     .max = 0x1p63,
     .help = "due at this time or later"},
	{.name = "to",
     .type = VIGIA_OPTION_COUNT,
     .offset = offsetof(struct query, wanted.to_at_ns),
     .given_offset = offsetof(struct query, wanted.to_given),
     .max = 0x1p63,
     .help = "due at this time or earlier"},
	{.name = "operation", .type = VIGIA_OPTION_SPECIAL, .help = "with this operation"},
	{.name = "object_type", .type = VIGIA_OPTION_SPECIAL, .help = "with this object type"},
	{.name = "key", .type = VIGIA_OPTION_SPECIAL, .help = "with this key"},
	{.name = "limit",
     .type = VIGIA_OPTION_COUNT,
     .offset = offsetof(struct query, wanted.limit),
     .max = 0x1p53,
     .help = "most timers to return, 0 = no limit"},
	{.name = NULL},
};

static void query_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct vigia_timer_query *wanted = &((struct query *)ctx)->wanted;
	struct vigia_slice *out = name[0] == 'k'   ? &wanted->key
	                          : name[1] == 'p' ? &wanted->operation
	                                           : &wanted->object_type;
	if (lua_type(L, idx) == LUA_TSTRING) *out = vigia__lua_slice(L, idx);
	if (out->len == 0)
		vigia__problem(problems, "%s is a %s, allowed: a string that is not empty", name, luaL_typename(L, idx));
}

/* Each timer is two entries: its event with the id as its number, and its key. */
static int add_timer(void *ctx, const struct vigia__timer *timer)
{
	struct vigia_batch *batch = ctx;
	if (vigia__batch_add(batch, timer->id, timer->event.data, timer->event.len) < 0 ||
	    vigia__batch_add(batch, 0, timer->key.len > 0 ? timer->key.data : "", timer->key.len) < 0)
		return VIGIA_ENOMEM;
	return VIGIA_OK;
}

/* {id =, at =, operation =, object_type =, object =, key =}. [-0, +1, m] */
static int push_timer(lua_State *L, const struct vigia_batch *batch, size_t i, struct vigia_error *err)
{
	const struct vigia__entry *key = &batch->entries[i + 1];
	int rc = vigia__lua_push_event(L, STORE, batch, i, err);
	if (rc < 0) return rc;
	lua_getfield(L, -1, "seq_num");
	lua_setfield(L, -2, "id");
	lua_getfield(L, -1, "timestamp");
	lua_setfield(L, -2, "at");
	lua_pushnil(L);
	lua_setfield(L, -2, "seq_num");
	lua_pushnil(L);
	lua_setfield(L, -2, "timestamp");
	if (key->len > 0) {
		lua_pushlstring(L, (const char *)batch->bytes.data + key->offset, key->len);
		lua_setfield(L, -2, "key");
	}
	return VIGIA_OK;
}

static int ask_scheduled(struct vigia_store *store, void *what, struct vigia_error *err)
{
	const struct query *query = what;
	int rc = vigia__store_timers(store, &query->wanted, add_timer, query->batch, err);
	if (rc == VIGIA_ENOMEM && err->code == VIGIA_OK) vigia__no_memory(err);
	return rc;
}

static int answer_scheduled(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct vigia_batch *batch = ((const struct query *)what)->batch;
	lua_newtable(L);
	for (size_t i = 0; rc == VIGIA_OK && i < batch->count; i += 2) {
		rc = push_timer(L, batch, i, err);
		if (rc == VIGIA_OK) lua_rawseti(L, -2, (lua_Integer)(i / 2 + 1));
	}
	return rc < 0 ? vigia__lua_fail(L, rc, err) : 1;
}

static bool keep_query(void *what)
{
	struct query *query = what;
	struct vigia_slice *texts[] = {&query->wanted.operation, &query->wanted.object_type, &query->wanted.key};
	size_t len = 0;
	query->batch = vigia_batch_new();
	for (int i = 0; i < 3; i++) len += texts[i]->len;
	if (query->batch == NULL || vigia__buf_reserve(&query->copies, len + 1) < 0) return false;
	for (int i = 0; i < 3; i++) {
		const char *at = (const char *)query->copies.data + query->copies.len;
		vigia__buf_add(&query->copies, texts[i]->data, texts[i]->len);
		if (texts[i]->data) texts[i]->data = at;
	}
	return true;
}

static void free_query(void *what)
{
	struct query *query = what;
	vigia_batch_free(query->batch);
	vigia__buf_deinit(&query->copies);
}

static const struct vigia__lua_call scheduled_call = {.size = sizeof(struct query),
                                                      .ask = ask_scheduled,
                                                      .answer = answer_scheduled,
                                                      .keep = keep_query,
                                                      .free = free_query};

int vigia__lua_store_scheduled(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, STORE);
	struct query query = {.wanted.size = sizeof query.wanted};
	lua_settop(L, 2);
	vigia__lua_own_options(L, 2, 1);
	vigia__lua_check_options(L, 2, query_table, &query, "query", query_special, &query);
	if (vigia__lua_asks(L, h->store)) return vigia__lua_ask(L, STORE, &scheduled_call, &query);
	struct vigia_error err = {0};
	query.batch = vigia__lua_push_batch(L);
	if (query.batch == NULL) return vigia__lua_fail_store(L, VIGIA_ENOMEM, &err);
	int rc = h->store ? ask_scheduled(h->store, &query, &err) : vigia__lua_closed(h, &err);
	int results = answer_scheduled(L, &query, rc, &err);
	vigia__lua_return_batch(L, 3);
	return results;
}
