# An outsider's plugin with messages: installs the SDK to a temporary prefix, and builds and installs api_plugin.cc
# against it with hostloom_add_plugin(... API ...).
#   cmake -DBUILD=dir -DSOURCE=dir -DWORK=dir -DCXX=compiler -P installed.cmake
function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what} failed (${result}):\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
run("install the SDK" ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix --component sdk)
file(COPY ${SOURCE}/api_plugin.cc ${SOURCE}/api_plugin.api.json DESTINATION ${WORK}/memo)
file(WRITE ${WORK}/memo/CMakeLists.txt "
cmake_minimum_required(VERSION 3.25)
project(Memo LANGUAGES CXX)
find_package(Hostloom REQUIRED)
hostloom_add_plugin(memo SOURCES api_plugin.cc API api_plugin.api.json)
target_compile_definitions(memo_objects PRIVATE PLUGIN_NAME=\"memo\" STEALS_A_MESSAGE)  # includes one of Hostloom's own
")
run("configure" ${CMAKE_COMMAND} -S ${WORK}/memo -B ${WORK}/build -DCMAKE_PREFIX_PATH=${WORK}/prefix
    -DCMAKE_INSTALL_PREFIX=${WORK}/prefix -DCMAKE_CXX_COMPILER=${CXX} "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
run("build" ${CMAKE_COMMAND} --build ${WORK}/build)
run("install" ${CMAKE_COMMAND} --install ${WORK}/build)
foreach(file lib/hostloom/plugins/memo.so share/hostloom/api/api_plugin.api.json share/hostloom/api/vpe.api.json
        bin/hostloom-api)
  if(NOT EXISTS ${WORK}/prefix/${file})
    message(FATAL_ERROR "${file} is not installed")
  endif()
endforeach()
file(READ ${WORK}/prefix/share/hostloom/api/api_plugin.api.json description)
if(NOT description MATCHES "\"crc\": \"0x")
  message(FATAL_ERROR "the installed description has no CRCs")
endif()
file(REMOVE_RECURSE ${WORK})
