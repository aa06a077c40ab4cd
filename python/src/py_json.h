// JSON values <-> Python's dict, list, str, int, float, bool and None.
#pragma once
#include <pybind11/pybind11.h>
#include <nlohmann/json.hpp>
#include <string_view>

namespace loom::python {

pybind11::object to_python(const nlohmann::json& value);

// Text from outside: what is not UTF-8 becomes U+FFFD.
pybind11::object to_text(std::string_view bytes);

// Raises TypeError for what JSON has not, OverflowError for integers beyond 64 bits.
nlohmann::json from_python(const pybind11::handle& value);

}  // namespace loom::python
