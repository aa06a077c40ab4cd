#include "vcl/process_lock.h"

#include <linux/futex.h>
#include <signal.h>

#include <cerrno>

#include "vcl/sys.h"

namespace loom::vcl {
namespace {

// How long to wait before asking whether the holder is still alive.
constexpr timespec kPatience{0, 20'000'000};

long futex(std::atomic<uint32_t>& word, int op, uint32_t value, const timespec* timeout) noexcept {
  return syscall(SYS_futex, &word, op, value, timeout, nullptr, 0);
}

}  // namespace

void ProcessLock::lock(svm::SessionLine& s) noexcept {
  const auto self = static_cast<uint32_t>(sys::getpid());
  uint32_t holder = 0;
  while (!s.lock.compare_exchange_strong(holder, self, std::memory_order_acquire)) {
    if (holder == self) break;  // left by another life of this process: a thread that was cancelled
    const bool timed_out = futex(s.lock, FUTEX_WAIT, holder, &kPatience) != 0 && errno == ETIMEDOUT;
    if (timed_out && kill(static_cast<pid_t>(holder), 0) != 0 && errno == ESRCH &&
        s.lock.compare_exchange_strong(holder, self, std::memory_order_acquire))
      break;
    holder = 0;
  }
  held_ = &s;
}

void ProcessLock::unlock() noexcept {
  held_->lock.store(0, std::memory_order_release);
  futex(held_->lock, FUTEX_WAKE, 1, nullptr);
}

}  // namespace loom::vcl
