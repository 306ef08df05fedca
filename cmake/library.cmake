# graft_library(<folder> SOURCES ... LINKS ... [TORCH]): the static library of one folder of src/.
# With TORCH the library sees libtorch and shares one precompiled header.
function(graft_library folder)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LINKS" ${ARGN})
  set(target graft_${folder})
  add_library(${target} STATIC ${ARG_SOURCES})
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${GRAFT_UNITY} UNITY_BUILD_BATCH_SIZE 8)
  target_link_libraries(${target} PUBLIC $<BUILD_INTERFACE:graft_flags> ${ARG_LINKS})
  if(ARG_TORCH)
    graft_use_torch(${target})
  endif()
endfunction()

# Tests are compiled with few optimisations: what they check is, and their own code is run once.
set(GRAFT_TEST_OPTIONS $<$<CONFIG:Release>:-O1>)

# Lets a target include ATen through a shared precompiled header; one serves the libraries and the program, one the
# tests (TESTS).
function(graft_use_torch target)
  cmake_parse_arguments(ARG "TESTS" "" "" ${ARGN})
  target_link_libraries(${target} PUBLIC $<BUILD_INTERFACE:graft_torch> $<INSTALL_INTERFACE:graft::torch>)
  if(ARG_TESTS)
    set(header graft_pch_tests)
  else()
    set(header graft_pch)
  endif()
  if(GRAFT_TIDY)
    return()
  endif()
  if(target STREQUAL "graft_tensor" AND CMAKE_BUILD_TYPE STREQUAL "Debug")
    # The kernels are optimised in every build (unoptimised, tests take minutes), and a precompiled header serves one
    # level only.
    target_compile_options(${target} PRIVATE -O2)
    target_precompile_headers(${target} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch.h)
    return()
  endif()
  if(NOT TARGET ${header})
    file(WRITE ${CMAKE_BINARY_DIR}/${header}.cpp "// Owns the precompiled header.\n")
    add_library(${header} OBJECT ${CMAKE_BINARY_DIR}/${header}.cpp)
    target_link_libraries(${header} PRIVATE graft_flags graft_torch)
    if(ARG_TESTS)
      target_compile_options(${header} PRIVATE ${GRAFT_TEST_OPTIONS})
    endif()
    target_precompile_headers(${header} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch.h)
  endif()
  target_precompile_headers(${target} REUSE_FROM ${header})
endfunction()

# graft_test(<name> SOURCES ... LINKS ... LABELS ... [TORCH] [SHARDS n]): a GoogleTest binary, run as one ctest entry,
# or as <name>_1 .. <name>_n, which share its tests.
function(graft_test name)
  cmake_parse_arguments(ARG "TORCH" "SHARDS" "SOURCES;LINKS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES UNITY_BUILD ${GRAFT_UNITY} UNITY_BUILD_BATCH_SIZE 8)
  target_link_libraries(${name} PRIVATE graft_flags ${ARG_LINKS} GTest::gtest GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE
    GRAFT_SOURCE_DIR="${CMAKE_SOURCE_DIR}" GRAFT_BINARY_DIR="${CMAKE_BINARY_DIR}")
  target_compile_options(${name} PRIVATE ${GRAFT_TEST_OPTIONS})
  if(ARG_TORCH)
    graft_use_torch(${name} TESTS)
  endif()
  if(NOT ARG_SHARDS)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
    return()
  endif()
  foreach(shard RANGE 1 ${ARG_SHARDS})
    math(EXPR index "${shard} - 1")
    add_test(NAME ${name}_${shard} COMMAND ${name})
    set_tests_properties(${name}_${shard} PROPERTIES LABELS "${ARG_LABELS}"
      ENVIRONMENT "GTEST_TOTAL_SHARDS=${ARG_SHARDS};GTEST_SHARD_INDEX=${index}")
  endforeach()
endfunction()

# graft_plain_test(<name> RUNS <test> FILTER <gtest's> LABELS ...): tests of a binary once more, on the plain forms of
# src/tensor (src/tensor/dispatch.h). Fewer than a hundred tests fail: a filter that matches nothing would pass.
function(graft_plain_test name)
  cmake_parse_arguments(ARG "" "RUNS;FILTER" "LABELS" ${ARGN})
  add_test(NAME ${name} COMMAND ${ARG_RUNS} --gtest_filter=${ARG_FILTER})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" ENVIRONMENT GRAFT_PLAIN=1
    FAIL_REGULAR_EXPRESSION "FAILED" PASS_REGULAR_EXPRESSION "PASSED  . [0-9][0-9][0-9]+ tests")
endfunction()

# graft_fuzz(<name> SOURCES ... LINKS ... CORPUS <folder> [TORCH]): a fuzz target. Without GRAFT_FUZZ it gets a main
# that replays its corpus, so that ctest keeps it alive under every compiler.
function(graft_fuzz name)
  cmake_parse_arguments(ARG "TORCH" "CORPUS" "SOURCES;LINKS" ${ARGN})
  set(target fuzz_${name})
  if(GRAFT_FUZZ)
    add_executable(${target} ${ARG_SOURCES})
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    if(NOT TARGET fuzz_targets)
      add_custom_target(fuzz_targets)
    endif()
    add_dependencies(fuzz_targets ${target})
  else()
    add_executable(${target} ${ARG_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.cpp)
    add_test(NAME ${target} COMMAND ${target} ${ARG_CORPUS})
    set_tests_properties(${target} PROPERTIES LABELS "fast;fuzz")
  endif()
  target_link_libraries(${target} PRIVATE graft_flags ${ARG_LINKS})
  if(ARG_TORCH)
    graft_use_torch(${target})
  endif()
endfunction()
