# hostloom_add_fuzz(NAME SOURCES file... LIBS target... [DEFINITIONS macro=value...])
#
# fuzz_NAME, libFuzzer's, only with clang and -DHOSTLOOM_FUZZ=ON; the whole tree then needs
# -DHOSTLOOM_SANITIZE=address,undefined,fuzzer-no-link to be seen by the fuzzer.
# fuzz_NAME_smoke, with any compiler and part of ctest: the target's corpus and a fixed number of changed copies of it;
# with --write DIR it writes the corpus, for fuzz_NAME to start from. Definition FUZZ_IS_SLOW: a smaller number.
function(hostloom_add_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;DEFINITIONS" ${ARGN})
  set(targets fuzz_${name}_smoke)
  add_executable(fuzz_${name}_smoke ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz/smoke_main.cc)
  add_dependencies(unit_tests fuzz_${name}_smoke)
  add_test(NAME fuzz_${name}_smoke COMMAND fuzz_${name}_smoke)
  set_tests_properties(fuzz_${name}_smoke PROPERTIES LABELS "unit;fuzz;sanitized" TIMEOUT 300)
  if(HOSTLOOM_FUZZ AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    list(APPEND targets fuzz_${name})
    add_executable(fuzz_${name} ${ARG_SOURCES})
    target_compile_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  endif()
  foreach(target ${targets})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz)
    target_compile_definitions(${target} PRIVATE ${ARG_DEFINITIONS})
    target_link_libraries(${target} PRIVATE ${ARG_LIBS})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  endforeach()
endfunction()
