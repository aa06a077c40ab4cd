// System calls past any interposition: this code is linked into the preload library too, where
// plain close() or poll() would come back to itself. Same results as libc's functions (-1 and
// errno).
//
// Descriptors that the library opens for itself are "internal": moved to high numbers, so that the
// program finds the small ones it expects, close-on-exec, and reported to the hooks, so that the
// preload library can protect them from a program that closes everything.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>

#include <hostloom/types.h>

namespace loom::vcl::sys {

// What the preload library replaces before anything else runs.
struct Hooks {
  // The two places where a thread sleeps. libc's functions, because those are cancellation points.
  int (*epoll_pwait)(int epfd, epoll_event* events, int n, int timeout_ms, const sigset_t* mask);
  int (*ppoll)(pollfd* fds, nfds_t n, const timespec* timeout, const sigset_t* mask);
  void (*internal_fd)(int fd, bool is_internal);
  long (*online_cores)();
};
extern Hooks hooks;

inline int close(int fd) noexcept { return static_cast<int>(syscall(SYS_close, fd)); }
inline ssize_t read(int fd, void* p, size_t n) noexcept { return syscall(SYS_read, fd, p, n); }
inline ssize_t write(int fd, const void* p, size_t n) noexcept {
  return syscall(SYS_write, fd, p, n);
}
inline int eventfd() noexcept {
  return static_cast<int>(syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
}
inline int epoll_create() noexcept {
  return static_cast<int>(syscall(SYS_epoll_create1, EPOLL_CLOEXEC));
}
inline int epoll_ctl(int epfd, int op, int fd, epoll_event* ev) noexcept {
  return static_cast<int>(syscall(SYS_epoll_ctl, epfd, op, fd, ev));
}
// Never sleeps.
inline int epoll_look(int epfd, epoll_event* events, int n) noexcept {
  return static_cast<int>(syscall(SYS_epoll_pwait, epfd, events, n, 0, nullptr, 8));
}
inline int poll_now(pollfd* fds, nfds_t n) noexcept {
  const timespec zero{};
  return static_cast<int>(syscall(SYS_ppoll, fds, n, &zero, nullptr, 8));
}
inline int socket(int domain, int type, int protocol) noexcept {
  return static_cast<int>(syscall(SYS_socket, domain, type, protocol));
}
inline int connect(int fd, const void* addr, socklen_t len) noexcept {
  return static_cast<int>(syscall(SYS_connect, fd, addr, len));
}
inline ssize_t sendmsg(int fd, const msghdr* m, int flags) noexcept {
  return syscall(SYS_sendmsg, fd, m, flags);
}
inline ssize_t recvmsg(int fd, msghdr* m, int flags) noexcept {
  return syscall(SYS_recvmsg, fd, m, flags);
}
inline int recvmmsg(int fd, mmsghdr* m, unsigned n, int flags) noexcept {
  return static_cast<int>(syscall(SYS_recvmmsg, fd, m, n, flags, nullptr));
}
inline int setsockopt(int fd, int level, int name, const void* v, socklen_t len) noexcept {
  return static_cast<int>(syscall(SYS_setsockopt, fd, level, name, v, len));
}
inline int getpid() noexcept { return static_cast<int>(syscall(SYS_getpid)); }

inline TimeNs now() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}
constexpr TimeNs kForever = INT64_MAX;
// kForever for a negative time.
inline TimeNs deadline_in(TimeNs ns) noexcept {
  if (ns < 0) return kForever;
  const TimeNs t = now();
  return ns > kForever - t ? kForever : t + ns;
}
// For epoll: rounded up, so that a sleep never ends before its deadline. -1 = for ever.
inline int millis_until(TimeNs deadline) noexcept {
  if (deadline == kForever) return -1;
  const TimeNs left = deadline - now();
  if (left <= 0) return 0;
  const TimeNs ms = (left + kMillisecond - 1) / kMillisecond;
  return ms > INT32_MAX ? INT32_MAX : static_cast<int>(ms);
}

// Takes `fd` over and returns it as an internal one; -1 (fd closed) when there is no number left.
int make_internal(int fd) noexcept;
void close_internal(int fd) noexcept;

}  // namespace loom::vcl::sys
