/*
 * event.c - Lua values <-> an event's bytes, one pass each way, with nothing in between.
 *
 * Encoding looks at tables raw (no metamethod runs), makes no Lua object and so never starts a collection: nothing can
 * run or raise while the shared buffer is in use. Where something cannot be carried, the keys on the Lua stack and the
 * frames on the C stack tell the path; until then it costs nothing.
 */
#include "bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/json.h"
#include "../core/serial.h"
#include "serial.h"

static const char array_key; /* of vigia.array's metatable */
static const char value_key; /* of a userdata that owns a value's bytes while they are decoded */

/* ---- Encoding ---- */

/* One table on the way from the object to the value being encoded. */
struct step {
	const void *table; /* its address: a cycle comes back to it */
	int key_at;        /* stack index of the key being encoded; 0: an array */
	lua_Integer index; /* of an array's element */
};

/* Deep objects are rare: there is room on Lua's stack for so many levels at a time, two values each. */
enum { LEVELS_AT_ONCE = 31, STACK_AT_ONCE = 2 * LEVELS_AT_ONCE + 12 };

static bool has_stack(lua_State *L, int depth)
{
	return depth == 0 || depth % LEVELS_AT_ONCE != 0 || lua_checkstack(L, STACK_AT_ONCE);
}

struct encoder {
	lua_State *L;
	struct vigia__buf *buf;
	size_t start;     /* of the event in buf */
	size_t size_stop; /* an event larger than this is not worth finishing */
	int64_t size_max;
	const void *array_mt;
	struct vigia_error *err;
	int depth; /* steps in use */
	struct step path[VIGIA_DEPTH_MAX];
};

/* ---- Saying where ---- */

static bool is_identifier(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		if (!letter && (i == 0 || c < '0' || c > '9')) return false;
	}
	return len > 0;
}

/* A string in double quotes, at most 40 bytes of it, with everything printable. */
static void quote(const char *s, size_t len, char *out, size_t size)
{
	enum { SHOWN = 40 };
	bool text = vigia__utf8_valid(s, len);
	size_t n = 0;
	out[n++] = '"';
	for (size_t i = 0; i < len && n + 12 < size; i++) {
		unsigned char c = (unsigned char)s[i];
		if (i >= SHOWN && (c & 0xc0) != 0x80) {
			n += (size_t)snprintf(out + n, size - n, "...");
			break;
		}
		if (c == '"' || c == '\\') out[n++] = '\\';
		if (!vigia__is_plain(s, len, i, text)) n += (size_t)snprintf(out + n, size - n, "\\x%02x", c);
		else out[n++] = (char)c;
	}
	out[n++] = '"';
	out[n] = '\0';
}

/* A key as one would write it: .name, ["a key"], [3], [true]. */
static void format_key(lua_State *L, int idx, char *out, size_t size)
{
	switch (lua_type(L, idx)) {
	case LUA_TSTRING: {
		size_t len;
		const char *s = lua_tolstring(L, idx, &len);
		char quoted[200];
		if (len <= 60 && is_identifier(s, len)) {
			snprintf(out, size, ".%s", s);
		} else {
			quote(s, len, quoted, sizeof quoted);
			snprintf(out, size, "[%s]", quoted);
		}
		break;
	}
	case LUA_TNUMBER:
		if (lua_isinteger(L, idx)) snprintf(out, size, "[%lld]", (long long)lua_tointeger(L, idx));
		else snprintf(out, size, "[%.17g]", lua_tonumber(L, idx));
		break;
	case LUA_TBOOLEAN:
		snprintf(out, size, "[%s]", lua_toboolean(L, idx) ? "true" : "false");
		break;
	default:
		snprintf(out, size, "[a %s]", luaL_typename(L, idx));
	}
}

/* "object.jobs[3]". A very long path keeps its beginning and its end. */
static void format_path(const struct encoder *e, char *out, size_t size)
{
	enum { HEAD = 250 };
	char step[240];
	size_t n = (size_t)snprintf(out, size, "object");
	int first_of_tail = 0;
	size_t tail = 0;
	for (int i = e->depth - 1; i >= 0; i--) { /* how many of the last steps fit */
		if (e->path[i].key_at) format_key(e->L, e->path[i].key_at, step, sizeof step);
		else snprintf(step, sizeof step, "[%lld]", (long long)e->path[i].index);
		tail += strlen(step);
		if (tail > size - HEAD - 8) {
			first_of_tail = i + 1;
			break;
		}
	}
	for (int i = 0; i < e->depth; i++) {
		if (e->path[i].key_at) format_key(e->L, e->path[i].key_at, step, sizeof step);
		else snprintf(step, sizeof step, "[%lld]", (long long)e->path[i].index);
		if (i < first_of_tail && n + strlen(step) > HEAD) {
			n += (size_t)snprintf(out + n, size - n, "...");
			i = first_of_tail - 1;
			continue;
		}
		n += (size_t)snprintf(out + n, size - n, "%s", step);
	}
}

static int refuse(struct encoder *e, const char *what)
{
	if (e->err) {
		char path[560];
		format_path(e, path, sizeof path);
		vigia__error(e->err, VIGIA_ESERIAL, "%s: %s", path, what);
	}
	return VIGIA_ESERIAL;
}

static int no_memory(struct encoder *e)
{
	return vigia__error(e->err, VIGIA_ENOMEM, "not enough memory");
}

static int too_big(struct encoder *e, size_t at_least)
{
	return vigia__error(e->err, VIGIA_ETOOBIG, "the event has more than %zu bytes, max_event_size is %lld bytes",
	                    at_least, (long long)e->size_max);
}

/* ---- Tables ---- */

enum shape { MAP, ARRAY, HOLED, REFUSED };

/* Are the keys exactly 1..n? `marked`: they must be. */
static enum shape shape_of(struct encoder *e, int idx, bool marked, lua_Integer *count)
{
	lua_State *L = e->L;
	lua_Integer n = 0, max = 0;
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
		if (key < 1) {
			if (marked) {
				char text[240], what[300];
				format_key(L, lua_gettop(L) - 1, text, sizeof text);
				lua_pop(L, 2);
				snprintf(what, sizeof what, "the key %s in a vigia.array, which has the keys 1..n only",
				         text[0] == '.' ? text + 1 : text);
				refuse(e, what);
				return REFUSED;
			}
			lua_pop(L, 2);
			return MAP;
		}
		n++;
		if (key > max) max = key;
	}
	*count = n;
	return n == max ? ARRAY : marked ? HOLED : MAP;
}

static int refuse_hole(struct encoder *e, int idx)
{
	struct step *step = &e->path[e->depth - 1];
	step->key_at = 0;
	for (step->index = 1;; step->index++) {
		int type = lua_rawgeti(e->L, idx, step->index);
		lua_pop(e->L, 1);
		if (type == LUA_TNIL) break;
	}
	return refuse(e, "a hole in a vigia.array; use vigia.null where there is no value");
}

static int encode_value(struct encoder *e, int idx);

static int encode_array(struct encoder *e, int idx, lua_Integer count)
{
	struct step *step = &e->path[e->depth - 1];
	if (vigia__put_array(e->buf, (size_t)count) != 0) return no_memory(e);
	step->key_at = 0;
	int value_at = lua_gettop(e->L) + 1;
	for (lua_Integer i = 1; i <= count; i++) {
		step->index = i;
		lua_rawgeti(e->L, idx, i);
		int rc = encode_value(e, value_at);
		lua_pop(e->L, 1);
		if (rc != 0) return rc;
	}
	return 0;
}

static int encode_string(struct encoder *e, int idx)
{
	size_t len;
	const char *s = lua_tolstring(e->L, idx, &len);
	size_t used = e->buf->len - e->start;
	if (len > e->size_stop || used > e->size_stop - len) return too_big(e, used + len);
	return vigia__put_string(e->buf, s, len) == 0 ? 0 : no_memory(e);
}

static int encode_key(struct encoder *e, int idx)
{
	lua_State *L = e->L;
	int rc;
	switch (lua_type(L, idx)) {
	case LUA_TSTRING:
		return encode_string(e, idx);
	case LUA_TBOOLEAN:
		rc = vigia__put_bool(e->buf, lua_toboolean(L, idx));
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, idx)) {
			rc = vigia__put_int(e->buf, lua_tointeger(L, idx));
			break;
		}
		if (!isfinite(lua_tonumber(L, idx)))
			return refuse(
				e, "a key that is an infinite float; a key is a string, an integer, a boolean or a finite float");
		rc = vigia__put_float(e->buf, lua_tonumber(L, idx));
		break;
	default: {
		char what[120];
		snprintf(what, sizeof what, "a %s as a key; a key is a string, an integer, a boolean or a finite float",
		         luaL_typename(L, idx));
		return refuse(e, what);
	}
	}
	return rc == 0 ? 0 : no_memory(e);
}

static int encode_map(struct encoder *e, int idx)
{
	lua_State *L = e->L;
	struct step *step = &e->path[e->depth - 1];
	int key_at = lua_gettop(L) + 1;
	size_t where, count = 0;
	if (vigia__put_map_begin(e->buf, &where) != 0) return no_memory(e);
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		e->depth--; /* a bad key belongs to the table, not to a place in it */
		int rc = encode_key(e, key_at);
		e->depth++;
		step->key_at = key_at;
		if (rc == 0) rc = encode_value(e, key_at + 1);
		if (rc != 0) {
			lua_pop(L, 2);
			return rc;
		}
		count++;
	}
	return vigia__put_map_end(e->buf, where, count) == 0 ? 0 : no_memory(e);
}

static int encode_table(struct encoder *e, int idx)
{
	lua_State *L = e->L;
	const void *self = lua_topointer(L, idx);
	for (int i = 0; i < e->depth; i++)
		if (e->path[i].table == self) return refuse(e, "a cycle: this table is inside itself");
	if (e->depth == VIGIA_DEPTH_MAX) {
		char what[80];
		snprintf(what, sizeof what, "nested too deep; at most %d levels of tables can be stored", VIGIA_DEPTH_MAX);
		return refuse(e, what);
	}
	if (!has_stack(L, e->depth)) return no_memory(e);
	bool marked = false;
	if (lua_getmetatable(L, idx)) {
		marked = lua_topointer(L, -1) == e->array_mt;
		lua_pop(L, 1);
	}
	enum shape shape = MAP;
	lua_Integer count = 0;
	if (marked || lua_rawlen(L, idx) > 0) shape = shape_of(e, idx, marked, &count);
	if (shape == REFUSED) return VIGIA_ESERIAL;
	e->path[e->depth++] = (struct step){.table = self};
	int rc = shape == MAP ? encode_map(e, idx) : shape == ARRAY ? encode_array(e, idx, count) : refuse_hole(e, idx);
	e->depth--;
	return rc;
}

static int encode_value(struct encoder *e, int idx)
{
	lua_State *L = e->L;
	int rc;
	/* Tables met many times can stand for more bytes than there is memory: stop early. */
	if (e->buf->len - e->start > e->size_stop) return too_big(e, e->buf->len - e->start);
	switch (lua_type(L, idx)) {
	case LUA_TNIL:
		rc = vigia__put_nil(e->buf);
		break;
	case LUA_TBOOLEAN:
		rc = vigia__put_bool(e->buf, lua_toboolean(L, idx));
		break;
	case LUA_TNUMBER:
		rc = lua_isinteger(L, idx) ? vigia__put_int(e->buf, lua_tointeger(L, idx))
		                           : vigia__put_float(e->buf, lua_tonumber(L, idx));
		break;
	case LUA_TSTRING:
		return encode_string(e, idx);
	case LUA_TTABLE:
		return encode_table(e, idx);
	case LUA_TLIGHTUSERDATA:
		if (lua_touserdata(L, idx) == NULL) { /* vigia.null */
			rc = vigia__put_nil(e->buf);
			break;
		}
		/* fall through */
	default: {
		char what[120];
		snprintf(what, sizeof what,
		         "%s cannot be stored; an object is made of nil, booleans, numbers, strings and tables",
		         luaL_typename(L, idx));
		return refuse(e, what);
	}
	}
	return rc == 0 ? 0 : no_memory(e);
}

static struct vigia_slice slice_at(lua_State *L, int idx)
{
	struct vigia_slice slice;
	slice.data = lua_tolstring(L, idx, &slice.len);
	return slice;
}

int vigia__lua_encode_event(lua_State *L, int op_idx, int type_idx, int obj_idx, struct vigia__buf *buf,
                            int64_t size_max, struct vigia_error *err)
{
	obj_idx = lua_absindex(L, obj_idx);
	struct encoder e; /* `path` is long, and most of it is not used: not cleared */
	e.L = L;
	e.buf = buf;
	e.start = buf->len;
	e.size_max = size_max;
	e.err = err;
	e.depth = 0;
	/* finish what is not far beyond the limit, so that the message can name its size */
	e.size_stop = 2 * (size_t)size_max + 65536;
	if (!lua_checkstack(L, STACK_AT_ONCE)) return no_memory(&e);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
	e.array_mt = lua_topointer(L, -1);
	lua_pop(L, 1);
	int rc = vigia__event_begin(buf, slice_at(L, op_idx), slice_at(L, type_idx), err);
	if (rc == 0) rc = encode_value(&e, obj_idx);
	if (rc == 0) rc = vigia__event_end(buf, e.start, size_max, err);
	if (rc != 0) buf->len = e.start;
	return rc;
}

/* ---- Decoding ---- */

struct decoder {
	lua_State *L;
	struct vigia__lua *shared;
	int names;    /* stack index of the table of names */
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
	struct vigia__lua_name *name = &d->shared->names[slot];
	if (name->len == len && same_bytes(name->bytes, s, len)) {
		lua_rawgeti(L, d->names, (lua_Integer)slot + 1);
		return;
	}
	lua_pushlstring(L, s, len);
	lua_pushvalue(L, -1);
	lua_rawseti(L, d->names, (lua_Integer)slot + 1); /* the slot is there: cannot raise */
	name->len = (uint8_t)len;
	memcpy(name->bytes, s, len);
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
	return vigia__error(err, VIGIA_EDESERIAL, "a key of a map is no string, integer, boolean or finite float");
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

/* Push one value; on error there may be leftovers on the stack. */
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
		if (depth == VIGIA_DEPTH_MAX)
			return vigia__error(err, VIGIA_EDESERIAL, "nested deeper than %d levels", VIGIA_DEPTH_MAX);
		if (!has_stack(d->L, depth)) return vigia__error(err, VIGIA_ENOMEM, "not enough memory for an object");
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

/* The table of five on top gets its object; nil stays away. */
static int decode_object(struct decoder *d, struct vigia_slice object, struct vigia_error *err)
{
	d->reader = (struct vigia__reader){(const uint8_t *)object.data, (const uint8_t *)object.data + object.len};
	push_name(d, NAME("object"));
	int rc = decode_value(d, 0, err);
	if (rc != 0) return rc;
	if (d->reader.at != d->reader.end) return vigia__error(err, VIGIA_EDESERIAL, "there are bytes behind the object");
	if (lua_islightuserdata(d->L, -1)) lua_pop(d->L, 2);
	else lua_rawset(d->L, -3);
	return 0;
}

static int value_gc(lua_State *L)
{
	struct vigia__buf *value = vigia__lua_collected(L, &value_key);
	if (value) vigia__buf_deinit(value);
	return 0;
}

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
	struct vigia__buf *value = vigia__lua_new(L, sizeof *value, &value_key);
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

int vigia__lua_push_checked_event(lua_State *L, int store_at, const struct vigia_event *event, struct vigia_error *err)
{
	int top = lua_gettop(L);
	luaL_checkstack(L, STACK_AT_ONCE, NULL);
	struct decoder d = {.L = L, .shared = vigia__lua_push_names(L), .names = top + 1, .array_mt = top + 2};
	lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
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

/* ---- vigia.array, vigia.is_array, vigia.to_json ---- */

int vigia__lua_array(lua_State *L)
{
	vigia__lua_check_type(L, 1, LUA_TTABLE, "t");
	lua_settop(L, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
	if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, 2))
		return luaL_argerror(L, 1, "the table has another metatable");
	lua_pushvalue(L, 2);
	lua_setmetatable(L, 1);
	lua_settop(L, 1);
	return 1;
}

int vigia__lua_is_array(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
	bool is = lua_istable(L, 1) && lua_getmetatable(L, 1) && lua_rawequal(L, -1, -2);
	lua_pushboolean(L, is);
	return 1;
}

/* Push field `name` of the event at 1; raises if it is of another type. */
static void push_field(lua_State *L, const char *name, int type)
{
	lua_pushstring(L, name);
	int got = lua_rawget(L, 1);
	int whole = 1;
	if (type == LUA_TNUMBER && got == type) lua_tointegerx(L, -1, &whole);
	if (type != LUA_TNONE && (got != type || !whole))
		luaL_argerror(L, 1,
		              lua_pushfstring(L, "event.%s: %s expected, got %s", name,
		                              type == LUA_TNUMBER ? "integer" : "string", luaL_typename(L, -1)));
}

int vigia__lua_to_json(lua_State *L)
{
	vigia__lua_check_type(L, 1, LUA_TTABLE, "event");
	lua_settop(L, 1);
	push_field(L, "operation", LUA_TSTRING);
	push_field(L, "object_type", LUA_TSTRING);
	push_field(L, "object", LUA_TNONE);
	push_field(L, "seq_num", LUA_TNUMBER);
	push_field(L, "timestamp", LUA_TNUMBER);
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia_error err = {0};
	vigia__buf_clear(&shared->events, VIGIA_LUA_KEEP);
	vigia__buf_clear(&shared->text, VIGIA_LUA_KEEP);
	/* any size: what was stored under another limit is shown too */
	int rc = vigia__lua_encode_event(L, 2, 3, 4, &shared->events, INT32_MAX, &err);
	struct vigia__head head;
	if (rc == 0 && vigia__event_head(shared->events.data, shared->events.len, &head) != 0)
		rc = vigia__error(&err, VIGIA_ESERIAL, "the event cannot be encoded");
	if (rc == 0) {
		struct vigia_event event = {.seq_num = (uint64_t)lua_tointeger(L, 5),
		                            .at_ns = lua_tointeger(L, 6),
		                            .operation = head.operation,
		                            .object_type = head.object_type,
		                            .object = head.object};
		rc = vigia__json_from_event(&event, &shared->text, &err);
	}
	if (rc == VIGIA_ENOMEM) return luaL_error(L, "not enough memory");
	if (rc != 0) return vigia__lua_fail(L, rc, &err);
	lua_pushlstring(L, (const char *)shared->text.data, shared->text.len);
	return 1;
}

void vigia__lua_event_init(lua_State *L)
{
	static const luaL_Reg metamethods[] = {{NULL, NULL}};
	static const luaL_Reg value_metamethods[] = {{"__gc", value_gc}, {NULL, NULL}};
	vigia__lua_class(L, "vigia.array", &array_key, metamethods, NULL);
	vigia__lua_class(L, "vigia.value", &value_key, value_metamethods, NULL);
	lua_pop(L, 2);
}
