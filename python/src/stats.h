// The statistics segment for Python: _core.StatsReader over sdk/stats.
#pragma once
#include <hostloom/status.h>
#include <pybind11/pybind11.h>

namespace loom::python {

void add_stats(pybind11::module_& m);

// Raises the Python exception for an error.
[[noreturn]] void raise(const Error& e);

}  // namespace loom::python
