# Installs Hostloom to a temporary prefix, builds sdk/examples/hello-feature against it as an outsider would, installs
# that, and has CHECKER load it.
#   cmake -DBUILD=dir -DSOURCE=dir -DWORK=dir -DCHECKER=program [-DCOMPONENT=sdk] -P out_of_tree.cmake
function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what} failed (${result}):\n${output}")
  endif()
  message(STATUS "${what}: ok")
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
set(component "")
if(COMPONENT)
  set(component --component ${COMPONENT})
endif()
run("install Hostloom" ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix ${component})

# A copy, so that nothing of the tree is within reach of a relative path.
file(COPY ${SOURCE}/sdk/examples/hello-feature DESTINATION ${WORK})
run("configure the plugin" ${CMAKE_COMMAND} -S ${WORK}/hello-feature -B ${WORK}/build
    -DCMAKE_PREFIX_PATH=${WORK}/prefix -DCMAKE_INSTALL_PREFIX=${WORK}/prefix
    -DCMAKE_CXX_COMPILER=${CXX} "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror ${CXX_FLAGS}" -DHOSTLOOM_SANITIZE=${SANITIZE})
run("build the plugin" ${CMAKE_COMMAND} --build ${WORK}/build)
run("install the plugin" ${CMAKE_COMMAND} --install ${WORK}/build)
run("load the plugin" ${CHECKER} ${WORK}/prefix/lib/hostloom/plugins/hello-feature.so)

foreach(file include/hostloom/plugin.h ${LIBDIR}/pkgconfig/hostloom.pc)
  if(NOT EXISTS ${WORK}/prefix/${file})
    message(FATAL_ERROR "${file} is not installed")
  endif()
endforeach()
file(REMOVE_RECURSE ${WORK})
