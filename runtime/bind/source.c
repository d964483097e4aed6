/*
 * source.c - a store written in Lua as what watchers read, and save their checkpoints in (struct vigia__source).
 *
 * A read, a wait and a save run in coroutines of the watcher's, one for reads and waits and one for saves: each is
 * resumed at once, and becomes a task of the registry if it waits. What a call of the API looks at or saves itself is
 * called right there: it blocks where the method waits, as in a predicate.
 *
 * What a coroutine belongs to, it finds by its userdata (`call`), which C clears when the watcher goes.
 */
#include "source.h"

#include <math.h>
#include <string.h>

#include "../core/alloc.h"
#include "../core/batch.h"
#include "../core/error.h"
#include "../core/iterator.h"
#include "../drive/drive.h"
#include "../store/clock.h"
#include "results.h"
#include "coroutine.h"
#include "error.h"
#include "filter.h"
#include "handler.h"
#include "iterator.h"
#include "lua_state.h"
#include "options.h"
#include "store.h"
#include "store_handle.h"
#include "task.h"

/* Between two looks into a store that does not wait by itself, and how long one may wait, so that progress is not held
 * up by it. */
static const int64_t poll_ns = 100000000;
static const double poll_timeout_s = 1;

enum call_kind { CALL_READ, CALL_WAIT, CALL_SAVE };
enum call_state { CALL_NONE, CALL_RUNS, CALL_ENDED };

/* A method that runs in a coroutine. */
struct lua_call {
	struct lua_source *source;
	struct lua_handler *h; /* its userdata is the registry's, under its address */
	enum call_kind kind;
	enum call_state state;
	struct vigia_iterator from; /* READ, WAIT */
	int64_t limit;              /* READ, WAIT */
	uint64_t seq_num;           /* SAVE */
	struct vigia_error err;     /* ENDED. Code 0: it succeeded */
};

/* Of a watcher. */
struct lua_source {
	struct lua_results a; /* first */
	struct lua_call fetch, saver;
	struct vigia_batch heads; /* the batch of the result, until the driver takes it */
	struct vigia_iterator next;
	uint64_t first_seq; /* of the result, wanted or not. 0: it has no event */
	bool ahead;         /* a wait has brought the result of the read that follows, or its error */
	struct vigia_error ahead_err;
	struct vigia_iterator ahead_from;
	int64_t begun_ns;          /* a wait, on the registry's clock */
	uint64_t by_hand;          /* a checkpoint that was stored while a save ran: it may have been overtaken */
	bool owned;                /* it runs its id */
	unsigned fork;             /* in this process */
	struct vigia__lua *shared; /* of its Lua state, which has a list of the sources that run their id */
	struct lua_source *next_owned;
};

/* ---- calls that the caller waits for ---- */

struct question {
	struct lua_source *source;
	const char *method;
	bool of_watcher; /* it takes the watcher's id */
	bool saves;      /* and this number */
	uint64_t seq_num;
	uint64_t *result; /* where a number goes, NULL: none is returned */
	int rc;
	struct vigia_error *err;
};

/* Under vigia__lua_protected(). */
static int ask_method(lua_State *L, void *arg)
{
	struct question *q = arg;
	struct lua_source *s = q->source;
	vigia__lua_push_lua_store(L, s->a.r);
	lua_getfield(L, 1, q->method);
	lua_pushvalue(L, 1);
	if (q->of_watcher) lua_pushstring(L, s->a.watcher->id);
	if (q->saves) lua_pushinteger(L, (lua_Integer)q->seq_num);
	int status = lua_pcall(L, 1 + q->of_watcher + q->saves, 2, 0);
	q->rc = VIGIA_OK;
	if (!vigia__lua_results_check(L, &s->a, q->method, status, 2, q->saves, q->err)) q->rc = q->err->code;
	else if (q->result) q->rc = vigia__lua_results_number(L, &s->a, q->method, 2, q->result, q->err);
	return 0;
}

static int ask_store(struct question *q)
{
	struct lua_source *s = q->source;
	vigia__error_clear(q->err);
	if (s->a.r->L == NULL) return vigia__error(q->err, VIGIA_ECLOSED, "the registry is closed");
	lua_State *L = s->a.r->L;
	if (!lua_checkstack(L, 4)) return vigia__error(q->err, VIGIA_ENOMEM, "%s: not enough memory", q->method);
	int top = lua_gettop(L);
	struct vigia__in_source before = vigia__source_enter(s->a.watcher);
	if (vigia__lua_pcall(L, ask_method, q, 0, 0) != LUA_OK) {
		/* GCOVR_EXCL_START: want of memory. */
		bool text = lua_type(L, -1) == LUA_TSTRING;
		q->rc = vigia__error(q->err, VIGIA_EWATCHER, "%s: %s", q->method, text ? lua_tostring(L, -1) : "it failed");
		/* GCOVR_EXCL_STOP */
	}
	vigia__source_leave(s->a.watcher, before);
	lua_settop(L, top);
	return q->rc;
}

static int ask_number(struct lua_source *s, const char *method, bool of_watcher, uint64_t *out, struct vigia_error *err)
{
	return ask_store(
		&(struct question){.source = s, .method = method, .of_watcher = of_watcher, .result = out, .err = err});
}

static int ask_to_store(struct lua_source *s, uint64_t seq_num, struct vigia_error *err)
{
	return ask_store(&(struct question){
		.source = s, .method = "store_checkpoint", .of_watcher = true, .saves = true, .seq_num = seq_num, .err = err});
}

/* ---- the result of a read ---- */

/* The string in field `name` of the event at the top, if it is a name that a filter may want: else one that none does.
 * It stays on the stack. [-0, +1, m] */
static struct vigia_slice push_event_name(lua_State *L, const char *name)
{
	lua_getfield(L, -1, name);
	struct vigia_slice slice = {"\x7f(no name)", sizeof "\x7f(no name)" - 1};
	if (lua_type(L, -1) != LUA_TSTRING) return slice;
	struct vigia_slice given = vigia__lua_slice(L, -1);
	return vigia__name_check(given, name, NULL) == VIGIA_OK ? given : slice;
}

/* The head of the event at the top, for the driver. False: the filter does not want it. [-0, +0, m] */
static bool add_head(lua_State *L, struct lua_source *s, uint64_t seq_num)
{
	struct vigia__lua *shared = vigia__lua_shared(L);
	lua_getfield(L, -1, "timestamp");
	int64_t at = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
	lua_pop(L, 1);
	struct vigia_slice operation = push_event_name(L, "operation");
	lua_pushvalue(L, -2);
	struct vigia_slice object_type = push_event_name(L, "object_type");
	bool tested = vigia__filter_places(s->a.watcher->filter) > 0, wants = true;
	if (tested) {
		lua_getfield(L, -2, "object");
		wants = vigia__lua_filter_wants(L, s->a.watcher->filter, operation, object_type);
		lua_pop(L, 1);
	}
	/* From here on nothing allocates in Lua: the buffer is the state's. */
	vigia__buf_clear(&shared->events, VIGIA_LUA_KEEP);
	int rc = vigia__event_begin(&shared->events, operation, object_type, NULL);
	if (rc == VIGIA_OK && vigia__put_nil(&shared->events) < 0) rc = VIGIA_ENOMEM;
	uint8_t *bytes = shared->events.data;
	size_t len = shared->events.len;
	bool wanted = rc == VIGIA_OK && (tested ? wants : vigia__filter_match(s->a.watcher->filter, bytes, len));
	if (wanted) {
		vigia__event_stamp(bytes, len, seq_num, at);
		if (vigia__batch_add(&s->heads, seq_num, bytes, len) != 0) rc = VIGIA_ENOMEM;
	}
	lua_pop(L, 3);
	if (rc < 0) luaL_error(L, "not enough memory");
	return wanted;
}

/* Under vigia__lua_pcall(): takes the result that is kept apart. Raises if it is not what a store may return. */
static int take_result(lua_State *L, void *arg)
{
	struct lua_source *s = arg;
	vigia__lua_results_push_at(L, &s->a, VIGIA_LUA_AT_RESULT); /* 1 */
	lua_newtable(L);                                           /* 2: the events, by number */
	lua_getfield(L, 1, "events");
	vigia__batch_clear(&s->heads);
	s->a.damage.code = VIGIA_OK;
	s->first_seq = 0;
	for (lua_Integer i = 1; lua_geti(L, 3, i) != LUA_TNIL; i++) {
		int whole = 0;
		int type = lua_getfield(L, -1, "seq_num");
		lua_Integer seq_num = type == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
		if (!whole) luaL_error(L, "event %I of the result has no number", (LUAI_UACINT)i);
		if (!lua_isinteger(L, -1)) {
			lua_pushinteger(L, seq_num);
			lua_setfield(L, -3, "seq_num");
		}
		lua_pop(L, 1);
		if (i == 1) s->first_seq = (uint64_t)seq_num;
		if (add_head(L, s, (uint64_t)seq_num)) lua_rawseti(L, 2, seq_num);
		else lua_pop(L, 1);
	}
	lua_getfield(L, 1, "next_event_iterator");
	const struct vigia_iterator *next = vigia__lua_test_iterator(L, -1);
	if (next == NULL) return luaL_error(L, "next: an iterator expected, got %s", luaL_typename(L, -1));
	s->next = *next;
	lua_pushvalue(L, 2);
	vigia__lua_results_keep_at(L, &s->a, VIGIA_LUA_AT_EVENTS);
	return 0;
}

/* An event that the store could not decode, as for the other backends: it fails for good. */
static bool take_damage(struct lua_source *s, struct lua_call *call)
{
	uint64_t seq_num = call->err.seq_num;
	bool damaged = call->err.code == VIGIA_EDAMAGED || call->err.code == VIGIA_EDESERIAL;
	if (!damaged || seq_num < vigia__iterator_first(call->from) || seq_num > INT64_MAX) return false;
	vigia__batch_clear(&s->heads);
	if (vigia__batch_add(&s->heads, seq_num, "", 0) != 0) return false;
	s->next = vigia__iterator_after(seq_num);
	s->first_seq = seq_num;
	s->a.damage = call->err;
	call->err.code = VIGIA_OK;
	return true;
}

/* ---- methods in coroutines ---- */

/* The coroutine's call, as long as its outcome is wanted. Upvalue 1: its userdata. */
static struct lua_call *wanted_call(lua_State *L)
{
	struct lua_handler *h = vigia__lua_own_coroutine(L, lua_upvalueindex(1));
	return h->cancelled ? NULL : h->call;
}

/* lua_KFunction: get_oldest_event_num was asked, for what was removed where the read began. Where it fails that is
 * not known. */
static int counted(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_call *call = wanted_call(L);
	if (call == NULL || (status != LUA_OK && status != LUA_YIELD)) return 0;
	int whole = 0;
	lua_Integer oldest = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &whole) : 0;
	uint64_t first = vigia__iterator_first(call->from);
	if (whole && oldest > 0 && (uint64_t)oldest > first) call->source->heads.gone = (uint64_t)oldest - first;
	return 0;
}

/* The result is kept apart: make a batch of it. The store is at 1. */
static int finish_read(lua_State *L, struct lua_call *call)
{
	struct lua_source *s = call->source;
	lua_settop(L, 1);
	if (vigia__lua_pcall(L, take_result, s, 0, 0) != LUA_OK) {
		vigia__lua_push_text(L, -1);
		vigia__error(&call->err, VIGIA_EWATCHER, "get_events: %s", lua_tostring(L, -1));
		return 0;
	}
	if (s->first_seq == vigia__iterator_first(call->from)) return 0;
	lua_getfield(L, 1, "get_oldest_event_num");
	lua_pushvalue(L, 1);
	return counted(L, lua_pcallk(L, 1, 1, 0, 0, counted), 0);
}

static int waited(lua_State *L, int status, lua_KContext ctx)
{
	return 0;
}

/* A wait has a result, or an error, for the read that follows. Where there is none, the store is asked again soon. */
static int finish_wait(lua_State *L, struct lua_call *call)
{
	struct lua_source *s = call->source;
	s->ahead = true;
	s->ahead_err = call->err;
	s->ahead_from = call->from;
	if (call->err.code < 0) return 0;
	lua_getfield(L, 2, "next_event_iterator");
	const struct vigia_iterator *next = vigia__lua_test_iterator(L, -1);
	s->ahead = next == NULL || !vigia__iterator_equal(*next, call->from);
	int64_t waited_ns = vigia__lua_now(call->h) - s->begun_ns;
	if (s->ahead || waited_ns >= poll_ns) return 0;
	int64_t until = vigia__time_after(s->a.r->registry->clock, poll_ns - waited_ns);
	return vigia__lua_suspend(L, call->h, until, true, 0, waited);
}

/* lua_KFunction: get_events has ended. The store is at 1, what it returned behind it. */
static int fetched(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_call *call = wanted_call(L);
	if (call == NULL) return 0;
	struct lua_source *s = call->source;
	bool good = vigia__lua_results_check(L, &s->a, "get_events", status, 2, true, &call->err);
	if (good) {
		good = lua_istable(L, 2) && lua_getfield(L, 2, "events") == LUA_TTABLE;
		if (!good)
			vigia__error(&call->err, VIGIA_EWATCHER, "get_events: the store must return {events, next_event_iterator}");
	}
	if (good) {
		lua_pushvalue(L, 2);
		vigia__lua_results_keep_at(L, &s->a, VIGIA_LUA_AT_RESULT);
	}
	if (call->kind == CALL_WAIT) return finish_wait(L, call);
	return good ? finish_read(L, call) : 0;
}

/* The argument of get_events. [-0, +1, m] */
static void push_request(lua_State *L, const struct lua_call *call)
{
	lua_createtable(L, 0, 5);
	vigia__lua_push_iterator(L, call->from);
	lua_setfield(L, -2, "event_iterator");
	lua_pushinteger(L, call->limit);
	lua_setfield(L, -2, "limit");
	vigia__lua_results_push_at(L, &call->source->a, VIGIA_LUA_AT_LISTS);
	lua_setfield(L, -2, "filter");
	if (call->kind == CALL_WAIT) lua_pushnumber(L, poll_timeout_s);
	else lua_pushinteger(L, 0);
	lua_setfield(L, -2, "timeout");
	lua_pushstring(L, call->source->a.watcher->id);
	lua_setfield(L, -2, "watcher_id");
}

/* lua_KFunction. */
static int saved(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_call *call = wanted_call(L);
	if (call) vigia__lua_results_check(L, &call->source->a, "store_checkpoint", status, 2, true, &call->err);
	return 0;
}

/* A coroutine. Upvalue 1: its userdata. Lua code finds this function on its stack: it runs once for each call. */
static int run_call(lua_State *L)
{
	struct lua_handler *h = vigia__lua_own_coroutine(L, lua_upvalueindex(1));
	struct lua_call *call = h->call;
	if (!h->begins || h->co != L || call == NULL)
		return luaL_error(L, "this function is internal to vigia: Lua code cannot call it");
	h->begins = false;
	struct lua_source *s = call->source;
	lua_settop(L, 0);
	vigia__lua_push_lua_store(L, s->a.r);
	if (call->kind == CALL_SAVE) {
		lua_getfield(L, 1, "store_checkpoint");
		lua_pushvalue(L, 1);
		lua_pushstring(L, s->a.watcher->id);
		lua_pushinteger(L, (lua_Integer)call->seq_num);
		return saved(L, lua_pcallk(L, 3, 2, 0, 0, saved), 0);
	}
	bool ahead = s->ahead && call->kind == CALL_READ &&
	             vigia__iterator_first(s->ahead_from) == vigia__iterator_first(call->from);
	s->ahead = false;
	if (ahead) return finish_read(L, call);
	s->begun_ns = vigia__lua_now(h);
	lua_getfield(L, 1, "get_events");
	lua_pushvalue(L, 1);
	push_request(L, call);
	return fetched(L, lua_pcallk(L, 2, 2, 0, 0, fetched), 0);
}

/* The coroutine came to a bad end: it yielded by itself, other code closed it, or memory ran out. Upvalue 1: its
 * userdata. The text is at 1. */
static int call_failed(lua_State *L)
{
	struct lua_handler *h = vigia__lua_own_coroutine(L, lua_upvalueindex(1));
	struct lua_call *call = h->call;
	const char *text = lua_tostring(L, 1);
	if (call && call->state == CALL_RUNS && text) vigia__error(&call->err, VIGIA_EWATCHER, "%s", text);
	return 0;
}

/* Go on with it until it ends or waits. Nothing of the watcher is freed meanwhile. */
static void advance(struct lua_call *call, int64_t *resume_mono_ns)
{
	struct lua_handler *h = call->h;
	struct vigia_error err;
	vigia__error_clear(&err);
	struct vigia__in_source before = vigia__source_enter(call->source->a.watcher);
	int rc = vigia__lua_handler_continue(h, resume_mono_ns, &err);
	vigia__source_leave(call->source->a.watcher, before);
	if (rc == VIGIA_PENDING) return;
	if (rc < 0 && call->err.code >= 0) vigia__error(&call->err, VIGIA_EWATCHER, "%s", err.message);
	call->state = h->cancelled ? CALL_NONE : CALL_ENDED;
}

/* A task of the registry. Its stop ends no save. A read is cancelled by the watcher's. */
static int resume_call(void *ctx, bool stopping, int64_t *resume_mono_ns)
{
	struct lua_handler *h = ctx;
	struct lua_call *call = h->call;
	if (call == NULL) { /* the watcher is gone */
		vigia__lua_coroutine_close(h);
		vigia__lua_protected(h->owner->L, vigia__lua_task_forget, h);
		return VIGIA_OK;
	}
	if (vigia__lua_task_waits(h, h->cancelled, resume_mono_ns)) return VIGIA_PENDING;
	advance(call, resume_mono_ns);
	if (call->state == CALL_RUNS) return VIGIA_PENDING;
	vigia__source_ready(call->source->a.watcher);
	return VIGIA_OK;
}

/* Under vigia__lua_protected(). */
static int push_run_call(lua_State *L, void *arg)
{
	struct lua_handler *h = arg;
	vigia__lua_push_coroutine(L, h);
	vigia__lua_push_kept(L, -1, VIGIA_LUA_KEEPS_FUNCTION);
	lua_xmove(L, h->co, 1);
	return 0;
}

/* Begin it, and go on until it ends or waits. Else it is as before. */
static int begin(struct lua_call *call, struct vigia_error *err)
{
	struct lua_handler *h = call->h;
	lua_State *L = call->source->a.r->L;
	if (L == NULL) return vigia__error(err, VIGIA_ECLOSED, "the registry is closed");
	h->cancelled = h->told_stopping = h->stopping = false;
	if (!vigia__lua_coroutine_ready(h) || !vigia__lua_protected(L, push_run_call, h))
		/* GCOVR_EXCL_START: a coroutine's. */
		return vigia__error(err, VIGIA_ENOMEM, "no memory to call the store");
	/* GCOVR_EXCL_STOP */
	vigia__error_clear(&call->err);
	call->state = CALL_RUNS;
	h->begins = true;
	int64_t first = INT64_MAX;
	advance(call, &first);
	h->begins = false;
	if (call->state != CALL_RUNS) return VIGIA_OK;
	int rc = vigia__registry_spawn(call->source->a.r->registry, resume_call, h, first > 0 ? first : 1, err);
	if (rc < 0) {
		/* GCOVR_EXCL_START: want of memory. */
		vigia__lua_coroutine_close(h);
		call->state = CALL_NONE;
		/* GCOVR_EXCL_STOP */
	}
	return rc;
}

/* ---- what the driver calls ---- */

/* Under vigia__lua_protected(). */
static void make_call(lua_State *L, struct lua_source *s, struct lua_call *call)
{
	lua_rawgeti(L, 1, VIGIA_LUA_REGISTRY_SELF);
	int self = lua_gettop(L);
	lua_pushnil(L);
	lua_pushnil(L);
	struct lua_handler *h = vigia__lua_coroutine_new(L, self, self + 1, self + 2, VIGIA_LUA_KEEPS_TASK);
	h->task = true;
	lua_pushvalue(L, -1);
	lua_pushcclosure(L, run_call, 1);
	vigia__lua_keep(L, -2, VIGIA_LUA_KEEPS_FUNCTION);
	lua_pushvalue(L, -1);
	lua_pushcclosure(L, call_failed, 1);
	vigia__lua_keep(L, -2, VIGIA_LUA_KEEPS_ON_ERROR);
	lua_rawsetp(L, 1, h);
	h->call = call;
	*call = (struct lua_call){.source = s, .h = h};
	lua_settop(L, 1);
}

/* Under vigia__lua_protected(). */
static int make_source(lua_State *L, void *arg)
{
	struct lua_source *s = arg;
	vigia__lua_push_home(L, s->a.r);
	s->shared = vigia__lua_shared(L);
	make_call(L, s, &s->fetch);
	make_call(L, s, &s->saver);
	lua_createtable(L, VIGIA_LUA_AT_LISTS, 0);
	if (vigia__lua_push_raw(L, 1, s->a.watcher->id) == LUA_TUSERDATA) { /* the watcher's userdata */
		vigia__lua_push_kept(L, -1, VIGIA_LUA_WATCHER_LISTS);
		lua_rawseti(L, -3, VIGIA_LUA_AT_LISTS);
	}
	lua_pop(L, 1);
	lua_rawsetp(L, 1, s);
	return 0;
}

/* Under vigia__lua_protected(). */
static int drop_source(lua_State *L, void *arg)
{
	struct lua_source *s = arg;
	if (!vigia__lua_push_from(L, s->a.r->home, 1)) return 0;
	lua_pushnil(L);
	lua_rawsetp(L, 1, s);
	return 0;
}

static void disown_in_lua(struct vigia_watcher *watcher)
{
	struct lua_source *s = watcher->source_ctx;
	if (s == NULL || !s->owned) return;
	struct lua_source **at = &s->shared->owned;
	while (*at != s) at = &(*at)->next_owned;
	*at = s->next_owned;
	s->owned = false;
}

/* Forget the call. A coroutine that waits continues, and is told that its result is not needed. */
static void release_call(struct lua_call *call)
{
	if (call->h == NULL) return;
	call->h->call = NULL;
	if (call->state != CALL_RUNS && call->source->a.r->L)
		vigia__lua_protected(call->source->a.r->L, vigia__lua_task_forget, call->h);
}

static void forget_watcher(struct vigia_watcher *watcher)
{
	struct lua_source *s = watcher->source_ctx;
	if (s == NULL) return;
	disown_in_lua(watcher);
	release_call(&s->fetch);
	release_call(&s->saver);
	if (s->a.r->L) vigia__lua_protected(s->a.r->L, drop_source, s); /* else it goes with the registry */
	vigia__batch_deinit(&s->heads);
	vigia__free(s);
	watcher->source_ctx = NULL;
}

/* Made with its first call. NULL: no memory, which is in err. */
static struct lua_source *source_of(struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct lua_source *s = watcher->source_ctx;
	struct lua_registry *r = watcher->registry->source_ctx;
	if (s) return s;
	s = r->L ? vigia__calloc(sizeof *s) : NULL;
	if (s) {
		s->a.watcher = watcher;
		s->a.r = r;
		watcher->source_ctx = s;
		if (vigia__lua_protected(r->L, make_source, s)) return s;
		forget_watcher(watcher); /* GCOVR_EXCL_LINE: want of memory. */
	}
	/* GCOVR_EXCL_START: want of memory. */
	vigia__error(err, VIGIA_ENOMEM, "no memory for watcher '%s'", VIGIA_SHOWN(watcher->id));
	return NULL;
	/* GCOVR_EXCL_STOP */
}

static int look_in_lua(struct vigia_watcher *watcher, enum vigia__look_for what, struct vigia__look *out,
                       struct vigia_error *err)
{
	*out = (struct vigia__look){0};
	struct lua_source *s = source_of(watcher, err);
	if (s == NULL) return VIGIA_ENOMEM;
	struct vigia_error ignored;
	if (err == NULL) err = &ignored;
	int rc = VIGIA_OK;
	if (what != VIGIA_LOOK_BOUNDS && !watcher->options.ephemeral) {
		rc = ask_number(s, "get_checkpoint", true, &out->checkpoint, err);
		out->has_checkpoint = rc == VIGIA_OK;
		if (rc == VIGIA_ENOCHECKPOINT) rc = VIGIA_OK;
	}
	if (what == VIGIA_LOOK_CHECKPOINT && !out->has_checkpoint) return rc;
	int latest = ask_number(s, "get_latest_event_num", false, &out->latest, rc < 0 ? &ignored : err);
	if (latest < 0) out->latest = 0;
	if (rc < 0 || latest < 0 || what != VIGIA_LOOK_BOUNDS) return rc < 0 ? rc : latest;
	return ask_number(s, "get_oldest_event_num", false, &out->oldest, err);
}

static int read_in_lua(struct vigia_watcher *watcher, const struct vigia_read *request, struct vigia_batch *batch,
                       struct vigia_iterator *next, struct vigia_error *err)
{
	struct lua_source *s = source_of(watcher, err);
	if (s == NULL) return VIGIA_ENOMEM;
	struct lua_call *call = &s->fetch;
	if (s->ahead && s->ahead_err.code < 0 &&
	    vigia__iterator_first(s->ahead_from) == vigia__iterator_first(request->from)) {
		s->ahead = false;
		*err = s->ahead_err;
		return err->code;
	}
	if (call->state == CALL_NONE) {
		call->kind = CALL_READ;
		call->from = request->from;
		call->limit = request->limit;
		int rc = begin(call, err);
		if (rc < 0) return rc;
	}
	if (call->state != CALL_ENDED) return VIGIA_PENDING; /* it waits, or one that was cancelled does */
	call->state = CALL_NONE;
	if (call->err.code < 0 && !take_damage(s, call)) {
		*err = call->err;
		return err->code;
	}
	struct vigia_batch empty = *batch;
	*batch = s->heads;
	s->heads = empty;
	vigia__batch_clear(&s->heads);
	*next = s->next;
	return VIGIA_OK;
}

/* Of a store that nothing tells of. */
static int wait_for_events(struct vigia_watcher *watcher, struct vigia_iterator from)
{
	struct lua_source *s = source_of(watcher, NULL);
	if (s == NULL) return VIGIA_OK;
	struct lua_call *call = &s->fetch;
	if (call->state == CALL_NONE) {
		call->kind = CALL_WAIT;
		call->from = from;
		call->limit = watcher->options.batch_size;
		if (begin(call, NULL) < 0) return VIGIA_OK;
	}
	if (call->state != CALL_ENDED) return VIGIA_PENDING;
	call->state = CALL_NONE;
	return VIGIA_OK;
}

static void cancel_in_lua(struct vigia_watcher *watcher)
{
	struct lua_source *s = watcher->source_ctx;
	if (s == NULL) return;
	s->ahead = false;
	if (s->fetch.state == CALL_ENDED) s->fetch.state = CALL_NONE;
	if (s->fetch.state != CALL_RUNS) return;
	s->fetch.h->cancelled = true;
	s->fetch.h->told_stopping = false;
	vigia__tasks_wake(watcher->registry);
	vigia__registry_ring(watcher->registry);
}

/* The call's outcome. One that a checkpoint by hand may have been overtaken by is followed by that once more. */
static int end_save(struct lua_source *s, bool backwards, struct vigia_error *err)
{
	struct lua_call *call = &s->saver;
	uint64_t by_hand = s->by_hand;
	s->by_hand = 0;
	call->state = CALL_NONE;
	if (call->err.code < 0) {
		*err = call->err;
		return err->code;
	}
	return !backwards && by_hand > call->seq_num ? ask_to_store(s, by_hand, err) : VIGIA_OK;
}

static int save_in_lua(struct vigia_watcher *watcher, uint64_t seq_num, bool backwards, struct vigia_error *err)
{
	struct lua_source *s = source_of(watcher, err);
	if (s == NULL) return VIGIA_ENOMEM;
	struct lua_call *call = &s->saver;
	if (call->state == CALL_NONE && s->a.r->at_once) return ask_to_store(s, seq_num, err);
	if (call->state == CALL_NONE) {
		call->kind = CALL_SAVE;
		call->seq_num = seq_num;
		int rc = begin(call, err);
		if (rc < 0) return rc;
	}
	return call->state == CALL_ENDED ? end_save(s, backwards, err) : VIGIA_PENDING;
}

static int checkpoint_in_lua(struct vigia_watcher *watcher, uint64_t seq_num, struct vigia_error *err)
{
	struct lua_source *s = source_of(watcher, err);
	if (s == NULL) return VIGIA_ENOMEM;
	uint64_t before = 0;
	int rc = ask_number(s, "get_checkpoint", true, &before, err);
	if (rc == VIGIA_OK && seq_num <= before) return VIGIA_OK;
	if (rc < 0 && rc != VIGIA_ENOCHECKPOINT) return rc;
	rc = ask_to_store(s, seq_num, err);
	if (rc == VIGIA_OK && s->saver.state != CALL_NONE && seq_num > s->by_hand) s->by_hand = seq_num;
	return rc;
}

/* One at a time, in all registries of this Lua state. In a forked child those of the parent run nothing. */
static int own_in_lua(struct vigia_watcher *watcher, struct vigia_error *err)
{
	struct lua_source *s = source_of(watcher, err);
	if (s == NULL) return VIGIA_ENOMEM;
	for (const struct lua_source *o = s->shared->owned; o; o = o->next_owned)
		if (o->a.r->lua_store == s->a.r->lua_store && o->fork == vigia__fork_generation() &&
		    strcmp(o->a.watcher->id, watcher->id) == 0) {
			vigia__error(err, VIGIA_EOWNED, "watcher '%s' is run by another registry of this program",
			             VIGIA_SHOWN(watcher->id));
			return vigia__error_watcher(err, watcher->id, VIGIA_EOWNED);
		}
	s->fork = vigia__fork_generation();
	s->owned = true;
	s->next_owned = s->shared->owned;
	s->shared->owned = s;
	return VIGIA_OK;
}

/* Under vigia__lua_protected(): how long progress waits, and, on a clock that is moved by hand, whether there are new
 * events: without a wake-up nothing looks again. */
static int look_around(lua_State *L, void *arg)
{
	struct lua_registry *r = arg;
	vigia__lua_push_lua_store(L, r);
	double seconds = 1;
	lua_getfield(L, 1, "checkpoint_interval");
	vigia__lua_option_seconds(L, -1, &seconds);
	r->registry->checkpoint_interval_ns = seconds < 4e9 ? (int64_t)llround(seconds * 1e9) : INT64_MAX / 2;
	if (r->wrapped || r->registry->clock == NULL) return 0;
	lua_settop(L, 1);
	lua_getfield(L, 1, "get_latest_event_num");
	lua_insert(L, 1);
	lua_call(L, 1, 1);
	lua_Integer latest = lua_tointeger(L, -1);
	if (latest != r->latest) vigia__tasks_wake(r->registry);
	r->latest = latest;
	return 0;
}

static void round_begins(struct vigia_registry *registry)
{
	struct lua_registry *r = registry->source_ctx;
	if (r->L == NULL) return;
	registry->depth++;
	vigia__lua_protected(r->L, look_around, r);
	registry->depth--;
}

#define LUA_SOURCE(how_it_waits)                                                                          \
	{                                                                                                     \
		.look = look_in_lua, .read = read_in_lua, .wait = (how_it_waits), .cancel = cancel_in_lua,        \
		.save = save_in_lua, .checkpoint = checkpoint_in_lua, .own = own_in_lua, .disown = disown_in_lua, \
		.forget = forget_watcher, .round = round_begins,                                                  \
	}
static const struct vigia__source wrapped_source = LUA_SOURCE(NULL), alone_source = LUA_SOURCE(wait_for_events);

/* ---- for the other files ---- */

int vigia__lua_push_host(lua_State *L, int arg, bool *wrapped)
{
	static const char *const methods[] = {"get_events",   "get_latest_event_num", "get_oldest_event_num", "store_event",
	                                      "store_events", "store_checkpoint",     "get_checkpoint"};
	int top = lua_gettop(L);
	luaL_checkstack(L, 8, NULL);
	lua_pushliteral(L, "");
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
		bool there = lua_getfield(L, arg, methods[i]) == LUA_TFUNCTION;
		lua_pop(L, 1);
		if (there) continue;
		lua_pushfstring(L, "%s%s%s", lua_tostring(L, -1), lua_rawlen(L, -1) ? ", " : "", methods[i]);
		lua_replace(L, top + 1);
	}
	if (lua_rawlen(L, -1) > 0)
		return luaL_argerror(L, arg,
		                     lua_pushfstring(L, "vigia.Store expected, or a store written in Lua: this table lacks %s",
		                                     lua_tostring(L, -1)));
	lua_pushvalue(L, arg);
	while (lua_istable(L, -1)) {
		lua_getfield(L, -1, "inner");
		lua_replace(L, top + 1);
		lua_settop(L, top + 1);
	}
	*wrapped = vigia__lua_test(L, -1, &vigia__lua_store_class) != NULL;
	if (*wrapped) return 1;
	lua_settop(L, top);
	lua_pushcfunction(L, vigia__lua_open);
	lua_pushliteral(L, ":memory:");
	lua_call(L, 1, 2);
	if (lua_isnil(L, -2)) return 2;
	lua_pop(L, 1);
	return 1;
}

void vigia__lua_source_attach(lua_State *L, int idx, bool wrapped)
{
	struct lua_registry *r = vigia__lua_check_registry(L, idx);
	vigia__lua_registry_push_kept(L, idx);
	lua_pushvalue(L, idx);
	lua_rawseti(L, -2, VIGIA_LUA_REGISTRY_SELF);
	lua_rawgeti(L, -1, VIGIA_LUA_REGISTRY_STORE);
	r->lua_store = lua_topointer(L, -1);
	lua_pop(L, 2);
	r->wrapped = wrapped;
	r->latest = -1;
	r->registry->source = wrapped ? &wrapped_source : &alone_source;
	r->registry->source_ctx = r;
	/* What types the events below a wrapper have is its own business. */
	vigia__registry_listen_anything(r->registry);
}
