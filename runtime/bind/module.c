/*
 * module.c - the module vigia.core: its table of functions, and nothing that other files use.
 */
#include "module.h"

#include <string.h>
#include <unistd.h>

#include "../core/event.h"
#include "../store/clock.h"
#include "append.h"
#include "array.h"
#include "clock.h"
#include "coroutine.h"
#include "decode.h"
#include "dump.h"
#include "edit.h"
#include "error.h"
#include "fd_wait.h"
#include "filter.h"
#include "interrupt.h"
#include "iterator.h"
#include "json.h"
#include "last.h"
#include "log_format.h"
#include "lua_state.h"
#include "ndjson.h"
#include "notify.h"
#include "options.h"
#include "output.h"
#include "owner.h"
#include "process.h"
#include "reading.h"
#include "registry.h"
#include "serial.h"
#include "signal.h"
#include "store.h"
#include "surroundings.h"
#include "tell.h"
#include "terminal.h"
#include "transaction.h"
#include "transfer.h"
#include "types.h"
#include "verify.h"
#include "watch.h"
#include "watcher.h"

/* ---- The module ---- */

static int module_interrupted(lua_State *L)
{
	return vigia__lua_boolean(L, atomic_load(&vigia__interrupted));
}

/* Exit once stdout's reader is gone. */
static int module_end_with_output(lua_State *L)
{
	vigia__lua_check_program(L, "end_with_output");
	atomic_store(&vigia__ends_with_output, true);
	return 0;
}

/* Is that so? */
static int module_output_gone(lua_State *L)
{
	return vigia__lua_boolean(L, vigia__output_gone());
}

static int module_isatty(lua_State *L)
{
	return vigia__lua_boolean(L, isatty((int)luaL_checkinteger(L, 1)) == 1);
}

/* Seconds on a clock that never steps. Only differences mean something. */
static int module_monotonic(lua_State *L)
{
	lua_pushnumber(L, (double)vigia__mono_ns() / 1e9);
	return 1;
}

/* The time, in nanoseconds since 1970, as events get it. */
static int module_wall(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)vigia__wall_ns());
	return 1;
}

/* tostring(vigia.null) is "null". All light userdata of a state share one metatable: only set where there is none
 * yet. */
static int light_tostring(lua_State *L)
{
	if (lua_touserdata(L, 1) == NULL && lua_islightuserdata(L, 1)) lua_pushliteral(L, "null");
	else lua_pushfstring(L, "userdata: %p", lua_topointer(L, 1));
	return 1;
}

static void null_init(lua_State *L)
{
	lua_pushlightuserdata(L, NULL);
	if (lua_getmetatable(L, -1)) {
		/* GCOVR_EXCL_START: another module was first. */
		lua_pop(L, 2);
		return;
		/* GCOVR_EXCL_STOP */
	}
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, light_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
}

static const luaL_Reg functions[] = {
	{"open", vigia__lua_open},
	{"trim_horizon", vigia__lua_trim_horizon},
	{"latest", vigia__lua_latest},
	{"at_sequence_number", vigia__lua_at},
	{"after_sequence_number", vigia__lua_after},
	{"array", vigia__lua_array},
	{"is_array", vigia__lua_is_array},
	{"sleep", vigia__lua_sleep},
	{"signal", vigia__lua_signal},
	{"registry", vigia__lua_registry},
	{"to_json", vigia__lua_to_json},
	{"register_type", vigia__lua_register_type},
	{"is_type_registered", vigia__lua_is_type_registered},
	/* for the command line and the tests of the documentation */
	{"iterator_parse", vigia__lua_iterator_parse},
	{"filter_test", vigia__lua_filter_test},
	{"where_parse", vigia__lua_where_parse},
	{"from_json", vigia__lua_from_json},
	{"options", vigia__lua_options},
	{"create_sql", vigia__lua_create_sql},
	{"show_location", vigia__lua_show_location},
	{"quantity", vigia__lua_quantity},
	{"nearest", vigia__lua_nearest},
	{"errors", vigia__lua_errors},
	{"interrupted", module_interrupted},
	{"end_with_output", module_end_with_output},
	{"output_gone", module_output_gone},
	{"isatty", module_isatty},
	{"terminal_open", vigia__lua_terminal_open},
	{"terminal_close", vigia__lua_terminal_close},
	{"terminal_size", vigia__lua_terminal_size},
	{"terminal_wait", vigia__lua_terminal_wait},
	{"monotonic", module_monotonic},
	{"clock", vigia__lua_clock},
	{"use_clock", vigia__lua_use_clock},
	{"new_error", vigia__lua_new_error},
	{"outcome", vigia__lua_outcome},
	{"is_lost", vigia__lua_is_lost},
	{"has_input", vigia__lua_has_input},
	{"hold", vigia__lua_hold},
	{"hold_late", vigia__lua_hold_late},
	{"tell_failures", vigia__lua_tell_failures},
	{"verify", vigia__lua_verify},
	{"wait_owner", vigia__lua_wait_owner},
	{"log", vigia__lua_log},
	{"log_format", vigia__lua_log_format},
	{"notify", vigia__lua_notify},
	{"owner", vigia__lua_owner},
	{"surroundings", vigia__lua_surroundings},
	{"watchdog", vigia__lua_watchdog},
	{"export", vigia__lua_export},
	{"index", vigia__lua_index},
	{"import_begin", vigia__lua_import_begin},
	{"copy", vigia__lua_copy},
	{"copy_settings", vigia__lua_copy_settings},
	{"ndjson_append", vigia__lua_ndjson_append},
	{"dump", vigia__lua_dump},
	{"last", vigia__lua_last},
	{"types", vigia__lua_types},
	{"wall", module_wall},
	{"spawn", vigia__lua_spawn},
	/* for the REPL */
	{"edit_start", vigia__lua_edit_start},
	{"edit_line", vigia__lua_edit_line},
	{"edit_call", vigia__lua_edit_call},
	{"edit_coroutines", vigia__lua_edit_coroutines},
	{"edit_stop", vigia__lua_edit_stop},
	{NULL, NULL},
};

int luaopen_vigia_core(lua_State *L)
{
	luaL_checkversion(L);
	/* A program that shows the symbols of its own copy may have lent us those. */
	if (strcmp(vigia_version(), VIGIA_VERSION) != 0) {
		/* GCOVR_EXCL_START: two versions in one process. */
		return luaL_error(L, "vigia.core is of version %s, and the library it found in this process of version %s",
		                  VIGIA_VERSION, vigia_version());
		/* GCOVR_EXCL_STOP */
	}
	vigia__tell_init();
	vigia__lua_state_init(L);
	if (vigia__lua_shared(L)->open_module == NULL) { /* or it was begun, and memory ran out */
		vigia__lua_append_init(L);
		vigia__lua_store_init(L);
		vigia__lua_registry_init(L);
		null_init(L);
		vigia__lua_shared(L)->open_module = luaopen_vigia_core;
	}
	luaL_newlib(L, functions);
	static const char *const constants[][2] = {{"CREATE", VIGIA_CREATE},
	                                           {"UPDATE", VIGIA_UPDATE},
	                                           {"DELETE", VIGIA_DELETE},
	                                           {"_VERSION", "vigia " VIGIA_VERSION}};
	for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
		lua_pushstring(L, constants[i][1]);
		lua_setfield(L, -2, constants[i][0]);
	}
	lua_pushlightuserdata(L, NULL);
	lua_setfield(L, -2, "null");
	return 1;
}
