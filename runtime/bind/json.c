/*
 * json.c - vigia.to_json: an event table as a line of JSON. core.from_json: the value of a text.
 */
#include "json.h"

#include "../core/batch.h"
#include "../core/error.h"
#include "../core/event.h"
#include "../core/json.h"
#include "../core/buf.h"
#include "decode.h"
#include "encode.h"
#include "error.h"
#include "lua_state.h"
#include "reading.h"

/* Push field `name` of the event at 1. Raises if it is of another type. */
static void push_event_field(lua_State *L, const char *name, int type)
{
	int got = vigia__lua_push_raw(L, 1, name);
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
	push_event_field(L, "operation", LUA_TSTRING);
	push_event_field(L, "object_type", LUA_TSTRING);
	push_event_field(L, "object", LUA_TNONE);
	push_event_field(L, "seq_num", LUA_TNUMBER);
	push_event_field(L, "timestamp", LUA_TNUMBER);
	struct vigia__lua *shared = vigia__lua_shared(L);
	struct vigia_error err = {0};
	vigia__buf_clear(&shared->events, VIGIA_LUA_KEEP);
	vigia__buf_clear(&shared->text, VIGIA_LUA_KEEP);
	/* any size: what was stored under another limit is shown too */
	int rc = vigia__lua_encode_event(L, 2, 3, 4, &shared->events, INT32_MAX, &err);
	struct vigia__head head;
	if (rc == 0 && vigia__event_head(shared->events.data, shared->events.len, &head) != 0)
		rc = vigia__error(&err, VIGIA_ESERIAL, "it has no head"); /* GCOVR_EXCL_LINE: encode_event gave it one. */
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

int vigia__lua_from_json(lua_State *L)
{
	size_t len;
	const char *text = vigia__lua_check_string(L, 1, "text", &len);
	struct vigia_error err = {0};
	lua_settop(L, 1);
	struct vigia_batch *batch = vigia__lua_push_batch(L); /* for its bytes, which nothing else uses */
	int rc = batch ? vigia__json_to_value(text, len, &batch->bytes, &err) : VIGIA_ENOMEM;
	if (rc == VIGIA_ENOMEM) return luaL_error(L, "not enough memory");
	struct vigia_slice value = {(const char *)batch->bytes.data, batch->bytes.len};
	if (rc == 0) rc = vigia__lua_push_value(L, value, &err);
	vigia__lua_return_batch(L, 2);
	return rc < 0 ? vigia__lua_fail(L, rc, &err) : 1;
}
