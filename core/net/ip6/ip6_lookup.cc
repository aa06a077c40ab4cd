// Node "ip6-lookup": finds how a packet leaves.
//   in    IPv6 packets, data at the IP header, fib_index set: received ones and this host's own.
//         tx_if of an own packet to a link-local address: the link that is meant
//   out   ip6-local (to this host) | ip6-rewrite | neighbor-resolve | icmp6-error | drop;
//         adjacency set
#include "net/ip6/ip6_address.h"
#include "net/ip6/ip6_trace.h"
#include "net/ip6/nodes.h"
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
  kNotJoined,
  kBeyondScope,
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
    {"not-joined", Severity::kInfo, "multicast, which nobody here has joined"},
    {"beyond-scope", Severity::kWarn, "a link-local or unspecified address may not be forwarded"},
    {"no-table", Severity::kError, "the routing table is gone"},
    {"too-short", Severity::kError, "fewer than 40 bytes"},
};

// Groups that every host is in (RFC 4291 section 2.8).
bool is_joined(const Interface* f, const Ip6Address& group) noexcept {
  if (!f) return false;
  if (group == all_nodes()) return true;
  for (const auto& a : f->address_view().ip6)
    if (solicited_node_of(a.prefix.address.ip6()) == group) return true;
  return false;
}

// Link-local destinations are looked up on their link, not in a table (RFC 4291 section 2.5.6).
uint32_t on_link(const Interface* f, const Ip6Address& dst) noexcept {
  if (!f) return kAdjacencyNoRoute;
  return f->address_view().has(IpAddress(dst)) ? kAdjacencyLocal : f->glean_adjacency;
}

Verdict<Next, Counter> look_up(NetState& net, Buffer& b) {
  const auto* ip = b.peek<Ip6Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  b.l3_offset = b.offset_of_data();
  const Ip6Address dst = ip->dst;
  const bool is_own = b.flags & kBufferLocallyOriginated;
  if (dst.is_multicast()) [[unlikely]] {
    if (!is_own && is_joined(net.interfaces.find(b.rx_if), dst)) {
      b.adjacency = kAdjacencyLocal;
      return {kToLocal, kLocal};
    }
    return {kToDrop, kNotJoined};
  }
  const IfIndex link = is_own ? b.tx_if : b.rx_if;
  if (dst.is_link_local() && link != kNoIndex) {
    b.adjacency = on_link(net.interfaces.find(link), dst);
  } else {
    const Ip6Fib* fib = net.routes.fib6(b.fib_index);
    if (!fib) [[unlikely]]
      return {kToDrop, kNoTable};
    b.adjacency = RouteTables::adjacency_of(fib->lookup(dst));
  }
  const Adjacency a = net.adjacencies.read(b.adjacency);
  if (a.kind == AdjacencyKind::kLocal) return {kToLocal, kLocal};
  const bool may_forward =
      is_own || !(dst.is_link_local() || ip->src.is_link_local() || ip->src.is_zero());
  if (!may_forward) [[unlikely]]
    return {kToDrop, kBeyondScope};
  switch (a.kind) {
    case AdjacencyKind::kRewrite:
      return {kToRewrite, kForward};
    case AdjacencyKind::kGlean: {
      const uint32_t neighbor = net.neighbors.find_adjacency(a.tx_if, IpAddress(dst));
      if (neighbor == kNoIndex) return {kToResolve, kUnresolved};
      b.adjacency = neighbor;
      return {kToRewrite, kForward};  // which sees when it is not resolved yet
    }
    case AdjacencyKind::kIncomplete:
      return {kToResolve, kUnresolved};
    case AdjacencyKind::kBlackhole:
      return {kToDrop, kBlackhole};
    default:
      request_icmp_error(b, kIcmp6Unreachable, kIcmp6NoRoute);
      return {kToError, kNoRoute};
  }
}

void ip6_lookup(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
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
      trace_ip6(rt, b);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

}  // namespace

const NodeInfo kIp6Lookup{
    .name = "ip6-lookup",
    .run = ip6_lookup,
    .counters = kCounters,
    .next = {"drop", "ip6-local", "ip6-rewrite", "neighbor-resolve", "icmp6-error"},
    .trace_format = format_ip6_trace};

}  // namespace loom
