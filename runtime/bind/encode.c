/*
 * encode.c - Lua values into an event's bytes, in one pass.
 *
 * Encoding looks at tables raw (no metamethod runs), makes no Lua object and so never starts a collection: nothing can
 * run or raise while the shared buffer is in use. Where something cannot be carried, the keys on the Lua stack and the
 * frames on the C stack tell the path. Until then it costs nothing.
 */
#include "encode.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/buf.h"
#include "array.h"

/* One table on the way from the object to the value being encoded. */
struct step {
	const void *table; /* its address: a cycle comes back to it */
	int key_at;        /* stack index of the key being encoded. 0: an array */
	lua_Integer index; /* of an array's element */
};

struct encoder {
	lua_State *L;
	struct vigia__buf *buf;
	size_t start;     /* of the event in buf */
	size_t size_stop; /* an event larger than this is not worth finishing */
	int64_t size_max;
	const void *array_mt;
	const char *root;  /* what messages call the value: "object", "value" */
	const char *whole; /* and all its bytes: "event", "value" */
	struct vigia_error *err;
	int depth; /* steps in use */
	struct step path[VIGIA_DEPTH_MAX];
};

/* ---- Saying where ---- */

/* A key as one would write it: .name, ["a key"], [3], [true]. */
static void format_key(lua_State *L, int idx, char *out, size_t size)
{
	switch (lua_type(L, idx)) {
	case LUA_TSTRING: {
		size_t len;
		const char *s = lua_tolstring(L, idx, &len);
		char quoted[200];
		if (len <= 60 && vigia__is_identifier(s, len)) {
			snprintf(out, size, ".%s", s);
		} else {
			vigia__quote(s, len, quoted, sizeof quoted);
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
	size_t n = (size_t)snprintf(out, size, "%s", e->root);
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

static int too_big(struct encoder *e, size_t at_least)
{
	return vigia__error(e->err, VIGIA_ETOOBIG, "the %s has more than %zu bytes, max_event_size is %lld bytes", e->whole,
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
	if (vigia__put_array(e->buf, (size_t)count) != 0) return vigia__no_memory(e->err);
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
	return vigia__put_string(e->buf, s, len) == 0 ? 0 : vigia__no_memory(e->err);
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
	return rc == 0 ? 0 : vigia__no_memory(e->err);
}

static int encode_map(struct encoder *e, int idx)
{
	lua_State *L = e->L;
	struct step *step = &e->path[e->depth - 1];
	int key_at = lua_gettop(L) + 1;
	size_t where, count = 0;
	if (vigia__put_map_begin(e->buf, &where) != 0) return vigia__no_memory(e->err);
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
	return vigia__put_map_end(e->buf, where, count) == 0 ? 0 : vigia__no_memory(e->err);
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
	if (!vigia__lua_has_levels(L, e->depth)) return vigia__no_memory(e->err);
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
	return rc == 0 ? 0 : vigia__no_memory(e->err);
}

/* `path` is long, and most of it is not used: not cleared. */
static int begin(struct encoder *e, lua_State *L, const char *root, const char *whole, struct vigia__buf *buf,
                 int64_t size_max, struct vigia_error *err)
{
	e->L = L;
	e->buf = buf;
	e->start = buf->len;
	e->size_max = size_max;
	e->root = root;
	e->whole = whole;
	e->err = err;
	e->depth = 0;
	/* finish what is not far beyond the limit, so that the message can name its size */
	e->size_stop = 2 * (size_t)size_max + 65536;
	if (!lua_checkstack(L, VIGIA_LUA_LEVELS_STACK)) return vigia__no_memory(err);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &vigia__lua_array_class); /* nil: there is no array yet */
	e->array_mt = lua_topointer(L, -1);
	lua_pop(L, 1);
	return 0;
}

int vigia__lua_encode_value(lua_State *L, int idx, struct vigia__buf *buf, int64_t size_max, struct vigia_error *err)
{
	struct encoder e;
	int rc = begin(&e, L, "value", "value", buf, size_max, err);
	if (rc == 0) rc = encode_value(&e, lua_absindex(L, idx));
	size_t size = buf->len - e.start;
	if (rc == 0 && size > (uint64_t)size_max)
		rc = vigia__error(err, VIGIA_ETOOBIG, "the value has %zu bytes, max_event_size is %lld bytes", size,
		                  (long long)size_max);
	if (rc != 0) buf->len = e.start;
	return rc;
}

int vigia__lua_encode_event(lua_State *L, int op_idx, int type_idx, int obj_idx, struct vigia__buf *buf,
                            int64_t size_max, struct vigia_error *err)
{
	obj_idx = lua_absindex(L, obj_idx);
	struct encoder e;
	int rc = begin(&e, L, "object", "event", buf, size_max, err);
	if (rc != 0) return rc;
	rc = vigia__event_begin(buf, vigia__lua_slice(L, op_idx), vigia__lua_slice(L, type_idx), err);
	if (rc == 0) rc = encode_value(&e, obj_idx);
	if (rc == 0) rc = vigia__event_end(buf, e.start, size_max, err);
	if (rc != 0) buf->len = e.start;
	return rc;
}
