# hostloom_add_test(NAME SOURCES file... [LIBS target...] [LABELS label...] [TIMEOUT seconds] [OPTIMISED file...])
#
# One GoogleTest executable NAME, registered with ctest as one test. Target unit_tests builds all of them. Label
# `tsan`: it runs real threads, and is run under ThreadSanitizer too (target thread_tests). Label `release`: sanitizers
# cannot run it. What has neither gets the label `sanitized`: ./test runs it under AddressSanitizer and is content.
# OPTIMISED: those of the sources that compute for so long that compiling them quickly does not pay, as models over
# millions of operations do.
find_package(GTest REQUIRED)
# What a test says runs once: optimising it costs more than it gives, and with sanitizers several times as much.
set(HOSTLOOM_TEST_OPTIONS -O0 -g1)
add_custom_target(unit_tests)
add_custom_target(thread_tests)

function(hostloom_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS;OPTIMISED" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${HOSTLOOM_TEST_OPTIONS})
  if(ARG_OPTIMISED)
    set_source_files_properties(${ARG_OPTIMISED} PROPERTIES COMPILE_OPTIONS -O1 SKIP_PRECOMPILE_HEADERS ON)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  if(NOT "tsan" IN_LIST ARG_LABELS AND NOT "release" IN_LIST ARG_LABELS)
    list(APPEND ARG_LABELS sanitized)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "unit;${ARG_LABELS}")
  add_dependencies(unit_tests ${name})
  if(NOT "sanitized" IN_LIST ARG_LABELS)
    set_property(GLOBAL APPEND PROPERTY HOSTLOOM_RELEASE_TESTS ${name})
  endif()
  if("tsan" IN_LIST ARG_LABELS)
    add_dependencies(thread_tests ${name})
  endif()
endfunction()

# hostloom_release_tests()
#
# Called once all targets are there. Target release_tests builds what the tests without label `sanitized` want: all that
# is installed, and nothing that only units use.
function(hostloom_release_tests)
  get_property(wanted GLOBAL PROPERTY HOSTLOOM_RELEASE_TESTS)
  set(targets "")
  hostloom_targets_below(${PROJECT_SOURCE_DIR} targets)
  foreach(target ${targets})
    get_target_property(folder ${target} SOURCE_DIR)
    get_target_property(type ${target} TYPE)
    if(target MATCHES "^headers_alone|_python_stubs$"
       OR (NOT folder MATCHES "/tests/(unit|fuzz)" AND type MATCHES "LIBRARY|EXECUTABLE"))
      list(APPEND wanted ${target})
    endif()
  endforeach()
  add_custom_target(release_tests)
  add_dependencies(release_tests ${wanted})
endfunction()
