# hostloom_unity()
#
# Called once all targets are there: sources of a target are compiled several at once, so that what they include is read,
# and what they instantiate is compiled, once for all of them: a release takes about two thirds of the time. Who works on
# one source waits for its neighbours, too: presets debug and clang do without, and find what leans on another source.
#
# Sources keep what is theirs in anonymous namespaces, where each may use any name. Those in which a definition has one of
# the names that many use (nodes with their counters, tables of commands) are compiled alone, and so is a target with
# the property HOSTLOOM_ALONE, or what that names of its sources.
option(HOSTLOOM_UNITY "Compile several sources at once" OFF)

set(HOSTLOOM_COMMON_NAMES "^ *(enum|struct|constexpr|const|inline).* (Counter|Next|kCounters|kCommands|kMaxViews|kMostShown|kMostBytes|kHeader|kPage|kUnknown|kMaxChainsPerVisit|kInvalidSessionId|kInvalidNamespace|kOps)[ ;:={[]")

function(hostloom_unity)
  if(NOT HOSTLOOM_UNITY)
    return()
  endif()
  set(targets "")
  hostloom_targets_below(${PROJECT_SOURCE_DIR} targets)
  foreach(target ${targets})
    get_target_property(alone ${target} HOSTLOOM_ALONE)
    get_target_property(folder ${target} SOURCE_DIR)
    get_target_property(sources ${target} SOURCES)
    if(alone STREQUAL "ON" OR target MATCHES "^headers_alone" OR NOT folder MATCHES "/(api|core|plugins|sdk|tools|tests/unit|tests/script)(/|$)")
      continue()
    endif()
    foreach(source ${sources})
      cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${folder} OUTPUT_VARIABLE path)
      if(NOT path MATCHES "\\.cc$" OR NOT EXISTS ${path})
        continue()
      endif()
      file(STRINGS ${path} found REGEX "${HOSTLOOM_COMMON_NAMES}" LIMIT_COUNT 1)
      if(found OR source IN_LIST alone)
        set_source_files_properties(${path} TARGET_DIRECTORY ${target} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    get_target_property(type ${target} TYPE)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT type MATCHES "^(INTERFACE_LIBRARY|UTILITY)$")  # takes the sources, which are included, for headers
      target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
    endif()
  endforeach()
endfunction()
