// Node "ip4-lookup": finds how a packet leaves.
//   in    IPv4 packets, data at the IP header, fib_index set: received ones and this host's own
//   out   ip4-local (to this host) | ip4-rewrite | neighbor-resolve | icmp4-error | drop;
//         adjacency set
#include "net/ip4/ip4_trace.h"
#include "net/ip4/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToLocal, kToRewrite, kToResolve, kToError };
enum Counter : uint16_t {
  kLocal,
  kForward,
  kUnresolved,
  kNoRoute,
  kBlackhole,
  kMulticast,
  kDirectedBroadcast,
  kNoTable,
  kTooShort,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"local", Severity::kInfo, "packets for this host"},
    {"forward", Severity::kInfo, "packets that leave"},
    {"unresolved", Severity::kInfo, "packets to a neighbour whose address is not known"},
    {"no-route", Severity::kWarn, "no route; the sender is told"},
    {"blackhole", Severity::kInfo, "dropped by a route"},
    {"multicast", Severity::kInfo, "multicast, which nobody here has joined"},
    {"directed-broadcast", Severity::kWarn, "broadcast to another subnet (RFC 2644)"},
    {"no-table", Severity::kError, "the routing table is gone"},
    {"too-short", Severity::kError, "fewer than 20 bytes"},
};

Verdict<Next, Counter> look_up(NetState& net, Buffer& b) {
  const auto* ip = b.peek<Ip4Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  b.l3_offset = b.offset_of_data();
  const Ip4Fib* fib = net.routes.fib4(b.fib_index);
  if (!fib) [[unlikely]]
    return {kToDrop, kNoTable};
  const Ip4Address dst = ip->dst;
  b.adjacency = RouteTables::adjacency_of(fib->lookup(dst));
  const Adjacency a = net.adjacencies.read(b.adjacency);
  switch (a.kind) {
    case AdjacencyKind::kRewrite:
      return {kToRewrite, kForward};
    case AdjacencyKind::kLocal:
      return {kToLocal, kLocal};
    case AdjacencyKind::kGlean: {
      const uint32_t neighbor = net.neighbors.find_adjacency(a.tx_if, IpAddress(dst));
      if (neighbor == kNoIndex) return {kToResolve, kUnresolved};
      b.adjacency = neighbor;
      return {kToRewrite, kForward};  // which sees when it is not resolved yet
    }
    case AdjacencyKind::kIncomplete:
      return {kToResolve, kUnresolved};
    case AdjacencyKind::kBroadcast:
      if (b.flags & kBufferLocallyOriginated) {
        if (a.tx_if != kNoIndex) return {kToRewrite, kForward};
        break;  // 255.255.255.255, and nothing says by which interface
      }
      if (b.rx_if == a.tx_if || a.tx_if == kNoIndex) return {kToLocal, kLocal};
      return {kToDrop, kDirectedBroadcast};
    case AdjacencyKind::kBlackhole:
      return {kToDrop, dst.is_multicast() ? kMulticast : kBlackhole};
    case AdjacencyKind::kFree:
    case AdjacencyKind::kNoRoute:
      break;
  }
  request_icmp_error(b, kIcmp4Unreachable, kIcmp4NetUnreachable);
  return {kToError, kNoRoute};
}

void ip4_lookup(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    Buffer& b = *in[i];
    const auto verdict = look_up(net, b);
    next[i] = verdict.next;
    ++counts[verdict.counter];
    if (verdict.next == kToDrop) [[unlikely]]
      rt.set_error(b, verdict.counter);
    if (b.is_traced()) [[unlikely]]
      trace_ip4(rt, b);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

}  // namespace

const NodeInfo kIp4Lookup{
    .name = "ip4-lookup",
    .run = ip4_lookup,
    .counters = kCounters,
    .next = {"drop", "ip4-local", "ip4-rewrite", "neighbor-resolve", "icmp4-error"},
    .trace_format = format_ip4_trace};

}  // namespace loom
