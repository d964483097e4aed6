/*
 * store.c - the class vigia.Store: opening, and the methods that have no file of their own.
 */
#include "store.h"

#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/buf.h"
#include "../core/location.h"
#include "../core/options.h"
#include "../store/backend.h"
#include "../store/module.h"
#include "../store/store.h"
#include "append.h"
#include "cache.h"
#include "decode.h"
#include "error.h"
#include "explain.h"
#include "letters.h"
#include "lua_state.h"
#include "options.h"
#include "reading.h"
#include "serial.h"
#include "settings.h"
#include "store_append.h"
#include "steer.h"
#include "store_handle.h"
#include "timer.h"
#include "transaction.h"
#include "transfer.h"
#include "wait_for.h"
#include "watchers.h"

/* ---- Life ---- */

struct open_target {
	struct vigia_store_options options;
	struct lua_serializer serializer;
};

static void open_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	struct open_target *target = ctx;
	vigia__lua_option_serializer(L, idx, &target->options, &target->serializer, problems);
}

/* The options at 2, which become a table of our own there. [-0, +0, e] */
static void read_options(lua_State *L, struct open_target *target)
{
	*target = (struct open_target){0};
	vigia__lua_own_options(L, 2, 2);
	vigia_store_options_init(&target->options);
	vigia__lua_check_options(L, 2, vigia__store_option_table, &target->options, "store options", open_special, target);
}

int vigia__lua_open(lua_State *L)
{
	const char *path = vigia__lua_check_cstring(L, 1, "path");
	lua_settop(L, 2);
	struct open_target target;
	read_options(L, &target);
	vigia__lua_shared(L); /* refuses a state that is closing */
	vigia__lua_check_finalizes(L);
	size_t size = strlen(path) + 1;
	struct lua_store *h = vigia__lua_new_keeping(L, sizeof *h + size, &vigia__lua_store_class, VIGIA_LUA_STORE_KEEPS);
	vigia__location_show(path, h->path);
	h->serializer = target.serializer;
	if (h->serializer.functions) {
		vigia__lua_push_raw(L, 2, "serializer");
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

int vigia__lua_create_sql(lua_State *L)
{
	vigia__lua_check_program(L, "create_sql");
	const char *location = vigia__lua_check_cstring(L, 1, "location");
	lua_settop(L, 2);
	struct open_target target;
	read_options(L, &target);
	struct vigia__buf *text = &vigia__lua_shared(L)->text;
	struct vigia_error err = {0};
	int rc = VIGIA_OK;
	vigia__buf_clear(text, 1 << 20);
	if (vigia__location_is_postgresql(location)) rc = vigia__module_script(location, &target.options, text, &err);
	else
		rc = vigia__error(&err, VIGIA_EUNSUPPORTED,
		                  "SQL creates no file: give the location of a server, postgresql://...");
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushlstring(L, (const char *)text->data, text->len);
	return 1;
}

int vigia__lua_show_location(lua_State *L)
{
	size_t len;
	const char *location = luaL_checklstring(L, 1, &len);
	luaL_Buffer buffer;
	char *shown = luaL_buffinitsize(L, &buffer, len + 1);
	vigia__location_show(location, shown);
	/* One with a NUL in it is no location: shown as far as that. */
	luaL_pushresultsize(&buffer, strlen(shown));
	return 1;
}

void vigia__lua_use_serializer(lua_State *L, int store_idx, int idx)
{
	struct lua_store *h = vigia__lua_check_handle(L, store_idx);
	struct open_target target = {0};
	struct vigia__problems problems = {0};
	vigia__lua_option_serializer(L, idx, &target.options, &target.serializer, &problems);
	struct vigia_error err = {0};
	if (vigia__problems_end(&problems, "serializer", &err) != VIGIA_OK) luaL_error(L, "%s", err.message);
	if (strcmp(target.options.serializer, h->store->serializer) != 0) {
		vigia__error(&err, VIGIA_EINVAL, "the serializer is '%s', but the store has '%s'", target.options.serializer,
		             h->store->serializer); /* the name is the table's, and a message in Lua is made of pieces */
		luaL_error(L, "%s", err.message);
	}
	h->serializer = target.serializer;
	if (h->serializer.functions) vigia__lua_keep_serializer(L, idx, store_idx);
}

/* Commit what waits, the last chance. */
static int flush_store(struct lua_store *h, struct vigia_error *err)
{
	int rc = h->store && !h->borrowed ? vigia__store_flush(h->store, err) : VIGIA_OK;
	return rc == VIGIA_EFORKED || rc == VIGIA_ECLOSED ? VIGIA_OK : rc;
}

static void release_store(struct lua_store *h)
{
	struct vigia_store *store = h->store;
	h->store = NULL;
	if (h->borrowed && store) vigia__store_unref(store);
	else vigia_store_free(store);
}

/* __gc and __close: safe twice. They can return nothing: what is lost is a warning. */
static int collect_store(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia_error err = {0};
	int rc = flush_store(h, &err);
	release_store(h);
	if (rc < 0) {
		lua_warning(L, "vigia: ", 1);
		lua_warning(L, VIGIA_TOLD(&err), 0);
	}
	return 0;
}

static int store_close(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia_error err = {0};
	int rc = flush_store(h, &err);
	release_store(h);
	return vigia__lua_done(L, rc, &err);
}

static int store_tostring(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	lua_pushfstring(L, "vigia.Store: %s%s", h->path, h->store ? "" : " (closed)");
	return 1;
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
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	uint64_t n = vigia__lua_check_seq(L, 2, "n");
	lua_settop(L, 2);
	struct vigia_batch *batch = vigia__lua_push_batch(L);
	struct vigia_error err = {0};
	if (batch == NULL) return vigia__lua_fail_store(L, VIGIA_ENOMEM, &err);
	if (h->store == NULL) {
		vigia__lua_return_batch(L, 3);
		return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	}
	struct vigia_read request = {.from = {.kind = VIGIA_AT, .seq_num = n}, .limit = 1};
	struct vigia_iterator next;
	int rc = vigia__store_read(h->store, &request, NULL, NULL, batch, &next, &err);
	if (rc == VIGIA_OK && (batch->count == 0 || batch->entries[0].seq_num != n)) rc = no_event(h->store, n, &err);
	if (rc == VIGIA_OK) rc = vigia__lua_push_event(L, 1, batch, 0, &err);
	vigia__lua_return_batch(L, 3);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : 1;
}

/* The number, or nil and the error. */
static int number_or_fail(lua_State *L, int rc, uint64_t n, struct vigia_error *err)
{
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	lua_pushinteger(L, (lua_Integer)n);
	return 1;
}

/* A question without arguments. */
static int number_of(lua_State *L, int (*question)(struct vigia_store *store, uint64_t *n, struct vigia_error *err))
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia_error err = {0};
	uint64_t n = 0;
	int rc = h->store ? question(h->store, &n, &err) : vigia__lua_closed(h, &err);
	return number_or_fail(L, rc, n, &err);
}

static int store_get_latest(lua_State *L)
{
	return number_of(L, vigia_store_latest);
}

static int store_get_oldest(lua_State *L)
{
	return number_of(L, vigia_store_oldest);
}

static int store_sync(lua_State *L)
{
	return number_of(L, vigia_store_sync);
}

static int store_find_time(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	int whole = 0;
	lua_Integer at_ns = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &whole) : 0;
	if (!whole)
		luaL_argerror(L, 2,
		              lua_pushfstring(L, "timestamp: integer of nanoseconds expected, got %s",
		                              lua_type(L, 2) == LUA_TNUMBER ? "a float" : luaL_typename(L, 2)));
	struct vigia_error err = {0};
	uint64_t n = 0;
	int rc = h->store ? vigia_store_find_time(h->store, at_ns, &n, &err) : vigia__lua_closed(h, &err);
	if (rc != VIGIA_NONE) return number_or_fail(L, rc, n, &err);
	lua_pushnil(L);
	return 1;
}

static int store_trim(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	uint64_t n = vigia__lua_check_seq(L, 2, "n"), removed = 0;
	struct vigia_error err = {0};
	int rc = h->store ? vigia_store_trim(h->store, n, &removed, &err) : vigia__lua_closed(h, &err);
	return number_or_fail(L, rc, removed, &err);
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
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia_error err = {0};
	int rc;
	const char *id = check_id(L, &rc, &err);
	uint64_t n = vigia__lua_check_seq(L, 3, "n");
	if (rc == VIGIA_OK) rc = h->store ? vigia_checkpoint_put(h->store, id, n, &err) : vigia__lua_closed(h, &err);
	return vigia__lua_done(L, rc, &err);
}

static int store_get_checkpoint(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia_error err = {0};
	int rc;
	const char *id = check_id(L, &rc, &err);
	uint64_t n = 0;
	if (rc == VIGIA_OK) rc = h->store ? vigia_checkpoint_get(h->store, id, &n, &err) : vigia__lua_closed(h, &err);
	return number_or_fail(L, rc, n, &err);
}

static int store_delete_checkpoint(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia_error err = {0};
	int rc;
	const char *id = check_id(L, &rc, &err);
	if (rc == VIGIA_OK) rc = h->store ? vigia_checkpoint_delete(h->store, id, &err) : vigia__lua_closed(h, &err);
	return vigia__lua_done(L, rc, &err);
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
		/* GCOVR_EXCL_START: want of memory. */
		g->buf->len = before;
		g->failed = true;
		/* GCOVR_EXCL_STOP */
	}
}

/* A table id -> number of what `each` calls back with. */
static int push_each(lua_State *L, int (*each)(struct vigia_store *, void *, vigia_checkpoint_fn, struct vigia_error *))
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
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
		int rc = h->store ? each(h->store, &g, gather, &err) : vigia__lua_closed(h, &err);
		if (rc == VIGIA_OK && g.failed) rc = VIGIA_ENOMEM;
		if (rc < 0) return vigia__lua_fail_store(L, rc, &err);
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
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia_error err = {0};
	struct vigia_gc gc;
	int rc = h->store ? vigia_store_gc(h->store, &gc, &err) : vigia__lua_closed(h, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_createtable(L, 0, 5);
	vigia__lua_set_integer(L, "removed", gc.removed);
	vigia__lua_set_integer(L, "oldest", gc.oldest);
	if (gc.left > 0) vigia__lua_set_integer(L, "left", gc.left);
	vigia__lua_set_string(L, "reason", reasons[gc.reason]);
	if (gc.held_by[0]) {
		vigia__lua_set_string(L, "held_by", gc.held_by);
	}
	return 1;
}

/* ---- Stats ---- */

static void set_capabilities(lua_State *L, unsigned can)
{
	static const struct {
		const char *name;
		unsigned bit;
	} flags[] = {{"persist", VIGIA_CAN_PERSIST},
	             {"share", VIGIA_CAN_SHARE},
	             {"damage", VIGIA_CAN_DAMAGE},
	             {"file", VIGIA_CAN_FILE}};
	lua_createtable(L, 0, sizeof flags / sizeof *flags);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		lua_pushboolean(L, (can & flags[i].bit) != 0);
		lua_setfield(L, -2, flags[i].name);
	}
	lua_setfield(L, -2, "capabilities");
}

static int store_stats(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct vigia__backend_stats stats = {0};
	struct vigia_error err = {0};
	int rc = h->store ? vigia__store_stats(h->store, &stats, &err) : vigia__lua_closed(h, &err);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	const struct vigia__backend *backend = h->store->backend;
	/* Taken now: making the table may run a finalizer that closes the store. */
	unsigned can = backend->can;
	const char *name = backend->name;
	uint64_t appended = atomic_load(&h->store->appended), queued = atomic_load(&backend->queue->count);
	lua_createtable(L, 0, 39);
	vigia__lua_set_string(L, "path", h->path);
	lua_pushboolean(L, stats.importing);
	lua_setfield(L, -2, "importing");
	vigia__lua_set_string(L, "backend", name);
	set_capabilities(L, can);
	const struct vigia__lua_number numbers[] = {
		{"format", (uint64_t)stats.format},
		{"created", (uint64_t)stats.created_at_ns},
		{"events", stats.events},
		{"oldest_event_num", stats.oldest},
		{"latest_event_num", stats.latest},
		{"last_appended_event_num", appended},
		{"queued_events", queued},
		{"file_bytes", stats.file_bytes},
		{"used_bytes", stats.used_bytes},
		{"map_bytes", stats.map_bytes},
		{"readers", stats.readers},
		{"commits", stats.commits},
		{"buckets", stats.buckets},
		{"values", stats.values},
		{"timers", stats.timers},
		{"dead_letters", stats.dead_letters},
		{"journal_appends", stats.journal_appends},
		{"journal_drains", stats.journal_drains},
		{NULL, 0},
	};
	vigia__lua_set_integers(L, numbers);
	lua_createtable(L, 0, 3);
	vigia__lua_set_integer(L, "committed", stats.committed);
	vigia__lua_set_integer(L, "conflicts", stats.conflicts);
	vigia__lua_set_integer(L, "given_up", stats.given_up);
	lua_setfield(L, -2, "transactions");
	vigia__lua_set_string(L, "file_id", stats.file_id);
	vigia__lua_set_settings(L, &stats.settings);
	return 1;
}

/* ---- The class ---- */

void vigia__lua_store_init(lua_State *L)
{
	static const luaL_Reg metamethods[] = {
		{"__gc", collect_store}, {"__close", collect_store}, {"__tostring", store_tostring}, {NULL, NULL}};
	static const luaL_Reg methods[] = {
		{"store_event", vigia__lua_store_event},
		{"store_events", vigia__lua_store_events},
		{"get_events", vigia__lua_get_events},
		{"get_event", store_get_event},
		{"get_latest_event_num", store_get_latest},
		{"get_oldest_event_num", store_get_oldest},
		{"find_time", store_find_time},
		{"explain", vigia__lua_store_explain},
		{"trim", store_trim},
		{"sync", store_sync},
		{"backup", vigia__lua_store_backup},
		{"export", vigia__lua_store_export},
		{"import", vigia__lua_store_import},
		{"store_checkpoint", store_store_checkpoint},
		{"get_checkpoint", store_get_checkpoint},
		{"delete_checkpoint", store_delete_checkpoint},
		{"checkpoints", store_checkpoints},
		{"holds", store_holds},
		{"watchers", vigia__lua_store_watchers},
		{"wait_for", vigia__lua_store_wait_for},
		{"seek", vigia__lua_store_seek},
		{"pause", vigia__lua_store_pause},
		{"resume", vigia__lua_store_resume},
		{"retry", vigia__lua_store_retry},
		{"forget", vigia__lua_store_forget},
		{"gc", store_gc},
		{"transaction", vigia__lua_store_transaction},
		{"get", vigia__lua_store_get},
		{"put", vigia__lua_store_put},
		{"delete", vigia__lua_store_delete},
		{"range", vigia__lua_store_range},
		{"buckets", vigia__lua_store_buckets},
		{"drop_bucket", vigia__lua_store_drop_bucket},
		{"schedule", vigia__lua_store_schedule},
		{"unschedule", vigia__lua_store_unschedule},
		{"scheduled", vigia__lua_store_scheduled},
		{"dead_letters", vigia__lua_dead_letters},
		{"retry_dead_letter", vigia__lua_retry_dead_letter},
		{"drop_dead_letter", vigia__lua_drop_dead_letter},
		{"stats", store_stats},
		{"configure", vigia__lua_store_configure},
		{"close", store_close},
		{NULL, NULL},
	};
	vigia__lua_push_class(L, &vigia__lua_store_class);
	vigia__lua_set_methods(L, metamethods, methods);
	lua_pop(L, 1);
}
