#include "stats.h"

#include <pybind11/stl.h>

#include <chrono>
#include <mutex>

#include "py_json.h"
#include "stats/stats_reader.h"

namespace loom::python {
namespace {

namespace py = pybind11;

// One reader for any thread: the reader itself is for one at a time.
class Reader {
 public:
  Reader(const std::string& path, double timeout) : reader_(open(path, timeout)) {}

  // (name, kind, value): what stats.py makes objects of.
  py::list dump(const std::string& pattern) {
    const auto values = waiting([&] {
      auto filter = StatsFilter::glob(pattern);
      return filter ? reader_.dump(*filter) : Result<std::vector<StatsValue>>(filter.error());
    });
    py::list list(values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      list[i] = py::make_tuple(values[i].name, kind(values[i]), value(values[i]));
    return list;
  }
  py::tuple read(const std::string& name) {
    const StatsValue v = waiting([&] { return reader_.read(name); });
    return py::make_tuple(v.name, kind(v), value(v));
  }
  std::vector<std::string> list() {
    return waiting([&] { return reader_.list(); });
  }
  uint64_t heartbeat() {
    return waiting([&] { return reader_.heartbeat(); });
  }

 private:
  static StatsReader open(const std::string& path, double timeout) {
    Result<StatsReader> reader = error(Status::kInvalid, "");
    {
      const py::gil_scoped_release without_gil;
      reader = StatsReader::connect(path,
                                    std::chrono::milliseconds(static_cast<int64_t>(timeout * 1e3)));
    }
    if (!reader) raise(reader.error());
    return std::move(*reader);
  }
  // Reading waits for a change of the directory to end.
  template <class F>
  auto waiting(F f) -> typename decltype(f())::value_type {
    auto outcome = [&] {
      const py::gil_scoped_release without_gil;
      const std::lock_guard lock(mutex_);
      return f();
    }();
    if (!outcome) raise(outcome.error());
    return std::move(*outcome);
  }
  static const char* kind(const StatsValue& v) {
    switch (v.type) {
      case stats::EntryType::kScalar:
        return "scalar";
      case stats::EntryType::kSimple:
        return "simple";
      case stats::EntryType::kCombined:
        return "combined";
      case stats::EntryType::kNames:
        return "names";
      default:
        return "empty";
    }
  }
  static py::object value(const StatsValue& v) {
    switch (v.type) {
      case stats::EntryType::kScalar:
        return py::int_(v.scalar);
      case stats::EntryType::kSimple:
        return rows(v.simple, [](uint64_t n) { return py::object(py::int_(n)); });
      case stats::EntryType::kCombined:
        return rows(v.combined, [](const stats::Combined& c) {
          return py::object(py::make_tuple(c.packets, c.bytes));
        });
      case stats::EntryType::kNames: {
        py::list names;
        for (const auto& name : v.names) names.append(to_text(name));
        return names;
      }
      default:
        return py::none();
    }
  }
  template <class Rows, class F>
  static py::list rows(const Rows& all, F&& one) {
    py::list list(all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      py::list row(all[i].size());
      for (std::size_t j = 0; j < all[i].size(); ++j) row[j] = one(all[i][j]);
      list[i] = std::move(row);
    }
    return list;
  }

  StatsReader reader_;
  std::mutex mutex_;
};

}  // namespace

void add_stats(py::module_& m) {
  m.def("default_stats_socket", &default_stats_socket);
  py::class_<Reader>(m, "StatsReader")
      .def(py::init<const std::string&, double>(), py::arg("path"), py::arg("timeout"))
      .def("dump", &Reader::dump, py::arg("pattern"))
      .def("read", &Reader::read, py::arg("name"))
      .def("names", &Reader::list)
      .def("heartbeat", &Reader::heartbeat);
}

}  // namespace loom::python
