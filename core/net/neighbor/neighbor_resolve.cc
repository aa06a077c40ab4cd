// Node "neighbor-resolve": packets for a neighbour whose link-layer address is not known. They wait
// in the neighbour's queue, on worker 0, and the neighbour is asked.
//   in    packets from ip4-lookup, ip4-rewrite and their IPv6 twins; adjacency: a glean or an
//         incomplete one; data at the IP header
//   out   (later) ip4-rewrite, ip6-rewrite or icmp-error, from the neighbour table | drop
#include "net/neighbor/nodes.h"
#include "net/neighbor/to_worker0.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop };
enum Counter : uint16_t {
  kWaiting,
  kHandedOff,
  kHandoffFull,
  kTableFull,
  kInterfaceDown,
  kStale,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"waiting", Severity::kInfo, "packets that wait, or were answered just now"},
    {"handed-off", Severity::kInfo, "passed to worker 0, which handles and counts it again"},
    {"handoff-full", Severity::kWarn, "worker 0 does not keep up"},
    {"table-full", Severity::kWarn, "no room for another neighbour"},
    {"interface-down", Severity::kInfo, "the interface is down"},
    {"stale", Severity::kInfo, "the adjacency changed meanwhile"},
};

IpAddress destination_of(Buffer& b) noexcept {
  if (const auto* ip = b.peek<Ip4Header>(); ip && ip->version() == 4) return IpAddress(ip->dst);
  if (const auto* ip = b.peek<Ip6Header>()) return IpAddress(ip->dst);
  return {};
}

// kWaiting: the packet is the table's. Otherwise it is dropped for that reason.
Counter take(Worker& w, NetState& net, Buffer* b) {
  const Adjacency a = net.adjacencies.read(b->adjacency);
  const Interface* f = net.interfaces.find(a.tx_if);
  Neighbor* n = nullptr;
  switch (a.kind) {
    case AdjacencyKind::kGlean:
      if (!f || !f->is_up()) return kInterfaceDown;
      n = net.neighbors.resolve(w, a.tx_if, destination_of(*b));
      if (!n) return kTableFull;
      break;
    case AdjacencyKind::kIncomplete:
    case AdjacencyKind::kRewrite:
      if (!f || !f->is_up()) return kInterfaceDown;
      n = net.neighbors.by_index(a.neighbor);
      if (!n || n->adjacency != b->adjacency) return kStale;
      break;
    default:
      return kStale;
  }
  net.neighbors.wait(w, *n, b);
  return kWaiting;
}

void neighbor_resolve(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  std::array<Buffer*, kFrameSize> dropped;
  std::array<uint32_t, kCounterCount> counts{};
  std::size_t n = 0;
  for (Buffer* b : in) {
    Counter counter;
    if (w.index != 0)
      counter = take_to_worker0(w, rt.id, b) ? kHandedOff : kHandoffFull;
    else
      counter = take(w, net, b);
    ++counts[counter];
    if (counter == kWaiting || counter == kHandedOff) continue;
    rt.set_error(*b, counter);
    dropped[n++] = b;
  }
  rt.add_counters(counts);
  if (n) rt.enqueue_all({dropped.data(), n}, kToDrop);
}

// Events of the neighbour table, by NeighborTable::Event.
constexpr CounterInfo kTableCounters[NeighborTable::kEventCount] = {
    {"created", Severity::kInfo, "neighbours that became known or are asked for"},
    {"table-full", Severity::kWarn, "neighbours that found no room"},
    {"forgotten", Severity::kInfo, "neighbours that went away"},
    {"request-sent", Severity::kInfo, "ARP requests and neighbour solicitations"},
    {"request-not-sent", Severity::kWarn, "no buffer or no address to ask from"},
    {"conflict", Severity::kWarn, "messages from others that claim an address of this host"},
    {"mac-changed", Severity::kInfo, "neighbours with a new link-layer address"},
    {"not-overridden", Severity::kWarn, "advertisements that may not replace what is known"},
    {"queue-overflow", Severity::kWarn, "oldest waiting packets, dropped for newer ones"},
    {"unresolved", Severity::kWarn, "waiting packets whose neighbour did not answer"},
    {"news-lost", Severity::kWarn,
     "changes that whoever watches neighbours was not told: too many"},
};

}  // namespace

const NodeInfo kNeighborResolve{
    .name = "neighbor-resolve", .run = neighbor_resolve, .counters = kCounters, .next = {"drop"}};
const NodeInfo kNeighborTable{.name = "neighbor-table", .counters = kTableCounters};

}  // namespace loom
