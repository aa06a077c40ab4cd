# hostloom_precompile()
#
# Called once all targets are there: the headers of the library, Asio, JSON and GoogleTest are read once and not by each
# source. Reading them is more than half of what compiling takes. So is a header that all of a target's many sources
# include and the target names in its property HOSTLOOM_HEADERS, as <path from an include directory> or an absolute path.
# Presets debug and clang do without, so that there a source which leans on what another includes does not compile.
option(HOSTLOOM_PRECOMPILE "Read the library's headers once" OFF)

set(HOSTLOOM_LIBRARY_HEADERS <algorithm> <array> <atomic> <chrono> <cstring> <functional> <map> <memory> <mutex> <optional>
    <span> <string> <string_view> <thread> <utility> <vector>)
set(HOSTLOOM_TEST_HEADERS <gtest/gtest.h> <gmock/gmock.h> <random>)

# A target that others take their precompiled headers from: it has to be compiled as they are.
function(hostloom_headers target type)
  set(source ${PROJECT_BINARY_DIR}/precompiled/${target}.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "int main() {}\n")
  if(type STREQUAL "EXECUTABLE")
    add_executable(${target} EXCLUDE_FROM_ALL ${source})
  else()
    add_library(${target} OBJECT EXCLUDE_FROM_ALL ${source})
  endif()
  target_precompile_headers(${target} PRIVATE ${HOSTLOOM_LIBRARY_HEADERS} ${ARGN})
endfunction()

function(hostloom_precompile_own target libraries)  # headers...
  if("GTest::gtest" IN_LIST libraries)
    list(PREPEND ARGN ${HOSTLOOM_TEST_HEADERS})
  endif()
  target_precompile_headers(${target} PRIVATE ${HOSTLOOM_LIBRARY_HEADERS} ${ARGN})
endfunction()

function(hostloom_precompile)
  if(NOT HOSTLOOM_PRECOMPILE)
    return()
  endif()
  set(targets "")
  hostloom_targets_below(${PROJECT_SOURCE_DIR} targets)
  hostloom_headers(library_headers OBJECT_LIBRARY)
  hostloom_headers(sdk_headers OBJECT_LIBRARY <hostloom/plugin.h>)
  target_link_libraries(sdk_headers PRIVATE hostloom_sdk)
  hostloom_headers(service_headers OBJECT_LIBRARY <boost/asio.hpp> <nlohmann/json.hpp>)
  set(services core_api core_daemon hostloom_client)  # each source of which reads those two
  if(TARGET GTest::gtest)
    hostloom_headers(test_headers EXECUTABLE ${HOSTLOOM_TEST_HEADERS})
    target_link_libraries(test_headers PRIVATE GTest::gtest GTest::gmock)
    target_compile_options(test_headers PRIVATE ${HOSTLOOM_TEST_OPTIONS})
  endif()
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    get_target_property(sources ${target} SOURCES)
    get_target_property(tuned ${target} HOSTLOOM_OPTIMISED)
    get_target_property(libraries ${target} LINK_LIBRARIES)
    get_target_property(visibility ${target} CXX_VISIBILITY_PRESET)
    get_target_property(own ${target} HOSTLOOM_HEADERS)
    if(tuned OR target MATCHES "^headers_alone" OR NOT "${sources}" MATCHES "\\.cc(;|$)" OR "${sources}" MATCHES "\\.c(;|$)")
      continue()
    elseif(NOT visibility STREQUAL "hidden")
      # What it defines of libc's functions would be as hidden as they are declared in the precompiled headers.
      continue()
    elseif(own)
      hostloom_precompile_own(${target} "${libraries}" ${own})
    elseif(target IN_LIST services)
      target_precompile_headers(${target} REUSE_FROM service_headers)
    elseif(type MATCHES "STATIC|OBJECT|SHARED|MODULE" AND hostloom_sdk IN_LIST libraries)
      target_precompile_headers(${target} REUSE_FROM sdk_headers)
    elseif(type MATCHES "STATIC|OBJECT|SHARED|MODULE")
      target_precompile_headers(${target} REUSE_FROM library_headers)
    elseif(type STREQUAL "EXECUTABLE" AND "GTest::gtest" IN_LIST libraries)
      target_precompile_headers(${target} REUSE_FROM test_headers)
    endif()
  endforeach()
endfunction()
