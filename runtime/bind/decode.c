/*
 * decode.c - an event's bytes into a Lua table, in one pass.
 */
#include "decode.h"

#include <math.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/serial.h"
#include "../core/buf.h"
#include "array.h"
#include "lua_state.h"
#include "serial.h"

struct decoder {
	lua_State *L;
	struct vigia__lua *shared;
	const struct vigia__lua_name *known;
	int names;    /* stack index of the table of names, or of nil */
	int array_mt; /* stack index of vigia.array's metatable */
	struct vigia__reader reader;
};

/* memcmp's call costs more than this for names, most of which have 4 to 16 bytes. */
static inline bool same_bytes(const char *a, const char *b, size_t len)
{
	if (len >= 8 && len <= 16) {
		uint64_t a1, b1, a2, b2;
		memcpy(&a1, a, 8), memcpy(&b1, b, 8);
		memcpy(&a2, a + len - 8, 8), memcpy(&b2, b + len - 8, 8);
		return a1 == b1 && a2 == b2;
	}
	if (len >= 4 && len < 8) {
		uint32_t a1, b1, a2, b2;
		memcpy(&a1, a, 4), memcpy(&b1, b, 4);
		memcpy(&a2, a + len - 4, 4), memcpy(&b2, b + len - 4, 4);
		return a1 == b1 && a2 == b2;
	}
	return memcmp(a, b, len) == 0;
}

/* A name that was met before comes from a table, without hashing it and looking it up among all strings. */
static inline void push_name(struct decoder *d, const char *s, size_t len)
{
	lua_State *L = d->L;
	if (len == 0 || len > VIGIA_LUA_NAME_LEN) {
		lua_pushlstring(L, s, len);
		return;
	}
	unsigned hash =
		(unsigned)len + (unsigned char)s[0] * 7u + (unsigned char)s[len / 2] * 31u + (unsigned char)s[len - 1] * 131u;
	unsigned slot = hash & (VIGIA_LUA_NAMES - 1);
	const struct vigia__lua_name *name = &d->known[slot];
	if (name->len == len && same_bytes(name->bytes, s, len)) {
		lua_rawgeti(L, d->names, (lua_Integer)slot + 1);
		return;
	}
	lua_pushlstring(L, s, len);
	if (lua_isnil(L, d->names)) return;
	lua_pushvalue(L, -1);
	lua_rawseti(L, d->names, (lua_Integer)slot + 1); /* the slot is there: cannot raise */
	struct vigia__lua_name *now = &d->shared->names[slot];
	now->len = (uint8_t)len;
	memcpy(now->bytes, s, len);
}

static int decode_value(struct decoder *d, int depth, struct vigia_error *err);

static int decode_array(struct decoder *d, uint32_t count, int depth, struct vigia_error *err)
{
	/* Believe no count beyond this before the values are there. */
	enum { AT_ONCE = 1 << 16 };
	lua_createtable(d->L, count < AT_ONCE ? (int)count : AT_ONCE, 0);
	for (uint32_t i = 1; i <= count; i++) {
		int rc = decode_value(d, depth, err);
		if (rc != 0) return rc;
		lua_rawseti(d->L, -2, i);
	}
	lua_pushvalue(d->L, d->array_mt);
	lua_setmetatable(d->L, -2);
	return 0;
}

static int decode_key(struct decoder *d, struct vigia_error *err)
{
	struct vigia__token token;
	int rc = vigia__reader_next(&d->reader, &token, err);
	if (rc != 0) return rc;
	switch (token.kind) {
	case VIGIA_TOKEN_STRING:
	case VIGIA_TOKEN_BIN:
		push_name(d, token.string.data, token.string.len);
		return 0;
	case VIGIA_TOKEN_INT:
		lua_pushinteger(d->L, token.integer);
		return 0;
	case VIGIA_TOKEN_BOOL:
		lua_pushboolean(d->L, token.boolean);
		return 0;
	case VIGIA_TOKEN_FLOAT:
		if (!isfinite(token.number)) break;
		lua_pushnumber(d->L, token.number);
		return 0;
	default:
		break;
	}
	return vigia__error(err, VIGIA_EDESERIAL, "a key of a map is not a string, integer, boolean or finite float");
}

static int decode_map(struct decoder *d, uint32_t count, int depth, struct vigia_error *err)
{
	enum { AT_ONCE = 1 << 15 };
	lua_createtable(d->L, 0, count < AT_ONCE ? (int)count : AT_ONCE);
	for (uint32_t i = 0; i < count; i++) {
		int rc = decode_key(d, err);
		if (rc == 0) rc = decode_value(d, depth, err);
		if (rc != 0) return rc;
		lua_rawset(d->L, -3);
	}
	return 0;
}

/* Push one value. On error there may be leftovers on the stack. */
static int decode_value(struct decoder *d, int depth, struct vigia_error *err)
{
	struct vigia__token token;
	int rc = vigia__reader_next(&d->reader, &token, err);
	if (rc != 0) return rc;
	switch (token.kind) {
	case VIGIA_TOKEN_NIL:
		lua_pushlightuserdata(d->L, NULL);
		break;
	case VIGIA_TOKEN_BOOL:
		lua_pushboolean(d->L, token.boolean);
		break;
	case VIGIA_TOKEN_INT:
		lua_pushinteger(d->L, token.integer);
		break;
	case VIGIA_TOKEN_FLOAT:
		lua_pushnumber(d->L, token.number);
		break;
	case VIGIA_TOKEN_STRING:
	case VIGIA_TOKEN_BIN:
		lua_pushlstring(d->L, token.string.data, token.string.len);
		break;
	case VIGIA_TOKEN_ARRAY:
	case VIGIA_TOKEN_MAP:
		if (depth == VIGIA_DEPTH_MAX) {
			/* GCOVR_EXCL_START: none such is stored. */
			return vigia__error(err, VIGIA_EDESERIAL, "nested deeper than %d levels", VIGIA_DEPTH_MAX);
			/* GCOVR_EXCL_STOP */
		}
		if (!vigia__lua_has_levels(d->L, depth)) {
			/* GCOVR_EXCL_START: the stack cannot grow. */
			return vigia__error(err, VIGIA_ENOMEM, "no memory for an object");
			/* GCOVR_EXCL_STOP */
		}
		return token.kind == VIGIA_TOKEN_ARRAY ? decode_array(d, token.count, depth + 1, err)
		                                       : decode_map(d, token.count, depth + 1, err);
	}
	return 0;
}

static void set_name(struct decoder *d, const char *field, size_t len, struct vigia_slice value)
{
	push_name(d, field, len);
	push_name(d, value.data, value.len);
	lua_rawset(d->L, -3);
}

static void set_integer(struct decoder *d, const char *field, size_t len, lua_Integer value)
{
	push_name(d, field, len);
	lua_pushinteger(d->L, value);
	lua_rawset(d->L, -3);
}

#define NAME(s) s, sizeof s - 1

/* The table of five on top gets its object. nil stays away. */
static int decode_object(struct decoder *d, struct vigia_slice object, struct vigia_error *err)
{
	d->reader = (struct vigia__reader){(const uint8_t *)object.data, (const uint8_t *)object.data + object.len};
	push_name(d, NAME("object"));
	int rc = decode_value(d, 0, err);
	if (rc != 0) return rc;
	if (d->reader.at != d->reader.end) return vigia__error(err, VIGIA_EDESERIAL, "there are bytes after the object");
	if (lua_islightuserdata(d->L, -1)) lua_pop(d->L, 2);
	else lua_rawset(d->L, -3);
	return 0;
}

static void free_value(lua_State *L, void *object)
{
	vigia__buf_deinit(object);
}

/* Of a userdata that owns a value's bytes while they are decoded. */
static const struct vigia__lua_class value_class = {.name = "vigia.value", .free = free_value};

/* The same for an object that is not msgpack. */
static int decode_foreign(struct decoder *d, int store_at, const struct vigia_event *event, struct vigia_error *err)
{
	lua_State *L = d->L;
	if (vigia__serializer_of(event->serializer) == VIGIA_SERIALIZER_OTHER) {
		int rc = vigia__lua_unmarshal(L, store_at, event, err);
		if (rc < 0) return rc;
		if (lua_isnil(L, -1) || (lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == NULL)) lua_pop(L, 1);
		else lua_setfield(L, -2, "object");
		return 0;
	}
	struct vigia__buf *value = vigia__lua_new(L, sizeof *value, &value_class);
	lua_insert(L, -2); /* below the event */
	int rc = vigia__event_object(event, value, err);
	if (rc == 0) rc = decode_object(d, (struct vigia_slice){(const char *)value->data, value->len}, err);
	vigia__buf_deinit(value);
	return rc;
}

int vigia__lua_push_event(lua_State *L, int store_at, const struct vigia_batch *batch, size_t index,
                          struct vigia_error *err)
{
	struct vigia_event event;
	int rc = vigia_batch_event(batch, index, &event, err);
	return rc != 0 ? rc : vigia__lua_push_checked_event(L, store_at, &event, err);
}

int vigia__lua_push_value(lua_State *L, struct vigia_slice value, struct vigia_error *err)
{
	struct vigia_event event = {.object = value};
	if (value.len == 1 && value.data[0] == (char)0xc0) {
		lua_pushlightuserdata(L, NULL);
		return VIGIA_OK;
	}
	int rc = vigia__lua_push_checked_event(L, 0, &event, err);
	if (rc < 0) return rc;
	lua_getfield(L, -1, "object");
	lua_replace(L, -2);
	return VIGIA_OK;
}

int vigia__lua_push_object(lua_State *L, const uint8_t *bytes, size_t len, struct vigia_error *err)
{
	struct vigia__head head;
	if (vigia__event_head(bytes, len, &head) < 0) return vigia__error(err, VIGIA_EDESERIAL, "it has no head");
	struct vigia_event event = {.operation = head.operation, .object_type = head.object_type, .object = head.object};
	int rc = vigia__lua_push_checked_event(L, 0, &event, err);
	if (rc < 0) return rc;
	lua_getfield(L, -1, "object");
	lua_replace(L, -2);
	return VIGIA_OK;
}

int vigia__lua_push_checked_event(lua_State *L, int store_at, const struct vigia_event *event, struct vigia_error *err)
{
	int top = lua_gettop(L);
	luaL_checkstack(L, VIGIA_LUA_LEVELS_STACK, NULL);
	struct vigia__lua *shared = vigia__lua_push_names(L);
	struct decoder d = {.L = L, .shared = shared, .known = shared->known, .names = top + 1, .array_mt = top + 2};
	vigia__lua_push_class(L, &vigia__lua_array_class);
	lua_createtable(L, 0, 5);
	set_integer(&d, NAME("seq_num"), (lua_Integer)event->seq_num);
	set_name(&d, NAME("operation"), event->operation);
	set_name(&d, NAME("object_type"), event->object_type);
	set_integer(&d, NAME("timestamp"), event->at_ns);
	int rc = event->serializer.len ? decode_foreign(&d, store_at, event, err) : decode_object(&d, event->object, err);
	if (rc == 0 && d.shared->has_types) vigia__lua_make_instance(L, event->object_type);
	if (rc != 0) {
		lua_settop(L, top);
		vigia__error_prefix(err, "event %llu: ", (unsigned long long)event->seq_num);
		if (err) err->seq_num = event->seq_num;
		return rc;
	}
	lua_replace(L, top + 1);
	lua_settop(L, top + 1);
	return 0;
}
