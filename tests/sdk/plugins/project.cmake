# Plugins with a purpose for the tests: congestion controllers to be replaced, and plugins to be refused.
cmake_minimum_required(VERSION 3.25)
project(HostloomTestPlugins LANGUAGES CXX)
find_package(Hostloom REQUIRED)

function(cc_fixed name controller segments)
  hostloom_add_plugin(${name} SOURCES cc_fixed.cc)
  target_compile_definitions(${name}_objects PRIVATE PLUGIN="${name}" CONTROLLER="${controller}" SEGMENTS=${segments} ${ARGN})
endfunction()
cc_fixed(cc-fixed-10 fixed 10)
cc_fixed(cc-fixed-20 fixed 20)
cc_fixed(cc-fixed-broken fixed 30 FAILS)
cc_fixed(cc-cubic-40 cubic 40)

hostloom_add_plugin(throws SOURCES throws.cc)
hostloom_add_plugin(answers SOURCES answers.cc)
# A symbol that nobody has: what -Wl,-z,defs of hostloom_add_plugin prevents.
add_library(unresolved MODULE unresolved.cc)
target_link_libraries(unresolved PRIVATE Hostloom::sdk)
set_target_properties(unresolved PROPERTIES PREFIX "")
