// The plugin as a whole: registration, what all workers share, and what UDP has on one worker.
// Shared state is written before the workers run and only read by them; a worker's is its own.
#pragma once
#include <array>
#include <memory>
#include <unordered_map>

#include <hostloom/host.h>
#include <hostloom/session.h>
#include <hostloom/wire.h>

#include "config.h"
#include "connection.h"
#include "destinations.h"
#include "local_ports.h"

namespace loom::udp {

struct UdpWorker {
  UdpWorker(Worker& worker, const Config& c)
      : w(worker), config(c), connections(c.max_connections), destinations(worker.random()) {
    connections.use(worker);
  }
  Worker& w;
  const Config& config;
  Pool connections;
  Destinations destinations;
  std::unordered_multimap<uint16_t, ConnId> bound_ports;  // those without a peer
  std::unordered_map<ConnId, std::vector<Membership>> memberships;
  // Sources of a filter that is being put together (GroupOp::kAddFilter).
  std::unordered_map<ConnId, std::vector<IpAddress>> filters;
  uint32_t n_gro = 0;      // connections that take several datagrams at once
  uint32_t pmtu_news = 0;  // how often the path MTU of a destination has been learnt
};

// TransportOps carries no context pointer, so this is found by name. One stack per process.
struct Shared {
  Host* host = nullptr;
  Config config;
  uint32_t worker_slot = 0;
  TransportId transport = kNoTransport;
  NodeId output4 = kNoNode, output6 = kNoNode, group = kNoNode, hearer = kNoNode,
         path_mtu = kNoNode;
  uint32_t n_workers = 1;
  std::array<uint32_t, 256> n_bound{};  // by worker, atomic: sockets without a peer
  std::unique_ptr<LocalPorts> local_ports;
};
Shared& shared() noexcept;

inline UdpWorker& udp_worker(Worker& w) noexcept {
  return *static_cast<UdpWorker*>(w.plugin_data[shared().worker_slot]);
}

// Life-cycle of the plugin; see PluginInfo.
Result<void> init(Host&) noexcept;
Result<void> start(Host&) noexcept;
void stop(Host&) noexcept;

extern const TransportOps kTransportOps;  // transport.cc

// Nodes, each in the file of its name.
extern const NodeInfo kUdp4Input, kUdp6Input;
extern const NodeInfo kUdp4Error, kUdp6Error;
extern const NodeInfo kUdp4Output, kUdp6Output;

}  // namespace loom::udp
