// write, writev, send, sendto, sendmsg, sendmmsg.
#include "ldp/transmit.h"

#include <limits.h>
#include <pthread.h>

#include <algorithm>

#include "ldp/candidate.h"
#include "ldp/datagrams.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"

using namespace loom;
using namespace loom::ldp;

namespace loom::ldp {

void raise_sigpipe() noexcept { pthread_kill(pthread_self(), SIGPIPE); }

ssize_t transmit(Session& s, std::span<const iovec> from, int flags) {
  if (flags & (MSG_OOB | MSG_FASTOPEN)) [[unlikely]]
    return -EOPNOTSUPP;
  const ssize_t n = s.send(from, flags);
  if (n == -EPIPE && !(flags & MSG_NOSIGNAL) && !s.is_datagram()) [[unlikely]]
    raise_sigpipe();
  return n;
}

ssize_t transmit(Session& s, const void* p, size_t n, int flags) {
  const iovec v{const_cast<void*>(p), n};
  return transmit(s, {&v, 1}, flags);
}

}  // namespace loom::ldp

namespace {

// A candidate would be connected by the kernel.
bool is_fast_open(int fd, int flags) noexcept { return (flags & MSG_FASTOPEN) && is_candidate(fd); }

ssize_t transmit_message(Session& s, const msghdr* m, int flags) {
  if (!m) return -EFAULT;
  if (s.is_datagram()) return transmit_datagram(s, *m, flags);
  if (m->msg_iovlen > IOV_MAX) return -EMSGSIZE;
  return transmit(s, {m->msg_iov, m->msg_iovlen}, flags);
}

// Before something is sent to an address by what may still become Hostloom's. Negative errno:
// nobody can send it.
int settle(int fd, const void* addr, socklen_t len) {
  if (!addr || !is_candidate(fd)) return 0;
  return std::min(settle_datagrams(fd, static_cast<const sockaddr*>(addr), len), 0);
}

// writev() of no bytes sends no datagram; write() does.
bool is_nothing(Session& s, std::span<const iovec> from) {
  return s.is_datagram() &&
         std::all_of(from.begin(), from.end(), [](const iovec& v) { return v.iov_len == 0; });
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* p, size_t n) {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.result(transmit(*s, p, n, 0));
  return libc().write(fd, p, n);
}

ssize_t writev(int fd, const iovec* v, int n) {
  const Errno keep;
  const auto s = session_at(fd);
  if (!s) return libc().writev(fd, v, n);
  if (n < 0 || n > IOV_MAX) return keep.result(-EINVAL);
  if (is_nothing(*s, {v, static_cast<size_t>(n)})) return keep.result(0);
  return keep.result(transmit(*s, {v, static_cast<size_t>(n)}, 0));
}

ssize_t send(int fd, const void* p, size_t n, int flags) {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.result(transmit(*s, p, n, flags));
  return libc().send(fd, p, n, flags);
}

ssize_t sendto(int fd, const void* p, size_t n, int flags, const sockaddr* addr, socklen_t len) {
  const Errno keep;
  if (const int e = settle(fd, addr, len); e != 0) return keep.result(e);
  if (const auto s = session_at(fd)) {
    if (!s->is_datagram() || !addr) return keep.result(transmit(*s, p, n, flags));
    if (len == 0) return keep.result(-EINVAL);
    iovec v{const_cast<void*>(p), n};
    msghdr m{};
    m.msg_name = const_cast<sockaddr*>(addr);
    m.msg_namelen = len;
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    return keep.result(transmit_datagram(*s, m, flags));
  }
  if (is_fast_open(fd, flags)) [[unlikely]]
    return keep.result(-EOPNOTSUPP);
  return libc().sendto(fd, p, n, flags, addr, len);
}

ssize_t sendmsg(int fd, const msghdr* m, int flags) {
  const Errno keep;
  if (const int e = m ? settle(fd, m->msg_name, m->msg_namelen) : 0; e != 0) return keep.result(e);
  if (const auto s = session_at(fd)) return keep.result(transmit_message(*s, m, flags));
  if (is_fast_open(fd, flags)) [[unlikely]]
    return keep.result(-EOPNOTSUPP);
  return libc().sendmsg(fd, m, flags);
}

int sendmmsg(int fd, mmsghdr* messages, unsigned n, int flags) {
  const Errno keep;
  if (n != 0 && messages)
    if (const int e = settle(fd, messages->msg_hdr.msg_name, messages->msg_hdr.msg_namelen); e != 0)
      return keep.status(e);
  const auto s = session_at(fd);
  if (!s) return libc().sendmmsg(fd, messages, n, flags);
  n = std::min(n, unsigned{IOV_MAX});
  if (n != 0 && !messages) return keep.status(-EFAULT);
  if (s->is_datagram()) return keep.status(transmit_datagrams(*s, messages, n, flags));
  unsigned done = 0;
  while (done < n) {
    const ssize_t sent = transmit_message(*s, &messages[done].msg_hdr, flags);
    if (sent < 0) return keep.status(done ? static_cast<int>(done) : static_cast<int>(sent));
    messages[done++].msg_len = static_cast<unsigned>(sent);
  }
  return keep.status(static_cast<int>(done));
}

}  // extern "C"
