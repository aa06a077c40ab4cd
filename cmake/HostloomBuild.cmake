# Compiler settings that every target of the tree shares.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS ON)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/static)
set(HOSTLOOM_PLUGIN_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/hostloom/plugins)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  if(HOSTLOOM_PRECOMPILE)  # what ccache asks for before it takes precompiled headers
    list(PREPEND CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros)
  endif()
endif()
if(HOSTLOOM_PRECOMPILE AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>")
endif()

# x86-64-v2 is the oldest machine that a packet stack is run on; it gives SSE4.2 and its CRC32 instruction.
add_compile_options(-Wall -Wextra -Werror -march=x86-64-v2 -fno-omit-frame-pointer)
# GCC 12 reports these for correct std::string and std::span code once it has inlined it.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds)
endif()
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-invalid-offsetof>)

# Sanitizer builds are read by the compiler for longer than they run, so preset asan-ubsan does not optimise; but for
# these, which are all that models over millions of operations run.
function(hostloom_optimise_tested target)
  if(HOSTLOOM_SANITIZE)
    target_compile_options(${target} PRIVATE -O1)
    set_target_properties(${target} PROPERTIES HOSTLOOM_OPTIMISED ON)
  endif()
endfunction()

# Sixty test programs, each with the stack in it: lld links one in a quarter of the time that ld takes.
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  string(REGEX MATCH "^[0-9]+" major ${CMAKE_CXX_COMPILER_VERSION})
  find_program(HOSTLOOM_LLD ld.lld-${major})
  if(HOSTLOOM_LLD)
    add_link_options(-fuse-ld=lld)
  endif()
endif()

if(HOSTLOOM_SANITIZE)
  add_compile_options(-fsanitize=${HOSTLOOM_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${HOSTLOOM_SANITIZE})
endif()

# One folder of core/: a static library `core_NAME`, includable as "NAME/header.h".
function(hostloom_core_part name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  if(ARG_SOURCES)
    add_library(core_${name} STATIC ${ARG_SOURCES})
    target_include_directories(core_${name} PUBLIC ${PROJECT_SOURCE_DIR}/core)
    target_link_libraries(core_${name} PUBLIC hostloom_sdk ${ARG_LIBS})
  else()
    add_library(core_${name} INTERFACE)
    target_include_directories(core_${name} INTERFACE ${PROJECT_SOURCE_DIR}/core)
    target_link_libraries(core_${name} INTERFACE hostloom_sdk ${ARG_LIBS})
  endif()
endfunction()

# All targets of DIRECTORY and below that it, appended to the list OUT.
function(hostloom_targets_below directory out)
  get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(folders DIRECTORY ${directory} PROPERTY SUBDIRECTORIES)
  set(found ${${out}} ${targets})
  foreach(folder ${folders})
    hostloom_targets_below(${folder} found)
  endforeach()
  set(${out} ${found} PARENT_SCOPE)
endfunction()
