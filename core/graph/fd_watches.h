// The file descriptors that a worker looks at, behind one epoll instance: what it sleeps on. One
// eventfd among them ends the sleep from another thread. Threads: wake() any; the rest on the
// worker, or on whoever holds the worker still.
#pragma once
#include <cstdint>
#include <vector>

#include <hostloom/status.h>
#include <hostloom/worker.h>

namespace loom {

class FdWatches {
 public:
  using Readable = void (*)(Worker&, int fd, void* context) noexcept;

  FdWatches() = default;
  FdWatches(const FdWatches&) = delete;
  FdWatches& operator=(const FdWatches&) = delete;
  ~FdWatches();
  Result<void> open();

  Result<void> add(int fd, Readable fn, void* context);
  void remove(int fd);
  bool has_callbacks() const noexcept { return n_callbacks_ != 0; }

  void wake() noexcept;
  // Waits until an fd is readable, wake() was called or `timeout` has passed (negative: no limit,
  // 0: only looks) and remembers what is ready. Nanosecond timeouts where the kernel has
  // epoll_pwait2 (Linux 5.11), else milliseconds, rounded up.
  void wait(TimeNs timeout) noexcept;
  // Calls back for what wait() has found. Callbacks may add and remove fds, their own included.
  // Returns how many were called.
  uint32_t dispatch(Worker&) noexcept;

 private:
  struct Watch {
    Readable fn = nullptr;
    void* context = nullptr;
    uint32_t generation = 0;  // tells an event of an fd that was removed and added again
    bool used = false;
  };
  static constexpr int kMaxEvents = 64;  // more are found by the next wait
  struct Ready {
    int fd;
    uint32_t generation;
  };
  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  bool has_pwait2_ = true;
  uint32_t n_callbacks_ = 0;
  int n_ready_ = 0;
  Ready ready_[kMaxEvents];
  std::vector<Watch> by_fd_;
};

}  // namespace loom
