#include "ldp/datagrams.h"

#include <limits.h>
#include <netinet/in.h>

#include <algorithm>
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
#include "ldp/scope.h"
#include "vcl/include/vcl/vppcom.h"

namespace loom::ldp {
namespace {

std::mutex deciding;

bool is_kernels(const svm::Endpoint& e) noexcept { return is_loopback(e); }

// Opens a session with the candidate's options and addresses; `scope`: of the one that is named.
// Positive: the socket stays the kernel's.
int open_session(int fd, const svm::Endpoint* local, const svm::Endpoint* peer, uint32_t scope) {
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
  if (local) {
    s->bind(*local);
    if (scope != 0) set_scope(*s, scope);  // as Linux, whatever was chosen before
  }
  if (peer)
    if (const int e = take_scope(*s, *peer, scope); e != 0) return e;
  const int outcome = without_interface(*s, s->open_datagrams(peer), local != nullptr);
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

// What the kernel may bind, which is then its own; else the socket stays undecided.
int try_kernel(int fd, const sockaddr* addr, socklen_t len) {
  return libc().bind(fd, addr, len) == 0 ? become_kernel(fd) : -errno;
}

// connect() takes the same names as a destination has, but for AF_UNSPEC.
int to_peer(const sockaddr* addr, socklen_t len, bool socket_is_ip4, svm::Endpoint& out) {
  sa_family_t family;
  if (!addr || len < sizeof family) return -EINVAL;
  std::memcpy(&family, &addr->sa_family, sizeof family);
  return family == AF_UNSPEC ? -EAFNOSUPPORT : to_destination(addr, len, socket_is_ip4, out);
}

// What a DatagramSend refers to.
struct OutgoingNames {
  svm::Endpoint to{}, source{};
};

// What the program wants to send. 0, or a negative errno.
int to_send(Session& s, const msghdr& m, vcl::DatagramSend& d, OutgoingNames& names) {
  if (m.msg_iovlen > IOV_MAX) return -EMSGSIZE;
  d = {.from = {m.msg_iov, m.msg_iovlen}, .out = {}};
  names = {};
  if (m.msg_name && m.msg_namelen != 0) {
    const int e = to_destination(static_cast<const sockaddr*>(m.msg_name), m.msg_namelen,
                                 s.socket_is_ip4, names.to);
    if (e < 0) return e;
    if (e == 0) {
      if (is_kernels(names.to) || is_wildcard(names.to)) return -ENETUNREACH;
      d.out.to = &names.to;
      d.out.interface = scope_of(m.msg_name, m.msg_namelen, names.to);
    }
  }
  const uint32_t named = d.out.interface;
  if (const int e = take_control(m, d.out, names.source, s.ancillary.load()); e != 0) return e;
  // A control message may not name another than the only one of the socket.
  return d.out.interface == named || may_use(s, d.out.interface) ? 0 : -EINVAL;
}

// Whether a datagram may be received into it, before one is. 0, or a negative errno.
int cannot_take(const msghdr& m) {
  if (m.msg_iovlen > IOV_MAX) return -EMSGSIZE;
  return m.msg_name && static_cast<int>(m.msg_namelen) < 0 ? -EINVAL : 0;
}

// What is said with a datagram whose bytes are there. 0, or a negative errno.
int give_message(Session& s, const vcl::DatagramIn& in, msghdr& m) {
  m.msg_flags = in.is_truncated ? MSG_TRUNC : 0;
  give_control(s, in, m);
  socklen_t len = m.msg_name ? m.msg_namelen : 0;
  if (m.msg_name)
    if (const int e = give_name(in.from(), s.socket_is_ip4, static_cast<sockaddr*>(m.msg_name),
                                &len, in.header.interface + 1);
        e != 0)
      return e;
  m.msg_namelen = len;
  return 0;
}

// After shutdown(SHUT_RD).
ssize_t no_datagram(msghdr& m) {
  m.msg_namelen = 0;
  m.msg_controllen = 0;
  m.msg_flags = 0;
  return 0;
}

}  // namespace

int bind_datagrams(int fd, const svm::Endpoint& local, const sockaddr* addr, socklen_t len) {
  const std::lock_guard lock(deciding);
  if (session_at(fd)) return -EINVAL;
  if (!is_candidate(fd) || is_kernels(local)) return in_kernel(fd, libc().bind, addr, len);
  uint32_t scope = scope_of(addr, len, local);
  if (scope == 0 && is_of_link(local)) scope = device_of(fd).number;
  // Of no link (EINVAL, but for who has chosen a device of the kernel's), or none of Hostloom's.
  if (is_of_link(local) && (scope == 0 || scope > kMostScope)) return try_kernel(fd, addr, len);
  const int outcome = open_session(fd, &local, nullptr, scope);
  return outcome > 0 || outcome == -ENODEV ? try_kernel(fd, addr, len) : outcome;
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
  const int outcome = open_session(fd, nullptr, &remote, scope_of(addr, len, remote));
  return outcome > 0 ? in_kernel(fd, libc().connect, addr, len) : outcome;
}

int connect_datagrams(Session& s, const sockaddr* addr, socklen_t len) {
  sa_family_t family = AF_UNSPEC;
  if (!addr || len < sizeof family) return -EINVAL;
  std::memcpy(&family, &addr->sa_family, sizeof family);
  svm::Endpoint remote{};
  if (family == AF_UNSPEC) {
    remote.is_ip4 = s.socket_is_ip4;
    const int e = s.open_datagrams(&remote);
    if (e == 0) set_scope(s, 0);
    return e;
  }
  if (const int e = to_peer(addr, len, s.socket_is_ip4, remote); e != 0) return e;
  if (remote.port == 0) return -EINVAL;
  if (is_kernels(remote) || is_wildcard(remote)) return -ENETUNREACH;
  if (const int e = take_scope(s, remote, scope_of(addr, len, remote)); e != 0) return e;
  return without_interface(s, s.connect(remote), false);
}

int settle_datagrams(int fd, const sockaddr* addr, socklen_t len) {
  // Under the lock: while another thread decides, the descriptor may be no socket for a moment.
  const std::lock_guard lock(deciding);
  if (!is_candidate(fd)) return session_at(fd) ? 0 : 1;
  svm::Endpoint to;
  if (!candidate_is_datagram(fd) || to_destination(addr, len, candidate_is_ip4(fd), to) != 0 ||
      to.port == 0)
    return 1;
  const int outcome = is_kernels(to) || is_wildcard(to) ? 1 : open_session(fd, nullptr, nullptr, 0);
  if (outcome <= 0) return outcome;
  const int e = become_kernel(fd);
  return e != 0 ? e : 1;
}

ssize_t transmit_datagram(Session& s, const msghdr& m, int flags) {
  vcl::DatagramSend d;
  OutgoingNames names;
  if (const int e = to_send(s, m, d, names); e != 0) return e;
  const int n = s.send_datagrams({&d, 1}, flags);
  return n == 1 ? static_cast<ssize_t>(d.length) : n;
}

int transmit_datagrams(Session& s, mmsghdr* messages, unsigned n, int flags) {
  vcl::DatagramSend all[kMostTogether];
  OutgoingNames names[kMostTogether];
  unsigned done = 0;
  while (done < n) {
    const unsigned most = std::min(n - done, kMostTogether);
    unsigned good = 0;
    int error = 0;
    while (good < most &&
           (error = to_send(s, messages[done + good].msg_hdr, all[good], names[good])) == 0)
      ++good;
    const int sent = good != 0 ? s.send_datagrams({all, good}, flags) : error;
    if (sent < 0) return done != 0 ? static_cast<int>(done) : sent;
    for (int i = 0; i < sent; ++i) messages[done++].msg_len = static_cast<unsigned>(all[i].length);
    if (static_cast<unsigned>(sent) < most) break;  // the next call is told why
  }
  return static_cast<int>(done);
}

ssize_t receive_datagram(Session& s, msghdr& m, int flags) {
  if (const int e = cannot_take(m); e != 0) return e;
  vcl::DatagramReceive d{{m.msg_iov, m.msg_iovlen}};
  const int n = s.receive_datagrams({&d, 1}, flags);
  if (n < 0) return n;
  if (n == 0) return no_datagram(m);
  const int e = give_message(s, d.in, m);
  return e != 0 ? e : d.n;
}

int receive_datagrams(Session& s, mmsghdr* messages, unsigned n, int flags) {
  vcl::DatagramReceive all[kMostTogether];
  const unsigned most = std::min(n, kMostTogether);
  unsigned good = 0;
  int error = 0;
  for (; good < most && (error = cannot_take(messages[good].msg_hdr)) == 0; ++good)
    all[good].to = {messages[good].msg_hdr.msg_iov, messages[good].msg_hdr.msg_iovlen};
  const int got = good != 0 ? s.receive_datagrams({all, good}, flags) : error;
  if (got < 0) return got;
  if (got == 0) {
    messages[0].msg_len = static_cast<unsigned>(no_datagram(messages[0].msg_hdr));
    return 1;
  }
  for (int i = 0; i < got; ++i) {
    if (const int e = give_message(s, all[i].in, messages[i].msg_hdr); e != 0) return i ? i : e;
    messages[i].msg_len = static_cast<unsigned>(all[i].n);
  }
  return got;
}

ssize_t receive_datagram_error(Session& s, msghdr& m) {
  vcl::DatagramIn in;
  svm::ErrorPacket by;
  const ssize_t n = s.receive_error({m.msg_iov, m.msg_iovlen}, in, &by);
  if (n < 0) return n;
  m.msg_flags = MSG_ERRQUEUE | (in.is_truncated ? MSG_TRUNC : 0);
  give_error(s, in, by, m);
  socklen_t len = m.msg_name ? m.msg_namelen : 0;
  if (m.msg_name)  // where the datagram went
    if (const int e = give_name(in.from(), s.socket_is_ip4, static_cast<sockaddr*>(m.msg_name),
                                &len, by.interface);
        e != 0)
      return e;
  m.msg_namelen = len;
  return n;
}

void datagrams_after_fork() noexcept { new (&deciding) std::mutex; }

}  // namespace loom::ldp
