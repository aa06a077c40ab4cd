#include "wait.h"

#include <poll.h>
#include <pybind11/pybind11.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace loom::python {

namespace py = pybind11;

namespace {

// Signals are let through in ppoll() only: one that comes between the look for it and the sleep
// would otherwise be slept over.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
  }
  ~BlockSignals() { ::pthread_sigmask(SIG_SETMASK, &before, nullptr); }
  sigset_t before;
};

}  // namespace

Signal::Signal() : fd_(::eventfd(0, EFD_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}
Signal::~Signal() { ::close(fd_); }

void Signal::set() { ::eventfd_write(fd_, 1); }

void Signal::wait() {
  const BlockSignals blocked;
  for (;;) {
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    int n = 0;
    {
      const py::gil_scoped_release without_gil;
      pollfd p{fd_, POLLIN, 0};
      n = ::ppoll(&p, 1, nullptr, &blocked.before);
    }
    if (n > 0) return;
  }
}

}  // namespace loom::python
