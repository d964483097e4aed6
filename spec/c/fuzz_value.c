/*
 * fuzz_value.c - any Lua values to bytes and back, any bytes to Lua values, and any values as arguments of the module's
 * functions: what is taken comes back equal, what is refused leaves nothing behind, and no call ends otherwise than by
 * results or an error.
 *
 * Input: a byte for what is done. Values are made by the bytes that follow (make), or are msgpack or JSON.
 */
#include "bind/decode.h"
#include "bind/encode.h"
#include "bind/iterator.h"
#include "core/event.h"
#include "core/json.h"
#include "lib/fuzz_lua.h"

static const char functions[] =
	"local vigia, core = require 'vigia', require 'vigia.core'\n"
	"local function is_list(t)\n"
	"	if core.is_array(t) then return true end\n"
	"	local n = 0\n"
	"	for _ in next, t do n = n + 1 end\n"
	"	for i = 1, n do if rawget(t, i) == nil then return false end end\n"
	"	return n > 0\n"
	"end\n"
	"local null = vigia.null\n"
	"function fuzz_equal(a, b)\n"
	"	if type(a) ~= type(b) or math.type(a) ~= math.type(b) then return false end\n"
	"	if type(a) == 'number' then\n"
	"		return a ~= a and b ~= b or a == b and (a ~= 0 or math.type(a) == 'integer' or 1 / a == 1 / b)\n"
	"	elseif type(a) ~= 'table' then return a == b end\n"
	"	if is_list(a) ~= core.is_array(b) then return false end\n"
	"	local n = 0\n"
	"	for k, v in next, a do\n"
	"		n = n + 1\n"
	"		if not fuzz_equal(v, rawget(b, k)) then return false end\n"
	"	end\n"
	"	for _ in next, b do n = n - 1 end\n"
	"	return n == 0\n"
	"end\n"
	"local store, left\n"
	"local calls = {\n"
	"	function(v) local s = vigia.open(':memory:', v) if s then s:close() end end,\n"
	"	function(v) if type(v) == 'table' then rawset(v, 'timeout', 0) end return store:get_events(v) end,\n"
	"	function(v, w) return store:store_event(v, w, v) end,\n"
	"	function(v, w) return store:store_event('a', 'b', w, v) end,\n"
	"	function(v, w) return store:store_events(v, w) end,\n"
	"	function(v) return store:store_events{v, {'a', 'b', v}, {operation = 'a', object_type = 'b', object = v}} "
	"end,\n"
	"	function(v) return store:configure(v) end,\n"
	"	function(v) return store:trim(v) end,\n"
	"	function(v) return store:get_event(v) end,\n"
	"	function(v) return store:find_time(v) end,\n"
	"	function(v, w) store:store_checkpoint(v, w) return store:checkpoints() end,\n"
	"	function(v, w) store:get_checkpoint(v) return store:delete_checkpoint(w) end,\n"
	"	function(v) return vigia.to_json(v) end,\n"
	"	function(v, w) return vigia.to_json{seq_num = 1, timestamp = 2, operation = 'a', object_type = 'b', object = "
	"v} end,\n"
	"	function(v) vigia.array(v) return store:store_event('a', 'b', v) end,\n"
	"	function(v) vigia.is_array(v) return vigia.at_sequence_number(v) end,\n"
	"	function(v) return vigia.after_sequence_number(v) end,\n"
	"	function(v) return core.iterator_parse(v) end,\n"
	"	function(v) return core.new_error(v) end,\n"
	"	function(v, w)\n"
	"		local registry = vigia.registry(store, {log = false})\n"
	"		if type(w) == 'table' then rawset(w, 'auto_start', false) end\n"
	"		local ok, watcher = pcall(registry.watch, registry, v, function() end, w)\n"
	"		if ok and watcher then watcher:checkpoint(v) watcher:seek_to_offset(v) end\n"
	"		registry:close()\n"
	"	end,\n"
	"	function(v) vigia.registry(store, v):close() end,\n"
	"}\n"
	"function fuzz_call(which, v, w)\n"
	"	if not store or left == 0 then\n"
	"		if store then store:close() end\n"
	"		store, left = assert(vigia.open(':memory:', {long_polling_timeout = 0, max_event_size = 65536})), 500\n"
	"	end\n"
	"	left = left - 1\n"
	"	local ok, result, err = pcall(calls[which % #calls + 1], v, w)\n"
	"	if not ok then assert(type(result) == 'string', 'it raised no text') end\n"
	"	assert(err == nil or ok and tostring(err))\n"
	"end\n";

static lua_State *state(void)
{
	static bool loaded;
	lua_State *L = fuzz_lua();
	if (!loaded) fuzz_lua_do(L, functions, 0, 0);
	loaded = true;
	return L;
}

/* ---- a value from bytes ---- */

static int nothing(lua_State *L)
{
	return 0;
}

enum { TABLES_MAX = 300 };

/* At stack index 1 is a list of the tables that were made, for cycles and tables that are met twice. */
static void make(lua_State *L, struct fuzz_input *in, int depth, int *tables)
{
	luaL_checkstack(L, 10, NULL);
	unsigned what = fuzz_byte(in);
	uint64_t bits;
	double real;
	struct vigia_slice slice;
	switch (what % 18) {
	case 0:
		lua_pushnil(L);
		break;
	case 1:
		lua_pushboolean(L, what & 128);
		break;
	case 2:
		lua_pushinteger(L, (lua_Integer)fuzz_number(in));
		break;
	case 3:
		lua_pushinteger(L, (int8_t)fuzz_byte(in));
		break;
	case 4:
		bits = fuzz_number(in);
		memcpy(&real, &bits, sizeof real);
		lua_pushnumber(L, real);
		break;
	case 5:
		lua_pushnumber(L, (int8_t)fuzz_byte(in));
		break;
	case 6:
	case 7:
		slice = fuzz_slice(in);
		lua_pushlstring(L, slice.data, slice.len);
		break;
	case 8:
		lua_pushlightuserdata(L, NULL);
		break; /* vigia.null */
	case 9:    /* seldom, what cannot be carried */
		switch (fuzz_byte(in) % 16) {
		case 0:
			lua_pushcfunction(L, nothing);
			break;
		case 1:
			lua_newthread(L);
			break;
		case 2:
			lua_newuserdatauv(L, 1, 0);
			break;
		case 3:
			lua_pushlightuserdata(L, L);
			break;
		case 4:
			vigia__lua_push_iterator(L, (struct vigia_iterator){fuzz_byte(in) % 4, 0});
			break;
		default:
			lua_pushliteral(L, "short");
		}
		break;
	case 10:
		if (*tables > 0) {
			lua_rawgeti(L, 1, 1 + (lua_Integer)(fuzz_byte(in) % (unsigned)*tables));
			break;
		}
		/* fall through */
	default: { /* the rest: tables; as a list, as a marked list, with any keys */
		lua_newtable(L);
		if (depth > 200 || *tables == TABLES_MAX) break;
		lua_pushvalue(L, -1);
		lua_rawseti(L, 1, ++*tables);
		if (what % 18 == 12) luaL_setmetatable(L, "vigia.array");
		unsigned count = fuzz_byte(in) % 32;
		for (unsigned i = 1; i <= count && fuzz_left(in) > 0; i++) {
			if (what % 18 < 14) lua_pushinteger(L, i);
			else make(L, in, depth + 1, tables);
			bool key = !lua_isnil(L, -1) && !(lua_isnumber(L, -1) && lua_tonumber(L, -1) != lua_tonumber(L, -1));
			make(L, in, depth + 1, tables);
			if (key) lua_rawset(L, -3);
			else lua_pop(L, 2);
		}
	}
	}
}

/* make(): protected, so that want of memory is an error. */
static int make_values(lua_State *L)
{
	struct fuzz_input *in = lua_touserdata(L, 1);
	int count = (int)lua_tointeger(L, 2), tables = 0;
	lua_settop(L, 0);
	lua_newtable(L);
	for (int i = 0; i < count; i++) make(L, in, 0, &tables);
	return count;
}

static bool values(lua_State *L, struct fuzz_input *in, int count)
{
	lua_pushcfunction(L, make_values);
	lua_pushlightuserdata(L, in);
	lua_pushinteger(L, count);
	if (lua_pcall(L, 2, count, 0) == LUA_OK) return true;
	lua_settop(L, 0);
	return false;
}

/* ---- there and back ---- */

struct decoding {
	struct vigia_event event;
	struct vigia_error err;
	int rc;
};

static int decode(lua_State *L)
{
	struct decoding *d = lua_touserdata(L, 1);
	int top = lua_gettop(L);
	d->rc = vigia__lua_push_checked_event(L, 0, &d->event, &d->err);
	fuzz_assert(lua_gettop(L) == top + (d->rc == 0));
	if (d->rc != 0) return 0;
	lua_getfield(L, -1, "object");
	if (lua_isnil(L, -1)) lua_pushlightuserdata(L, NULL); /* a nil object is absent, as is a null one */
	return 1;
}

/* Push the event's object. Its result; 1: there was not enough memory. */
static int push_object(lua_State *L, const struct vigia_event *event)
{
	struct decoding d = {.event = *event};
	lua_pushcfunction(L, decode);
	lua_pushlightuserdata(L, &d);
	if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
		fuzz_assert(strstr(lua_tostring(L, -1), "memory"));
		return 1;
	}
	if (d.rc != 0) {
		fuzz_assert(d.rc == VIGIA_EDESERIAL && d.err.message[0]);
		lua_pop(L, 1);
	}
	return d.rc;
}

static struct vigia_event event_of(const struct vigia__buf *buf, size_t start)
{
	struct vigia__head head;
	fuzz_assert(vigia__event_head(buf->data + start, buf->len - start, &head) == 0);
	return (struct vigia_event){1, 2, head.operation, head.object_type, head.serializer, head.object};
}

/* The value on top goes to bytes; they are read back, it is equal, and it goes to as many bytes again. */
static void there_and_back(lua_State *L, int64_t size_max)
{
	struct vigia__buf buf = {0}, again = {0};
	struct vigia_error err = {0};
	fuzz_assert(vigia__buf_add(&buf, "before", 6) == 0);
	int value = lua_gettop(L);
	lua_pushliteral(L, "op");
	int rc = vigia__lua_encode_event(L, value + 1, value + 1, value, &buf, size_max, &err);
	fuzz_assert(lua_gettop(L) == value + 1 && memcmp(buf.data, "before", 6) == 0);
	if (rc != 0) {
		fuzz_assert((rc == VIGIA_ESERIAL || rc == VIGIA_ETOOBIG) && buf.len == 6 &&
		            memchr(err.message, '\0', sizeof err.message));
		fuzz_assert(rc == VIGIA_ETOOBIG || memcmp(err.message, "object", 6) == 0);
	} else {
		struct vigia_event event = event_of(&buf, 6);
		fuzz_assert((int64_t)buf.len - 6 <= size_max && vigia__value_check(event.object, VIGIA_ESERIAL, NULL) == 0);
		rc = push_object(L, &event);
		fuzz_assert(rc >= 0);
		if (rc == 0) {
			int back = lua_gettop(L);
			lua_getglobal(L, "fuzz_equal");
			if (lua_isnil(L, value)) lua_pushlightuserdata(L, NULL);
			else lua_pushvalue(L, value);
			lua_pushvalue(L, back);
			fuzz_assert(lua_pcall(L, 2, 1, 0) == LUA_OK && lua_toboolean(L, -1));
			fuzz_assert(vigia__lua_encode_event(L, value + 1, value + 1, back, &again, size_max, &err) == 0);
			fuzz_assert(again.len == buf.len - 6);
		}
	}
	vigia__buf_deinit(&buf);
	vigia__buf_deinit(&again);
	lua_settop(L, value);
}

/* Bytes as an object: they are read if they are one value, and never else. */
static void try_bytes(lua_State *L, struct vigia_slice bytes, struct vigia_slice serializer)
{
	struct vigia_event event = {7, 8, {"op", 2}, {"File", 4}, serializer, bytes};
	struct vigia__buf json = {0};
	bool right = serializer.len == 0 ? vigia__value_check(bytes, VIGIA_EDESERIAL, NULL) == 0
	                                 : vigia__json_to_value(bytes.data, bytes.len, &json, NULL) == 0;
	int rc = push_object(L, &event);
	fuzz_assert(rc == 1 || (rc == 0) == right);
	if (rc == 0) there_and_back(L, INT32_MAX);
	vigia__buf_deinit(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, data + size};
	lua_State *L = state();
	unsigned what = fuzz_byte(&in);
	if (fuzz_lua_used > FUZZ_LUA_MEMORY / 4) { /* garbage with finalizers takes two rounds; nothing else may stay */
		lua_gc(L, LUA_GCCOLLECT);
		lua_gc(L, LUA_GCCOLLECT);
		fuzz_assert(fuzz_lua_used < FUZZ_LUA_MEMORY / 16);
	}
	if (what < 128) { /* values as arguments */
		if (values(L, &in, 2)) {
			lua_getglobal(L, "fuzz_call");
			lua_insert(L, 1);
			lua_pushinteger(L, what);
			lua_insert(L, 2);
			if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
				fprintf(stderr, "%s\n", lua_tostring(L, -1));
				fuzz_assert(strstr(lua_tostring(L, -1), "memory"));
			}
		}
	} else if (what < 192) {
		if (values(L, &in, 1)) there_and_back(L, what & 1 ? 1 << 20 : 300);
	} else {
		struct vigia_slice rest = {(const char *)in.at, fuzz_left(&in)};
		try_bytes(L, rest, what < 224 ? (struct vigia_slice){"", 0} : (struct vigia_slice){"json", 4});
	}
	return 0;
}

FUZZ_MAIN(50000)
