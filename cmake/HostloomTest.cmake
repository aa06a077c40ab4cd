# hostloom_add_test(NAME SOURCES file... [LIBS target...] [LABELS label...] [TIMEOUT seconds] [OPTIMISED file...])
#
# One GoogleTest executable NAME, registered with ctest as one test. Target unit_tests builds all of them. Label
# `tsan`: it runs real threads, and is run under ThreadSanitizer too (target thread_tests). OPTIMISED: those of the
# sources that compute for so long that compiling them quickly does not pay, as models over millions of operations do.
find_package(GTest REQUIRED)
# What a test says runs once: optimising it costs more than it gives, and with sanitizers several times as much.
set(HOSTLOOM_TEST_OPTIONS -O0 -g1)
add_custom_target(unit_tests)
add_custom_target(thread_tests)

# With Clang, 40 % of the time of compiling a test is reading GoogleTest and the library. ccache does this better, so only
# without it.
if(CMAKE_CXX_COMPILER_ID MATCHES Clang AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/test_headers.cc "int main() {}\n")
  add_executable(test_headers EXCLUDE_FROM_ALL ${CMAKE_CURRENT_BINARY_DIR}/test_headers.cc)
  target_link_libraries(test_headers PRIVATE GTest::gtest GTest::gmock)
  target_compile_options(test_headers PRIVATE ${HOSTLOOM_TEST_OPTIONS})
  target_precompile_headers(test_headers PRIVATE
    <gtest/gtest.h> <gmock/gmock.h> <algorithm> <array> <chrono> <functional> <map> <memory> <optional> <random> <span>
    <string> <string_view> <thread> <vector>)
endif()

function(hostloom_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS;OPTIMISED" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${HOSTLOOM_TEST_OPTIONS})
  if(TARGET test_headers AND NOT "${ARG_SOURCES}" MATCHES "\\.c(;|$)")  # C has no part in them
    target_precompile_headers(${name} REUSE_FROM test_headers)
  endif()
  if(ARG_OPTIMISED)
    set_source_files_properties(${ARG_OPTIMISED} PROPERTIES COMPILE_OPTIONS -O1 SKIP_PRECOMPILE_HEADERS ON)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "unit;${ARG_LABELS}")
  add_dependencies(unit_tests ${name})
  if("tsan" IN_LIST ARG_LABELS)
    add_dependencies(thread_tests ${name})
  endif()
endfunction()
