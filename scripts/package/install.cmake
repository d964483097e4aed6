# install.cmake - what is installed where, how others find it (pkg-config, CMake), and the Debian package.
#
#   bin/vigia                       the program              share/man/man1, share/bash-completion, zsh, fish
#   lib/libvigia.so.0, libvigia.a   the library              include/vigia*.h, lib/pkgconfig/vigia.pc, lib/cmake/vigia
#   lib/libvigia-lua.so.0           scripts as handlers, for C; lib/pkgconfig/vigia-lua.pc
#   lib/libvigia-pg.so.0            stores on PostgreSQL, loaded by libvigia.so.0 when one is opened
#   lib/lua/5.4/vigia/core.so       the Lua module's C part, linked with the same libvigia.so.0
#   share/lua/5.4/vigia             its Lua part, and the program's commands
#   lib/systemd/system, sysusers.d  the service vigia-run@, and its user
include(CMakePackageConfigHelpers)

install(TARGETS vigia_lua LIBRARY DESTINATION ${VIGIA_MODULE_INSTALL_DIR}/vigia)
install(DIRECTORY lua/vigia DESTINATION ${VIGIA_LUA_INSTALL_DIR} FILES_MATCHING PATTERN "*.lua" PATTERN "*.mdoc")
if(VIGIA_ROCK)
  return()
endif()

install(TARGETS vigia RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS vigia_shared vigia_embed EXPORT vigia LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET vigia_pg)
  install(TARGETS vigia_pg LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} NAMELINK_SKIP COMPONENT postgresql)
  if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set_target_properties(vigia_pg PROPERTIES INSTALL_RPATH "$ORIGIN")
  endif()
endif()
install(TARGETS vigia_core ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES runtime/include/vigia.h runtime/include/vigia_errors.h runtime/include/vigia_steer.h runtime/include/vigia_transfer.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY scripts/handlers DESTINATION ${CMAKE_INSTALL_DATADIR}/vigia FILES_MATCHING PATTERN "*.lua")
install(DIRECTORY scripts/embed DESTINATION ${CMAKE_INSTALL_DATADIR}/vigia)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vigia RENAME copyright)
install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vigia)
install(FILES lua/README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vigia/lua)
install(FILES scripts/README.md scripts/postgresql.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vigia/scripts)
install(DIRECTORY scripts/pictures DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vigia/scripts)

# A prefix can be moved as a whole: program and module look for the library beside themselves. Not under /usr, where the loader looks anyway.
file(RELATIVE_PATH to_lib /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
file(RELATIVE_PATH module_to_lib /${VIGIA_MODULE_INSTALL_DIR}/vigia /${CMAKE_INSTALL_LIBDIR})
if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  # In the build folder too: CMake would make room for it with empty entries, and those mean the current folder.
  set_target_properties(vigia PROPERTIES INSTALL_RPATH "$ORIGIN/${to_lib}" BUILD_RPATH "$ORIGIN/${to_lib}")
  set_target_properties(vigia_embed PROPERTIES INSTALL_RPATH "$ORIGIN")
  set_target_properties(vigia_lua PROPERTIES INSTALL_RPATH "$ORIGIN/${module_to_lib}" BUILD_RPATH "$ORIGIN/${module_to_lib}")
endif()

# ---- the manual page and completions, printed by the program itself; the reference, from the description of the Lua API ----

find_program(VIGIA_LUA NAMES lua5.4 lua54 lua-5.4)
execute_process(COMMAND ${VIGIA_LUA} -e "require 'argparse'" RESULT_VARIABLE argparse_missing OUTPUT_QUIET ERROR_QUIET)
# Not where the program cannot just be run: for another machine, or under a sanitizer.
if(argparse_missing)
  message(STATUS "No manual page and no completions: the program needs the Lua module argparse (Debian: lua-argparse)")
elseif(NOT CMAKE_CROSSCOMPILING AND NOT VIGIA_SANITIZE)
  set(documents man/man1/vigia.1=manual "bash-completion/completions/vigia=completion bash"
    "zsh/vendor-completions/_vigia=completion zsh" "fish/vendor_completions.d/vigia.fish=completion fish")
  file(GLOB cli_files CONFIGURE_DEPENDS lua/vigia/cli/*.lua lua/vigia/cli/*.mdoc)
  foreach(document IN LISTS documents)
    string(REGEX MATCH "^([^=]*)=(.*)$" _ ${document})
    set(file ${CMAKE_CURRENT_BINARY_DIR}/share/${CMAKE_MATCH_1})
    separate_arguments(words UNIX_COMMAND ${CMAKE_MATCH_2})
    cmake_path(GET CMAKE_MATCH_1 PARENT_PATH folder)
    cmake_path(GET file PARENT_PATH file_folder)
    file(MAKE_DIRECTORY ${file_folder})
    add_custom_command(OUTPUT ${file} COMMAND vigia ${words} > ${file} DEPENDS vigia ${cli_files} VERBATIM)
    list(APPEND document_files ${file})
    install(FILES ${file} DESTINATION ${CMAKE_INSTALL_DATADIR}/${folder})
  endforeach()
  add_custom_target(documents ALL DEPENDS ${document_files})
endif()

set(reference ${CMAKE_CURRENT_BINARY_DIR}/reference.md)
add_custom_command(OUTPUT ${reference} COMMAND ${VIGIA_LUA} ${CMAKE_CURRENT_SOURCE_DIR}/scripts/reference > ${reference}
  DEPENDS scripts/reference scripts/api.lua lua/vigia/api.lua lua/vigia/api_watching.lua lua/vigia/api_testing.lua VERBATIM)
add_custom_target(reference DEPENDS ${reference})

# ---- a service ----

# systemd looks for units, and for the program that one names, below /usr and below /usr/local.
install(FILES "scripts/systemd/vigia-run@.service" "scripts/systemd/vigia-serve@.service" DESTINATION lib/systemd/system)
install(FILES scripts/systemd/vigia.conf DESTINATION lib/sysusers.d)

# ---- how others find it ----

# The libraries by their names and not as Requires.private: that would require their development packages, which a program that links the shared library does not need.
set(private_libs ${VIGIA_LMDB_LIBRARIES} ${VIGIA_MSGPACK_LIBRARIES} ${VIGIA_JANSSON_LIBRARIES})
if(NOT VIGIA_LMDB_FOUND)
  list(PREPEND private_libs lmdb)
endif()
list(TRANSFORM private_libs PREPEND "-l")
list(JOIN private_libs " " private_libs)
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
file(CONFIGURE OUTPUT vigia.pc CONTENT [[
prefix=${pcfiledir}/@pc_to_prefix@
includedir=${prefix}/@CMAKE_INSTALL_INCLUDEDIR@
libdir=${prefix}/@CMAKE_INSTALL_LIBDIR@

Name: vigia
Description: An embeddable event log
Version: @PROJECT_VERSION@
Cflags: -I${includedir}
Libs: -L${libdir} -lvigia
Libs.private: @private_libs@ -pthread -lm
]] @ONLY)
file(CONFIGURE OUTPUT vigia-lua.pc CONTENT [[
prefix=${pcfiledir}/@pc_to_prefix@
libdir=${prefix}/@CMAKE_INSTALL_LIBDIR@

Name: vigia-lua
Description: An embeddable event log: handlers in Lua
Version: @PROJECT_VERSION@
Requires: vigia
Libs: -L${libdir} -lvigia-lua
]] @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/vigia.pc ${CMAKE_CURRENT_BINARY_DIR}/vigia-lua.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vigia)
configure_package_config_file(scripts/package/vigiaConfig.cmake.in vigiaConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(vigiaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/vigiaConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/vigiaConfigVersion.cmake DESTINATION ${config_dir})
install(EXPORT vigia NAMESPACE vigia:: FILE vigiaTargets.cmake DESTINATION ${config_dir})

# ---- the Debian packages, vigia and vigia-postgresql: cmake --preset release -DCMAKE_INSTALL_PREFIX=/usr, build, cpack ----

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME vigia)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Vigia maintainers <maintainers@vigia.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "embeddable event log for Lua and C")
set(description "What happens in a program is stored once, in order, in one file;
any number of watchers, written in Lua or C, see it in that order, each
at its own pace, and go on where they were after a crash.
This package has the library, its header, the Lua 5.4 module and the
program vigia.")
set(CPACK_PACKAGE_DESCRIPTION "${description}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_DEPENDS lua-argparse)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "lua5.4, libedit2, libmicrohttpd12")
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_CURRENT_BINARY_DIR})
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/triggers "activate-noawait ldconfig\n")
# A package of its own for what links libpq. All the rest has no component.
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_UNSPECIFIED_PACKAGE_NAME vigia)
set(CPACK_DEBIAN_UNSPECIFIED_DESCRIPTION "${description}")
set(CPACK_DEBIAN_UNSPECIFIED_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_BINARY_DIR}/triggers)
set(CPACK_DEBIAN_UNSPECIFIED_PACKAGE_SUGGESTS "vigia-postgresql, pkg-config, liblmdb-dev, libmsgpack-dev, libjansson-dev")
set(CPACK_DEBIAN_POSTGRESQL_PACKAGE_NAME vigia-postgresql)
set(CPACK_COMPONENT_POSTGRESQL_DESCRIPTION "stores of Vigia on PostgreSQL
The library that vigia loads for a location like
postgresql://HOST/DATABASE?log=NAME.")
set(CPACK_DEBIAN_POSTGRESQL_PACKAGE_DEPENDS "vigia (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_POSTGRESQL_PACKAGE_RECOMMENDS "")
set(CPACK_DEBIAN_POSTGRESQL_PACKAGE_SUGGESTS postgresql)
set(CPACK_DEBIAN_POSTGRESQL_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_BINARY_DIR}/triggers)
include(CPack)
