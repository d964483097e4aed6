rockspec_format = "3.0"
package = "vigia"
version = "scm-1"
-- For `luarocks --lua-version=5.4 make` in a clone; a release names its address here.
source = {url = "git+file://."}
description = {
	summary = "An embeddable event log for Lua and C",
	detailed = [[What happens in a program is stored once, in order, in one file; any number of watchers, written in Lua, see it in that
order, each at its own pace, and go on where they were after a crash.]],
	license = "MIT",
}
dependencies = {"lua >= 5.4, < 5.5"}
external_dependencies = {
	LMDB = {header = "lmdb.h"},
	MSGPACK = {header = "msgpack.h"},
	JANSSON = {header = "jansson.h"},
	XXHASH = {header = "xxhash.h"},
}
build = {
	type = "cmake",
	variables = {
		CMAKE_BUILD_TYPE = "Release",
		CMAKE_INSTALL_PREFIX = "$(PREFIX)",
		VIGIA_ROCK = "ON",
		VIGIA_TESTS = "OFF",
		VIGIA_LUA_INSTALL_DIR = "$(LUADIR)",
		VIGIA_MODULE_INSTALL_DIR = "$(LIBDIR)",
	},
}
