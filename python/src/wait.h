// How a Python thread waits for something that another thread brings: without the GIL, and so that
// Ctrl-C ends it.
#pragma once

namespace loom::python {

// Set once by another thread; waited for by one.
class Signal {
 public:
  Signal();
  ~Signal();
  Signal(const Signal&) = delete;
  void set();
  // Called with the GIL, which it gives up meanwhile. In the main thread it throws
  // error_already_set when a signal handler of Python's raised, as that of SIGINT does, whichever
  // thread the system gave the signal to.
  void wait();

 private:
  int fd_;  // an eventfd
};

}  // namespace loom::python
