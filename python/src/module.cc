// hostloom._core: what the Python package is built on. Requests by name with dicts; the classes,
// signatures and exceptions that users see are made of it in Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "client/retval.h"
#include "connection.h"
#include "describe.h"
#include "py_json.h"
#include "stats.h"
#include "wait.h"

namespace loom::python {
namespace {

namespace py = pybind11;
using nlohmann::json;

py::object to_exception(const Error& e) {
  return py::module_::import("hostloom.errors")
      .attr("from_status")(status_name(e.code), to_text(e.message));
}

// A Python callable that another thread calls and gives up. Once the interpreter ends, neither
// happens any more.
class Callback {
 public:
  explicit Callback(py::object f) : f_(std::make_shared<Held>(std::move(f))) {}
  template <class Make>
  void operator()(Make make) const {
    const py::gil_scoped_acquire gil;
    try {
      f_->f(made(make));
    } catch (py::error_already_set& e) {
      e.discard_as_unraisable("hostloom callback");
    }
  }

 private:
  struct Held {
    explicit Held(py::object o) : f(std::move(o)) {}
    ~Held() {
      const py::gil_scoped_acquire gil;
      f = py::object();
    }
    py::object f;
  };
  // Somebody waits for a call: when its argument cannot be made, the reason is the argument.
  template <class Make>
  static py::object made(Make& make) {
    try {
      return make();
    } catch (py::error_already_set& e) {
      return e.value();
    } catch (const std::exception& e) {
      return py::handle(PyExc_RuntimeError)(to_text(e.what()));
    }
  }
  std::shared_ptr<Held> f_;
};

std::chrono::milliseconds to_ms(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(std::clamp(seconds, 0.001, 1e9) * 1e3));
}

py::tuple to_tuple(const Connection::Answer& answer) {
  py::list details(answer.details.size());
  for (std::size_t i = 0; i < answer.details.size(); ++i) details[i] = to_python(answer.details[i]);
  return py::make_tuple(to_python(answer.reply), details);
}

// What one waiting thread and the connection's thread share.
template <class T>
struct Waiter {
  Signal signal;
  std::optional<Result<T>> outcome;
};

// Connections that are being deleted on threads of their own.
std::atomic<uint32_t> n_closing;

// Closing joins a thread that may be about to take the GIL. It cannot join itself, and the garbage
// collector runs on any thread.
struct DeleteWithoutGil {
  void operator()(Connection* c) const {
    const py::gil_scoped_release without_gil;
    if (!c->is_its_thread()) {
      delete c;
      return;
    }
    ++n_closing;
    std::thread([c] {
      delete c;
      --n_closing;
      n_closing.notify_all();
    }).detach();
  }
};

// Their callbacks take the GIL, which ends the process once Python is ending.
void finish_closing() {
  const py::gil_scoped_release without_gil;
  while (const uint32_t n = n_closing) n_closing.wait(n);
}
using ConnectionHolder = std::unique_ptr<Connection, DeleteWithoutGil>;

ConnectionHolder connect(const std::string& path, const std::string& name, double timeout) {
  const auto waiter = std::make_shared<Waiter<void>>();
  ClientOptions options;
  options.name = name;
  options.timeout = to_ms(timeout);
  ConnectionHolder connection(new Connection(path, std::move(options), [waiter](Result<void> r) {
    waiter->outcome = std::move(r);
    waiter->signal.set();
  }));
  waiter->signal.wait();
  if (!*waiter->outcome) raise(waiter->outcome->error());
  return connection;
}

py::tuple request(Connection& c, const std::string& name, const py::object& values,
                  double timeout) {
  const auto waiter = std::make_shared<Waiter<Connection::Answer>>();
  const auto ticket = c.start(name, from_python(values), to_ms(timeout),
                              [waiter](Result<Connection::Answer> answer) {
                                waiter->outcome = std::move(answer);
                                waiter->signal.set();
                              });
  try {
    waiter->signal.wait();
  } catch (...) {
    c.cancel(ticket);
    throw;
  }
  if (!*waiter->outcome) raise(waiter->outcome->error());
  return to_tuple(**waiter->outcome);
}

Connection::Ticket start(Connection& c, const std::string& name, const py::object& values,
                         double timeout, py::function done) {
  const Callback callback(std::move(done));
  return c.start(name, from_python(values), to_ms(timeout),
                 [callback](Result<Connection::Answer> answer) {
                   callback([&]() -> py::object {
                     return answer ? py::object(to_tuple(*answer)) : to_exception(answer.error());
                   });
                 });
}

Connection::Ticket subscribe(Connection& c, const std::string& event, py::function each) {
  const Callback callback(std::move(each));
  return c.subscribe(
      event, [callback](json e) { callback([&] { return to_python(e); }); },
      [callback](const Error& why) { callback([&] { return to_exception(why); }); });
}

}  // namespace

void raise(const Error& e) {
  const py::object made = to_exception(e);
  PyErr_SetObject(py::type::handle_of(made).ptr(), made.ptr());
  throw py::error_already_set();
}

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled part of hostloom; use the package.";
  m.def("finish_closing", &finish_closing,
        "Waits for connections that were collected on threads of their own.");
  m.def("default_socket", &default_api_socket, "Where a daemon listens, when nobody says where.");
  m.def(
      "describe_files",
      [](const std::vector<std::string>& paths) {
        const auto schema = ApiSchema::from_files(paths);
        if (!schema) raise(schema.error());
        return to_python(describe(**schema));
      },
      py::arg("paths"), "Messages and types of *.api.json files or folders, resolved.");
  py::dict retvals;
  for (const auto& r : api_retvals()) retvals[py::int_(r.value)] = r.name;
  m.attr("RETVALS") = retvals;

  add_stats(m);
  py::class_<Connection, ConnectionHolder>(m, "Connection")
      .def(py::init(&connect), py::arg("path"), py::arg("name"), py::arg("timeout"))
      .def("request", &request, py::arg("name"), py::arg("values"), py::arg("timeout"),
           "Sends a request and waits: (reply or None, details).")
      .def("start", &start, py::arg("name"), py::arg("values"), py::arg("timeout"), py::arg("done"),
           "Sends a request; done((reply, details) or an exception) is called on another thread.")
      .def("cancel", &Connection::cancel, py::arg("ticket"))
      .def("subscribe", &subscribe, py::arg("event"), py::arg("each"),
           "each(dict) is called for events, each(exception) at the end, on another thread.")
      .def("unsubscribe", &Connection::unsubscribe, py::arg("ticket"))
      .def("close", &Connection::close, py::call_guard<py::gil_scoped_release>())
      .def("describe", [](const Connection& c) { return to_python(describe(c.schema())); })
      .def("table", &Connection::table, "The daemon's messages, as NAME_CRC.");
}

}  // namespace loom::python
