#include "vhost_guard.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>

#include "imports.h"

namespace loom::dpdk {
namespace {

// Peers send a message by one call, and it is there in one piece.
constexpr suseconds_t kPatienceMs = 100;

thread_local int asking = -1;  // the socket whose message the thread is in

// What the library calls in place of recvmsg(2), for a message's beginning: a message has one.
ssize_t received(int fd, msghdr* message, int flags) {
  const timeval patience{.tv_sec = 0, .tv_usec = kPatienceMs * 1000};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  asking = fd;
  return ::recvmsg(fd, message, flags);
}

// In place of sendmsg(2). Whoever asks and has no room for the answer has left hundreds unread; the
// library does not look whether it was sent. What it asks of a peer, by another socket, it asks
// again.
ssize_t sent(int fd, const msghdr* message, int flags) {
  const ssize_t n = ::sendmsg(fd, message, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n >= 0 || errno != EAGAIN || fd != asking) return n;
  (void)::shutdown(fd, SHUT_RDWR);
  errno = EPIPE;
  return n;
}

}  // namespace

bool is_vhost(const DeviceConfig& d) noexcept {
  return d.address.starts_with("net_vhost") || d.address.starts_with("eth_vhost") ||
         has_inside(d, "net_vhost") || has_inside(d, "eth_vhost");
}

Result<void> guard_vhost() {
  static bool is_done = false;
  if (is_done) return {};
  const std::array imports{Import{"recvmsg", reinterpret_cast<void*>(&received)},
                           Import{"sendmsg", reinterpret_cast<void*>(&sent)}};
  auto done = redirect_imports("librte_vhost.so", imports);
  is_done = done.has_value();
  return done;
}

}  // namespace loom::dpdk
