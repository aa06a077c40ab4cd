#include "ldp/datagrams.h"

#include <netinet/in.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>

#include "ldp/ancillary.h"
#include "ldp/candidate.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/names.h"
#include "ldp/process.h"
#include "vcl/include/vcl/vppcom.h"

namespace loom::ldp {
namespace {

std::mutex deciding;

bool is_kernels(const svm::Endpoint& e) noexcept { return is_loopback(e); }

// Opens a session with the candidate's options and addresses. Positive: the socket stays the
// kernel's.
int open_session(int fd, const svm::Endpoint* local, const svm::Endpoint* peer) {
  switch (find_home()) {
    case Home::kKernel:
      return 1;
    case Home::kNowhere:
      return -ENETDOWN;
    case Home::kHostloom:
      break;
  }
  const bool nonblocking = libc().fcntl(fd, F_GETFL) & O_NONBLOCK;
  Held<Session> s(worker()->new_session(VPPCOM_PROTO_UDP, candidate_is_ip4(fd), nonblocking));
  prepare_session(fd, *s);
  if (local) s->bind(*local);
  const int outcome = s->open_datagrams(peer);
  debug(1, "fd %d: datagrams: %d", fd, outcome);
  // Without the transport everything is the kernel's; so is an address that Hostloom does not have.
  if (outcome == -EPROTONOSUPPORT) return 1;
  if (outcome == -EADDRNOTAVAIL && local && !is_wildcard(*local)) return 1;
  if (outcome != 0) return outcome;
  (void)s->ask_groups_later();  // the program has been told that it is a member
  return become_session(fd, s.release());
}

int in_kernel(int fd, int (*call)(int, const sockaddr*, socklen_t), const sockaddr* addr,
              socklen_t len) {
  if (is_candidate(fd))
    if (const int e = become_kernel(fd); e != 0) return e;
  return call(fd, addr, len) == 0 ? 0 : -errno;
}

// connect() takes the same names as a destination has, but for AF_UNSPEC.
int to_peer(const sockaddr* addr, socklen_t len, bool socket_is_ip4, svm::Endpoint& out) {
  sa_family_t family;
  if (!addr || len < sizeof family) return -EINVAL;
  std::memcpy(&family, &addr->sa_family, sizeof family);
  return family == AF_UNSPEC ? -EAFNOSUPPORT : to_destination(addr, len, socket_is_ip4, out);
}

}  // namespace

int bind_datagrams(int fd, const svm::Endpoint& local, const sockaddr* addr, socklen_t len) {
  const std::lock_guard lock(deciding);
  if (session_at(fd)) return -EINVAL;
  if (!is_candidate(fd) || is_kernels(local)) return in_kernel(fd, libc().bind, addr, len);
  const int outcome = open_session(fd, &local, nullptr);
  return outcome > 0 ? in_kernel(fd, libc().bind, addr, len) : outcome;
}

int connect_datagrams(int fd, const sockaddr* addr, socklen_t len) {
  svm::Endpoint remote{};
  if (to_peer(addr, len, candidate_is_ip4(fd), remote) != 0)  // or it is AF_UNSPEC
    return libc().connect(fd, addr, len) == 0 ? 0 : -errno;
  const std::lock_guard lock(deciding);
  if (const auto s = session_at(fd)) return connect_datagrams(*s, addr, len);
  // 0.0.0.0 and :: as destinations are the kernel's names of itself.
  if (!is_candidate(fd) || is_kernels(remote) || is_wildcard(remote) || remote.port == 0)
    return in_kernel(fd, libc().connect, addr, len);
  const int outcome = open_session(fd, nullptr, &remote);
  return outcome > 0 ? in_kernel(fd, libc().connect, addr, len) : outcome;
}

int connect_datagrams(Session& s, const sockaddr* addr, socklen_t len) {
  sa_family_t family = AF_UNSPEC;
  if (!addr || len < sizeof family) return -EINVAL;
  std::memcpy(&family, &addr->sa_family, sizeof family);
  svm::Endpoint remote{};
  if (family == AF_UNSPEC) {
    remote.is_ip4 = s.socket_is_ip4;
    return s.open_datagrams(&remote);
  }
  if (const int e = to_peer(addr, len, s.socket_is_ip4, remote); e != 0) return e;
  if (remote.port == 0) return -EINVAL;
  if (is_kernels(remote) || is_wildcard(remote)) return -ENETUNREACH;
  return s.connect(remote);
}

int settle_datagrams(int fd, const sockaddr* addr, socklen_t len) {
  // Under the lock: while another thread decides, the descriptor may be no socket for a moment.
  const std::lock_guard lock(deciding);
  if (!is_candidate(fd)) return session_at(fd) ? 0 : 1;
  svm::Endpoint to;
  if (!candidate_is_datagram(fd) || to_destination(addr, len, candidate_is_ip4(fd), to) != 0 ||
      to.port == 0)
    return 1;
  const int outcome = is_kernels(to) || is_wildcard(to) ? 1 : open_session(fd, nullptr, nullptr);
  if (outcome <= 0) return outcome;
  const int e = become_kernel(fd);
  return e != 0 ? e : 1;
}

ssize_t transmit_datagram(Session& s, const msghdr& m, int flags) {
  vcl::DatagramOut out;
  svm::Endpoint to;
  if (m.msg_name && m.msg_namelen != 0) {
    const int e = to_destination(static_cast<const sockaddr*>(m.msg_name), m.msg_namelen,
                                 s.socket_is_ip4, to);
    if (e < 0) return e;
    if (e == 0) {
      if (is_kernels(to) || is_wildcard(to)) return -ENETUNREACH;
      out.to = &to;
    }
  }
  svm::Endpoint source{};
  if (const int e = take_control(m, out, source); e != 0) return e;
  return s.send_datagram({m.msg_iov, m.msg_iovlen}, flags, out);
}

ssize_t receive_datagram(Session& s, msghdr& m, int flags) {
  vcl::DatagramIn in;
  const ssize_t n = s.receive_datagram({m.msg_iov, m.msg_iovlen}, flags, &in);
  if (n < 0) return n;
  m.msg_flags = in.is_truncated ? MSG_TRUNC : 0;
  give_control(s, in, m);
  if (m.msg_name) {
    socklen_t len = m.msg_namelen;
    if (const int e =
            give_name(in.from(), s.socket_is_ip4, static_cast<sockaddr*>(m.msg_name), &len);
        e != 0)
      return e;
    m.msg_namelen = len;
  } else {
    m.msg_namelen = 0;
  }
  return n;
}

ssize_t receive_datagram_error(Session& s, msghdr& m) {
  vcl::DatagramIn in;
  const ssize_t n = s.receive_error({m.msg_iov, m.msg_iovlen}, in);
  if (n < 0) return n;
  m.msg_flags = MSG_ERRQUEUE | (in.is_truncated ? MSG_TRUNC : 0);
  give_error(s, in, m);
  socklen_t len = m.msg_name ? m.msg_namelen : 0;
  if (m.msg_name)  // where the datagram went
    if (const int e =
            give_name(in.from(), s.socket_is_ip4, static_cast<sockaddr*>(m.msg_name), &len);
        e != 0)
      return e;
  m.msg_namelen = len;
  return n;
}

void datagrams_after_fork() noexcept { new (&deciding) std::mutex; }

}  // namespace loom::ldp
