# dependencies.cmake - finds what Vigia stands on and gives each thing a target; what is missing is named, all of it at once.
#
# vigia_dep_lmdb, vigia_dep_msgpack, vigia_dep_jansson, vigia_dep_xxhash (header only: the source that includes it defines XXH_INLINE_ALL)
# vigia_dep_lua        the headers only: a Lua module takes the functions from the program that loads it
# vigia_dep_lua_host   with the library: for a program that runs Lua
# vigia_dep_sqlite, vigia_dep_redis   only if they are there: what scripts/bench --peers measures beside Vigia
# vigia_dep_libpq      only if VIGIA_POSTGRESQL is on
# vigia_dep_cmocka     only if VIGIA_TESTS is on; VIGIA_LUA is the stock interpreter
find_package(Threads REQUIRED)
find_package(PkgConfig QUIET)
if(NOT PKG_CONFIG_FOUND)
  message(FATAL_ERROR "pkg-config is missing: install the Debian package pkg-config, or run vendor/install.")
endif()

set(VIGIA_MISSING "")

# vigia_dependency(NAME PACKAGE what MODULES...): the target vigia_dep_NAME from the first pkg-config module that is there.
function(vigia_dependency name package what)
  add_library(vigia_dep_${name} INTERFACE)
  string(TOUPPER VIGIA_${name} prefix)
  pkg_search_module(${prefix} QUIET IMPORTED_TARGET ${ARGN})
  if(${prefix}_FOUND)
    target_link_libraries(vigia_dep_${name} INTERFACE PkgConfig::${prefix})
  else()
    set(VIGIA_MISSING "${VIGIA_MISSING}\n  ${what} was not found: install the Debian package ${package}." PARENT_SCOPE)
  endif()
endfunction()

vigia_dependency(lmdb liblmdb-dev "LMDB (lmdb.h, liblmdb)" lmdb)
vigia_dependency(msgpack libmsgpack-dev "msgpack-c (msgpack.h, libmsgpackc)" msgpack-c msgpack)
vigia_dependency(jansson libjansson-dev "Jansson (jansson.h, libjansson)" jansson)
vigia_dependency(lua_host liblua5.4-dev "Lua 5.4 (lua.h, liblua5.4)" lua5.4 lua-5.4 lua54)
if(VIGIA_POSTGRESQL AND NOT VIGIA_ROCK)
  vigia_dependency(libpq libpq-dev "libpq (libpq-fe.h; -DVIGIA_POSTGRESQL=OFF builds without)" libpq)
endif()
if(VIGIA_TESTS)
  vigia_dependency(cmocka libcmocka-dev "cmocka (cmocka.h, libcmocka; -DVIGIA_TESTS=OFF builds without)" cmocka)
endif()

# LMDB upstream ships no .pc file; Debian's does.
if(NOT VIGIA_LMDB_FOUND)
  find_path(VIGIA_LMDB_INCLUDE lmdb.h)
  find_library(VIGIA_LMDB_LIBRARY lmdb)
  if(VIGIA_LMDB_INCLUDE AND VIGIA_LMDB_LIBRARY)
    target_include_directories(vigia_dep_lmdb SYSTEM INTERFACE ${VIGIA_LMDB_INCLUDE})
    target_link_libraries(vigia_dep_lmdb INTERFACE ${VIGIA_LMDB_LIBRARY})
    string(REGEX REPLACE "\n  LMDB [^\n]*" "" VIGIA_MISSING "${VIGIA_MISSING}")
  endif()
endif()

add_library(vigia_dep_lua INTERFACE)
target_include_directories(vigia_dep_lua SYSTEM INTERFACE ${VIGIA_LUA_HOST_INCLUDE_DIRS})

add_library(vigia_dep_xxhash INTERFACE)
find_path(VIGIA_XXHASH_INCLUDE xxhash.h)
if(VIGIA_XXHASH_INCLUDE)
  target_include_directories(vigia_dep_xxhash SYSTEM INTERFACE ${VIGIA_XXHASH_INCLUDE})
else()
  string(APPEND VIGIA_MISSING "\n  xxHash (xxhash.h) was not found: install the Debian package libxxhash-dev.")
endif()

# Only the header: the library is loaded when a REPL starts (runtime/bind/edit.c).
add_library(vigia_dep_edit INTERFACE)
find_path(VIGIA_EDIT_INCLUDE editline/readline.h)
if(VIGIA_EDIT_INCLUDE)
  target_include_directories(vigia_dep_edit SYSTEM INTERFACE ${VIGIA_EDIT_INCLUDE})
else()
  string(APPEND VIGIA_MISSING "\n  libedit (editline/readline.h) was not found: install the Debian package libedit-dev.")
endif()

# Only the header: the library is loaded when `vigia serve` starts (runtime/serve/mhd.c).
add_library(vigia_dep_microhttpd INTERFACE)
if(NOT VIGIA_ROCK)
  find_path(VIGIA_MICROHTTPD_INCLUDE microhttpd.h)
  if(VIGIA_MICROHTTPD_INCLUDE)
    target_include_directories(vigia_dep_microhttpd SYSTEM INTERFACE ${VIGIA_MICROHTTPD_INCLUDE})
  else()
    string(APPEND VIGIA_MISSING "\n  libmicrohttpd (microhttpd.h) was not found: install the Debian package libmicrohttpd-dev.")
  endif()
endif()

# For scripts/bench --peers only: a target each if it is there.
pkg_search_module(VIGIA_SQLITE QUIET IMPORTED_TARGET sqlite3)
pkg_search_module(VIGIA_REDIS QUIET IMPORTED_TARGET hiredis)
foreach(name IN ITEMS sqlite redis)
  string(TOUPPER VIGIA_${name} prefix)
  if(${prefix}_FOUND)
    add_library(vigia_dep_${name} INTERFACE)
    target_link_libraries(vigia_dep_${name} INTERFACE PkgConfig::${prefix})
  endif()
endforeach()

find_program(VIGIA_LUA NAMES lua5.4 lua54 lua-5.4)
if(VIGIA_TESTS AND NOT VIGIA_LUA)
  string(APPEND VIGIA_MISSING "\n  The Lua 5.4 interpreter was not found: install the Debian package lua5.4.")
endif()

if(VIGIA_MISSING)
  message(FATAL_ERROR "Vigia cannot be built yet:${VIGIA_MISSING}\n  vendor/install installs all of them.")
endif()
