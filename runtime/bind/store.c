/*
 * store.c - vigia.Store: opening, and every method but get_events (reading.c).
 *
 * The handle is NULL once closed; the path stays for messages.
 */
#include "store.h"

#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/buf.h"
#include "../core/options.h"
#include "../store/backend.h"
#include "../store/store.h"
#include "append.h"
#include "cache.h"
#include "decode.h"
#include "error.h"
#include "lua_state.h"
#include "options.h"
#include "reading.h"
#include "serial.h"
#include "settings.h"

static const char store_key;
static const char store_class[] = "vigia.Store";

struct lua_store {
	struct vigia_store *store;        /* NULL once closed */
	bool borrowed;                    /* another Lua state's: only kept in memory from here */
	struct lua_serializer serializer; /* it keeps its functions: 1 */
	struct lua_cache *cache;          /* it keeps it: 2; NULL: none */
	char path[];
};

/* ---- Life ---- */

static struct lua_store *check(lua_State *L, int arg)
{
	return vigia__lua_check(L, arg, &store_key, store_class);
}

struct vigia_store *vigia__lua_check_store(lua_State *L, int arg)
{
	return check(L, arg)->store;
}

static int closed(struct lua_store *h, struct vigia_error *err)
{
	return vigia__error(err, VIGIA_ECLOSED, "store '%s' is closed", h->path);
}

int vigia__lua_fail_closed(lua_State *L, int arg)
{
	struct vigia_error err = {0};
	return vigia__lua_fail(L, closed(check(L, arg), &err), &err);
}

const struct lua_serializer *vigia__lua_store_serializer(lua_State *L, int idx)
{
	return &check(L, idx)->serializer;
}

struct lua_cache *vigia__lua_push_cache(lua_State *L, int idx)
{
	struct lua_cache *cache = check(L, idx)->cache;
	vigia__lua_push_kept(L, idx, 2);
	return cache;
}

struct open_target {
	struct vigia_store_options options;
	struct lua_serializer serializer;
};

static void open_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct open_target *target = ctx;
	vigia__lua_option_serializer(L, idx, &target->options, &target->serializer, problems);
}

int vigia__lua_open(lua_State *L)
{
	const char *path = vigia__lua_check_cstring(L, 1, "path");
	lua_settop(L, 2);
	struct open_target target = {0};
	vigia__lua_own_options(L, 2, 2);
	vigia_store_options_init(&target.options);
	vigia__lua_check_options(L, 2, vigia__store_option_table, &target.options, "store options", open_special, &target);
	vigia__lua_shared(L); /* refuses a state that is closing */
	size_t size = strlen(path) + 1;
	struct lua_store *h = vigia__lua_new_keeping(L, sizeof *h + size, &store_key, 2);
	memcpy(h->path, path, size);
	h->serializer = target.serializer;
	if (h->serializer.functions) {
		lua_pushliteral(L, "serializer");
		lua_rawget(L, 2);
		vigia__lua_keep_serializer(L, -1, -2);
		lua_pop(L, 1);
	}
	if (target.options.cache_size > 0) {
		h->cache = vigia__lua_cache_new(L, (size_t)target.options.cache_size);
		vigia__lua_keep(L, -2, 2);
	}
	struct vigia_error err = {0};
	int rc = vigia_store_open(path, &target.options, &h->store, &err);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : 1;
}

void vigia__lua_push_store(lua_State *L, struct vigia_store *store)
{
	size_t size = strlen(store->path) + 1;
	struct lua_store *h = vigia__lua_new_keeping(L, sizeof *h + size, &store_key, 2);
	memcpy(h->path, store->path, size);
	h->borrowed = true;
	vigia__store_ref(store);
	h->store = store;
}

void vigia__lua_use_serializer(lua_State *L, int store_idx, int idx)
{
	struct lua_store *h = check(L, store_idx);
	struct open_target target = {0};
	struct vigia__problems problems = {0};
	vigia__lua_option_serializer(L, idx, &target.options, &target.serializer, &problems);
	struct vigia_error err = {0};
	if (vigia__problems_end(&problems, "serializer", &err) != VIGIA_OK) luaL_error(L, "%s", err.message);
	if (strcmp(target.options.serializer, h->store->serializer) != 0) {
		vigia__error(&err, VIGIA_EINVAL, "the serializer is '%s', but that of the store is '%s'",
		             target.options.serializer,
		             h->store->serializer); /* the name is the table's, and a message in Lua is made of pieces */
		luaL_error(L, "%s", err.message);
	}
	h->serializer = target.serializer;
	if (h->serializer.functions) vigia__lua_keep_serializer(L, idx, store_idx);
}

/* Commit what waits, the last chance. */
static int flush(struct lua_store *h, struct vigia_error *err)
{
	int rc = h->store && !h->borrowed ? vigia__store_flush(h->store, err) : VIGIA_OK;
	return rc == VIGIA_EFORKED || rc == VIGIA_ECLOSED ? VIGIA_OK : rc;
}

static void give_up(struct lua_store *h)
{
	struct vigia_store *store = h->store;
	h->store = NULL;
	if (h->borrowed && store) vigia__store_unref(store);
	else vigia_store_free(store);
}

/* __gc and __close: safe twice. They can return nothing: what is lost is a warning. */
static int end(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	struct vigia_error err = {0};
	int rc = flush(h, &err);
	give_up(h);
	if (rc < 0) {
		lua_warning(L, "vigia: ", 1);
		lua_warning(L, err.message, 0);
	}
	return 0;
}

static int store_close(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	struct vigia_error err = {0};
	int rc = flush(h, &err);
	give_up(h);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushboolean(L, 1);
	return 1;
}

static int store_tostring(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	lua_pushfstring(L, "vigia.Store: %s%s", h->path, h->store ? "" : " (closed)");
	return 1;
}

/* ---- Storing ---- */

/* Out of memory is a Lua error like any other; the rest is nil and an error. */
static int fail(lua_State *L, int rc, struct vigia_error *err)
{
	if (rc == VIGIA_ENOMEM) return luaL_error(L, "not enough memory");
	return vigia__lua_fail(L, rc, err);
}

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
     .help = "store only if the last number ever given is this one"},
	{.name = "key", .type = VIGIA_OPTION_SPECIAL, .help = "store once, however often it is sent"},
	{.name = NULL},
};

static void append_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct conditions *conditions = ctx;
	struct vigia_error err;
	if (lua_type(L, idx) != LUA_TSTRING)
		vigia__problem(problems, "key is a %s, allowed: a string of 1 to 255 bytes", luaL_typename(L, idx));
	else {
		conditions->key.data = lua_tolstring(L, idx, &conditions->key.len);
		if (vigia__append_key_check(conditions->key, &err) < 0) vigia__problem(problems, "%s", err.message);
	}
}

/* The options at `arg`, which the key takes the place of: a finalizer that runs may change the table. If it does before
 * the key is taken out of it, that is another one, and is looked at, too. [-0, +0, v] */
static void check_conditions(lua_State *L, int arg, struct conditions *out)
{
	*out = (struct conditions){0};
	vigia__lua_check_options(L, arg, append_option_table, out, "options", append_special, out);
	if (out->key.len == 0) return;
	lua_pushliteral(L, "key");
	lua_rawget(L, arg);
	lua_replace(L, arg);
	struct vigia_error err;
	if (lua_type(L, arg) == LUA_TSTRING) out->key.data = lua_tolstring(L, arg, &out->key.len);
	if (lua_type(L, arg) != LUA_TSTRING || vigia__append_key_check(out->key, &err) < 0)
		luaL_argerror(L, arg, "options: key was changed meanwhile");
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

static int store_store_event(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	vigia__lua_check_string(L, 2, "operation", NULL);
	vigia__lua_check_string(L, 3, "object_type", NULL);
	if (lua_isnone(L, 4)) luaL_argerror(L, 4, "object: value expected (nil is one)");
	lua_settop(L, 5);
	struct conditions conditions;
	check_conditions(L, 5, &conditions);
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia_error err;
	vigia__error_clear(&err);
	if (h->store == NULL) return vigia__lua_fail(L, closed(h, &err), &err);
	if (h->serializer.functions || h->serializer.strict) {
		int refused = vigia__lua_marshal(L, &h->serializer, 1, 2, 3, 4, &err);
		if (refused < 0) return vigia__lua_fail(L, refused, &err);
		if (h->store == NULL) return vigia__lua_fail(L, closed(h, &err), &err);
	}
	struct lua_append *append = vigia__lua_append_begin(L, shared, h->store);
	if (h->store == NULL) /* closed since by a finalizer */
		return vigia__lua_fail(L, closed(h, &err), &err);
	struct vigia__buf *buf = append ? &append->events : &shared->events;
	vigia__buf_clear(buf, VIGIA_LUA_KEEP);
	int rc = vigia__lua_encode_for(L, h->store, &h->serializer, 2, 3, 4, buf, &err);
	struct vigia__append request = {.bytes = buf->data, .count = 1, .len = buf->len};
	set_conditions(&request, &conditions, append);
	if (rc == 0 && append) return vigia__lua_append_wait(L, append, h->store, &request);
	if (rc == 0) rc = vigia__store_append(h->store, &request, &err);
	vigia__buf_clear(buf, VIGIA_LUA_KEEP);
	if (rc < 0) return fail(L, rc, &err);
	if (request.queued) return vigia__lua_queued(L);
	lua_pushinteger(L, (lua_Integer)request.first_seq);
	if (!request.existed) return 1;
	lua_pushboolean(L, 1);
	return 2;
}

enum { WRONG_USE = 1 }; /* beside the codes: to be raised */

static const char *const event_fields[] = {"operation", "object_type", "object", "seq_num", "timestamp", NULL};

static const char *event_field_at(const void *ctx, int index)
{
	return event_fields[index];
}

/* Which of the three does the key at idx name? 1..3; 0: one that is ignored; -1: none. */
static int field_of(lua_State *L, int idx)
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
		int field = field_of(L, -2);
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
		if (vigia__buf_add(ends, &events->len, sizeof(size_t)) != 0)
			return vigia__error(err, VIGIA_ENOMEM, "not enough memory");
	}
	return 0;
}

/* How many events are in the list at idx; raises if it has other keys than 1..n. */
static lua_Integer check_list(lua_State *L, int idx)
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

static int store_store_events(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	lua_Integer count = check_list(L, 2);
	lua_settop(L, 3);
	struct conditions conditions;
	check_conditions(L, 3, &conditions);
	luaL_checkstack(L, 16, NULL);
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia_error err = {0};
	if (h->store == NULL) return vigia__lua_fail(L, closed(h, &err), &err);
	if (count == 0) { /* all of them are stored; there is no number to tell */
		lua_pushboolean(L, 1);
		return 1;
	}
	if (h->serializer.functions || h->serializer.strict) {
		lua_Integer failed = 0;
		int refused = vigia__lua_marshal_list(L, &h->serializer, 1, 2, count, &failed, &err);
		if (refused < 0) {
			name_entry(failed, &err);
			return vigia__lua_fail(L, refused, &err);
		}
		if (h->store == NULL) return vigia__lua_fail(L, closed(h, &err), &err);
	}
	struct lua_append *append = vigia__lua_append_begin(L, shared, h->store);
	if (h->store == NULL) /* closed since by a finalizer */
		return vigia__lua_fail(L, closed(h, &err), &err);
	struct vigia__buf *events = append ? &append->events : &shared->events,
					  *ends = append ? &append->ends : &shared->ends;
	vigia__buf_clear(events, VIGIA_LUA_KEEP);
	vigia__buf_clear(ends, VIGIA_LUA_KEEP);
	int rc = encode_list(L, h, 2, count, events, ends, &err);
	struct vigia__append request = {
		.bytes = events->data, .ends = (const size_t *)(void *)ends->data, .count = (size_t)count, .len = events->len};
	set_conditions(&request, &conditions, append);
	if (rc == 0 && append) return vigia__lua_append_wait(L, append, h->store, &request);
	if (rc == 0) rc = vigia__store_append(h->store, &request, &err);
	vigia__buf_clear(events, VIGIA_LUA_KEEP);
	vigia__buf_clear(ends, VIGIA_LUA_KEEP);
	if (rc == WRONG_USE) return luaL_argerror(L, 2, lua_pushstring(L, err.message));
	if (rc < 0) return fail(L, rc, &err);
	if (request.queued) return vigia__lua_queued(L);
	lua_pushinteger(L, (lua_Integer)request.first_seq);
	lua_pushinteger(L, (lua_Integer)request.last_seq);
	if (!request.existed) return 2;
	lua_pushboolean(L, 1);
	return 3;
}

/* ---- Single events and numbers ---- */

static int no_event(struct vigia_store *store, uint64_t n, struct vigia_error *err)
{
	uint64_t latest;
	int rc = vigia_store_latest(store, &latest, err);
	if (rc < 0) return rc;
	if (n >= 1 && n <= latest) rc = vigia__error(err, VIGIA_EEXPIRED, "event %llu was removed", (unsigned long long)n);
	else if (n == 0) rc = vigia__error(err, VIGIA_ENOEVENT, "there is no event 0: the first one is 1");
	else if (latest == 0)
		rc =
			vigia__error(err, VIGIA_ENOEVENT, "there is no event %llu: the store never had one", (unsigned long long)n);
	else
		rc = vigia__error(err, VIGIA_ENOEVENT, "there is no event %llu: the last one is %llu", (unsigned long long)n,
		                  (unsigned long long)latest);
	err->seq_num = n;
	return rc;
}

static int store_get_event(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	uint64_t n = vigia__lua_check_seq(L, 2, "n");
	lua_settop(L, 2);
	struct vigia_batch *batch = vigia__lua_push_batch(L);
	struct vigia_error err = {0};
	if (batch == NULL) return fail(L, VIGIA_ENOMEM, &err);
	if (h->store == NULL) {
		vigia__lua_return_batch(L, 3);
		return vigia__lua_fail(L, closed(h, &err), &err);
	}
	struct vigia_read request = {.from = {.kind = VIGIA_AT, .seq_num = n}, .limit = 1};
	struct vigia_iterator next;
	int rc = vigia__store_read(h->store, &request, NULL, NULL, batch, &next, &err);
	if (rc == VIGIA_OK && (batch->count == 0 || batch->entries[0].seq_num != n)) rc = no_event(h->store, n, &err);
	if (rc == VIGIA_OK) rc = vigia__lua_push_event(L, 1, batch, 0, &err);
	vigia__lua_return_batch(L, 3);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : 1;
}

/* True, or nil and the error. */
static int done(lua_State *L, int rc, struct vigia_error *err)
{
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	lua_pushboolean(L, 1);
	return 1;
}

/* What a store answers with a number: that, or nil and the error. */
static int number_or_fail(lua_State *L, int rc, uint64_t n, struct vigia_error *err)
{
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	lua_pushinteger(L, (lua_Integer)n);
	return 1;
}

/* A question without arguments. */
static int ask(lua_State *L, int (*question)(struct vigia_store *store, uint64_t *n, struct vigia_error *err))
{
	struct lua_store *h = check(L, 1);
	struct vigia_error err = {0};
	uint64_t n = 0;
	int rc = h->store ? question(h->store, &n, &err) : closed(h, &err);
	return number_or_fail(L, rc, n, &err);
}

static int store_get_latest(lua_State *L)
{
	return ask(L, vigia_store_latest);
}

static int store_get_oldest(lua_State *L)
{
	return ask(L, vigia_store_oldest);
}

static int store_sync(lua_State *L)
{
	return ask(L, vigia_store_sync);
}

static int store_find_time(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	int whole = 0;
	lua_Integer at_ns = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &whole) : 0;
	if (!whole)
		luaL_argerror(L, 2,
		              lua_pushfstring(L, "timestamp: integer of nanoseconds expected, got %s",
		                              lua_type(L, 2) == LUA_TNUMBER ? "a float" : luaL_typename(L, 2)));
	struct vigia_error err = {0};
	uint64_t n = 0;
	int rc = h->store ? vigia_store_find_time(h->store, at_ns, &n, &err) : closed(h, &err);
	if (rc != VIGIA_NONE) return number_or_fail(L, rc, n, &err);
	lua_pushnil(L);
	return 1;
}

static int store_trim(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	uint64_t n = vigia__lua_check_seq(L, 2, "n"), removed = 0;
	struct vigia_error err = {0};
	int rc = h->store ? vigia_store_trim(h->store, n, &removed, &err) : closed(h, &err);
	return number_or_fail(L, rc, removed, &err);
}

static int store_backup(lua_State *L)
{
	struct backup {
		bool compact;
	} options = {false};
	static const struct vigia__option table[] = {
		{.name = "compact",
	     .type = VIGIA_OPTION_BOOL,
	     .offset = offsetof(struct backup, compact),
	     .help = "leave out free pages"},
		{.name = NULL},
	};
	struct lua_store *h = check(L, 1);
	const char *path = vigia__lua_check_cstring(L, 2, "path");
	vigia__lua_check_options(L, 3, table, &options, "options", NULL, NULL);
	struct vigia_error err = {0};
	int rc = h->store ? vigia_store_backup(h->store, path, options.compact, &err) : closed(h, &err);
	return done(L, rc, &err);
}

/* ---- Checkpoints ---- */

/* The id at 2: *rc tells whether it may be one. */
static const char *check_id(lua_State *L, int *rc, struct vigia_error *err)
{
	size_t len;
	const char *id = vigia__lua_check_string(L, 2, "watcher_id", &len);
	*rc = vigia__watcher_id_check(id, len, err);
	return id;
}

static int store_store_checkpoint(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	struct vigia_error err = {0};
	int rc;
	const char *id = check_id(L, &rc, &err);
	uint64_t n = vigia__lua_check_seq(L, 3, "n");
	if (rc == VIGIA_OK) rc = h->store ? vigia_checkpoint_put(h->store, id, n, &err) : closed(h, &err);
	return done(L, rc, &err);
}

static int store_get_checkpoint(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	struct vigia_error err = {0};
	int rc;
	const char *id = check_id(L, &rc, &err);
	uint64_t n = 0;
	if (rc == VIGIA_OK) rc = h->store ? vigia_checkpoint_get(h->store, id, &n, &err) : closed(h, &err);
	return number_or_fail(L, rc, n, &err);
}

static int store_delete_checkpoint(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	struct vigia_error err = {0};
	int rc;
	const char *id = check_id(L, &rc, &err);
	if (rc == VIGIA_OK) rc = h->store ? vigia_checkpoint_delete(h->store, id, &err) : closed(h, &err);
	return done(L, rc, &err);
}

/* Lists are gathered in bytes first, because a raise must not jump over the store's loop: id, zero, number. */
struct gather {
	struct vigia__buf *buf;
	bool failed;
};

static void gather(void *ctx, const char *watcher_id, uint64_t seq_num)
{
	struct gather *g = ctx;
	size_t before = g->buf->len;
	if (vigia__buf_add(g->buf, watcher_id, strlen(watcher_id) + 1) != 0 ||
	    vigia__buf_add(g->buf, &seq_num, sizeof seq_num) != 0) {
		g->buf->len = before;
		g->failed = true;
	}
}

/* A table id -> number of what `each` calls back with. */
static int push_each(lua_State *L, int (*each)(struct vigia_store *, void *, vigia_checkpoint_fn, struct vigia_error *))
{
	struct lua_store *h = check(L, 1);
	struct vigia__buf *text = &vigia__lua_shared(L)->text;
	struct vigia_error err = {0};
	size_t room = 1024, len;
	char *copy;
	/* Making an object may run finalizers, which may use the shared buffer: between filling it and copying it nothing
	 * is made. */
	for (;;) {
		copy = lua_newuserdatauv(L, room, 0);
		struct gather g = {.buf = text};
		vigia__buf_clear(text, VIGIA_LUA_KEEP);
		int rc = h->store ? each(h->store, &g, gather, &err) : closed(h, &err);
		if (rc == VIGIA_OK && g.failed) rc = VIGIA_ENOMEM;
		if (rc < 0) return fail(L, rc, &err);
		len = text->len;
		if (len <= room) break;
		room = len * 2;
		lua_pop(L, 1);
	}
	if (len) memcpy(copy, text->data, len);
	lua_newtable(L);
	for (size_t at = 0; at < len;) {
		uint64_t seq_num;
		size_t id_len = strlen(copy + at);
		memcpy(&seq_num, copy + at + id_len + 1, sizeof seq_num);
		lua_pushlstring(L, copy + at, id_len);
		lua_pushinteger(L, (lua_Integer)seq_num);
		lua_rawset(L, -3);
		at += id_len + 1 + sizeof seq_num;
	}
	return 1;
}

static int store_checkpoints(lua_State *L)
{
	return push_each(L, vigia_checkpoint_each);
}

static int store_holds(lua_State *L)
{
	return push_each(L, vigia_hold_each);
}

/* ---- Garbage collection ---- */

static int store_gc(lua_State *L)
{
	static const char *const reasons[] = {"done", "off", "no_checkpoint", "held", "bound"};
	struct lua_store *h = check(L, 1);
	struct vigia_error err = {0};
	struct vigia_gc gc;
	int rc = h->store ? vigia_store_gc(h->store, &gc, &err) : closed(h, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_createtable(L, 0, 4);
	lua_pushinteger(L, (lua_Integer)gc.removed);
	lua_setfield(L, -2, "removed");
	lua_pushinteger(L, (lua_Integer)gc.oldest);
	lua_setfield(L, -2, "oldest");
	lua_pushstring(L, reasons[gc.reason]);
	lua_setfield(L, -2, "reason");
	if (gc.held_by[0]) {
		lua_pushstring(L, gc.held_by);
		lua_setfield(L, -2, "held_by");
	}
	return 1;
}

/* ---- Stats ---- */

static void set_integer(lua_State *L, const char *field, uint64_t value)
{
	lua_pushinteger(L, (lua_Integer)value);
	lua_setfield(L, -2, field);
}

static void set_string(lua_State *L, const char *field, const char *value)
{
	lua_pushstring(L, value);
	lua_setfield(L, -2, field);
}

static void set_can(lua_State *L, unsigned can)
{
	static const struct {
		const char *name;
		unsigned bit;
	} flags[] = {{"persist", VIGIA_CAN_PERSIST}, {"share", VIGIA_CAN_SHARE}, {"damage", VIGIA_CAN_DAMAGE}};
	lua_createtable(L, 0, 3);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		lua_pushboolean(L, (can & flags[i].bit) != 0);
		lua_setfield(L, -2, flags[i].name);
	}
	lua_setfield(L, -2, "can");
}

static int store_stats(lua_State *L)
{
	struct lua_store *h = check(L, 1);
	struct vigia__backend_stats stats = {0};
	struct vigia_error err = {0};
	int rc = h->store ? vigia__store_stats(h->store, &stats, &err) : closed(h, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	const struct vigia__backend *backend = h->store->backend;
	/* Taken now: making the table may run a finalizer that closes the store. */
	unsigned can = backend->can;
	const char *name = backend->name;
	uint64_t appended = atomic_load(&h->store->appended), queued = atomic_load(&backend->queue->count);
	lua_createtable(L, 0, 28);
	set_string(L, "path", h->path);
	set_string(L, "backend", name);
	set_can(L, can);
	set_integer(L, "format", (uint64_t)stats.format);
	set_string(L, "file_id", stats.file_id);
	set_integer(L, "created", (uint64_t)stats.created_at_ns);
	set_integer(L, "events", stats.events);
	set_integer(L, "oldest_event_num", stats.oldest);
	set_integer(L, "latest_event_num", stats.latest);
	set_integer(L, "last_appended_event_num", appended);
	set_integer(L, "queued_events", queued);
	set_integer(L, "file_bytes", stats.file_bytes);
	set_integer(L, "used_bytes", stats.used_bytes);
	set_integer(L, "map_bytes", stats.map_bytes);
	set_integer(L, "readers", stats.readers);
	set_integer(L, "commits", stats.commits);
	vigia__lua_set_settings(L, &stats.settings);
	return 1;
}

/* ---- The class ---- */

void vigia__lua_store_init(lua_State *L)
{
	static const luaL_Reg metamethods[] = {
		{"__gc", end}, {"__close", end}, {"__tostring", store_tostring}, {NULL, NULL}};
	static const luaL_Reg methods[] = {
		{"store_event", store_store_event},
		{"store_events", store_store_events},
		{"get_events", vigia__lua_get_events},
		{"get_event", store_get_event},
		{"get_latest_event_num", store_get_latest},
		{"get_oldest_event_num", store_get_oldest},
		{"find_time", store_find_time},
		{"trim", store_trim},
		{"sync", store_sync},
		{"backup", store_backup},
		{"store_checkpoint", store_store_checkpoint},
		{"get_checkpoint", store_get_checkpoint},
		{"delete_checkpoint", store_delete_checkpoint},
		{"checkpoints", store_checkpoints},
		{"holds", store_holds},
		{"gc", store_gc},
		{"stats", store_stats},
		{"configure", vigia__lua_store_configure},
		{"close", store_close},
		{NULL, NULL},
	};
	vigia__lua_append_init(L);
	vigia__lua_cache_init(L);
	vigia__lua_class(L, store_class, &store_key, metamethods, methods);
	lua_pushstring(L, store_class);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}
