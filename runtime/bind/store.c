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
#include "ask.h"
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

/* A call with a number, a time or nothing, whose result is a number. */
struct one_number {
	int (*question)(struct vigia_store *store, struct one_number *number, struct vigia_error *err);
	uint64_t given, n;
	int64_t at_ns;
	bool or_nil; /* where there is none. Else that is 0 */
};

static int ask_number(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct one_number *number = what;
	return number->question(store, number, err);
}

/* The number, or nil and the error. */
static int answer_number(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct one_number *number = what;
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	if (rc == VIGIA_NONE && number->or_nil) lua_pushnil(L);
	else lua_pushinteger(L, (lua_Integer)number->n);
	return 1;
}

static const struct vigia__lua_call number_call = {
	.size = sizeof(struct one_number), .ask = ask_number, .answer = answer_number};

struct one_event {
	uint64_t n;
	struct vigia_batch *batch;
};

static int ask_event(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct one_event *event = what;
	struct vigia_read request = {.from = {.kind = VIGIA_AT, .seq_num = event->n}, .limit = 1};
	struct vigia_iterator next;
	int rc = vigia__store_read(store, &request, NULL, NULL, event->batch, &next, err);
	bool found = rc == VIGIA_OK && event->batch->count > 0 && event->batch->entries[0].seq_num == event->n;
	return rc == VIGIA_OK && !found ? no_event(store, event->n, err) : rc;
}

static int answer_event(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct one_event *event = what;
	if (rc == VIGIA_OK) rc = vigia__lua_push_event(L, 1, event->batch, 0, err);
	return rc < 0 ? vigia__lua_fail(L, rc, err) : 1;
}

static bool keep_event(void *what)
{
	struct one_event *event = what;
	event->batch = vigia_batch_new();
	return event->batch != NULL;
}

static void free_event(void *what)
{
	vigia_batch_free(((struct one_event *)what)->batch);
}

static const struct vigia__lua_call event_call = {
	.size = sizeof(struct one_event), .ask = ask_event, .answer = answer_event, .keep = keep_event, .free = free_event};

static int store_get_event(lua_State *L)
{
	struct lua_store *h = vigia__lua_check_handle(L, 1);
	struct one_event event = {.n = vigia__lua_check_seq(L, 2, "n")};
	lua_settop(L, 2);
	if (vigia__lua_asks(L, h->store)) return vigia__lua_ask(L, 1, &event_call, &event);
	event.batch = vigia__lua_push_batch(L);
	struct vigia_error err = {0};
	if (event.batch == NULL) return vigia__lua_fail_store(L, VIGIA_ENOMEM, &err);
	if (h->store == NULL) {
		vigia__lua_return_batch(L, 3);
		return vigia__lua_fail(L, vigia__lua_closed(h, &err), &err);
	}
	int results = answer_event(L, &event, ask_event(h->store, &event, &err), &err);
	vigia__lua_return_batch(L, 3);
	return results;
}

static int latest(struct vigia_store *store, struct one_number *number, struct vigia_error *err)
{
	return vigia_store_latest(store, &number->n, err);
}

static int store_get_latest(lua_State *L)
{
	return vigia__lua_ask(L, 1, &number_call, &(struct one_number){.question = latest});
}

static int oldest(struct vigia_store *store, struct one_number *number, struct vigia_error *err)
{
	return vigia_store_oldest(store, &number->n, err);
}

static int store_get_oldest(lua_State *L)
{
	return vigia__lua_ask(L, 1, &number_call, &(struct one_number){.question = oldest});
}

static int sync(struct vigia_store *store, struct one_number *number, struct vigia_error *err)
{
	return vigia_store_sync(store, &number->n, err);
}

static int store_sync(lua_State *L)
{
	return vigia__lua_ask(L, 1, &number_call, &(struct one_number){.question = sync});
}

static int find_time(struct vigia_store *store, struct one_number *number, struct vigia_error *err)
{
	return vigia_store_find_time(store, number->at_ns, &number->n, err);
}

static int store_find_time(lua_State *L)
{
	vigia__lua_check_handle(L, 1);
	int whole = 0;
	lua_Integer at_ns = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &whole) : 0;
	if (!whole)
		luaL_argerror(L, 2,
		              lua_pushfstring(L, "timestamp: integer of nanoseconds expected, got %s",
		                              lua_type(L, 2) == LUA_TNUMBER ? "a float" : luaL_typename(L, 2)));
	return vigia__lua_ask(L, 1, &number_call,
	                      &(struct one_number){.question = find_time, .at_ns = at_ns, .or_nil = true});
}

static int trim(struct vigia_store *store, struct one_number *number, struct vigia_error *err)
{
	return vigia_store_trim(store, number->given, &number->n, err);
}

static int store_trim(lua_State *L)
{
	vigia__lua_check_handle(L, 1);
	uint64_t n = vigia__lua_check_seq(L, 2, "n");
	return vigia__lua_ask(L, 1, &number_call, &(struct one_number){.question = trim, .given = n});
}

/* ---- Checkpoints ---- */

struct one_checkpoint {
	int (*question)(struct vigia_store *store, struct one_checkpoint *checkpoint, struct vigia_error *err);
	uint64_t n;
	char id[VIGIA_NAME_MAX + 1];
};

static int ask_checkpoint(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct one_checkpoint *checkpoint = what;
	return checkpoint->question(store, checkpoint, err);
}

/* True, or nil and the error. */
static int answer_done(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	return vigia__lua_done(L, rc, err);
}

static int answer_checkpoint(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	lua_pushinteger(L, (lua_Integer)((struct one_checkpoint *)what)->n);
	return 1;
}

static const struct vigia__lua_call get_checkpoint_call = {
	.size = sizeof(struct one_checkpoint), .ask = ask_checkpoint, .answer = answer_checkpoint};
static const struct vigia__lua_call change_checkpoint_call = {
	.size = sizeof(struct one_checkpoint), .ask = ask_checkpoint, .answer = answer_done};

/* The id at 2: *rc tells whether it may be one. */
static void check_id(lua_State *L, struct one_checkpoint *checkpoint, int *rc, struct vigia_error *err)
{
	size_t len;
	const char *id = vigia__lua_check_string(L, 2, "watcher_id", &len);
	*rc = vigia__watcher_id_check(id, len, err);
	if (*rc == VIGIA_OK) memcpy(checkpoint->id, id, len + 1);
}

static int put_checkpoint(struct vigia_store *store, struct one_checkpoint *checkpoint, struct vigia_error *err)
{
	return vigia_checkpoint_put(store, checkpoint->id, checkpoint->n, err);
}

static int store_store_checkpoint(lua_State *L)
{
	struct vigia_error err = {0};
	struct one_checkpoint checkpoint;
	int rc;
	vigia__lua_check_handle(L, 1);
	checkpoint.question = put_checkpoint;
	check_id(L, &checkpoint, &rc, &err);
	checkpoint.n = vigia__lua_check_seq(L, 3, "n");
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : vigia__lua_ask(L, 1, &change_checkpoint_call, &checkpoint);
}

static int get_checkpoint(struct vigia_store *store, struct one_checkpoint *checkpoint, struct vigia_error *err)
{
	return vigia_checkpoint_get(store, checkpoint->id, &checkpoint->n, err);
}

static int delete_checkpoint(struct vigia_store *store, struct one_checkpoint *checkpoint, struct vigia_error *err)
{
	return vigia_checkpoint_delete(store, checkpoint->id, err);
}

static int of_id(lua_State *L, const struct vigia__lua_call *call,
                 int (*question)(struct vigia_store *store, struct one_checkpoint *checkpoint, struct vigia_error *err))
{
	struct vigia_error err = {0};
	struct one_checkpoint checkpoint;
	int rc;
	vigia__lua_check_handle(L, 1);
	checkpoint.question = question;
	check_id(L, &checkpoint, &rc, &err);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : vigia__lua_ask(L, 1, call, &checkpoint);
}

static int store_get_checkpoint(lua_State *L)
{
	return of_id(L, &get_checkpoint_call, get_checkpoint);
}

static int store_delete_checkpoint(lua_State *L)
{
	return of_id(L, &change_checkpoint_call, delete_checkpoint);
}

/* Lists are gathered in bytes first, because a raise must not jump over the store's loop: id, zero, number. */
struct ids {
	int (*each)(struct vigia_store *, void *, vigia_checkpoint_fn, struct vigia_error *);
	struct vigia__buf buf;
	bool failed;
};

static void gather(void *ctx, const char *watcher_id, uint64_t seq_num)
{
	struct ids *ids = ctx;
	size_t before = ids->buf.len;
	if (vigia__buf_add(&ids->buf, watcher_id, strlen(watcher_id) + 1) != 0 ||
	    vigia__buf_add(&ids->buf, &seq_num, sizeof seq_num) != 0) {
		/* GCOVR_EXCL_START: want of memory. */
		ids->buf.len = before;
		ids->failed = true;
		/* GCOVR_EXCL_STOP */
	}
}

static int ask_each(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct ids *ids = what;
	int rc = ids->each(store, ids, gather, err);
	return rc == VIGIA_OK && ids->failed ? VIGIA_ENOMEM : rc;
}

static int answer_each(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct ids *ids = what;
	const char *at = (const char *)ids->buf.data, *end = at + ids->buf.len;
	if (rc < 0) return vigia__lua_fail_store(L, rc, err);
	lua_newtable(L);
	while (at < end) {
		uint64_t seq_num;
		size_t id_len = strlen(at);
		memcpy(&seq_num, at + id_len + 1, sizeof seq_num);
		lua_pushlstring(L, at, id_len);
		lua_pushinteger(L, (lua_Integer)seq_num);
		lua_rawset(L, -3);
		at += id_len + 1 + sizeof seq_num;
	}
	return 1;
}

static void free_ids(void *what)
{
	vigia__buf_deinit(&((struct ids *)what)->buf);
}

static const struct vigia__lua_call each_call = {
	.size = sizeof(struct ids), .ask = ask_each, .answer = answer_each, .free = free_ids};

/* A table id -> number of what `each` calls back with. */
static int push_each(lua_State *L, int (*each)(struct vigia_store *, void *, vigia_checkpoint_fn, struct vigia_error *))
{
	vigia__lua_check_handle(L, 1);
	struct ids *ids = vigia__lua_ask_new(L, &each_call);
	ids->each = each;
	return vigia__lua_ask_made(L, 1);
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

static int ask_gc(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct vigia_gc *gc = what;
	return vigia_store_gc(store, gc, err);
}

static int answer_gc(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	static const char *const reasons[] = {"done", "off", "no_checkpoint", "held", "bound"};
	const struct vigia_gc *gc = what;
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	lua_createtable(L, 0, 5);
	vigia__lua_set_integer(L, "removed", gc->removed);
	vigia__lua_set_integer(L, "oldest", gc->oldest);
	if (gc->left > 0) vigia__lua_set_integer(L, "left", gc->left);
	vigia__lua_set_string(L, "reason", reasons[gc->reason]);
	if (gc->held_by[0]) {
		vigia__lua_set_string(L, "held_by", gc->held_by);
	}
	return 1;
}

static const struct vigia__lua_call gc_call = {.size = sizeof(struct vigia_gc), .ask = ask_gc, .answer = answer_gc};

static int store_gc(lua_State *L)
{
	return vigia__lua_ask(L, 1, &gc_call, &(struct vigia_gc){0});
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

/* Taken at once: making the table may run a finalizer that closes the store. */
struct numbers {
	struct vigia__backend_stats stats;
	const char *backend;
	unsigned can;
	uint64_t appended, queued;
};

static int ask_stats(struct vigia_store *store, void *what, struct vigia_error *err)
{
	struct numbers *numbers = what;
	const struct vigia__backend *backend = store->backend;
	int rc = vigia__store_stats(store, &numbers->stats, err);
	numbers->backend = backend->name;
	numbers->can = backend->can;
	numbers->appended = atomic_load(&store->appended);
	numbers->queued = atomic_load(&backend->queue->count);
	return rc;
}

static int answer_stats(lua_State *L, void *what, int rc, struct vigia_error *err)
{
	const struct numbers *found = what;
	const struct vigia__backend_stats stats = found->stats;
	if (rc < 0) return vigia__lua_fail(L, rc, err);
	lua_createtable(L, 0, 39);
	vigia__lua_set_string(L, "path", vigia__lua_check_handle(L, 1)->path);
	lua_pushboolean(L, stats.importing);
	lua_setfield(L, -2, "importing");
	vigia__lua_set_string(L, "backend", found->backend);
	set_capabilities(L, found->can);
	const struct vigia__lua_number numbers[] = {
		{"format", (uint64_t)stats.format},
		{"created", (uint64_t)stats.created_at_ns},
		{"events", stats.events},
		{"oldest_event_num", stats.oldest},
		{"latest_event_num", stats.latest},
		{"last_appended_event_num", found->appended},
		{"queued_events", found->queued},
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

static const struct vigia__lua_call stats_call = {
	.size = sizeof(struct numbers), .ask = ask_stats, .answer = answer_stats};

static int store_stats(lua_State *L)
{
	return vigia__lua_ask(L, 1, &stats_call, &(struct numbers){0});
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
