// The names that _FORTIFY_SOURCE gives to some of these calls: check the buffer, then the call.
#include "ldp/libc.h"

extern "C" {

[[noreturn]] void __chk_fail() noexcept;

ssize_t __read_chk(int fd, void* p, size_t n, size_t room) {
  if (n > room) __chk_fail();
  return read(fd, p, n);
}
ssize_t __pread_chk(int fd, void* p, size_t n, off_t at, size_t room) {
  if (n > room) __chk_fail();
  return pread(fd, p, n, at);
}
ssize_t __pread64_chk(int fd, void* p, size_t n, off64_t at, size_t room) {
  if (n > room) __chk_fail();
  return pread(fd, p, n, at);
}
ssize_t __recv_chk(int fd, void* p, size_t n, size_t room, int flags) {
  if (n > room) __chk_fail();
  return recv(fd, p, n, flags);
}
ssize_t __recvfrom_chk(int fd, void* p, size_t n, size_t room, int flags, sockaddr* addr,
                       socklen_t* len) {
  if (n > room) __chk_fail();
  return recvfrom(fd, p, n, flags, addr, len);
}
int __poll_chk(pollfd* p, nfds_t n, int timeout_ms, size_t room) {
  if (room / sizeof *p < n) __chk_fail();
  return poll(p, n, timeout_ms);
}
int __ppoll_chk(pollfd* p, nfds_t n, const timespec* timeout, const sigset_t* mask, size_t room) {
  if (room / sizeof *p < n) __chk_fail();
  return ppoll(p, n, timeout, mask);
}

}  // extern "C"
