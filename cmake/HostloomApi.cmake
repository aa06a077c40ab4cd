# hostloom_add_api(TARGET FILE.api.json...)
#
# A static library of the messages, includable as "NAME.api.h": for whoever answers or sends them. A file that is
# imported is looked for beside the importer and among Hostloom's own. In the tree and for outsiders alike. The target's
# property HOSTLOOM_API_JSON lists the completed descriptions, which clients load.
function(hostloom_add_api target)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${target}.dir)
  file(MAKE_DIRECTORY ${out})
  file(GLOB generator ${HOSTLOOM_APIGEN_DIR}/*.py)
  set(sources "")
  set(inputs "")
  set(descriptions "")
  foreach(file ${ARGN})
    get_filename_component(path ${file} ABSOLUTE)
    list(APPEND inputs ${path})
  endforeach()
  foreach(path ${inputs})
    get_filename_component(name ${path} NAME)
    string(REGEX REPLACE "\\.api\\.json$" "" name ${name})
    add_custom_command(
      OUTPUT ${out}/${name}.api.h ${out}/${name}.api.cc ${out}/json/${name}.api.json
      COMMAND /usr/bin/python3 ${HOSTLOOM_APIGEN} --include ${HOSTLOOM_API_DIR} --out ${out} --json ${out}/json ${path}
      DEPENDS ${HOSTLOOM_APIGEN} ${generator} ${inputs}
      COMMENT "apigen ${name}"
      VERBATIM)
    list(APPEND sources ${out}/${name}.api.h ${out}/${name}.api.cc)
    list(APPEND descriptions ${out}/json/${name}.api.json)
  endforeach()
  # Each has the same names for its own.
  set_source_files_properties(${sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  add_library(${target} STATIC ${sources})
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    HOSTLOOM_API_JSON "${descriptions}")
  target_compile_features(${target} PUBLIC cxx_std_23)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${out}>)
  if(target STREQUAL "hostloom_api")
    target_link_libraries(${target} PUBLIC hostloom_sdk)
  elseif(TARGET hostloom_api)
    target_link_libraries(${target} PUBLIC hostloom_api)  # for the types that it imports
  else()
    target_link_libraries(${target} PUBLIC Hostloom::api)
  endif()
endfunction()
