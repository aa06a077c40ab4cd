# hostloom_add_plugin(NAME SOURCES file... [API file.api.json...] [LIBS target...])
#
# Builds NAME.so, a plugin that `hostloom` loads, and installs it where `hostloom` looks for plugins. In the tree and
# for outsiders (find_package(Hostloom)) alike; it sees the SDK's headers and nothing else. In the tree it also makes
# NAME_objects, the same code for unit tests to link.
#
# The daemon finds its plugins by its own place, PREFIX/bin/hostloom -> PREFIX/lib/hostloom/plugins: that is why the
# folder does not follow CMAKE_INSTALL_LIBDIR.
#
# API: the plugin's messages, which it includes as "FILE.api.h" and adds with Host::api(). They are a library NAME_api,
# for clients to link too; the descriptions are installed where clients look for them.
if(NOT DEFINED HOSTLOOM_PLUGIN_INSTALL_DIR)
  set(HOSTLOOM_PLUGIN_INSTALL_DIR lib/hostloom/plugins)
endif()
if(NOT DEFINED HOSTLOOM_API_INSTALL_DIR)
  set(HOSTLOOM_API_INSTALL_DIR share/hostloom/api)
endif()

function(hostloom_add_plugin name)
  cmake_parse_arguments(ARG "" "" "SOURCES;API;LIBS" ${ARGN})
  if(TARGET hostloom_sdk)
    set(sdk hostloom_sdk)
  else()
    set(sdk Hostloom::sdk)
  endif()
  if(ARG_API)
    hostloom_add_api(${name}_api ${ARG_API})
    list(APPEND ARG_LIBS ${name}_api)
    if(HOSTLOOM_PLUGIN_INSTALL_DIR)
      get_target_property(descriptions ${name}_api HOSTLOOM_API_JSON)
      install(FILES ${descriptions} DESTINATION ${HOSTLOOM_API_INSTALL_DIR})
    endif()
  endif()
  add_library(${name}_objects OBJECT ${ARG_SOURCES})
  set_target_properties(${name}_objects PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_link_libraries(${name}_objects PUBLIC ${sdk} ${ARG_LIBS})
  target_compile_features(${name}_objects PUBLIC cxx_std_23)
  add_library(${name}_plugin MODULE)
  target_link_libraries(${name}_plugin PRIVATE ${name}_objects ${sdk} ${ARG_LIBS})
  set_target_properties(${name}_plugin PROPERTIES PREFIX "" OUTPUT_NAME ${name})
  if(NOT HOSTLOOM_SANITIZE)
    # A symbol that nobody has is the build's error, not the loader's. (Sanitizers leave theirs to the program.)
    target_link_options(${name}_plugin PRIVATE -Wl,-z,defs)
  endif()
  if(HOSTLOOM_PLUGIN_OUTPUT_DIRECTORY)
    set_target_properties(${name}_plugin PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${HOSTLOOM_PLUGIN_OUTPUT_DIRECTORY})
  endif()
  if(HOSTLOOM_PLUGIN_INSTALL_DIR)
    install(TARGETS ${name}_plugin LIBRARY DESTINATION ${HOSTLOOM_PLUGIN_INSTALL_DIR})
  endif()
endfunction()
