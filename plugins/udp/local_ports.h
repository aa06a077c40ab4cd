// How many sockets have each port as their own, on all workers, bound or with a peer.
//
// The flow table refuses a port to one socket that has another's address and port. A port that
// nobody has asked for must be nobody's at all: where a socket that is bound to any address has the
// port of one with a narrower entry (a peer, or an address), the answers that it waits for are the
// other one's. Linux gives no such port either.
//
// Threads: any worker. Two that choose the same one at the same moment may both have it.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

namespace loom::udp {

class LocalPorts {
 public:
  void add(uint16_t port) noexcept { n_[port].fetch_add(1, std::memory_order_relaxed); }
  void remove(uint16_t port) noexcept { n_[port].fetch_sub(1, std::memory_order_relaxed); }
  bool is_free(uint16_t port) const noexcept {
    return n_[port].load(std::memory_order_relaxed) == 0;
  }

 private:
  std::array<std::atomic<uint32_t>, 1u << 16> n_{};
};

}  // namespace loom::udp
