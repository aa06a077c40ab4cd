// Waiting for a holder that needs a few instructions: spin, then give the processor away, because
// on a machine with fewer cores than threads the holder may be waiting for this very core.
#pragma once
#include <sched.h>

#include <atomic>

namespace loom {

class SpinWait {
 public:
  void pause() noexcept {
    if (++rounds_ % kSpins == 0)
      sched_yield();
    else
      __builtin_ia32_pause();
  }

 private:
  static constexpr unsigned kSpins = 64;
  unsigned rounds_ = 0;
};

// BasicLockable. For writers of tables only; nothing that reads packets waits on one.
class SpinLock {
 public:
  void lock() noexcept {
    SpinWait wait;
    while (held_.exchange(true, std::memory_order_acquire))
      while (held_.load(std::memory_order_relaxed)) wait.pause();
  }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

}  // namespace loom
