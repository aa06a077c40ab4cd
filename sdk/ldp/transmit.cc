// write, writev, send, sendto, sendmsg, sendmmsg.
#include "ldp/transmit.h"

#include <limits.h>
#include <pthread.h>

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
  if (m->msg_iovlen > IOV_MAX) return -EMSGSIZE;
  if (s.is_datagram()) return transmit_datagram(s, *m, flags);
  return transmit(s, {m->msg_iov, m->msg_iovlen}, flags);
}

// Before something is sent to an address by what may still become Hostloom's. False: the kernel is
// to send it, or `outcome` says why nobody can.
bool settle(int fd, const sockaddr* addr, socklen_t len, int& outcome) {
  outcome = 0;
  if (!addr || !is_candidate(fd) || !candidate_is_datagram(fd)) return false;
  outcome = settle_datagrams(fd, addr, len);
  if (outcome > 0)
    outcome = become_kernel(fd);
  else if (outcome == 0)
    return true;
  return false;
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
  return keep.result(transmit(*s, {v, static_cast<size_t>(n)}, 0));
}

ssize_t send(int fd, const void* p, size_t n, int flags) {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.result(transmit(*s, p, n, flags));
  return libc().send(fd, p, n, flags);
}

ssize_t sendto(int fd, const void* p, size_t n, int flags, const sockaddr* addr, socklen_t len) {
  const Errno keep;
  int settled = 0;
  if (is_candidate(fd) && !settle(fd, addr, len, settled) && settled != 0)
    return keep.result(settled);
  if (const auto s = session_at(fd)) {
    if (!s->is_datagram() || !addr) return keep.result(transmit(*s, p, n, flags));
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
  int settled = 0;
  if (m && is_candidate(fd) &&
      !settle(fd, static_cast<const sockaddr*>(m->msg_name), m->msg_namelen, settled) &&
      settled != 0)
    return keep.result(settled);
  if (const auto s = session_at(fd)) return keep.result(transmit_message(*s, m, flags));
  if (is_fast_open(fd, flags)) [[unlikely]]
    return keep.result(-EOPNOTSUPP);
  return libc().sendmsg(fd, m, flags);
}

int sendmmsg(int fd, mmsghdr* messages, unsigned n, int flags) {
  const Errno keep;
  int settled = 0;
  if (n != 0 && messages && is_candidate(fd) &&
      !settle(fd, static_cast<const sockaddr*>(messages->msg_hdr.msg_name),
              messages->msg_hdr.msg_namelen, settled) &&
      settled != 0)
    return keep.status(settled);
  const auto s = session_at(fd);
  if (!s) return libc().sendmmsg(fd, messages, n, flags);
  unsigned done = 0;
  while (done < n) {
    const ssize_t sent = transmit_message(*s, &messages[done].msg_hdr, flags);
    if (sent < 0) return keep.status(done ? static_cast<int>(done) : static_cast<int>(sent));
    messages[done++].msg_len = static_cast<unsigned>(sent);
  }
  return keep.status(static_cast<int>(done));
}

}  // extern "C"
