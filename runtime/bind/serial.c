/*
 * serial.c - serializers that are Lua functions, and object types that are classes.
 */
#include "serial.h"

#include <string.h>

#include "../core/error.h"
#include "../core/event.h"
#include "../core/serial.h"
#include "../store/store.h"
#include "../core/buf.h"
#include "../core/nearest.h"
#include "../core/options.h"
#include "cap.h"
#include "encode.h"
#include "error.h"
#include "lua_state.h"
#include "options.h"

enum { MARSHAL = 1, UNMARSHAL, FUNCTIONS = 1, UV_TYPES = 2 };

/* ---- The option ---- */

static const char *const fields[] = {"name", "marshal", "unmarshal", "strict", NULL};

static const char *field_at(const void *ctx, int index)
{
	return fields[index];
}

static bool is_own_serializer(const char *name)
{
	return vigia__serializer_of((struct vigia_slice){name, strlen(name)}) != VIGIA_SERIALIZER_OTHER;
}

static void check_fields(lua_State *L, int idx, struct vigia__problems *problems)
{
	for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
		const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
		int i = 0;
		while (name && fields[i] && strcmp(fields[i], name) != 0) i++;
		if (name && fields[i]) continue;
		const char *near = name ? vigia__nearest(name, field_at, NULL) : NULL;
		vigia__problem(problems, "serializer: unknown field '%.48s' (%s%s%s)", name ? name : luaL_typename(L, -2),
		               near ? "did you mean " : "allowed: ", near ? near : "name, marshal, unmarshal, strict",
		               near ? "?" : "");
	}
}

static void check_functions(lua_State *L, int idx, bool wanted, struct vigia__problems *problems)
{
	for (int i = MARSHAL; i <= UNMARSHAL; i++) {
		int type = vigia__lua_push_raw(L, idx, fields[i]);
		lua_pop(L, 1);
		if (wanted && type != LUA_TFUNCTION)
			vigia__problem(problems, "serializer.%s is a %s, allowed: a function", fields[i], lua_typename(L, type));
		else if (!wanted && type != LUA_TNIL)
			vigia__problem(problems, "serializer.%s: msgpack and json are the library's own; give yours another name",
			               fields[i]);
	}
}

void vigia__lua_option_serializer(lua_State *L, int idx, struct vigia_store_options *options,
                                  struct lua_serializer *out, struct vigia__problems *problems)
{
	size_t len = 0;
	const char *name = NULL;
	if (!lua_checkstack(L, 6)) {
		vigia__problem(problems, "serializer: the stack is full"); /* GCOVR_EXCL_LINE: a stack of a million values. */
		return;
	}
	if (lua_type(L, idx) == LUA_TSTRING) {
		name = lua_tolstring(L, idx, &len);
		if (!is_own_serializer(name)) {
			vigia__problem(
				problems,
				"serializer is '%.64s', allowed: 'msgpack', 'json', or a table {name =, marshal =, unmarshal =}", name);
			return;
		}
	} else if (lua_istable(L, idx)) {
		check_fields(L, idx, problems);
		if (vigia__lua_push_raw(L, idx, "name") == LUA_TSTRING)
			name = lua_tolstring(L, -1, &len); /* the table keeps it */
		lua_pop(L, 1);
		struct vigia_error err;
		if (name == NULL || len == 0 || len > 64 || strlen(name) != len ||
		    vigia__name_check((struct vigia_slice){name, len}, "serializer.name", &err) != 0) {
			vigia__problem(problems,
			               "serializer.name: allowed: a string of 1 to 64 bytes of UTF-8 without a zero byte");
			return;
		}
		out->functions = !is_own_serializer(name);
		check_functions(L, idx, out->functions, problems);
		int type = vigia__lua_push_raw(L, idx, "strict");
		out->strict = lua_toboolean(L, -1);
		lua_pop(L, 1);
		if (type != LUA_TNIL && type != LUA_TBOOLEAN)
			vigia__problem(problems, "serializer.strict is a %s, allowed: true or false", lua_typename(L, type));
	} else {
		vigia__problem(problems,
		               "serializer is a %s, allowed: 'msgpack', 'json', or a table {name =, marshal =, unmarshal =}",
		               luaL_typename(L, idx));
		return;
	}
	options->serializer = name;
	options->serializer_given = true;
}

void vigia__lua_keep_serializer(lua_State *L, int option, int store_idx)
{
	store_idx = lua_absindex(L, store_idx);
	option = lua_absindex(L, option);
	lua_createtable(L, UNMARSHAL, 0);
	for (int i = MARSHAL; i <= UNMARSHAL; i++) {
		vigia__lua_push_raw(L, option, fields[i]);
		lua_rawseti(L, -2, i);
	}
	vigia__lua_keep(L, store_idx, FUNCTIONS);
}

/* ---- Calling ---- */

/* Push function `which` of the store. False: it has none. [-0, +1, -] */
static bool push_function(lua_State *L, int store_idx, int which)
{
	if (vigia__lua_push_kept(L, store_idx, FUNCTIONS) != LUA_TTABLE) {
		lua_pop(L, 1);
		return false;
	}
	lua_rawgeti(L, -1, which);
	lua_replace(L, -2);
	return true;
}

/* Call the function below its `count` arguments. False: it raised, and its words are on top. [-(count + 1), +1, m] */
static bool call_serializer(lua_State *L, int count)
{
	if (lua_pcall(L, count, 1, 0) == LUA_OK) return true;
	vigia__lua_push_text(L, -1);
	lua_replace(L, -2);
	return false;
}

/* ---- Storing ---- */

static bool registered(lua_State *L, int type_idx)
{
	vigia__lua_push_shared(L);
	lua_getiuservalue(L, -1, UV_TYPES);
	lua_pushvalue(L, type_idx);
	bool yes = lua_istable(L, -2) && lua_rawget(L, -2) != LUA_TNIL;
	lua_pop(L, 3);
	return yes;
}

int vigia__lua_marshal(lua_State *L, const struct lua_serializer *s, int store_idx, int op_idx, int type_idx,
                       int obj_idx, struct vigia_error *err)
{
	luaL_checkstack(L, 8, NULL);
	if (s->strict && !registered(L, type_idx))
		return vigia__error(err, VIGIA_ESERIAL,
		                    "object_type '%.200s' is not registered, and the serializer is strict: see "
		                    "vigia.register_type",
		                    lua_tostring(L, type_idx));
	if (!s->functions) return VIGIA_OK;
	if (!push_function(L, store_idx, MARSHAL)) {
		/* GCOVR_EXCL_START: Lua code did that (debug). */
		return vigia__error(err, VIGIA_ESERIAL, "the serializer's functions were replaced");
		/* GCOVR_EXCL_STOP */
	}
	lua_pushvalue(L, obj_idx);
	lua_pushvalue(L, op_idx);
	lua_pushvalue(L, type_idx);
	int rc = VIGIA_OK;
	if (!call_serializer(L, 3))
		rc = vigia__error(err, VIGIA_ESERIAL, "the serializer's marshal failed: %s", lua_tostring(L, -1));
	else if (lua_type(L, -1) != LUA_TSTRING)
		rc = vigia__error(err, VIGIA_ESERIAL, "the serializer's marshal returned a %s, not a string",
		                  luaL_typename(L, -1));
	else lua_copy(L, -1, obj_idx);
	lua_pop(L, 1);
	return rc;
}

/* Field `name`, or the one at `place`, of the table at idx. Returns its type. [-0, +1, -] */
static int push_entry_field(lua_State *L, int idx, const char *name, int place)
{
	if (vigia__lua_push_raw(L, idx, name) != LUA_TNIL) return lua_type(L, -1);
	lua_pop(L, 1);
	return lua_rawgeti(L, idx, place);
}

int vigia__lua_marshal_list(lua_State *L, const struct lua_serializer *s, int store_idx, int list_idx,
                            lua_Integer count, lua_Integer *failed, struct vigia_error *err)
{
	int top = lua_gettop(L), rc = VIGIA_OK;
	luaL_checkstack(L, 16, NULL);
	lua_createtable(L, count < INT32_MAX ? (int)count : 0, 0);
	for (lua_Integer i = 1; i <= count && rc == VIGIA_OK; i++) {
		*failed = i;
		lua_settop(L, top + 1);
		lua_rawgeti(L, list_idx, i);
		if (lua_istable(L, -1)) {
			vigia__lua_push_copy(L, top + 2, 1); /* its fields are looked at later */
			lua_replace(L, top + 2);
			int op = push_entry_field(L, top + 2, "operation", 1),
				type = push_entry_field(L, top + 2, "object_type", 2);
			bool named = vigia__lua_push_raw(L, top + 2, "object") != LUA_TNIL;
			lua_pop(L, 1);
			push_entry_field(L, top + 2, "object", 3);
			if (op == LUA_TSTRING && type == LUA_TSTRING)
				rc = vigia__lua_marshal(L, s, store_idx, top + 3, top + 4, top + 5, err);
			lua_pushvalue(L, top + 5);
			if (named || lua_rawgeti(L, top + 2, 1) == LUA_TNIL)
				lua_settop(L, top + 6), lua_setfield(L, top + 2, "object");
			else lua_settop(L, top + 6), lua_rawseti(L, top + 2, 3);
		}
		lua_pushvalue(L, top + 2);
		lua_rawseti(L, top + 1, i);
	}
	lua_settop(L, top + 1);
	if (rc == VIGIA_OK) lua_replace(L, list_idx);
	lua_settop(L, top);
	return rc;
}

int vigia__lua_encode_for(lua_State *L, struct vigia_store *store, const struct lua_serializer *s, int op_idx,
                          int type_idx, int obj_idx, struct vigia__buf *buf, struct vigia_error *err)
{
	int64_t size_max = store->backend->max_event_size;
	size_t start = buf->len;
	if (!s->functions) {
		int rc = vigia__lua_encode_event(L, op_idx, type_idx, obj_idx, buf, size_max, err);
		return rc == 0 && store->recodes ? vigia__event_recode(buf, start, store->serializer, size_max, err) : rc;
	}
	int rc = vigia__event_begin(buf, vigia__lua_slice(L, op_idx), vigia__lua_slice(L, type_idx), err);
	struct vigia_slice payload = vigia__lua_slice(L, obj_idx);
	if (rc == 0 && (int64_t)payload.len > size_max)
		rc = vigia__error(err, VIGIA_ETOOBIG, "the event has more than %zu bytes, max_event_size is %lld bytes",
		                  payload.len, (long long)size_max);
	size_t at = buf->len - 1;
	if (rc == 0 && vigia__event_payload(buf, at, store->serializer, payload.data, payload.len) != 0)
		rc = vigia__no_memory(err); /* GCOVR_EXCL_LINE: an allocation fails. */
	if (rc == 0) rc = vigia__event_end(buf, start, size_max, err);
	if (rc != 0) buf->len = start;
	return rc;
}

/* ---- Reading ---- */

int vigia__lua_unmarshal(lua_State *L, int store_at, const struct vigia_event *event, struct vigia_error *err)
{
	int head = lua_gettop(L);
	struct vigia_slice name = event->serializer;
	if (store_at == 0 || !push_function(L, store_at, UNMARSHAL))
		return vigia__error(err, VIGIA_EDESERIAL,
		                    "the object needs the serializer '%.*s' of an application: give it to vigia.open in the "
		                    "Lua state that reads, or name it as `serializer` in the table that the script returns",
		                    (int)name.len, name.data);
	lua_pushlstring(L, event->object.data, event->object.len);
	lua_pushvalue(L, head);
	if (call_serializer(L, 2)) return VIGIA_OK;
	vigia__error(err, VIGIA_EDESERIAL, "the serializer's unmarshal failed: %s", lua_tostring(L, -1));
	lua_settop(L, head);
	return VIGIA_EDESERIAL;
}

/* ---- Types ---- */

void vigia__lua_make_instance(lua_State *L, struct vigia_slice object_type)
{
	int event = lua_gettop(L);
	if (vigia__lua_push_raw(L, event, "object") == LUA_TTABLE && !lua_getmetatable(L, -1)) {
		vigia__lua_push_shared(L);
		bool types = lua_getiuservalue(L, -1, UV_TYPES) == LUA_TTABLE;
		lua_pushlstring(L, object_type.data, object_type.len);
		if (types && lua_rawget(L, -2) == LUA_TTABLE) {
			if (vigia__cap_here()) { /* a finalizer would run where no cap reaches */
				lua_pushliteral(L, "__gc");
				lua_pushnil(L);
				lua_rawset(L, -3);
			}
			lua_setmetatable(L, event + 1);
		}
	}
	lua_settop(L, event);
}

int vigia__lua_register_type(lua_State *L)
{
	struct vigia_slice name;
	name.data = vigia__lua_check_string(L, 1, "name", &name.len);
	vigia__lua_check_type(L, 2, LUA_TTABLE, "class");
	struct vigia_error err = {0};
	if (vigia__name_check(name, "name", &err) != 0) luaL_argerror(L, 1, lua_pushstring(L, err.message));
	lua_settop(L, 2);
	struct vigia__lua *shared = vigia__lua_shared(L);
	if (registered(L, 1)) {
		vigia__error(&err, VIGIA_ETYPE, "the object type '%.200s' is already registered", name.data);
		return vigia__lua_fail(L, VIGIA_ETYPE, &err);
	}
	vigia__lua_push_shared(L); /* 3 */
	if (lua_getiuservalue(L, 3, UV_TYPES) != LUA_TTABLE) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -1);
		lua_setiuservalue(L, 3, UV_TYPES);
	}
	lua_pushvalue(L, 1);
	lua_pushvalue(L, 2);
	lua_rawset(L, 4);
	shared->has_types = true;
	return vigia__lua_boolean(L, true);
}

int vigia__lua_is_type_registered(lua_State *L)
{
	vigia__lua_check_type(L, 1, LUA_TSTRING, "name");
	return vigia__lua_boolean(L, registered(L, 1));
}
