/*
 * last.c - finds the N-th event from the end that a filter keeps.
 *
 * It counts in windows from the end backwards, each four times as long as the one before, so that no more of the log is
 * read than some times what is needed.
 */
#include "last.h"

#include "../core/batch.h"
#include "../core/error.h"
#include "../core/iterator.h"
#include "../core/options.h"
#include "../store/store.h"
#include "error.h"
#include "filter.h"
#include "interrupt.h"
#include "lua_state.h"
#include "options.h"
#include "store_handle.h"

enum { WINDOW_MIN = 1024, GROWTH = 4 };

struct search {
	int64_t first, last, count;
	struct vigia__filter *filter;
	struct vigia_batch *batch;
};

static void free_search(lua_State *L, void *object)
{
	struct search *s = object;
	vigia_batch_free(s->batch);
	vigia__filter_free(s->filter);
	s->batch = NULL;
	s->filter = NULL;
}

static const struct vigia__lua_class search_class = {.name = "vigia.search", .free = free_search};

static const struct vigia__option search_option_table[] = {
	{.name = "filter", .type = VIGIA_OPTION_SPECIAL},
	{.name = "first", .type = VIGIA_OPTION_COUNT, .offset = offsetof(struct search, first), .min = 1, .max = 0x1p63},
	{.name = "last", .type = VIGIA_OPTION_COUNT, .offset = offsetof(struct search, last), .min = 1, .max = 0x1p63},
	{.name = "count", .type = VIGIA_OPTION_COUNT, .offset = offsetof(struct search, count), .min = 1, .max = 0x1p63},
	{.name = NULL},
};

static void search_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	vigia__lua_option_filter(L, idx, name, NULL, problems);
}

/* Go through the events from `low` to `high` that the filter keeps. *seen counts them, and ends at `skip` + 1: then
 * *found is that event. */
static int walk(struct search *s, struct vigia_store *store, uint64_t low, uint64_t high, uint64_t skip, uint64_t *seen,
                uint64_t *found, struct vigia_error *err)
{
	struct vigia_iterator at = {VIGIA_AT, low}, next;
	*seen = 0;
	for (;;) {
		if (atomic_load(&vigia__interrupted))
			return vigia__error(err, VIGIA_EINTERRUPTED, "interrupted while looking for the last events");
		struct vigia_read request = {.from = at};
		int rc = vigia__store_read(store, &request, s->filter, NULL, s->batch, &next, err);
		if (rc < 0) return rc;
		for (size_t i = 0; i < s->batch->count && s->batch->entries[i].seq_num <= high; i++) {
			*found = s->batch->entries[i].seq_num;
			if ((*seen)++ == skip) return VIGIA_OK;
		}
		if (vigia__iterator_first(next) > high || vigia__iterator_equal(next, at)) return VIGIA_OK;
		at = next;
	}
}

static int search(struct search *s, struct vigia_store *store, uint64_t *out, struct vigia_error *err)
{
	uint64_t first = (uint64_t)s->first, high = (uint64_t)s->last, wanted = (uint64_t)s->count, found = 0;
	uint64_t width = wanted > WINDOW_MIN ? wanted : WINDOW_MIN;
	for (;;) {
		uint64_t low = high - first < width ? first : high - width + 1, in, event = first;
		int rc = walk(s, store, low, high, UINT64_MAX, &in, &event, err);
		if (rc < 0) return rc;
		if (found + in >= wanted) rc = walk(s, store, low, high, found + in - wanted, &in, &event, err);
		else if (low > first) {
			found += in;
			high = low - 1;
			width = width <= UINT64_MAX / GROWTH ? width * GROWTH : UINT64_MAX;
			continue;
		} else event = first;
		*out = event;
		return rc;
	}
}

int vigia__lua_last(lua_State *L)
{
	vigia__lua_check_program(L, "last");
	vigia__lua_check_store(L, 1);
	lua_settop(L, 2);
	struct search *s = vigia__lua_new(L, sizeof *s, &search_class);
	s->first = s->last = s->count = 1;
	vigia__lua_check_options(L, 2, search_option_table, s, "last", search_special, s);
	luaL_argcheck(L, s->first <= s->last, 2, "first must not be after last");
	vigia__lua_make_filter(L, 2, &s->filter);
	s->batch = vigia_batch_new();
	if (s->batch == NULL) return luaL_error(L, "not enough memory");
	struct vigia_error err = {0};
	struct vigia_store *store = vigia__lua_check_store(L, 1);
	uint64_t number = 0;
	int rc = store ? search(s, store, &number, &err) : vigia__error(&err, VIGIA_ECLOSED, "the store is closed");
	free_search(L, s);
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushinteger(L, (lua_Integer)number);
	return 1;
}
