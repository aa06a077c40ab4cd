#include "stall_guard.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "imports.h"

namespace loom::dpdk {
namespace {

const Import kPoll{"poll", reinterpret_cast<void*>(&stall_guard::poll)};
const Import kSend{"send", reinterpret_cast<void*>(&stall_guard::send)};

bool is_a(const DeviceConfig& d, std::string_view driver) {
  return d.address.starts_with(driver) || has_inside(d, driver);
}

// Once in a process each.
Result<void> guard(bool& is_done, std::string_view object, std::span<const Import> imports) {
  if (is_done) return {};
  auto done = redirect_imports(object, imports);
  is_done = done.has_value();
  return done;
}

}  // namespace

namespace stall_guard {

int poll(pollfd* fds, nfds_t n, int) noexcept { return ::poll(fds, n, 0); }

ssize_t send(int fd, const void* data, std::size_t size, int flags) noexcept {
  static thread_local uint32_t n_turns = 0;
  const ssize_t sent = ::send(fd, data, size, flags);
  const bool is_to_come_again = sent < 0 && (errno == EAGAIN || errno == EBUSY || errno == EINTR);
  if (is_to_come_again && ++n_turns < kMostTurns) return sent;
  n_turns = 0;
  return is_to_come_again ? 0 : sent;
}

}  // namespace stall_guard

Result<void> guard_stalls(const DeviceConfig& d) {
  static bool has_packet = false, has_xdp = false;
  if (is_a(d, "net_af_packet") || is_a(d, "eth_af_packet"))
    if (auto done = guard(has_packet, "librte_net_af_packet.so", std::array{kPoll}); !done)
      return done;
  if (is_a(d, "net_af_xdp"))
    return guard(has_xdp, "librte_net_af_xdp.so", std::array{kPoll, kSend});
  return {};
}

}  // namespace loom::dpdk
