// What the library has once per process: its application worker, made when the first socket or
// epoll set needs it, and the identity of the process.
//
// A child of vfork() shares this memory but not the descriptors: what it closes and duplicates
// before its exec must not be done to the parent's tables. Functions that change tables ask
// same_process() first; a fork() proper makes the child's copy its own.
#pragma once
#include <cerrno>
#include <cstddef>

#include <sys/types.h>

namespace loom::vcl {
class AppWorker;
}

namespace loom::ldp {

// nullptr: the configuration is broken (which was said on standard error), so all is the kernel's.
vcl::AppWorker* worker() noexcept;

// What becomes of a socket that Hostloom could have.
enum class Home { kHostloom, kKernel, kNowhere };
// Attaches, if that was not done. The first failure is said on standard error.
Home find_home() noexcept;

bool same_process() noexcept;
// One line on standard error, with LDP_DEBUG at `level` or above.
[[gnu::format(printf, 2, 3)]] void debug(int level, const char* format, ...) noexcept;

// libc's convention: -1 and errno, or a result and errno as it was.
class Errno {
 public:
  Errno() noexcept : saved_(errno) {}
  ssize_t result(ssize_t outcome) const noexcept {
    if (outcome < 0) {
      errno = static_cast<int>(-outcome);
      return -1;
    }
    errno = saved_;
    return outcome;
  }
  int status(int outcome) const noexcept { return static_cast<int>(result(outcome)); }

 private:
  int saved_;
};

}  // namespace loom::ldp
