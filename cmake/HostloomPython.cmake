# Finds what the package in python/ is built with. Debian's Python, whatever `python3` is first on PATH; another one is
# chosen by -DHOSTLOOM_PYTHON_EXECUTABLE. With HOSTLOOM_PYTHON=AUTO the package is left out when something is missing, and
# the configuration says so; with ON that is an error.
set(HOSTLOOM_PYTHON_EXECUTABLE /usr/bin/python3 CACHE FILEPATH "The interpreter that the package is built for")
set(Python_EXECUTABLE ${HOSTLOOM_PYTHON_EXECUTABLE})
find_package(Python QUIET COMPONENTS Interpreter Development.Module)
if(Python_FOUND)
  find_package(pybind11 CONFIG QUIET)
endif()
if(NOT pybind11_FOUND)
  set(missing "the Python package needs the Debian packages python3-dev and pybind11-dev (${HOSTLOOM_PYTHON_EXECUTABLE})")
  if(HOSTLOOM_PYTHON STREQUAL "AUTO")
    message(STATUS "Left out: ${missing}")
  else()
    message(FATAL_ERROR "HOSTLOOM_PYTHON=${HOSTLOOM_PYTHON}: ${missing}")
  endif()
endif()
