// socket, bind, listen, connect, names, shutdown: where a socket's home is decided.
//
// Loopback is the kernel's; so is whatever is not a TCP or UDP socket. TCP sockets are Hostloom's
// from listen() or connect() on, and stay it; datagrams.h says when UDP's are.
#include <netinet/in.h>

#include "ldp/candidate.h"
#include "ldp/datagrams.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/names.h"
#include "ldp/process.h"
#include "ldp/scope.h"
#include "ldp/transparent_tls.h"
#include "vcl/include/vcl/vppcom.h"

using namespace loom;
using namespace loom::ldp;

namespace {

bool could_be_hostloom(int domain, int type, int protocol) noexcept {
  if (domain != AF_INET && domain != AF_INET6) return false;
  switch (type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) {
    case SOCK_STREAM:
      return protocol == 0 || protocol == IPPROTO_TCP;
    case SOCK_DGRAM:
      return protocol == 0 || protocol == IPPROTO_UDP;
    default:
      return false;
  }
}

Held<Session> make_session(int fd) {
  const bool nonblocking = libc().fcntl(fd, F_GETFL) & O_NONBLOCK;
  Held<Session> s(worker()->new_session(stream_proto(), candidate_is_ip4(fd), nonblocking));
  prepare_session(fd, *s);
  prepare_tls(*s);
  return s;
}

// Listening in the kernel with what was asked for.
int listen_in_kernel(int fd, int backlog) {
  if (const int e = become_kernel(fd); e != 0) return e;
  return libc().listen(fd, backlog) == 0 ? 0 : -errno;
}

// Linux says at bind() that somebody has the port. Anything else listen() or connect() will say.
int claim_bound(int fd) {
  const Held<Session> s = make_session(fd);
  const int outcome = s->bind_end();
  debug(1, "fd %d: bind: %d", fd, outcome);
  if (outcome == 0) keep_bound_end(fd, s->bound_end(), s->local().port);
  if (outcome != -EADDRINUSE) return 0;
  forget_bind(fd);
  return outcome;
}

// IP_BIND_ADDRESS_NO_PORT: connect() is to choose the port.
bool binds_address_alone(int fd) {
  int on = 0;
  socklen_t len = sizeof on;
  return libc().getsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, &len) == 0 && on != 0;
}

int listen_candidate(int fd, int backlog) {
  switch (find_home()) {
    case Home::kKernel:
      return listen_in_kernel(fd, backlog);
    case Home::kNowhere:
      return -ENETDOWN;
    case Home::kHostloom:
      break;
  }
  if (const int e = may_listen(); e != 0) return e;
  Held<Session> s = make_session(fd);
  const int outcome = without_interface(
      *s, s->listen(static_cast<uint32_t>(backlog < 0 ? SOMAXCONN : backlog)), true);
  debug(1, "fd %d: listen: %d", fd, outcome);
  if (outcome == 0) return become_session(fd, s.release());
  // An address that is none of Hostloom's may be one of the kernel's, as may an interface.
  svm::Endpoint local;
  const bool foreign = (outcome == -EADDRNOTAVAIL || outcome == -ENODEV) && bound_to(fd, local) &&
                       !is_wildcard(local);
  return foreign ? listen_in_kernel(fd, backlog) : outcome;
}

int connect_in_kernel(int fd, const sockaddr* addr, socklen_t len) {
  if (const int e = become_kernel(fd); e != 0) return e;
  return libc().connect(fd, addr, len) == 0 ? 0 : -errno;
}

int connect_candidate(int fd, const sockaddr* addr, socklen_t len) {
  if (candidate_is_datagram(fd)) return connect_datagrams(fd, addr, len);
  svm::Endpoint remote;
  if (to_endpoint(addr, len, candidate_is_ip4(fd), remote) != 0)
    return libc().connect(fd, addr, len) == 0 ? 0 : -errno;
  // 0.0.0.0 and :: as destinations are the kernel's names of itself.
  if (is_loopback(remote) || is_wildcard(remote)) return connect_in_kernel(fd, addr, len);
  if (is_group(remote)) return -ENETUNREACH;
  switch (find_home()) {
    case Home::kKernel:
      return connect_in_kernel(fd, addr, len);
    case Home::kNowhere:
      return -ENETDOWN;
    case Home::kHostloom:
      break;
  }
  Held<Session> s = make_session(fd);
  if (const int e = take_scope(*s, remote, scope_of(addr, len, remote)); e != 0) return e;
  s->ref();
  if (const int e = become_session(fd, s.get()); e != 0) return e;
  const int outcome = without_interface(*s, s->connect(remote), false);
  debug(1, "fd %d: connect: %d", fd, outcome);
  return outcome;
}

// Once more, of one that is not connected yet or was not to be.
int connect_again(Session& s, const sockaddr* addr, socklen_t len) {
  svm::Endpoint remote;
  if (const int e = to_endpoint(addr, len, s.socket_is_ip4, remote); e != 0) return e;
  const Session::State state = s.state();
  if (state == Session::State::kIdle || state == Session::State::kFailed)
    if (const int e = take_scope(s, remote, scope_of(addr, len, remote)); e != 0) return e;
  return without_interface(s, s.connect(remote), false);
}

// Who has chosen a device of the kernel's needs no scope (SO_BINDTODEVICE); else it is EINVAL.
int bind_in_kernel(int fd, const sockaddr* addr, socklen_t len) {
  return libc().bind(fd, addr, len) == 0 ? become_kernel(fd) : -errno;
}

}  // namespace

extern "C" {

int socket(int domain, int type, int protocol) noexcept {
  const int fd = libc().socket(domain, type, protocol);
  if (fd >= 0 && could_be_hostloom(domain, type, protocol)) note_candidate(fd);
  return fd;
}

int bind(int fd, const sockaddr* addr, socklen_t len) noexcept {
  const Errno keep;
  if (const auto s = session_at(fd)) return keep.status(-EINVAL);
  if (!is_candidate(fd)) return libc().bind(fd, addr, len);
  svm::Endpoint local;
  if (to_endpoint(addr, len, candidate_is_ip4(fd), local) != 0) return libc().bind(fd, addr, len);
  if (candidate_is_datagram(fd)) return keep.status(bind_datagrams(fd, local, addr, len));
  if (svm::Endpoint before; bound_to(fd, before)) return keep.status(-EINVAL);
  uint32_t scope = scope_of(addr, len, local);
  if (scope == 0 && is_of_link(local)) scope = device_of(fd).number;
  if (is_of_link(local) && (scope == 0 || scope > kMostScope))
    return keep.status(bind_in_kernel(fd, addr, len));
  const Home home = is_loopback(local) ? Home::kKernel : find_home();
  if (home == Home::kNowhere) return keep.status(-ENETDOWN);
  // An interface that is none of Hostloom's may be one of the kernel's.
  if (home == Home::kHostloom && scope != 0 && find_scope(*worker(), scope) == -ENODEV)
    return keep.status(bind_in_kernel(fd, addr, len));
  const int outcome = note_bind(fd, local, addr, len);
  if (outcome != 0) return keep.status(outcome);
  if (home != Home::kHostloom) return keep.status(become_kernel(fd));
  return keep.status(local.port != 0 || !binds_address_alone(fd) ? claim_bound(fd) : 0);
}

int listen(int fd, int backlog) noexcept {
  const Errno keep;
  if (const auto s = session_at(fd))
    return keep.status(s->is_datagram()
                           ? -EOPNOTSUPP
                           : s->listen(static_cast<uint32_t>(backlog < 0 ? SOMAXCONN : backlog)));
  if (!is_candidate(fd) || candidate_is_datagram(fd)) return libc().listen(fd, backlog);
  return keep.status(listen_candidate(fd, backlog));
}

int connect(int fd, const sockaddr* addr, socklen_t len) {
  const Errno keep;
  if (const auto s = session_at(fd)) {
    return keep.status(s->is_datagram() ? connect_datagrams(*s, addr, len)
                                        : connect_again(*s, addr, len));
  }
  if (is_candidate(fd)) return keep.status(connect_candidate(fd, addr, len));
  return libc().connect(fd, addr, len);
}

int getsockname(int fd, sockaddr* addr, socklen_t* len) noexcept {
  const Errno keep;
  if (const auto s = session_at(fd))
    return keep.status(give_name(s->local(), s->socket_is_ip4, addr, len, s->options().interface));
  svm::Endpoint local;
  uint32_t scope = 0;
  if (is_candidate(fd) && !binds_address_alone(fd)) settle_port(fd);
  if (is_candidate(fd) && bound_to(fd, local, &scope)) {
    if (scope == 0) scope = device_of(fd).number;
    return keep.status(give_name(local, candidate_is_ip4(fd), addr, len, scope));
  }
  return libc().getsockname(fd, addr, len);
}

int getpeername(int fd, sockaddr* addr, socklen_t* len) noexcept {
  const Errno keep;
  const auto s = session_at(fd);
  if (!s) return libc().getpeername(fd, addr, len);
  if (s->state() != Session::State::kOpen || s->remote().port == 0) return keep.status(-ENOTCONN);
  return keep.status(give_name(s->remote(), s->socket_is_ip4, addr, len, s->options().interface));
}

int shutdown(int fd, int how) noexcept {
  const Errno keep;
  const auto s = session_at(fd);
  if (!s) return libc().shutdown(fd, how);
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return keep.status(-EINVAL);
  return keep.status(s->shutdown(how));
}

}  // extern "C"
