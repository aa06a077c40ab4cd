// Serialises the processes that hold one session after fork(): SessionLine::lock, a futex with
// the holder's pid. Free of cost while there is one holder. Taken with Session::mutex_ held, for
// the length of a copy; a process that died with it is found by its pid.
//
// Who lets go of the session leaves the holders as the last thing under it: it writes nothing of
// the session's memory behind that, but the lock. Whoever is the last waits for that, too.
#pragma once
#include <bit>

#include "svm/layout.h"

namespace loom::vcl {

class ProcessLock {
 public:
  explicit ProcessLock(svm::SessionLine& s) noexcept {
    if (std::popcount(s.holders.load(std::memory_order_acquire)) > 1) [[unlikely]]
      lock(s);
  }
  struct ToLetGo {};
  ProcessLock(svm::SessionLine& s, ToLetGo) noexcept {
    if (std::popcount(s.holders.load(std::memory_order_acquire)) > 1 ||
        s.lock.load(std::memory_order_acquire) != 0)
      lock(s);
  }
  ~ProcessLock() {
    if (held_) [[unlikely]]
      unlock();
  }
  ProcessLock(const ProcessLock&) = delete;
  ProcessLock& operator=(const ProcessLock&) = delete;

 private:
  void lock(svm::SessionLine& s) noexcept;
  void unlock() noexcept;

  svm::SessionLine* held_ = nullptr;
};

}  // namespace loom::vcl
