#include "vhost_guard.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>

#include "imports.h"

namespace loom::dpdk {
namespace {

// Peers send a message by one call, and it is there in one piece.
constexpr suseconds_t kPatienceMs = 100;

// What the library calls in place of recvmsg(2), for a message's beginning: a message has one.
ssize_t received(int fd, msghdr* message, int flags) {
  const timeval patience{.tv_sec = 0, .tv_usec = kPatienceMs * 1000};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  return ::recvmsg(fd, message, flags);
}

}  // namespace

bool is_vhost(const DeviceConfig& d) noexcept {
  return d.address.starts_with("net_vhost") || d.address.starts_with("eth_vhost") ||
         has_inside(d, "net_vhost") || has_inside(d, "eth_vhost");
}

Result<void> guard_vhost() {
  static bool is_done = false;
  if (is_done) return {};
  const std::array imports{Import{"recvmsg", reinterpret_cast<void*>(&received)}};
  auto done = redirect_imports("librte_vhost.so", imports);
  is_done = done.has_value();
  return done;
}

}  // namespace loom::dpdk
