// sendfile into sessions: into a stream the file is read straight into the transmit fifo; into
// datagrams it is one, as on Linux, and EMSGSIZE if there is more. splice and tee need a pipe's
// pages, which a session has not.
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <new>

#include <hostloom/datagram.h>

#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"
#include "ldp/transmit.h"

using namespace loom;
using namespace loom::ldp;

namespace {

constexpr size_t kMaxTransfer = INT32_MAX & ~size_t{4095};  // as the kernel's MAX_RW_COUNT

// Files that give their bytes at once; the session is locked while they are read.
bool is_file(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

ssize_t send_file(Session& s, int file, off_t* offset, size_t n) {
  n = n < kMaxTransfer ? n : kMaxTransfer;
  off_t at = offset ? *offset : 0;
  if (at < 0) return -EINVAL;
  const auto read_into = [&](std::span<svm::MutableByteView> views) -> ssize_t {
    iovec v[8];
    size_t count = 0;
    for (const svm::MutableByteView& view : views) v[count++] = {view.data(), view.size()};
    const int slots = static_cast<int>(count);
    const ssize_t got = offset ? libc().preadv(file, v, slots, at) : libc().readv(file, v, slots);
    return got < 0 ? -errno : got;
  };
  size_t done = 0;
  ssize_t outcome = 0;
  while (done < n) {
    outcome = s.fill(n - done, 0, read_into);
    if (outcome <= 0) break;
    done += static_cast<size_t>(outcome);
    at += outcome;
  }
  if (done < n) s.push();
  if (offset) *offset = at;
  if (done != 0) return static_cast<ssize_t>(done);
  if (outcome == -EPIPE) raise_sigpipe();
  return outcome;
}

ssize_t send_file_as_datagram(Session& s, int file, off_t* offset, size_t n) {
  constexpr size_t kRoom = kMaxDatagramBytes + 1;  // one more tells that it is too long
  const off_t at = offset ? *offset : lseek(file, 0, SEEK_CUR);
  if (at < 0) return offset ? -EINVAL : -errno;
  const std::unique_ptr<std::byte[]> bytes(new (std::nothrow) std::byte[kRoom]);
  if (!bytes) return -ENOMEM;
  const iovec v{bytes.get(), std::min(n, kRoom)};
  const ssize_t got = libc().preadv(file, &v, 1, at);
  if (got <= 0) return got < 0 ? -errno : 0;
  const ssize_t sent = s.send(bytes.get(), static_cast<size_t>(got), 0);
  if (sent <= 0) return sent;
  if (offset)
    *offset = at + sent;
  else
    (void)lseek(file, at + sent, SEEK_SET);
  return sent;
}

ssize_t send_from(int out, int in, off_t* offset, size_t n) {
  const Errno keep;
  const auto s = session_at(out);
  if (!s) {
    if (session_at(in)) return keep.result(-EINVAL);
    return libc().sendfile(out, in, offset, n);
  }
  if (!is_file(in)) return keep.result(libc().fcntl(in, F_GETFD) < 0 ? -EBADF : -EINVAL);
  return keep.result(s->is_datagram() ? send_file_as_datagram(*s, in, offset, n)
                                      : send_file(*s, in, offset, n));
}

}  // namespace

extern "C" {

ssize_t sendfile(int out, int in, off_t* offset, size_t n) noexcept {
  return send_from(out, in, offset, n);
}

ssize_t sendfile64(int out, int in, off64_t* offset, size_t n) noexcept {
  return send_from(out, in, offset, n);
}

ssize_t splice(int in, off64_t* in_at, int out, off64_t* out_at, size_t n, unsigned flags) {
  const Errno keep;
  if (session_at(in) || session_at(out)) return keep.result(-EINVAL);
  return libc().splice(in, in_at, out, out_at, n, flags);
}

ssize_t tee(int in, int out, size_t n, unsigned flags) {
  const Errno keep;
  if (session_at(in) || session_at(out)) return keep.result(-EINVAL);
  return libc().tee(in, out, n, flags);
}

}  // extern "C"
