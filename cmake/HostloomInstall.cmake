# The package: what outsiders need to build plugins (find_package(Hostloom), Hostloom::sdk, hostloom_add_plugin()) and
# applications (Hostloom::vppcom, Hostloom::client, pkg-config). Programs and libraries install themselves where they
# are built; here is only what spans folders.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Hostloom)

# --- The contract.
target_include_directories(hostloom_sdk INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(hostloom_sdk INTERFACE cxx_std_23)
set_target_properties(hostloom_sdk PROPERTIES EXPORT_NAME sdk)
install(TARGETS hostloom_sdk EXPORT HostloomTargets COMPONENT sdk)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/include/hostloom DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT sdk
        FILES_MATCHING PATTERN "*.h")
# The core's messages: for clients, and for plugins whose messages use their types.
set(api_include ${CMAKE_INSTALL_INCLUDEDIR}/hostloom-api)
target_include_directories(hostloom_api PUBLIC $<INSTALL_INTERFACE:${api_include}>)
set_target_properties(hostloom_api PROPERTIES EXPORT_NAME api)
install(TARGETS hostloom_api EXPORT HostloomTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT sdk)
install(DIRECTORY ${PROJECT_BINARY_DIR}/api/hostloom_api.dir/ DESTINATION ${api_include} COMPONENT sdk
        FILES_MATCHING PATTERN "*.api.h")
get_target_property(descriptions hostloom_api HOSTLOOM_API_JSON)
install(FILES ${descriptions} DESTINATION ${HOSTLOOM_API_INSTALL_DIR} COMPONENT sdk)

# Examples, and the program that makes skeletons of them.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/examples DESTINATION ${CMAKE_INSTALL_DATADIR}/hostloom COMPONENT sdk)
install(PROGRAMS ${PROJECT_SOURCE_DIR}/sdk/tools/hostloom-sdk DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT sdk)

# --- Libraries for applications.
if(TARGET vppcom)
  install(TARGETS vppcom EXPORT HostloomClientTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client)
endif()
if(TARGET hostloom_client)
  # In a folder of its own: "client/client.h" is too common a name for /usr/include.
  set(client_include ${CMAKE_INSTALL_INCLUDEDIR}/hostloom-client)
  target_include_directories(hostloom_client PUBLIC $<INSTALL_INTERFACE:${client_include}>)
  set_target_properties(hostloom_client PROPERTIES EXPORT_NAME client)
  install(TARGETS hostloom_client EXPORT HostloomClientTargets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/sdk/client DESTINATION ${client_include} COMPONENT client
          FILES_MATCHING PATTERN "*.h")
endif()
if(TARGET hostloom_stats)
  set(client_include ${CMAKE_INSTALL_INCLUDEDIR}/hostloom-client)
  target_include_directories(hostloom_stats PUBLIC $<INSTALL_INTERFACE:${client_include}>)
  set_target_properties(hostloom_stats PROPERTIES EXPORT_NAME stats)
  install(TARGETS hostloom_stats EXPORT HostloomClientTargets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client)
  install(FILES ${PROJECT_SOURCE_DIR}/sdk/stats/stats_reader.h DESTINATION ${client_include}/stats COMPONENT client)
endif()

# --- find_package(Hostloom).
set(HOSTLOOM_APIGEN_INSTALL_PATH ${CMAKE_INSTALL_BINDIR}/hostloom-api)
set(HOSTLOOM_APIGEN_INSTALL_DIR share/hostloom/generator)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/HostloomConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/package/HostloomConfig.cmake INSTALL_DESTINATION ${package_dir}
                              PATH_VARS HOSTLOOM_PLUGIN_INSTALL_DIR HOSTLOOM_API_INSTALL_DIR
                              HOSTLOOM_APIGEN_INSTALL_PATH HOSTLOOM_APIGEN_INSTALL_DIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/HostloomConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/HostloomConfig.cmake
              ${PROJECT_BINARY_DIR}/package/HostloomConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/HostloomApi.cmake ${PROJECT_SOURCE_DIR}/cmake/HostloomPlugin.cmake
        DESTINATION ${package_dir} COMPONENT sdk)
# Two sets, because plugin authors can do without the client libraries.
install(EXPORT HostloomTargets NAMESPACE Hostloom:: DESTINATION ${package_dir} COMPONENT sdk)
if(TARGET vppcom OR TARGET hostloom_client)
  install(EXPORT HostloomClientTargets NAMESPACE Hostloom:: DESTINATION ${package_dir} COMPONENT client)
endif()

# --- pkg-config. Paths follow the file, wherever `cmake --install --prefix` puts it.
file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
foreach(name hostloom vppcom)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/package/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT sdk)
endforeach()
