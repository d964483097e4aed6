/*
 * filter.c - tables with lists of names, places and a predicate -> C.
 *
 * Places and their values are copied into one userdata, as msgpack: struct vigia_where of each place, the slices of all
 * values, then the bytes of paths and values.
 */
#include "filter.h"

#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "../core/json.h"
#include "../core/nearest.h"
#include "../core/path.h"
#include "decode.h"
#include "encode.h"
#include "error.h"
#include "options.h"

static const char *const field_names[] = {"object_types", "operations", "where", "predicate", NULL};

static const char *field_name_at(const void *ctx, int index)
{
	return field_names[index];
}

/* ---- Checking ---- */

static bool is_value(lua_State *L, int idx)
{
	int type = lua_type(L, idx);
	bool null = type == LUA_TLIGHTUSERDATA && lua_touserdata(L, idx) == NULL;
	return null || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING;
}

static void check_value(lua_State *L, int idx, const char *where, struct vigia__problems *problems)
{
	if (!is_value(L, idx))
		vigia__problem(problems, "%s is a %s, allowed: a string, a number, a boolean, vigia.null, or a list of these",
		               where, luaL_typename(L, idx));
	else if (lua_type(L, idx) == LUA_TNUMBER && lua_tonumber(L, idx) != lua_tonumber(L, idx))
		vigia__problem(problems, "%s is NaN, which equals nothing", where);
}

/* What is wanted at one place. */
static void check_values(lua_State *L, int idx, const char *where, struct vigia__problems *problems)
{
	if (!lua_istable(L, idx)) {
		check_value(L, idx, where, problems);
		return;
	}
	lua_Unsigned count = lua_rawlen(L, idx), found = 0;
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		if (!lua_isinteger(L, -2) || (lua_Unsigned)lua_tointeger(L, -2) - 1 >= count) {
			vigia__problem(problems, "%s has a key that is not 1..n, allowed: a value or a list of values", where);
			lua_pop(L, 2);
			return;
		}
		found++;
		char entry[160];
		snprintf(entry, sizeof entry, "%s[%lld]", where, (long long)lua_tointeger(L, -2));
		check_value(L, lua_gettop(L), entry, problems);
	}
	if (found < count) vigia__problem(problems, "%s has a hole, allowed: a value or a list of values", where);
	if (count == 0) vigia__problem(problems, "%s is empty, allowed: a value or a list of values", where);
}

static void check_places(lua_State *L, int idx, const char *where, struct vigia__problems *problems)
{
	if (!lua_istable(L, idx)) {
		vigia__problem(problems, "%s is a %s, allowed: a table {[\"object.state\"] = value or list}%s", where,
		               luaL_typename(L, idx), lua_isfunction(L, idx) ? "; a function goes into `predicate`" : "");
		return;
	}
	size_t count = 0;
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		const char *place = vigia__lua_option_name(L, where, problems);
		if (place == NULL) continue;
		struct vigia__path *path;
		struct vigia_error err = {0};
		struct vigia_slice text = vigia__lua_slice(L, -2);
		if (vigia__path_new(text, &path, &err) != VIGIA_OK) vigia__problem(problems, "%s: %s", where, err.message);
		vigia__path_free(path);
		char shown[100], entry[140];
		snprintf(entry, sizeof entry, "%s[%s]", where, vigia__quote(text.data, text.len, shown, sizeof shown));
		check_values(L, lua_gettop(L), entry, problems);
		count++;
	}
	if (count > VIGIA_WHERE_MAX)
		vigia__problem(problems, "%s has %zu places, allowed: at most %d", where, count, VIGIA_WHERE_MAX);
}

static void check_field(lua_State *L, int idx, const char *name, const char *field, bool *predicate,
                        struct vigia__problems *problems)
{
	char where[64];
	snprintf(where, sizeof where, "%s.%s", name, field);
	if (strcmp(field, "where") == 0) check_places(L, idx, where, problems);
	else if (strcmp(field, "predicate") != 0) vigia__lua_option_names(L, idx, where, problems);
	else if (predicate) vigia__lua_option_predicate(L, idx, where, predicate, problems);
	else vigia__problem(problems, "%s: no function can be used here", where);
}

void vigia__lua_option_filter(lua_State *L, int idx, const char *name, bool *predicate,
                              struct vigia__problems *problems)
{
	if (predicate && lua_isfunction(L, idx)) {
		vigia__lua_option_predicate(L, idx, name, predicate, problems);
		return;
	}
	if (!lua_istable(L, idx)) {
		vigia__problem(problems,
		               "%s is a %s, allowed: a table {object_types = {...}, operations = {...}, where = {...}} or a "
		               "function",
		               name, luaL_typename(L, idx));
		return;
	}
	if (!lua_checkstack(L, 16)) {
		/* GCOVR_EXCL_START: a stack of a million values. */
		vigia__problem(problems, "%s: the stack is full", name);
		return;
		/* GCOVR_EXCL_STOP */
	}
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		const char *field = vigia__lua_option_name(L, name, problems);
		if (field == NULL) continue;
		int known = 0;
		while (field_names[known] && strcmp(field, field_names[known]) != 0) known++;
		if (field_names[known]) {
			check_field(L, lua_gettop(L), name, field, predicate, problems);
			continue;
		}
		const char *near = vigia__nearest(field, field_name_at, NULL);
		vigia__problem(problems, "%s: unknown field '%.48s' (%s%s%s)", name, field,
		               near ? "did you mean " : "allowed: ", near ? near : "object_types, operations, where, predicate",
		               near ? "?" : "");
	}
}

void vigia__lua_option_predicate(lua_State *L, int idx, const char *name, bool *seen, struct vigia__problems *problems)
{
	if (lua_istable(L, idx))
		vigia__problem(problems, "%s is a table, allowed: a function (places go into filter.where)", name);
	else vigia__lua_option_function(L, idx, name, problems);
	if (*seen) vigia__problem(problems, "filter and where have more than one function, allowed: one of them");
	*seen = true;
}

/* ---- Taking ---- */

/* Is the value on top a function? Else pop it. */
static bool is_function(lua_State *L)
{
	if (lua_isfunction(L, -1)) return true;
	lua_pop(L, 1);
	return false;
}

void vigia__lua_push_where(lua_State *L, int arg)
{
	bool found = false;
	if (lua_istable(L, arg)) {
		vigia__lua_push_raw(L, arg, "where");
		if ((found = is_function(L))) return;
		if (vigia__lua_push_raw(L, arg, "filter") == LUA_TTABLE) {
			vigia__lua_push_raw(L, -1, "predicate");
			lua_remove(L, -2);
		}
		found = is_function(L);
	}
	if (!found) lua_pushnil(L);
}

/* The list `name` of the filter on top, or nothing in its place. [-0, +1, -] */
static size_t push_filter_list(lua_State *L, const char *name)
{
	return vigia__lua_push_raw(L, -1, name) == LUA_TTABLE ? lua_rawlen(L, -1) : 0;
}

/* From the list at idx. The strings go into the table at `kept`, behind the first `before`, if there is one. Allocates
 * nothing. */
static void fill_slices(lua_State *L, int idx, struct vigia_slice *slices, size_t count, int kept, size_t before)
{
	for (size_t i = 0; i < count; i++) {
		if (lua_rawgeti(L, idx, (lua_Integer)i + 1) != LUA_TSTRING) luaL_error(L, "filter: it was changed meanwhile");
		slices[i] = vigia__lua_slice(L, -1);
		if (kept) lua_rawseti(L, kept, (lua_Integer)(before + i) + 1);
		else lua_pop(L, 1);
	}
}

/* The bytes that a value takes as msgpack, at most. */
static size_t value_bytes(lua_State *L, int idx)
{
	return lua_type(L, idx) == LUA_TSTRING ? 5 + lua_rawlen(L, idx) : 9;
}

/* How much room the places of the table on top need. [-0, +0, -] */
static void measure(lua_State *L, size_t *places, size_t *values, size_t *bytes)
{
	int table = lua_gettop(L);
	*places = *values = *bytes = 0;
	for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
		bool list = lua_istable(L, -1);
		size_t count = list ? lua_rawlen(L, -1) : 1;
		++*places;
		*values += count;
		*bytes += lua_type(L, -2) == LUA_TSTRING ? lua_rawlen(L, -2) : 0;
		for (size_t i = 1; i <= count; i++) {
			if (list) lua_rawgeti(L, -1, (lua_Integer)i);
			*bytes += value_bytes(L, -1);
			if (list) lua_pop(L, 1);
		}
	}
}

static void put_value(lua_State *L, int idx, struct vigia__buf *buf)
{
	struct vigia_slice text;
	switch (lua_type(L, idx)) {
	case LUA_TBOOLEAN:
		vigia__put_bool(buf, lua_toboolean(L, idx));
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, idx)) vigia__put_int(buf, lua_tointeger(L, idx));
		else vigia__put_float(buf, lua_tonumber(L, idx));
		break;
	case LUA_TSTRING:
		text = vigia__lua_slice(L, idx);
		vigia__put_string(buf, text.data, text.len);
		break;
	default:
		vigia__put_nil(buf);
		break;
	}
}

/* Where the parts of the userdata are. */
struct room {
	struct vigia_where *places;
	size_t places_left;
	struct vigia_slice *values;
	size_t values_left;
	struct vigia__buf bytes; /* of the userdata: it never grows */
};

/* The place and its values, on top of the stack, into the room. False: it does not fit: it was changed since. */
static bool fill_place(lua_State *L, struct room *room)
{
	bool list = lua_istable(L, -1);
	size_t count = list ? lua_rawlen(L, -1) : 1;
	struct vigia_slice text = lua_type(L, -2) == LUA_TSTRING ? vigia__lua_slice(L, -2) : (struct vigia_slice){"", 0};
	if (room->places_left == 0 || room->values_left < count || room->bytes.cap - room->bytes.len < text.len)
		return false;
	uint8_t *copy = room->bytes.data + room->bytes.len;
	memcpy(copy, text.data, text.len);
	room->bytes.len += text.len;
	*room->places++ =
		(struct vigia_where){.path = {(char *)copy, text.len}, .values = room->values, .values_count = count};
	room->places_left--;
	room->values_left -= count;
	for (size_t i = 1; i <= count; i++) {
		if (list) lua_rawgeti(L, -1, (lua_Integer)i);
		bool fits = is_value(L, -1) && value_bytes(L, -1) <= room->bytes.cap - room->bytes.len;
		size_t start = room->bytes.len;
		if (fits) put_value(L, -1, &room->bytes);
		if (list) lua_pop(L, 1);
		if (!fits) return false;
		*room->values++ = (struct vigia_slice){(char *)room->bytes.data + start, room->bytes.len - start};
	}
	return true;
}

/* The places of the filter on top. Pushes the userdata that holds them, or nil. [-0, +1, v] */
static void push_places(lua_State *L, struct vigia__lua_filter *out)
{
	size_t places, values, bytes;
	if (vigia__lua_push_raw(L, -1, "where") != LUA_TTABLE) {
		lua_pop(L, 1);
		lua_pushnil(L);
		return;
	}
	measure(L, &places, &values, &bytes);
	if (places > VIGIA_WHERE_MAX) luaL_error(L, "filter.where: it was changed meanwhile");
	struct vigia_where *where =
		lua_newuserdatauv(L, places * sizeof *where + values * sizeof(struct vigia_slice) + bytes + 1, 0);
	lua_insert(L, -2);
	struct room room = {.places = where,
	                    .places_left = places,
	                    .values = (struct vigia_slice *)(where + places),
	                    .values_left = values};
	room.bytes = (struct vigia__buf){.data = (uint8_t *)(room.values + values), .cap = bytes};
	int table = lua_gettop(L);
	for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
		if (!fill_place(L, &room)) luaL_error(L, "filter.where: it was changed meanwhile");
	lua_pop(L, 1);
	out->where = where;
	out->where_count = places - room.places_left;
}

void vigia__lua_push_filter(lua_State *L, int arg, struct vigia__lua_filter *out, bool keep)
{
	*out = (struct vigia__lua_filter){0};
	luaL_checkstack(L, 16, NULL);
	int top = lua_gettop(L);
	lua_pushnil(L); /* the place of the result */
	if (!lua_istable(L, arg)) return;
	if (vigia__lua_push_raw(L, arg, "filter") == LUA_TTABLE) {
		push_places(L, out);
		lua_insert(L, top + 2);                             /* the places, then the filter */
		size_t types = push_filter_list(L, field_names[0]); /* at top + 4 */
		lua_pushvalue(L, top + 3);
		size_t operations = push_filter_list(L, field_names[1]); /* at top + 6 */
		struct vigia_slice *slices = lua_newuserdatauv(L, (types + operations) * sizeof *slices, 2);
		lua_replace(L, top + 1);
		lua_pushvalue(L, top + 2);
		lua_setiuservalue(L, top + 1, 2);
		int kept = 0;
		if (keep && types + operations < INT32_MAX) {
			lua_createtable(L, (int)(types + operations), 0);
			kept = lua_gettop(L);
			lua_pushvalue(L, kept);
			lua_setiuservalue(L, top + 1, 1);
		}
		fill_slices(L, top + 4, slices, types, kept, 0);
		fill_slices(L, top + 6, slices + types, operations, kept, types);
		out->lists = (struct vigia_filter){.object_types = slices,
		                                   .object_types_count = types,
		                                   .operations = slices + types,
		                                   .operations_count = operations};
	}
	lua_settop(L, top + 1);
}

void vigia__lua_make_filter(lua_State *L, int arg, struct vigia__filter **out)
{
	struct vigia__lua_filter filter;
	struct vigia_error err = {0};
	vigia__lua_push_filter(L, arg, &filter, false);
	int rc = vigia__filter_new_where(&filter.lists, filter.where, filter.where_count, out, &err);
	lua_pop(L, 1);
	if (rc < 0) luaL_error(L, "%s", rc == VIGIA_ENOMEM ? "not enough memory" : err.message);
}

/* ---- Testing tables ---- */

bool vigia__lua_filter_wants(lua_State *L, const struct vigia__filter *filter, struct vigia_slice operation,
                             struct vigia_slice object_type)
{
	struct vigia__buf *buf = &vigia__lua_shared(L)->events;
	bool wanted = true;
	luaL_checkstack(L, 3, NULL);
	int object = lua_gettop(L);
	lua_pushlstring(L, operation.data, operation.len);
	lua_pushlstring(L, object_type.data, object_type.len);
	vigia__buf_clear(buf, VIGIA_LUA_KEEP);
	if (vigia__lua_encode_event(L, object + 1, object + 2, object, buf, INT64_MAX, NULL) == VIGIA_OK)
		wanted = vigia__filter_match(filter, buf->data, buf->len);
	lua_settop(L, object);
	return wanted;
}

struct lua_filter {
	struct vigia__filter *filter;
};

static void free_filter(lua_State *L, void *object)
{
	struct lua_filter *f = object;
	vigia__filter_free(f->filter);
	f->filter = NULL;
}

static const struct vigia__lua_class filter_class = {.name = "vigia.filter", .free = free_filter};

/* What is no string is a name that no filter wants. */
static struct vigia_slice name_at(lua_State *L, int idx)
{
	return lua_type(L, idx) == LUA_TSTRING ? vigia__lua_slice(L, idx) : (struct vigia_slice){"\x7f", 1};
}

/* Upvalue 1: the filter. */
static int test_event(lua_State *L)
{
	struct lua_filter *f = vigia__lua_check(L, lua_upvalueindex(1), &filter_class);
	vigia__lua_check_type(L, 1, LUA_TTABLE, "event");
	lua_settop(L, 1);
	lua_getfield(L, 1, "operation");
	lua_getfield(L, 1, "object_type");
	lua_getfield(L, 1, "object");
	struct vigia_slice operation = name_at(L, 2), object_type = name_at(L, 3);
	lua_pushboolean(L, vigia__lua_filter_wants(L, f->filter, operation, object_type));
	return 1;
}

static void test_special(lua_State *L, int idx, const char *name, void *ctx, struct vigia__problems *problems)
{
	vigia__lua_option_filter(L, idx, name, NULL, problems);
}

int vigia__lua_filter_test(lua_State *L)
{
	static const struct vigia__option table[] = {{.name = "filter", .type = VIGIA_OPTION_SPECIAL}, {.name = NULL}};
	lua_settop(L, 1);
	struct lua_filter *f = vigia__lua_new(L, sizeof *f, &filter_class);
	vigia__lua_check_options(L, 1, table, f, "filter_test", test_special, NULL);
	vigia__lua_make_filter(L, 1, &f->filter);
	lua_pushcclosure(L, test_event, 1);
	return 1;
}

/* ---- On the command line ---- */

/* Where the `=` behind the place is, or len. One in quotes belongs to the place. */
static size_t find_equals(struct vigia_slice text)
{
	bool quoted = false;
	size_t at = 0;
	for (; at < text.len && (quoted || text.data[at] != '='); at++) {
		if (text.data[at] == '"') quoted = !quoted;
		else if (quoted && text.data[at] == '\\') at++;
	}
	return at < text.len ? at : text.len;
}

/* [-0, +1, m] */
static int push_wanted(lua_State *L, struct vigia_slice text, struct vigia_error *err)
{
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia__buf *buf = &shared->events;
	vigia__buf_clear(buf, VIGIA_LUA_KEEP);
	int rc = vigia__event_begin(buf, (struct vigia_slice){"x", 1}, (struct vigia_slice){"x", 1}, err);
	if (rc == VIGIA_OK) rc = vigia__json_to_value(text.data, text.len, buf, err);
	if (rc == VIGIA_ESERIAL) {
		lua_pushlstring(L, text.data, text.len);
		return VIGIA_OK;
	}
	if (rc == VIGIA_OK) rc = vigia__lua_push_object(L, buf->data, buf->len, err);
	if (rc == VIGIA_OK && lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_pushlightuserdata(L, NULL); /* vigia.null */
	}
	if (rc < 0 || is_value(L, -1)) return rc;
	lua_pop(L, 1);
	return vigia__error(err, VIGIA_EINVAL,
	                    "the value is a JSON array or map, allowed: a string, a number, true, "
	                    "false, null, or text that is not JSON");
}

int vigia__lua_where_parse(lua_State *L)
{
	vigia__lua_check_type(L, 1, LUA_TSTRING, "text");
	lua_settop(L, 1);
	struct vigia_slice text = vigia__lua_slice(L, 1);
	struct vigia_error err = {0};
	struct vigia__path *path;
	size_t at = find_equals(text);
	int rc = vigia__path_new((struct vigia_slice){text.data, at}, &path, &err);
	vigia__path_free(path);
	if (rc == VIGIA_OK && at == text.len)
		rc = vigia__error(&err, VIGIA_EINVAL, "= and a value are missing, as in object.state=failed");
	if (rc < 0) return vigia__lua_fail(L, rc, &err);
	lua_pushlstring(L, text.data, at);
	rc = push_wanted(L, (struct vigia_slice){text.data + at + 1, text.len - at - 1}, &err);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : 2;
}
