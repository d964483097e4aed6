/*
 * transaction.c - the class vigia.Transaction, store:transaction, and the methods of a store that are transactions of
 * one step.
 */
#include "transaction.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../drive/drive.h"
#include "../store/transaction.h"
#include "append.h"
#include "ask.h"
#include "coroutine.h"
#include "decode.h"
#include "encode.h"
#include "error.h"
#include "lua_state.h"
#include "options.h"
#include "store_append.h"
#include "store_handle.h"
#include "transaction_handle.h"

/* ---- arguments ---- */

/* A string is borrowed from the stack. False: it is neither. [-0, +0, -] */
static bool read_key(lua_State *L, int idx, struct vigia_key *out)
{
	int is_integer = 0;
	*out = (struct vigia_key){0};
	if (lua_type(L, idx) == LUA_TSTRING) out->text = vigia__lua_slice(L, idx);
	else if (lua_type(L, idx) == LUA_TNUMBER) out->integer = lua_tointegerx(L, idx, &is_integer);
	out->is_integer = is_integer;
	return is_integer || lua_type(L, idx) == LUA_TSTRING;
}

/* [-0, +0, v] */
static struct vigia_key check_key(lua_State *L, int arg)
{
	struct vigia_key key;
	if (!read_key(L, arg, &key))
		luaL_argerror(L, arg,
		              lua_pushfstring(L, "key: a string or an integer expected, got %s", luaL_typename(L, arg)));
	return key;
}

struct range {
	struct vigia_range wanted;
	struct vigia_key from, to;
};

static const struct vigia__option range_option_table[] = {
	{.name = "from", .type = VIGIA_OPTION_SPECIAL, .help = "The first key."},
	{.name = "to", .type = VIGIA_OPTION_SPECIAL, .help = "The last key."},
	{.name = "prefix", .type = VIGIA_OPTION_SPECIAL, .help = "The strings that begin with it."},
	{.name = "reverse",
     .type = VIGIA_OPTION_BOOL,
     .offset = offsetof(struct range, wanted.reverse),
     .help = "The last key first."},
	{.name = "limit",
     .type = VIGIA_OPTION_COUNT,
     .offset = offsetof(struct range, wanted.limit),
     .max = 0x1p53,
     .help = "Most rows. 0: no limit."},
	{.name = NULL},
};

static void range_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct range *range = ctx;
	if (name[0] == 'p') {
		if (lua_type(L, idx) == LUA_TSTRING) range->wanted.prefix = vigia__lua_slice(L, idx);
		else vigia__problem(problems, "prefix is a %s, allowed: a string", luaL_typename(L, idx));
		return;
	}
	struct vigia_key *key = name[0] == 'f' ? &range->from : &range->to;
	if (!read_key(L, idx, key))
		vigia__problem(problems, "%s is a %s, allowed: a string or an integer", name, luaL_typename(L, idx));
	if (name[0] == 'f') range->wanted.from = key;
	else range->wanted.to = key;
}

/* As vigia__lua_transaction_done(). A wrong name or key is wrong use. */
static int done(lua_State *L, struct lua_transaction *t, int rc, struct vigia_error *err)
{
	if (rc == VIGIA_EINVAL) return luaL_error(L, "%s", err->message);
	return vigia__lua_transaction_done(L, t, rc, err);
}

/* ---- reading ---- */

/* What is decoded of a watcher's transaction, as a string on the stack: a finalizer may drive the registry meanwhile,
 * which ends the transaction, and lends the next one. [-0, +0|1, m] */
static struct vigia_slice own_copy(lua_State *L, const struct lua_transaction *t, struct vigia_slice bytes)
{
	if (!t->lent) return bytes;
	lua_pushlstring(L, bytes.data, bytes.len);
	return vigia__lua_slice(L, -1);
}

/* What was found of a key: the value, or nil. */
static int push_found(lua_State *L, struct lua_transaction *t, int rc, struct vigia_slice value,
                      struct vigia_error *err)
{
	if (rc < 0) return done(L, t, rc, err);
	if (rc == VIGIA_NONE) {
		lua_pushnil(L);
		return 1;
	}
	value = own_copy(L, t, value);
	t->busy = true; /* Lua code that a collection runs meanwhile must not use the transaction */
	rc = vigia__lua_push_value(L, value, err);
	t->busy = false;
	return rc < 0 ? done(L, t, rc, err) : 1;
}

/* Where a read waits for a server, in a coroutine (ask.h). Its transaction is at `at`, of one step (STEP) or the
 * caller's. */
struct asking {
	struct vigia_transaction *tx;
	int at;
	char *bucket;
	struct vigia__buf texts; /* of its keys */
	struct vigia_key key;
	struct range range;
	struct vigia_slice value;
	struct vigia__buf rows;
};

enum { STEP_ARGUMENTS = 4, STEP = 5 };

static struct lua_transaction *answered(lua_State *L, const struct asking *asking)
{
	struct lua_transaction *t = vigia__lua_check(L, asking->at, &vigia__lua_transaction_class);
	vigia__lua_transaction_answered(t);
	return t;
}

static int end_step(const struct asking *asking, struct lua_transaction *t, int results)
{
	if (asking->at == STEP) vigia__lua_transaction_end(t);
	return results;
}

static int ask_get(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct asking *asking = what;
	return vigia_transaction_get(asking->tx, asking->bucket, &asking->key, &asking->value, err);
}

static int answer_get(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct asking *asking = what;
	struct lua_transaction *t = answered(L, asking);
	return end_step(asking, t, push_found(L, t, rc, asking->value, err));
}

/* A copy of the text, where there is room for it. */
static void keep_text(struct asking *asking, struct vigia_slice *text)
{
	const char *at = (const char *)asking->texts.data + asking->texts.len;
	if (text->data == NULL) return;
	vigia__buf_add(&asking->texts, text->data, text->len);
	text->data = at;
}

static bool keep_asking(void *what)
{
	struct asking *asking = what;
	struct range *range = &asking->range;
	size_t len = asking->key.text.len + range->from.text.len + range->to.text.len + range->wanted.prefix.len;
	asking->bucket = vigia__strdup(asking->bucket);
	if (asking->bucket == NULL || vigia__buf_reserve(&asking->texts, len + 1) < 0) return false;
	keep_text(asking, &asking->key.text);
	keep_text(asking, &range->from.text);
	keep_text(asking, &range->to.text);
	keep_text(asking, &range->wanted.prefix);
	if (range->wanted.from) range->wanted.from = &range->from;
	if (range->wanted.to) range->wanted.to = &range->to;
	return true;
}

static void free_asking(void *what)
{
	struct asking *asking = what;
	vigia__free(asking->bucket);
	vigia__buf_deinit(&asking->texts);
	vigia__buf_deinit(&asking->rows);
}

static const struct vigia__lua_call get_call = {
	.size = sizeof(struct asking), .ask = ask_get, .answer = answer_get, .free = free_asking};

/* For a transaction of the caller's, at 1, or of one step, at STEP. */
static int ask(lua_State *L, struct lua_transaction *t, const struct vigia__lua_call *call, struct asking asking)
{
	asking.tx = t->tx;
	asking.at = lua_touserdata(L, 1) == t ? 1 : STEP;
	struct asking *what = vigia__lua_ask_new(L, call);
	if (t->tx != asking.tx) return luaL_error(L, "the transaction has ended"); /* by a finalizer */
	*what = asking;
	if (!keep_asking(what)) return luaL_error(L, "not enough memory");
	vigia__lua_transaction_asked(L, t);
	return vigia__lua_ask_made_of(L, vigia__transaction_store(t->tx));
}

static bool asks(lua_State *L, const struct lua_transaction *t)
{
	return vigia__lua_asks(L, vigia__transaction_store(t->tx));
}

/* bucket at 2, key at 3. */
static int get(lua_State *L, struct lua_transaction *t)
{
	const char *bucket = vigia__lua_check_cstring(L, 2, "bucket");
	struct vigia_key key = check_key(L, 3);
	struct vigia_error err = {0};
	struct vigia_slice value;
	if (asks(L, t)) return ask(L, t, &get_call, (struct asking){.bucket = (char *)bucket, .key = key});
	int rc = vigia_transaction_get(t->tx, bucket, &key, &value, &err);
	return push_found(L, t, rc, value, &err);
}

struct row {
	int64_t integer;
	uint32_t key_len; /* 0: an integer */
	uint32_t value_len;
};

static int keep_row(void *ctx, const struct vigia_key *key, struct vigia_slice value)
{
	struct vigia__buf *bytes = ctx;
	struct row row = {key->integer, key->is_integer ? 0 : (uint32_t)key->text.len, (uint32_t)value.len};
	if (vigia__buf_reserve(bytes, sizeof row + row.key_len + value.len) < 0) return VIGIA_ENOMEM;
	vigia__buf_add(bytes, &row, sizeof row);
	if (row.key_len > 0) vigia__buf_add(bytes, key->text.data, key->text.len);
	vigia__buf_add(bytes, value.data, value.len);
	return VIGIA_OK;
}

/* A list of {key =, value =}. EDESERIAL. [-0, +1, m] */
static int push_rows(lua_State *L, struct vigia_slice bytes, struct vigia_error *err)
{
	lua_newtable(L);
	lua_Integer n = 0;
	for (size_t at = 0; at < bytes.len;) {
		struct row row;
		memcpy(&row, bytes.data + at, sizeof row);
		const char *key = bytes.data + at + sizeof row, *value = key + row.key_len;
		lua_createtable(L, 0, 2);
		if (row.key_len > 0) lua_pushlstring(L, key, row.key_len);
		else lua_pushinteger(L, (lua_Integer)row.integer);
		lua_setfield(L, -2, "key");
		int rc = vigia__lua_push_value(L, (struct vigia_slice){value, row.value_len}, err);
		if (rc < 0) return rc;
		lua_setfield(L, -2, "value");
		lua_rawseti(L, -2, ++n);
		at += sizeof row + row.key_len + row.value_len;
	}
	return VIGIA_OK;
}

static int push_range(lua_State *L, struct lua_transaction *t, int rc, struct vigia_slice rows, struct vigia_error *err)
{
	if (rc == VIGIA_ENOMEM && err->code == VIGIA_OK) vigia__no_memory(err);
	if (rc < 0) return done(L, t, rc, err);
	t->busy = true;
	rc = push_rows(L, rows, err);
	t->busy = false;
	return rc < 0 ? done(L, t, rc, err) : 1;
}

static int ask_range(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct asking *asking = what;
	return vigia_transaction_range(asking->tx, asking->bucket, &asking->range.wanted, keep_row, &asking->rows, err);
}

static int answer_range(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct asking *asking = what;
	struct lua_transaction *t = answered(L, asking);
	struct vigia_slice rows = {(const char *)asking->rows.data, asking->rows.len};
	return end_step(asking, t, push_range(L, t, rc, rows, err));
}

static const struct vigia__lua_call range_call = {
	.size = sizeof(struct asking), .ask = ask_range, .answer = answer_range, .free = free_asking};

/* bucket at 2, options at 3. */
static int range(lua_State *L, struct lua_transaction *t)
{
	const char *bucket = vigia__lua_check_cstring(L, 2, "bucket");
	struct range range = {.wanted.size = sizeof range.wanted};
	struct vigia_error err = {0};
	vigia__lua_check_options(L, 3, range_option_table, &range, "range options", range_special, &range);
	if (asks(L, t)) return ask(L, t, &range_call, (struct asking){.bucket = (char *)bucket, .range = range});
	t->bytes.len = 0;
	int rc = vigia_transaction_range(t->tx, bucket, &range.wanted, keep_row, &t->bytes, &err);
	struct vigia_slice rows = {(const char *)t->bytes.data, t->bytes.len};
	if (rc >= 0) rows = own_copy(L, t, rows);
	int results = push_range(L, t, rc, rows, &err);
	vigia__buf_clear(&t->bytes, VIGIA_LUA_KEEP);
	return results;
}

/* ---- changing ---- */

/* bucket at 2, key at 3, value at 4. */
static int put(lua_State *L, struct lua_transaction *t)
{
	const char *bucket = vigia__lua_check_cstring(L, 2, "bucket");
	struct vigia_key key = check_key(L, 3);
	struct vigia_error err = {0};
	if (lua_isnoneornil(L, 4)) luaL_argerror(L, 4, "value: nil cannot be stored; delete the key, or store vigia.null");
	t->bytes.len = 0;
	int64_t most = atomic_load(&vigia__transaction_store(t->tx)->backend->max_event_size);
	int rc = vigia__lua_encode_value(L, 4, &t->bytes, most, &err);
	struct vigia_slice value = {(const char *)t->bytes.data, t->bytes.len};
	if (rc == 0) rc = vigia_transaction_put(t->tx, bucket, &key, value, &err);
	vigia__buf_clear(&t->bytes, VIGIA_LUA_KEEP);
	return done(L, t, rc, &err);
}

static int delete (lua_State *L, struct lua_transaction *t)
{
	const char *bucket = vigia__lua_check_cstring(L, 2, "bucket");
	struct vigia_key key = check_key(L, 3);
	struct vigia_error err = {0};
	return done(L, t, vigia_transaction_delete(t->tx, bucket, &key, &err), &err);
}

/* ---- the class ---- */

static int transaction_get(lua_State *L)
{
	return get(L, vigia__lua_check_transaction(L, 1));
}

static int transaction_put(lua_State *L)
{
	return put(L, vigia__lua_check_transaction(L, 1));
}

static int transaction_delete(lua_State *L)
{
	return delete (L, vigia__lua_check_transaction(L, 1));
}

static int transaction_range(lua_State *L)
{
	return range(L, vigia__lua_check_transaction(L, 1));
}

static const luaL_Reg methods[] = {{"get", transaction_get},
                                   {"put", transaction_put},
                                   {"delete", transaction_delete},
                                   {"range", transaction_range},
                                   {"store_event", vigia__lua_transaction_event},
                                   {"store_events", vigia__lua_transaction_events},
                                   {NULL, NULL}};

/* The first transaction of a Lua state gives the class its methods: few states need them. */
static void make_class(lua_State *L)
{
	vigia__lua_push_class(L, &vigia__lua_transaction_class);
	if (vigia__lua_push_raw(L, -1, "__index") == LUA_TNIL) {
		lua_pop(L, 1);
		vigia__lua_set_methods(L, NULL, methods);
		lua_pushnil(L);
	}
	lua_pop(L, 2);
}

static struct lua_transaction *begin(lua_State *L, int store_idx)
{
	make_class(L);
	return vigia__lua_transaction_new(L, store_idx);
}

struct lua_transaction *vigia__lua_transaction_push_lent(lua_State *L, int store_idx)
{
	make_class(L);
	return vigia__lua_transaction_new_lent(L, store_idx);
}

int vigia__lua_is_lost(lua_State *L)
{
	const struct lua_transaction *t = vigia__lua_check(L, 1, &vigia__lua_transaction_class);
	return vigia__lua_boolean(L, t->tx && vigia__transaction_lost(t->tx) != VIGIA_OK);
}

/* ---- commit ---- */

/* Woken for whatever reason: is the commit done? A stop does not end the wait. */
static int look_at_commit(lua_State *L, int status, lua_KContext at)
{
	struct lua_transaction *t = vigia__lua_check(L, (int)at, &vigia__lua_transaction_class);
	if (!atomic_load(&t->pending.done))
		return vigia__lua_suspend_pending(L, vigia__transaction_store(t->tx), at, look_at_commit);
	t->rc = vigia__store_settle(&t->pending);
	t->err = t->pending.err;
	vigia__transaction_committed(t->tx, t->rc);
	return t->then(L, LUA_OK, t->then_ctx);
}

static bool may_wait(lua_State *L, struct lua_transaction *t)
{
	return vigia__lua_append_may_wait(L, vigia__lua_shared(L), vigia__transaction_store(t->tx));
}

static int submit(lua_State *L, int status, lua_KContext at)
{
	struct lua_transaction *t = vigia__lua_check(L, (int)at, &vigia__lua_transaction_class);
	struct lua_handler *running = vigia__lua_running(L);
	if (vigia__transaction_waits(t->tx))
		return vigia__lua_suspend(L, running, vigia__lua_now(running) + VIGIA_ELDER_LOOK_NS, false, at, submit);
	t->rc = vigia__transaction_submit(t->tx, &t->pending, &t->err);
	return t->rc < 0 ? t->then(L, LUA_OK, t->then_ctx) : look_at_commit(L, LUA_OK, at);
}

/* Commit the transaction at `at`, in a handler's coroutine without blocking the others. Then `then` finds the outcome
 * in its rc and err. Use as `return commit(...)`. */
static int commit(lua_State *L, int at, lua_KFunction then, lua_KContext ctx)
{
	struct lua_transaction *t = vigia__lua_check(L, at, &vigia__lua_transaction_class);
	vigia__error_clear(&t->err);
	if (!may_wait(L, t)) {
		t->rc = vigia_transaction_commit(t->tx, &t->err);
		return then(L, LUA_OK, ctx);
	}
	vigia__registry_listen_anything(vigia__lua_running(L)->owner->registry);
	t->then = then;
	t->then_ctx = ctx;
	return submit(L, LUA_OK, at);
}

/* ---- store:transaction ---- */

static const char running_key; /* of a table with weak keys: the coroutines that run a transaction's function */

static void push_running(lua_State *L)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &running_key) != LUA_TNIL) return;
	lua_pop(L, 1);
	vigia__lua_push_weak_keys(L);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &running_key);
}

static void set_running(lua_State *L, bool runs)
{
	push_running(L);
	lua_pushthread(L);
	if (runs) lua_pushboolean(L, 1);
	else lua_pushnil(L);
	lua_rawset(L, -3);
	lua_pop(L, 1);
}

/* Raises inside the function of another transaction. [-0, +0, v] */
static void refuse_nested(lua_State *L)
{
	push_running(L);
	lua_pushthread(L);
	if (lua_rawget(L, -2) != LUA_TNIL)
		luaL_error(L, "transactions do not nest: inside its function, call the methods of the transaction");
	lua_pop(L, 2);
}

enum { STORE = 1, FUNCTION, TRANSACTION, RESULTS }; /* the stack */

/* The numbers of its events, in order. [-0, +1, m] */
static void push_numbers(lua_State *L, const struct vigia_transaction *tx)
{
	lua_Integer n = 0;
	lua_newtable(L);
	for (size_t i = 0; i < vigia_transaction_appends(tx); i++) {
		uint64_t first, last;
		vigia_transaction_numbers(tx, i, &first, &last);
		for (; first <= last; first++) {
			lua_pushinteger(L, (lua_Integer)first);
			lua_rawseti(L, -2, ++n);
		}
	}
}

static int run(lua_State *L, int status, lua_KContext tries, bool goes_on);

static int called(lua_State *L, int status, lua_KContext tries)
{
	return run(L, status, tries, true);
}

/* Others changed what it has read: begin again, or *results. */
static bool again(lua_State *L, struct lua_transaction *t, lua_KContext tries, int *results)
{
	struct vigia_error err = {0};
	if (tries < vigia__transaction_store(t->tx)->options.transaction_retries) {
		vigia__lua_transaction_again(t, tries + 1);
		lua_settop(L, TRANSACTION);
		return true;
	}
	vigia__transaction_given_up(t->tx);
	vigia__error(&err, VIGIA_ETRANSACTION, "other transactions changed what this one reads, %lld times in a row",
	             (long long)tries + 1);
	vigia__lua_transaction_end(t);
	*results = vigia__lua_fail(L, VIGIA_ETRANSACTION, &err);
	return false;
}

static int committed(lua_State *L, struct lua_transaction *t)
{
	if (t->rc < 0) {
		vigia__lua_transaction_end(t);
		return vigia__lua_fail_store(L, t->rc, &t->err);
	}
	push_numbers(L, t->tx);
	lua_insert(L, RESULTS);
	vigia__lua_transaction_end(t);
	return lua_gettop(L) - TRANSACTION;
}

/* After a commit that others ran beside. */
static int waited(lua_State *L, int status, lua_KContext tries)
{
	struct lua_transaction *t = vigia__lua_check(L, TRANSACTION, &vigia__lua_transaction_class);
	int results;
	if (t->rc != VIGIA_ETRANSACTION) return committed(L, t);
	return again(L, t, tries, &results) ? run(L, LUA_OK, tries + 1, false) : results;
}

/* The function has returned, or raised. VIGIA_OK: commit. ETRANSACTION. VIGIA_NONE: *results. */
static int look_at_results(lua_State *L, struct lua_transaction *t, int status, int *results)
{
	set_running(L, false);
	if (vigia__transaction_conflicts(t->tx)) return VIGIA_ETRANSACTION;
	if (status != LUA_OK && status != LUA_YIELD) {
		vigia__lua_transaction_end(t);
		return lua_error(L);
	}
	bool refused = lua_gettop(L) > RESULTS && !lua_toboolean(L, RESULTS) && !lua_isnil(L, RESULTS + 1);
	if (!refused && !t->failed) return VIGIA_OK;
	vigia__lua_transaction_end(t);
	*results = refused ? lua_gettop(L) - TRANSACTION : vigia__lua_fail_store(L, t->err.code, &t->err);
	return VIGIA_NONE;
}

/* Call the function, and commit: from the beginning, or where it goes on after it has yielded. */
static int run(lua_State *L, int status, lua_KContext tries, bool goes_on)
{
	struct lua_transaction *t = vigia__lua_check(L, TRANSACTION, &vigia__lua_transaction_class);
	int results = 0;
	for (;; tries++, goes_on = false) {
		if (!goes_on) {
			set_running(L, true);
			lua_pushvalue(L, FUNCTION);
			lua_pushvalue(L, TRANSACTION);
			status = lua_pcallk(L, 1, LUA_MULTRET, 0, tries, called);
		}
		int rc = look_at_results(L, t, status, &results);
		if (rc == VIGIA_NONE) return results;
		if (rc == VIGIA_OK && may_wait(L, t)) return commit(L, TRANSACTION, waited, tries);
		if (rc == VIGIA_OK) {
			vigia__error_clear(&t->err);
			rc = t->rc = vigia_transaction_commit(t->tx, &t->err);
			if (rc != VIGIA_ETRANSACTION) return committed(L, t);
		}
		if (!again(L, t, tries, &results)) return results;
	}
}

int vigia__lua_store_transaction(lua_State *L)
{
	vigia__lua_check_handle(L, STORE);
	vigia__lua_check_type(L, FUNCTION, LUA_TFUNCTION, "function");
	lua_settop(L, FUNCTION);
	refuse_nested(L);
	if (begin(L, STORE) == NULL) return 2;
	return run(L, LUA_OK, 0, false);
}

/* ---- transactions of one step ---- */

/* With the transaction in the place of the store, which it keeps. NULL: nil and the error are on the stack. */
static struct lua_transaction *begin_step(lua_State *L)
{
	vigia__lua_check_handle(L, 1);
	lua_settop(L, STEP_ARGUMENTS);
	refuse_nested(L);
	return begin(L, 1);
}

static int read_step(lua_State *L, int (*read)(lua_State *L, struct lua_transaction *t))
{
	struct lua_transaction *t = begin_step(L);
	if (t == NULL) return 2;
	int results = read(L, t);
	vigia__lua_transaction_end(t);
	return results;
}

int vigia__lua_store_get(lua_State *L)
{
	return read_step(L, get);
}

int vigia__lua_store_range(lua_State *L)
{
	return read_step(L, range);
}

static int step_committed(lua_State *L, int status, lua_KContext ctx)
{
	struct lua_transaction *t = vigia__lua_check(L, STEP, &vigia__lua_transaction_class);
	vigia__lua_transaction_end(t);
	return t->rc < 0 ? vigia__lua_fail_store(L, t->rc, &t->err) : vigia__lua_boolean(L, true);
}

static int change_step(lua_State *L, int (*change)(lua_State *L, struct lua_transaction *t))
{
	struct lua_transaction *t = begin_step(L);
	if (t == NULL) return 2;
	int results = change(L, t);
	if (t->failed) {
		vigia__lua_transaction_end(t);
		return results;
	}
	return commit(L, STEP, step_committed, 0);
}

int vigia__lua_store_put(lua_State *L)
{
	return change_step(L, put);
}

int vigia__lua_store_delete(lua_State *L)
{
	return change_step(L, delete);
}

static int ask_drop(struct vigia_store *store, void *what, struct vigia_error *err)
{
	return vigia_store_drop_bucket(store, ((const struct asking *)what)->bucket, err);
}

static int answer_drop(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	if (rc == VIGIA_EINVAL) return luaL_argerror(L, 2, lua_pushstring(L, err->message));
	return rc < 0 ? vigia__lua_fail_store(L, rc, err) : vigia__lua_boolean(L, rc == VIGIA_OK);
}

static const struct vigia__lua_call drop_call = {
	.size = sizeof(struct asking), .ask = ask_drop, .answer = answer_drop, .keep = keep_asking, .free = free_asking};

int vigia__lua_store_drop_bucket(lua_State *L)
{
	vigia__lua_check_store(L, 1);
	struct asking asking = {.bucket = (char *)vigia__lua_check_cstring(L, 2, "bucket")};
	refuse_nested(L);
	return vigia__lua_ask(L, 1, &drop_call, &asking);
}

static int keep_bucket(void *ctx, const char *bucket, uint64_t values)
{
	struct vigia_key name = {.integer = (int64_t)values, .text = {bucket, strlen(bucket)}};
	return keep_row(ctx, &name, (struct vigia_slice){"", 0});
}

static int ask_buckets(struct vigia_store *store, void *what, struct vigia_error *err)
{
	int rc = vigia_store_buckets(store, keep_bucket, &((struct asking *)what)->rows, err);
	if (rc == VIGIA_ENOMEM && err->code == VIGIA_OK) vigia__no_memory(err);
	return rc;
}

static int answer_buckets(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct vigia__buf *rows = &((const struct asking *)what)->rows;
	if (rc < 0) return vigia__lua_fail_store(L, rc, err);
	lua_newtable(L);
	lua_Integer n = 0;
	for (size_t at = 0; at < rows->len;) {
		struct row row;
		memcpy(&row, rows->data + at, sizeof row);
		lua_createtable(L, 0, 2);
		lua_pushlstring(L, (const char *)rows->data + at + sizeof row, row.key_len);
		lua_setfield(L, -2, "name");
		lua_pushinteger(L, (lua_Integer)row.integer);
		lua_setfield(L, -2, "values");
		lua_rawseti(L, -2, ++n);
		at += sizeof row + row.key_len;
	}
	return 1;
}

static const struct vigia__lua_call buckets_call = {
	.size = sizeof(struct asking), .ask = ask_buckets, .answer = answer_buckets, .free = free_asking};

/* A list of {name =, values =}. */
int vigia__lua_store_buckets(lua_State *L)
{
	vigia__lua_check_handle(L, 1);
	lua_settop(L, 1);
	refuse_nested(L);
	vigia__lua_ask_new(L, &buckets_call);
	return vigia__lua_ask_made(L, 1);
}
