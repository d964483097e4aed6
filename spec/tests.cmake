# tests.cmake - the tests for CTest: each C test, each spec file, the planted bugs and lint is one; spec/support/run runs it.
#
# Labels say which runs of scripts/test have it: `plain` (build/count, or build/dev), `asan` (build/asan), `tsan` (build/tsan has the C tests,
# build/tsan-clang the specs), `fuzz` (build/fuzz), `long` (in the long form only). `soak`: has more to do in the long form. So
# `ctest --preset asan -L asan -j4` is what scripts/test does.

# Out of a normal run under AddressSanitizer, which is about memory and hostile input: what is about processes, disks or documents, and long.
set(NOT_ASAN power annotations_spec bench_spec contract_spec crash_spec data_spec handover_spec hidden_commit_spec history_spec lint_spec package_spec
  quickstart_spec stopping_spec)
# Out of the run under ThreadSanitizer: caps stop a thread by a signal, which the runtime keeps back until the thread makes a call; the others
# have no threads of ours, or are about memory, folders that are mounted, other programs.
set(NOT_TSAN annotations_spec backup_spec bench_spec caps_spec disk_spec error_spec lint_spec package_spec quickstart_spec readme_spec repl_spec soak_spec)
set(SOAK power fuzz history_spec soak_spec failures_spec finalizer_spec handover_spec test_schedules sim_stepper planted_bugs)
# What takes longest begins first, so that none runs alone at the end. (CTest puts what it measured in their place.)
set(SLOWEST power crash_spec failures_spec planted_bugs caps_spec cli_spec cli_run_spec isolation_spec lint fuzz_files repl_spec verify_spec
  fuzz_ndjson disk_spec conversation_spec signal_spec cooperation_spec handover_spec quickstart_spec data_spec stopping_spec finalizer_spec
  test_schedules replaced_spec hidden_commit_spec test_faults test_lmdb pollfd_spec event_spec test_wait)

if(SANITIZERS AND NOT VIGIA_FUZZ)
  # What must be in a stock lua5.4 before the module is.
  set(runtime libasan.so)
  if(SANITIZERS STREQUAL "thread")
    set(runtime libclang_rt.tsan-${CMAKE_SYSTEM_PROCESSOR}.so)
  endif()
  execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=${runtime} OUTPUT_VARIABLE PRELOAD OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()

# vigia_run(NAME): a test of CTest's.
function(vigia_run name)
  cmake_path(GET name STEM stem)
  add_test(NAME ${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/spec/support/run ${CMAKE_CURRENT_BINARY_DIR} ${name}
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set(labels plain)
  if(VIGIA_FUZZ)
    set(labels fuzz)
  elseif(SANITIZERS STREQUAL "thread")
    set(labels tsan)
    if(stem IN_LIST NOT_TSAN)
      set(labels cannot)
    endif()
  elseif(SANITIZERS)
    set(labels asan)
    if(stem IN_LIST NOT_ASAN)
      set(labels long)
    endif()
  endif()
  if(stem IN_LIST SOAK)
    list(APPEND labels soak)
  endif()
  list(FIND SLOWEST ${stem} rank)
  if(rank GREATER -1)
    math(EXPR cost "100 - ${rank}")
    set_tests_properties(${name} PROPERTIES COST ${cost})
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" ENVIRONMENT "VIGIA_SANITIZER=${SANITIZERS};VIGIA_PRELOAD=${PRELOAD}")
endfunction()

# vigia_test(NAME): spec/c/NAME.c with all of spec/c/lib becomes a test.
function(vigia_test path)
  cmake_path(GET path FILENAME name)
  add_executable(${name} spec/c/${path}.c ${ARGN})
  target_link_libraries(${name} PRIVATE vigia_core vigia_dep_cmocka)
  target_include_directories(${name} PRIVATE spec/c/lib)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/spec/c)
  set_property(GLOBAL APPEND PROPERTY VIGIA_TEST_NAMES ${name})
  # gcc's ThreadSanitizer for C tests, clang's for specs: that of gcc 12 now and then stands still in itself, when a thread begins under a
  # program that was built without it.
  if(VIGIA_FUZZ OR NOT SANITIZERS STREQUAL "thread" OR NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    vigia_run(${name})
  endif()
endfunction()

file(GLOB TEST_SOURCES CONFIGURE_DEPENDS spec/c/test_*.c spec/c/sim_*.c)
file(GLOB FUZZ_SOURCES CONFIGURE_DEPENDS spec/c/fuzz_*.c)
# A library and not objects: a fuzz driver may bring a file of the binding itself, changed for it.
add_library(vigia_bind_static STATIC EXCLUDE_FROM_ALL)
target_link_libraries(vigia_bind_static PUBLIC vigia_bind vigia_core)
if(VIGIA_FUZZ)
  set(TEST_SOURCES "")
endif()
if(SANITIZERS)
  # Its actors have stacks that a sanitizer does not know of.
  list(FILTER TEST_SOURCES EXCLUDE REGEX test_schedules)
endif()
if(NOT TARGET vigia_embed)
  list(FILTER TEST_SOURCES EXCLUDE REGEX test_embed)
endif()
foreach(source IN LISTS TEST_SOURCES FUZZ_SOURCES)
  cmake_path(GET source STEM name)
  vigia_test(${name})
  file(STRINGS ${source} brings REGEX "^#include \"[a-z_./]*\\.c\"")
  if(brings AND NOT name STREQUAL "test_schedules")
    target_compile_options(${name} PRIVATE ${COUNTING}) # it brings a file of runtime/ itself; not one whose steps are changed
  endif()
  # The counters of a child that ends by _exit(). Not where calls fail: the child's counters would be written by them.
  file(STRINGS ${source} forks REGEX "fork\\(\\)")
  file(STRINGS ${source} faults REGEX "\"fault\\.h\"")
  if(VIGIA_COUNT AND forks AND NOT faults AND name MATCHES "^test_")
    target_sources(${name} PRIVATE spec/c/count.c)
    set_property(SOURCE ${source} APPEND PROPERTY COMPILE_DEFINITIONS _exit=vigia_count_exit) # not of count.c itself
  endif()
  if(name STREQUAL "test_embed")
    # As an application links: not with the static library, which would be a second copy.
    set_target_properties(${name} PROPERTIES LINK_LIBRARIES "vigia_embed;vigia_dep_cmocka")
    target_include_directories(${name} PRIVATE runtime)
  endif()
  if(name MATCHES "^fuzz_(.*)")
    target_compile_definitions(${name} PRIVATE FUZZ_NAME="${CMAKE_MATCH_1}"
      FUZZ_CORPUS="${CMAKE_CURRENT_SOURCE_DIR}/spec/c/corpus/${CMAKE_MATCH_1}" FUZZ_LUA_DIR="${CMAKE_CURRENT_SOURCE_DIR}/lua")
    file(STRINGS ${source} with_lua REGEX "lib/fuzz_(lua|wire)\\.h")
    if(with_lua)
      target_link_libraries(${name} PRIVATE vigia_bind_static vigia_dep_lua_host)
    endif()
  endif()
  file(STRINGS ${source} with_bind REGEX "^#include \"bind/[a-z_]*\\.h\"")
  if(with_bind AND NOT name MATCHES "^fuzz_")
    target_link_libraries(${name} PRIVATE vigia_bind_static vigia_dep_lua_host)
  endif()
  file(STRINGS ${source} with_calls REGEX "lib/lmdb_calls\\.h")
  if(with_calls)
    foreach(call IN ITEMS mdb_env_open mdb_env_copyfd2 mdb_env_info mdb_env_stat mdb_env_set_mapsize mdb_txn_begin mdb_txn_renew
        mdb_txn_commit mdb_dbi_open mdb_stat mdb_get mdb_put mdb_del mdb_cursor_open mdb_cursor_renew mdb_cursor_get mdb_cursor_put
        mdb_cursor_del mdb_txn_abort mdb_env_close)
      target_link_options(${name} PRIVATE -Wl,--wrap=${call})
    endforeach()
  endif()
  if(VIGIA_FUZZ)
    target_compile_definitions(${name} PRIVATE VIGIA_LIBFUZZER)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endif()
endforeach()
if(TARGET test_copies AND TARGET vigia_shared)
  add_dependencies(test_copies vigia_shared) # the second copy
endif()
if(NOT VIGIA_FUZZ)
  # Power loss by enumeration: its recorder is preloaded into the workloads.
  vigia_test(power/power spec/c/power/check.c spec/c/power/facts.c spec/c/power/states.c spec/c/power/workloads.c)
  add_library(power_record MODULE spec/c/power/record.c)
  target_compile_options(power_record PRIVATE -fno-sanitize=all)
  target_link_options(power_record PRIVATE -fno-sanitize=all)
  set_target_properties(power_record PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/spec/c)
  add_dependencies(power power_record)
  # Every failure in turn: preloaded into a stock lua5.4 by spec/failures_spec.lua.
  add_library(fail MODULE spec/c/failures/fail.c)
  target_link_libraries(fail PRIVATE vigia_dep_lua vigia_dep_lmdb) # RTLD_NEXT must find LMDB
  target_compile_options(fail PRIVATE -fno-sanitize=all)
  target_link_options(fail PRIVATE -fno-sanitize=all)
  if(SANITIZERS)
    target_compile_definitions(fail PRIVATE VIGIA_SANITIZED)
  endif()
  add_library(spin MODULE spec/c/failures/spin.c)
  target_link_libraries(spin PRIVATE vigia_dep_lmdb ${CMAKE_DL_LIBS})
  target_compile_options(spin PRIVATE -fno-sanitize=all)
  target_link_options(spin PRIVATE -fno-sanitize=all)
  set_target_properties(fail spin PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/spec/c)
  # Preloaded into a stock lua5.4 together with a sanitizer's runtime.
  set(preloaded preload_once)
  if(SANITIZERS STREQUAL "thread" AND CMAKE_C_COMPILER_ID MATCHES "Clang")
    list(APPEND preloaded tsan_first)
  endif()
  if(SANITIZERS)
    foreach(name IN LISTS preloaded)
      add_library(${name} MODULE spec/c/${name}.c)
      target_compile_options(${name} PRIVATE -fno-sanitize=all)
      target_link_options(${name} PRIVATE -fno-sanitize=all)
      set_target_properties(${name} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/spec/c)
    endforeach()
  endif()
  if(TARGET tsan_first)
    target_link_options(tsan_first PRIVATE -Wl,-z,initfirst)
  endif()
endif()
get_property(names GLOBAL PROPERTY VIGIA_TEST_NAMES)
list(JOIN names "\n" lines)
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/spec/c/tests.txt "${lines}\n")

if(NOT VIGIA_FUZZ AND (NOT SANITIZERS STREQUAL "thread" OR CMAKE_C_COMPILER_ID MATCHES "Clang"))
  file(GLOB SPECS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS spec/*_spec.lua)
  foreach(spec IN LISTS SPECS)
    vigia_run(${spec})
  endforeach()
endif()
if(NOT SANITIZERS)
  vigia_run(planted_bugs)
  set_tests_properties(planted_bugs PROPERTIES PROCESSORS 2)
  vigia_run(lint)
endif()
