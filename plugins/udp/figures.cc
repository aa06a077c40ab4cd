#include "figures.h"

namespace loom::udp {
namespace {

// On the worker: allocates nothing.
uint64_t add_ports(UdpWorker& u, uint32_t first, std::span<Port> ports) noexcept {
  std::size_t n = 0;
  uint64_t left = 0;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const auto [begin, end] = u.bound_ports.equal_range(static_cast<uint16_t>(first + i));
    for (auto at = begin; at != end; ++at) {
      if (++n > kMostSockets) {
        ++left;
        continue;
      }
      const Connection* c = u.connections.find(at->second);
      if (!c) continue;
      Port& p = ports[i];
      ++p.sockets;
      p.received += c->received;
      p.sent += c->sent;
      p.overflowed += c->overflowed;
    }
  }
  return left;
}

}  // namespace

Figures figures_of(Host& host, uint32_t worker) {
  Figures f;
  host.run_on_worker(worker, [&f](Worker& w) {
    UdpWorker& u = udp_worker(w);
    f.bound = u.bound_ports.size();
    f.with_peer = u.connections.size() - f.bound;
    for (const auto& [id, all] : u.memberships) f.members += all.size();
    f.known_paths = u.destinations.n_known_paths(w.now);
  });
  return f;
}

uint64_t count_ports(Host& host, uint32_t first, std::span<Port> ports) {
  uint64_t left = 0;
  for (uint32_t i = 0; i < host.n_workers(); ++i)
    host.run_on_worker(i, [&](Worker& w) { left += add_ports(udp_worker(w), first, ports); });
  return left;
}

}  // namespace loom::udp
