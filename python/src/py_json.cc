#include "py_json.h"

#include <string>

namespace loom::python {

namespace py = pybind11;
using nlohmann::json;

namespace {

constexpr int kMaxDepth =
    64;  // more than a schema's types nest; a list that holds itself ends here

json from_python(const py::handle& value, int depth) {
  if (depth > kMaxDepth) throw py::value_error("a value that is nested too deeply");
  if (value.is_none()) return nullptr;
  if (py::isinstance<py::bool_>(value)) return value.cast<bool>();
  if (py::isinstance<py::int_>(value)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    if (overflow == 0) return number;
    const unsigned long long big = PyLong_AsUnsignedLongLong(value.ptr());  // raises when negative
    if (PyErr_Occurred()) throw py::error_already_set();
    return big;
  }
  if (py::isinstance<py::float_>(value)) return value.cast<double>();
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<py::dict>(value)) {
    json object = json::object();
    for (const auto& [key, item] : py::reinterpret_borrow<py::dict>(value))
      object[key.cast<std::string>()] = from_python(item, depth + 1);
    return object;
  }
  if (py::isinstance<py::list>(value) || py::isinstance<py::tuple>(value)) {
    json list = json::array();
    for (const auto& item : py::reinterpret_borrow<py::sequence>(value))
      list.push_back(from_python(item, depth + 1));
    return list;
  }
  throw py::type_error("no value of the API: " + std::string(py::str(py::type::handle_of(value))));
}

}  // namespace

py::object to_python(const json& value) {
  switch (value.type()) {
    case json::value_t::boolean:
      return py::bool_(value.get<bool>());
    case json::value_t::number_integer:
      return py::int_(value.get<int64_t>());
    case json::value_t::number_unsigned:
      return py::int_(value.get<uint64_t>());
    case json::value_t::number_float:
      return py::float_(value.get<double>());
    case json::value_t::string:
      return py::str(value.get_ref<const std::string&>());
    case json::value_t::array: {
      py::list list(value.size());
      std::size_t i = 0;
      for (const auto& item : value) list[i++] = to_python(item);
      return list;
    }
    case json::value_t::object: {
      py::dict dict;
      for (const auto& [key, item] : value.items()) dict[py::str(key)] = to_python(item);
      return dict;
    }
    default:
      return py::none();
  }
}

py::object to_text(std::string_view bytes) {
  auto* text = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace");
  if (!text) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(text);
}

json from_python(const py::handle& value) { return from_python(value, 0); }

}  // namespace loom::python
