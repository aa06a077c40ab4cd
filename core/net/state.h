// What the files of core/net share: one NetState, and one NetWorker per worker.
//
// A node function reaches both through Worker::net: the NetOps that transports call are the first
// part of each NetWorker.
#pragma once
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include <hostloom/net.h>
#include <hostloom/siphash.h>
#include <hostloom/worker.h>

#include "graph/engine.h"
#include "net/adjacency/adjacency.h"
#include "net/group/group_reports.h"
#include "net/group/group_table.h"
#include "net/interface/interface.h"
#include "net/ip/rate_limit.h"
#include "net/neighbor/neighbor_news.h"
#include "net/neighbor/neighbor_table.h"
#include "net/net.h"
#include "net/ping/ping.h"
#include "net/ping/ping_run.h"
#include "net/reassembly/reassembly_table.h"
#include "net/route/route_table.h"

namespace loom {

// An rx queue on the worker that polls it.
struct InputQueue {
  Interface* interface = nullptr;
  uint16_t queue = 0;
  NodeRuntime* driver_node = nullptr;  // the driver's input node on this worker
  bool is_ready = false;               // its fd fired, or the last poll found packets
};

struct NetWorker : NetOps {
  NetState* state = nullptr;
  std::vector<std::unique_ptr<InputQueue>> inputs;  // changed while the worker stands still
  TokenBucket icmp4_errors, icmp6_errors;
  std::unique_ptr<ReassemblyTable> fragments4, fragments6;
  SipKey fragment_ids;  // of IPv6
  uint64_t fragments_sent = 0;
  uint32_t n_behind = 0;  // see take_to_worker0()
};

// Nodes that packets are handed to from outside a node function.
struct NetNodes {
  NodeId interface_output = kNoNode, ip4_lookup = kNoNode, ip6_lookup = kNoNode,
         ip4_rewrite = kNoNode, ip6_rewrite = kNoNode, ip4_local = kNoNode, ip6_local = kNoNode,
         icmp4_input = kNoNode, icmp6_input = kNoNode, icmp4_error = kNoNode, icmp6_error = kNoNode,
         ip4_reassembly = kNoNode, ip6_reassembly = kNoNode, neighbor_table = kNoNode;
};

// Arcs, made before the graph is built.
struct NetArcs {
  FeatureArc *device_input = nullptr, *ip4_unicast = nullptr, *ip6_unicast = nullptr,
             *ip4_local = nullptr, *ip6_local = nullptr, *ip4_output = nullptr,
             *ip6_output = nullptr, *interface_output = nullptr;
};

struct NetState {
  NetState(Engine& e, const NetConfig& c);
  ~NetState();

  Engine& engine;
  const NetConfig config;
  uint32_t generation = 1;  // NetOps::generation points here; see changed()
  InterfaceTable interfaces;
  AdjacencyTable adjacencies;
  RouteTables routes;
  NeighborTable neighbors;
  std::shared_ptr<NeighborNewsQueue> neighbor_news;
  std::unique_ptr<GroupTable> groups;  // never null
  GroupReports group_reports;
  PingRuns ping_runs;
  const HashSecret fragment_secret = HashSecret::random();  // which worker collects a datagram
  NetNodes nodes;
  NetArcs arcs;
  // IP protocol -> next index of ip4-local and ip6-local, and of the icmp input nodes for errors;
  // 0 = none. Control writes, workers read.
  std::array<std::atomic<uint16_t>, 256> ip4_protocols{}, ip6_protocols{}, icmp4_handlers{},
      icmp6_handlers{};
  std::vector<std::unique_ptr<NetWorker>> workers;
  std::vector<Net::InterfaceEvent> listeners;
  std::vector<std::function<void(IfIndex)>> address_listeners;
  std::vector<Net::TableUser> table_users;
  std::deque<CliCommand> cli_commands;  // the command tree points into it
  uint32_t n_placed = 0;                // rx queues placed so far, for the round robin

  // A route, address, neighbour or interface changed: cached RouteInfos are void. Any thread.
  void changed() noexcept { __atomic_fetch_add(&generation, 1, __ATOMIC_RELEASE); }
};

inline NetWorker& net_worker(Worker& w) noexcept {
  return const_cast<NetWorker&>(static_cast<const NetWorker&>(*w.net));
}
inline NetState& net_state(Worker& w) noexcept { return *net_worker(w).state; }

// Any worker. True when it is the first answer to a request of ours.
inline bool ping_answered(NetState& s, const EchoReply& reply) {
  return s.ping_runs.answered(reply);
}

// Another host has that address (RFC 4862 section 5.4.5): it is not used any more. Control thread.
void mark_duplicate(NetState& s, IfIndex index, const IpAddress& address);

}  // namespace loom
