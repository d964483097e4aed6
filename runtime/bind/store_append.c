/*
 * store_append.c - store:store_event and store:store_events: arguments, conditions, and the bytes of events.
 */
#include "store_append.h"

#include <string.h>

#include "../core/buf.h"
#include "../core/error.h"
#include "../core/nearest.h"
#include "../store/backend.h"
#include "../store/store.h"
#include "../store/transaction.h"
#include "append.h"
#include "error.h"
#include "lua_state.h"
#include "options.h"
#include "serial.h"
#include "store_handle.h"
#include "transaction_handle.h"

/* What an append was asked for beside its events. */
struct conditions {
	int64_t if_last;
	bool if_last_given;
	struct vigia_slice key;
};

static const struct vigia__option append_option_table[] = {
	{.name = "if_last",
     .type = VIGIA_OPTION_COUNT,
     .offset = offsetof(struct conditions, if_last),
     .given_offset = offsetof(struct conditions, if_last_given),
     .max = 0x1p63,
     .help = "store only if the last number assigned is this one"},
	{.name = "key", .type = VIGIA_OPTION_SPECIAL, .help = "store once, however often it is sent"},
	{.name = NULL},
};

static const struct vigia__option *const key_option_table = append_option_table + 1;

static void append_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct conditions *conditions = ctx;
	struct vigia_error err;
	if (lua_type(L, idx) != LUA_TSTRING)
		vigia__problem(problems, "key is a %s, allowed: a string of 1 to 255 bytes", luaL_typename(L, idx));
	else {
		conditions->key = vigia__lua_slice(L, idx);
		if (vigia__append_key_check(conditions->key, &err) < 0) vigia__problem(problems, "%s", err.message);
	}
}

/* The options at `arg`, which the key takes the place of: a finalizer that runs may change the table. If it does before
 * the key is taken out of it, that is another one, and is looked at, too. [-0, +0, v] */
static void check_options(lua_State *L, int arg, const struct vigia__option *table, struct conditions *out)
{
	*out = (struct conditions){0};
	vigia__lua_check_options(L, arg, table, out, "options", append_special, out);
	if (out->key.len == 0) return;
	vigia__lua_push_raw(L, arg, "key");
	lua_replace(L, arg);
	struct vigia_error err;
	if (lua_type(L, arg) == LUA_TSTRING) out->key = vigia__lua_slice(L, arg);
	if (lua_type(L, arg) != LUA_TSTRING || vigia__append_key_check(out->key, &err) < 0)
		/* GCOVR_EXCL_START: by a metamethod or a finalizer. */
		luaL_argerror(L, arg, "options: key was changed meanwhile");
	/* GCOVR_EXCL_STOP */
}

static void check_conditions(lua_State *L, int arg, struct conditions *out)
{
	check_options(L, arg, append_option_table, out);
}

struct vigia_slice vigia__lua_check_key(lua_State *L, int arg)
{
	struct conditions conditions;
	check_options(L, arg, key_option_table, &conditions);
	return conditions.key;
}

static void set_conditions(struct vigia__append *request, const struct conditions *conditions,
                           struct lua_append *append)
{
	request->if_last = (uint64_t)conditions->if_last;
	request->if_last_given = conditions->if_last_given;
	request->key = conditions->key;
	if (append && conditions->key.len > 0) { /* the coroutine that keeps the string may be dropped first */
		memcpy(append->key, conditions->key.data, conditions->key.len);
		request->key.data = append->key;
	}
}

enum { WRONG_USE = 1 }; /* beside the codes: to be raised */

/* The events were encoded with this outcome. Store them: in a handler's coroutine, whose `append` has their bytes, wait
 * meanwhile. */
static int store_encoded(lua_State *L, struct vigia_store *store, struct vigia__lua *shared, struct lua_append *append,
                         struct vigia__append *request, int rc, struct vigia_error *err)
{
	if (rc == 0 && append) return vigia__lua_append_wait(L, append, store, request);
	if (rc == 0) rc = vigia__store_append(store, request, err);
	vigia__buf_clear(append ? &append->events : &shared->events, VIGIA_LUA_KEEP);
	vigia__buf_clear(append ? &append->ends : &shared->ends, VIGIA_LUA_KEEP);
	if (rc == WRONG_USE) return luaL_argerror(L, 2, lua_pushstring(L, err->message));
	return rc < 0 ? vigia__lua_fail_store(L, rc, err) : vigia__lua_push_stored(L, request);
}

/* Where the events go: into a store at 1, or into a transaction at 1, whose store is then at the next place. */
struct target {
	struct lua_store *h;
	struct lua_transaction *tx; /* NULL: the store */
	int store_at;
};

/* Behind the arguments, which end at `top`. Raises if it is neither. [-0, +0|1, v] */
static struct target target_of(lua_State *L, bool is_tx, int top)
{
	struct target target = {.store_at = 1};
	if (is_tx) {
		target.tx = vigia__lua_check_transaction(L, 1);
		vigia__lua_push_kept(L, 1, 1);
		target.store_at = top + 1;
	}
	target.h = vigia__lua_check_handle(L, target.store_at);
	return target;
}

/* The events were encoded with this outcome: add them to the transaction, which may have ended meanwhile. */
static int add_encoded(lua_State *L, struct lua_transaction *tx, const struct vigia__append *request, int rc,
                       struct vigia_error *err)
{
	const size_t one = request->len;
	if (rc == WRONG_USE) return luaL_argerror(L, 2, lua_pushstring(L, err->message));
	vigia__lua_check_transaction(L, 1);
	if (rc == 0 && request->if_last_given)
		return luaL_argerror(L, lua_gettop(L) - 1, "options: if_last is not allowed in a transaction");
	if (rc == 0)
		rc = vigia__transaction_add(tx->tx, request->bytes, request->len, request->ends ? request->ends : &one,
		                            request->count, request->key, err);
	return vigia__lua_transaction_done(L, tx, rc, err);
}

static int store_event(lua_State *L, bool is_tx)
{
	vigia__lua_check_string(L, 2, "operation", NULL);
	vigia__lua_check_string(L, 3, "object_type", NULL);
	if (lua_isnone(L, 4)) luaL_argerror(L, 4, "object: value expected (nil is allowed)");
	lua_settop(L, 5);
	struct target target = target_of(L, is_tx, 5);
	struct lua_store *h = target.h;
	struct conditions conditions;
	check_conditions(L, 5, &conditions);
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia_error err;
	vigia__error_clear(&err);
	if (h->store == NULL) return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	if (h->serializer.functions || h->serializer.strict) {
		int refused = vigia__lua_marshal(L, &h->serializer, target.store_at, 2, 3, 4, &err);
		if (refused < 0) return vigia__lua_fail(L, refused, &err);
		if (h->store == NULL) return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	}
	struct lua_append *append = is_tx ? NULL : vigia__lua_append_begin(L, shared, h->store);
	if (h->store == NULL) /* closed since by a finalizer */
		return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	struct vigia__buf *buf = append ? &append->events : &shared->events;
	vigia__buf_clear(buf, VIGIA_LUA_KEEP);
	int rc = vigia__lua_encode_for(L, h->store, &h->serializer, 2, 3, 4, buf, &err);
	struct vigia__append request = {.bytes = buf->data, .count = 1, .len = buf->len};
	set_conditions(&request, &conditions, append);
	if (is_tx) return add_encoded(L, target.tx, &request, rc, &err);
	return store_encoded(L, h->store, shared, append, &request, rc, &err);
}

int vigia__lua_store_event(lua_State *L)
{
	vigia__lua_check_handle(L, 1);
	return store_event(L, false);
}

int vigia__lua_transaction_event(lua_State *L)
{
	vigia__lua_check_transaction(L, 1);
	return store_event(L, true);
}

static const char *const event_fields[] = {"operation", "object_type", "object", "seq_num", "timestamp", NULL};

static const char *event_field_at(const void *ctx, int index)
{
	return event_fields[index];
}

/* Which of the three does the key at idx name? 1..3. 0: one that is ignored. -1: none. */
static int event_field_of(lua_State *L, int idx)
{
	if (lua_isinteger(L, idx)) {
		lua_Integer n = lua_tointeger(L, idx);
		return n >= 1 && n <= 3 ? (int)n : -1;
	}
	if (lua_type(L, idx) != LUA_TSTRING) return -1;
	const char *name = lua_tostring(L, idx);
	for (int i = 0; event_fields[i]; i++)
		if (strcmp(name, event_fields[i]) == 0) return i < 3 ? i + 1 : 0;
	return -1;
}

static int unknown_field(lua_State *L, int idx, struct vigia_error *err)
{
	if (lua_type(L, idx) != LUA_TSTRING) {
		if (lua_isinteger(L, idx))
			vigia__error(err, VIGIA_EINVAL, "the key [%lld] has no meaning in an event",
			             (long long)lua_tointeger(L, idx));
		else vigia__error(err, VIGIA_EINVAL, "a %s as a key has no meaning in an event", luaL_typename(L, idx));
		return WRONG_USE;
	}
	const char *near = vigia__nearest(lua_tostring(L, idx), event_field_at, NULL);
	vigia__error(err, VIGIA_EINVAL, "unknown field '%.48s' (%s%s%s)", lua_tostring(L, idx),
	             near ? "did you mean " : "allowed: ", near ? near : "operation, object_type, object", near ? "?" : "");
	return WRONG_USE;
}

/* Encode the event on top of the stack: {operation =, object_type =, object =} or a triple. Leaves the stack as it was.
 * [-0, +0, -] */
static int encode_entry(lua_State *L, const struct lua_store *h, struct vigia__buf *buf, struct vigia_error *err)
{
	int entry = lua_gettop(L);
	if (!lua_istable(L, entry)) {
		vigia__error(err, VIGIA_EINVAL, "table expected, got %s", luaL_typename(L, entry));
		return WRONG_USE;
	}
	int rc = 0;
	bool given[4] = {false};
	lua_settop(L, entry + 3); /* operation, object type, object */
	for (lua_pushnil(L); rc == 0 && lua_next(L, entry); lua_pop(L, 1)) {
		int field = event_field_of(L, -2);
		if (field > 0 && given[field]) {
			vigia__error(err, VIGIA_EINVAL, "%s is given twice, by name and by place", event_fields[field - 1]);
			rc = WRONG_USE;
		} else if (field > 0) {
			given[field] = true;
			lua_copy(L, -1, entry + field);
		} else if (field < 0) {
			rc = unknown_field(L, lua_gettop(L) - 1, err);
		}
	}
	for (int i = 1; rc == 0 && i <= 2; i++) {
		if (lua_type(L, entry + i) != LUA_TSTRING) {
			vigia__error(err, VIGIA_EINVAL, "%s: string expected, got %s", event_fields[i - 1],
			             luaL_typename(L, entry + i));
			rc = WRONG_USE;
		}
	}
	if (rc == 0) rc = vigia__lua_encode_for(L, h->store, &h->serializer, entry + 1, entry + 2, entry + 3, buf, err);
	lua_settop(L, entry);
	return rc;
}

/* "object.x: function ..." -> "events[3].object.x: function ..." */
static void name_entry(lua_Integer index, struct vigia_error *err)
{
	bool field = strncmp(err->message, "op", 2) == 0 || strncmp(err->message, "object", 6) == 0;
	vigia__error_prefix(err, field ? "events[%lld]." : "events[%lld]: ", (long long)index);
}

/* Encode the list at `idx`. [-0, +0, -] */
static int encode_list(lua_State *L, const struct lua_store *h, int idx, lua_Integer count, struct vigia__buf *events,
                       struct vigia__buf *ends, struct vigia_error *err)
{
	for (lua_Integer i = 1; i <= count; i++) {
		lua_rawgeti(L, idx, i);
		int rc = encode_entry(L, h, events, err);
		lua_pop(L, 1);
		if (rc != 0) {
			name_entry(i, err);
			return rc;
		}
		if (vigia__buf_add(ends, &events->len, sizeof(size_t)) != 0) return vigia__no_memory(err);
	}
	return 0;
}

/* How many events are in the list at idx. Raises if it has other keys than 1..n. */
static lua_Integer check_events(lua_State *L, int idx)
{
	vigia__lua_check_type(L, idx, LUA_TTABLE, "events");
	lua_Integer count = 0, max = 0;
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
		if (key < 1) luaL_argerror(L, idx, "events: a list of events expected; store_event stores a single one");
		count++;
		if (key > max) max = key;
	}
	if (count != max) luaL_argerror(L, idx, "events: the list has a hole");
	return count;
}

static int store_events(lua_State *L, bool is_tx)
{
	lua_Integer count = check_events(L, 2);
	lua_settop(L, 3);
	struct target target = target_of(L, is_tx, 3);
	struct lua_store *h = target.h;
	struct conditions conditions;
	check_conditions(L, 3, &conditions);
	luaL_checkstack(L, 16, NULL);
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia_error err = {0};
	if (h->store == NULL) return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	if (count == 0) { /* all of them are stored. There is no number to tell */
		return vigia__lua_boolean(L, true);
	}
	if (h->serializer.functions || h->serializer.strict) {
		lua_Integer failed = 0;
		int refused = vigia__lua_marshal_list(L, &h->serializer, target.store_at, 2, count, &failed, &err);
		if (refused < 0) {
			name_entry(failed, &err);
			return vigia__lua_fail(L, refused, &err);
		}
		if (h->store == NULL) return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	}
	struct lua_append *append = is_tx ? NULL : vigia__lua_append_begin(L, shared, h->store);
	if (h->store == NULL) /* closed since by a finalizer */
		return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	struct vigia__buf *events = append ? &append->events : &shared->events,
					  *ends = append ? &append->ends : &shared->ends;
	vigia__buf_clear(events, VIGIA_LUA_KEEP);
	vigia__buf_clear(ends, VIGIA_LUA_KEEP);
	int rc = encode_list(L, h, 2, count, events, ends, &err);
	struct vigia__append request = {
		.bytes = events->data, .ends = (const size_t *)(void *)ends->data, .count = (size_t)count, .len = events->len};
	set_conditions(&request, &conditions, append);
	if (is_tx) return add_encoded(L, target.tx, &request, rc, &err);
	return store_encoded(L, h->store, shared, append, &request, rc, &err);
}

int vigia__lua_store_events(lua_State *L)
{
	vigia__lua_check_handle(L, 1);
	return store_events(L, false);
}

int vigia__lua_transaction_events(lua_State *L)
{
	vigia__lua_check_transaction(L, 1);
	return store_events(L, true);
}
