// What `show udp` and the plugin's messages tell: a worker's numbers, and those of ports. Control
// thread, but for what says otherwise.
#pragma once
#include <span>

#include "udp.h"

namespace loom::udp {

struct Figures {
  uint64_t bound = 0, with_peer = 0, members = 0, known_paths = 0;
};
Figures figures_of(Host&, uint32_t worker);

// Sockets without a peer, and their datagrams.
struct Port {
  uint32_t sockets = 0;
  uint64_t received = 0, sent = 0, overflowed = 0;
};
// A worker stands still for so many ports, and so many of their sockets, at a time.
constexpr uint32_t kPortsAtOnce = 4096;
constexpr std::size_t kMostSockets = 20'000;
// Adds up those of the ports from `first` on, of all workers. `ports`: kPortsAtOnce at most. How
// many sockets were not looked at.
uint64_t count_ports(Host&, uint32_t first, std::span<Port> ports);

}  // namespace loom::udp
