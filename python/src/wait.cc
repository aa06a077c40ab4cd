#include "wait.h"

#include <fcntl.h>
#include <poll.h>
#include <pybind11/pybind11.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <system_error>

namespace loom::python {

namespace py = pybind11;

namespace {

struct Fd {
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
  int fd = -1;
};

// Python runs signal handlers in the main thread, but the system may give the signal to another
// one, or before the main thread is asleep; neither would end its sleep. So Python itself is asked
// to write to a pipe when a signal comes.
class SignalPipe {
 public:
  SignalPipe() {
    std::array<int, 2> ends;
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0)
      throw std::system_error(errno, std::generic_category(), "pipe");
    read_.fd = ends[0];
    write_.fd = ends[1];
    before_ = set_wakeup_fd_(ends[1], py::arg("warn_on_full_buffer") = false).cast<int>();
  }
  ~SignalPipe() {
    try {
      set_wakeup_fd_(before_);
    } catch (py::error_already_set& closed) {  // meanwhile: then nobody waits for it
      closed.discard_as_unraisable("hostloom: setting the wakeup fd back");
      set_wakeup_fd_(-1);
    }
    drain();
  }
  SignalPipe(const SignalPipe&) = delete;

  int fd() const { return read_.fd; }
  // Forgets what came. An event loop that was told of signals is told of these, too.
  void drain() {
    std::array<char, 64> signals;
    for (ssize_t n; (n = ::read(read_.fd, signals.data(), signals.size())) > 0;)
      if (before_ >= 0 && ::write(before_, signals.data(), size_t(n)) < 0) return;
  }

 private:
  py::object set_wakeup_fd_ = py::module_::import("signal").attr("set_wakeup_fd");
  Fd read_, write_;
  int before_ = -1;
};

void wait_without_gil(pollfd* fds, nfds_t n) {
  const py::gil_scoped_release without_gil;
  ::poll(fds, n, -1);
}

bool is_main_thread() {
  const py::module_ threading = py::module_::import("threading");
  return threading.attr("current_thread")().is(threading.attr("main_thread")());
}

}  // namespace

Signal::Signal() : fd_(::eventfd(0, EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}
Signal::~Signal() { ::close(fd_); }

void Signal::set() { ::eventfd_write(fd_, 1); }

void Signal::wait() {
  std::array<pollfd, 2> fds{{{fd_, POLLIN, 0}, {-1, POLLIN, 0}}};
  if (!is_main_thread()) {
    while (fds[0].revents == 0) wait_without_gil(fds.data(), 1);
    return;
  }
  std::optional<SignalPipe> signals;
  try {
    signals.emplace();
    fds[1].fd = signals->fd();
  } catch (py::error_already_set& e) {
    // Module threading calls the thread that imported it first the main one; signal knows better.
    if (!e.matches(PyExc_ValueError)) throw;
  }
  for (;;) {
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    wait_without_gil(fds.data(), fds.size());
    if (fds[0].revents != 0) return;
    if (signals) signals->drain();
  }
}

}  // namespace loom::python
