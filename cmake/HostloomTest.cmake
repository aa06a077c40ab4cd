# hostloom_add_test(NAME SOURCES file... [LIBS target...] [LABELS label...] [TIMEOUT seconds] [OPTIMISED])
#
# One GoogleTest executable NAME, registered with ctest as one test. Target unit_tests builds all of them. Label
# `tsan`: it runs real threads, and is run under ThreadSanitizer too (target thread_tests). OPTIMISED: a test that computes
# for so long that compiling it quickly does not pay, as models over millions of operations do.
find_package(GTest REQUIRED)
# What a test says runs once: optimising it costs more than it gives, and with sanitizers several times as much.
set(HOSTLOOM_TEST_OPTIONS -O0 -g1)
add_custom_target(unit_tests)
add_custom_target(thread_tests)
function(hostloom_add_test name)
  cmake_parse_arguments(ARG "OPTIMISED" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  if(NOT ARG_OPTIMISED)
    target_compile_options(${name} PRIVATE ${HOSTLOOM_TEST_OPTIONS})
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
