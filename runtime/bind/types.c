/*
 * types.c - counts the events of each type and operation.
 *
 * It looks at every event. The index knows names by a hash only, so that two names may be one to it; its counts would
 * now and then be wrong.
 */
#include "types.h"

#include <string.h>

#include "../core/alloc.h"
#include "../core/batch.h"
#include "../core/error.h"
#include "../core/iterator.h"
#include "../core/table.h"
#include "../store/store.h"
#include "error.h"
#include "interrupt.h"
#include "lua_state.h"
#include "store_handle.h"

struct kind {
	struct vigia__node node; /* first */
	uint64_t events;
	size_t operation_len, type_len;
	char names[]; /* the operation, then the type */
};

struct count {
	struct vigia__table kinds;
	struct vigia_batch *batch;
	struct kind *recent; /* of the event before */
	uint64_t damaged;
};

static void free_count(lua_State *L, void *object)
{
	struct count *c = object;
	struct vigia__node *node;
	while ((node = vigia__table_pop(&c->kinds))) vigia__free(node);
	vigia__table_deinit(&c->kinds);
	vigia_batch_free(c->batch);
	c->batch = NULL;
	c->recent = NULL;
}

static const struct vigia__lua_class count_class = {.name = "vigia.count", .free = free_count};

static bool is_kind(const struct kind *kind, struct vigia_slice operation, struct vigia_slice type)
{
	return kind->operation_len == operation.len && kind->type_len == type.len &&
	       memcmp(kind->names, operation.data, operation.len) == 0 &&
	       memcmp(kind->names + operation.len, type.data, type.len) == 0;
}

/* The row of these names, NULL without memory. */
static struct kind *kind_of(struct count *c, struct vigia_slice operation, struct vigia_slice type)
{
	if (c->recent && is_kind(c->recent, operation, type)) return c->recent;
	uint64_t hash = vigia__table_hash(operation.data, operation.len) * 31 + vigia__table_hash(type.data, type.len);
	for (struct vigia__node *node = vigia__table_first(&c->kinds, hash); node; node = vigia__table_next(node))
		if (is_kind((struct kind *)node, operation, type)) return c->recent = (struct kind *)node;
	struct kind *kind = vigia__calloc(sizeof *kind + operation.len + type.len);
	if (kind == NULL) return NULL;
	kind->operation_len = operation.len;
	kind->type_len = type.len;
	memcpy(kind->names, operation.data, operation.len);
	memcpy(kind->names + operation.len, type.data, type.len);
	vigia__table_add(&c->kinds, &kind->node, hash);
	return c->recent = kind;
}

/* Count the events of the batch up to the number `last`. */
static int count_batch(struct count *c, uint64_t last, struct vigia_error *err)
{
	for (size_t i = 0; i < c->batch->count && c->batch->entries[i].seq_num <= last; i++) {
		struct vigia_event event;
		if (vigia_batch_event(c->batch, i, &event, NULL) != VIGIA_OK) {
			c->damaged++;
			continue;
		}
		struct kind *kind = kind_of(c, event.operation, event.object_type);
		if (kind == NULL) return vigia__no_memory(err);
		kind->events++;
	}
	return VIGIA_OK;
}

static int read_some(struct count *c, struct vigia_store *store, struct vigia_iterator *at, uint64_t last,
                     struct vigia_error *err)
{
	if (atomic_load(&vigia__interrupted))
		return vigia__error(err, VIGIA_EINTERRUPTED, "interrupted before the last event was counted");
	struct vigia_iterator next;
	struct vigia_read request = {.from = *at};
	int rc = vigia__store_read(store, &request, NULL, NULL, c->batch, &next, err);
	if (rc < 0) return rc;
	*at = c->batch->count == 0 && c->batch->at_end ? vigia__iterator_after(last) : next; /* the rest was removed */
	return count_batch(c, last, err);
}

static void push_kinds(lua_State *L, const struct count *c)
{
	lua_Integer n = 0;
	lua_newtable(L);
	for (struct vigia__node *node = vigia__table_each(&c->kinds, NULL); node;
	     node = vigia__table_each(&c->kinds, node)) {
		const struct kind *kind = (const struct kind *)node;
		lua_createtable(L, 0, 3);
		lua_pushlstring(L, kind->names, kind->operation_len);
		lua_setfield(L, -2, "operation");
		lua_pushlstring(L, kind->names + kind->operation_len, kind->type_len);
		lua_setfield(L, -2, "object_type");
		lua_pushinteger(L, (lua_Integer)kind->events);
		lua_setfield(L, -2, "events");
		lua_rawseti(L, -2, ++n);
	}
}

static void tell_progress(lua_State *L, uint64_t done, uint64_t all)
{
	if (!lua_isfunction(L, 2)) return;
	lua_pushvalue(L, 2);
	lua_pushinteger(L, (lua_Integer)done);
	lua_pushinteger(L, (lua_Integer)all);
	lua_call(L, 2, 0);
}

int vigia__lua_types(lua_State *L)
{
	vigia__lua_check_program(L, "types");
	vigia__lua_check_store(L, 1);
	if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	struct count *c = vigia__lua_new(L, sizeof *c, &count_class);
	c->batch = vigia_batch_new();
	if (c->batch == NULL) return luaL_error(L, "not enough memory");
	struct vigia_error err = {0};
	uint64_t last = 0, first = 0;
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	int rc = store ? vigia_store_latest(store, &last, &err) : vigia__error(&err, VIGIA_ECLOSED, "the store is closed");
	if (rc >= 0) rc = vigia_store_oldest(store, &first, &err);
	if (rc == VIGIA_NONE) first = last + 1; /* there are none */
	struct vigia_iterator at = {VIGIA_AT, first};
	while (rc >= 0 && vigia__iterator_first(at) <= last) {
		rc = read_some(c, store, &at, last, &err);
		if (rc < 0) break;
		tell_progress(L, vigia__iterator_first(at) - first, last - first + 1);
		store = vigia__lua_check_store(L, 1); /* on_progress may have closed it */
		if (store == NULL) rc = vigia__error(&err, VIGIA_ECLOSED, "the store is closed");
	}
	if (rc < 0) {
		free_count(L, c);
		return vigia__lua_fail(L, rc, &err);
	}
	push_kinds(L, c);
	lua_pushinteger(L, (lua_Integer)c->damaged);
	free_count(L, c);
	return 2;
}
