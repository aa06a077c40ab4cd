// Signals while a thread looks before it sleeps (spin.h). They wait, and interrupt the sleep behind
// the look as they would have interrupted one in its place; when there is no sleep they come at the
// end of the call, as those do that come just after it. That costs two system calls, as much as two
// answers of a peer that is quick: the first two microseconds of a look go without, and a signal in
// them is one that came just before the call. A fault of the thread's own does not wait.
//
// Threads: one. To be destroyed without locks: what has waited is handled there.
#pragma once
#include <pthread.h>
#include <signal.h>

namespace loom::vcl {

class HeldSignals {
 public:
  HeldSignals() = default;
  ~HeldSignals() {
    if (is_held_) pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  void hold() noexcept {
    if (is_held_) return;
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
      sigdelset(&all, fault);
    is_held_ = pthread_sigmask(SIG_BLOCK, &all, &before_) == 0;
  }
  // For a sleep: what it lets in. nullptr: as it is.
  const sigset_t* mask() const noexcept { return is_held_ ? &before_ : nullptr; }

 private:
  sigset_t before_;
  bool is_held_ = false;
};

}  // namespace loom::vcl
