// Calls with a position: ESPIPE on sessions, as on every socket.
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace {

template <class Call>
auto unless_session(int fd, Call&& call) -> decltype(call()) {
  const Errno keep;
  if (session_at(fd)) return static_cast<decltype(call())>(keep.result(-ESPIPE));
  return call();
}

}  // namespace

extern "C" {

off_t lseek(int fd, off_t at, int whence) noexcept {
  return unless_session(fd, [&] { return libc().lseek(fd, at, whence); });
}
off64_t lseek64(int fd, off64_t at, int whence) noexcept {
  return unless_session(fd, [&] { return libc().lseek(fd, at, whence); });
}
ssize_t pread(int fd, void* p, size_t n, off_t at) {
  return unless_session(fd, [&] { return libc().pread(fd, p, n, at); });
}
ssize_t pread64(int fd, void* p, size_t n, off64_t at) {
  return unless_session(fd, [&] { return libc().pread(fd, p, n, at); });
}
ssize_t preadv(int fd, const iovec* v, int n, off_t at) {
  return unless_session(fd, [&] { return libc().preadv(fd, v, n, at); });
}
ssize_t preadv64(int fd, const iovec* v, int n, off64_t at) {
  return unless_session(fd, [&] { return libc().preadv(fd, v, n, at); });
}
ssize_t pwrite(int fd, const void* p, size_t n, off_t at) {
  return unless_session(fd, [&] { return libc().pwrite(fd, p, n, at); });
}
ssize_t pwrite64(int fd, const void* p, size_t n, off64_t at) {
  return unless_session(fd, [&] { return libc().pwrite(fd, p, n, at); });
}
ssize_t pwritev(int fd, const iovec* v, int n, off_t at) {
  return unless_session(fd, [&] { return libc().pwritev(fd, v, n, at); });
}
ssize_t pwritev64(int fd, const iovec* v, int n, off64_t at) {
  return unless_session(fd, [&] { return libc().pwritev(fd, v, n, at); });
}

}  // extern "C"
