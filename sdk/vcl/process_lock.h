// Serialises the processes that hold one session after fork(): SessionLine::lock, a futex with
// the holder's pid. Free of cost while there is one holder. Taken with Session::mutex_ held, for
// the length of a copy; a process that died with it is found by its pid.
#pragma once
#include <bit>

#include "svm/layout.h"

namespace loom::vcl {

class ProcessLock {
 public:
  explicit ProcessLock(svm::SessionLine& s) noexcept {
    if (std::popcount(s.holders.load(std::memory_order_relaxed)) > 1) [[unlikely]]
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
