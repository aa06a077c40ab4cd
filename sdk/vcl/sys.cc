#include "vcl/sys.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

namespace loom::vcl::sys {
namespace {

int libc_epoll_pwait(int epfd, epoll_event* events, int n, int timeout_ms, const sigset_t* mask) {
  return ::epoll_pwait(epfd, events, n, timeout_ms, mask);
}
int libc_ppoll(pollfd* fds, nfds_t n, const timespec* timeout, const sigset_t* mask) {
  return ::ppoll(fds, n, timeout, mask);
}
void nobody_cares(int, bool) {}
long online_cores() { return sysconf(_SC_NPROCESSORS_ONLN); }

// Where internal descriptors start: high, but within the limit, with room for a few hundred.
int first_internal() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 64) return 3;
  constexpr rlim_t kRoom = 512;
  const rlim_t top = std::min<rlim_t>(limit.rlim_cur, 1u << 20);
  return static_cast<int>(top > 2 * kRoom ? top - kRoom : top / 2);
}

}  // namespace

Hooks hooks = {libc_epoll_pwait, libc_ppoll, nobody_cares, online_cores};

int make_internal(int fd) noexcept {
  if (fd < 0) return -1;
  int high = static_cast<int>(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, first_internal()));
  if (high < 0) high = static_cast<int>(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0));
  const int error = errno;
  sys::close(fd);
  if (high < 0) {
    errno = error;
    return -1;
  }
  hooks.internal_fd(high, true);
  return high;
}

void close_internal(int fd) noexcept {
  if (fd < 0) return;
  hooks.internal_fd(fd, false);
  sys::close(fd);
}

}  // namespace loom::vcl::sys
