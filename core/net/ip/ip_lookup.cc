// Nodes "ip4-lookup" and "ip6-lookup": find how a packet leaves.
//   in    IP packets, data at the IP header, fib_index set: received ones and this host's own.
//         tx_if of an own packet to an IPv6 link-local address: the link that is meant
//   out   ipN-local (to this host) | ipN-rewrite | neighbor-resolve | icmpN-error | drop;
//         adjacency set, and kBufferNetGroup on what is for this host but not for it alone
//   cost  the table's memory touches; BM_IpNLocal and BM_IpNForward have it with the nodes around
#include "net/ip/node_loop.h"
#include "net/ip4/nodes.h"
#include "net/ip6/ip6_address.h"
#include "net/ip6/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop = kNextDrop, kToLocal, kToRewrite, kToResolve, kToError };
enum Counter : uint16_t {
  kLocal,
  kForward,
  kUnresolved,
  kNoRoute,
  kBlackhole,
  kMulticast,
  kNotForwarded,
  kLinkBroadcast,
  kNoTable,
  kTooShort,
  kCounterCount
};

// Groups that every host is in (RFC 1112 section 4; RFC 4291 section 2.8), and those that somebody
// listens to.
bool is_joined(const NetState& net, IfIndex interface, const Ip4Address& group) noexcept {
  return group == Ip4Address{{224, 0, 0, 1}} || net.groups->hears(interface, group);
}
bool is_joined(const NetState& net, IfIndex interface, const Ip6Address& group) noexcept {
  const Interface* f = net.interfaces.find(interface);
  if (!f) return false;
  if (group == all_nodes() || net.groups->hears(interface, group)) return true;
  for (const auto& a : f->address_view().ip6)
    if (!a.is_duplicate && solicited_node_of(a.prefix.address.ip6()) == group) return true;
  return false;
}

struct Ip4 : V4 {
  static constexpr CounterInfo kMulticastInfo{"multicast", Severity::kInfo,
                                              "multicast, which nobody here has joined"};
  static constexpr CounterInfo kNotForwardedInfo{"directed-broadcast", Severity::kWarn,
                                                 "broadcast to another subnet (RFC 2644)"};
  // The adjacency by which the packet leaves; kNoIndex when its routing table is gone.
  static uint32_t way(const NetState& net, const Buffer& b, const Header& ip) noexcept {
    if (ip.dst.is_multicast()) [[unlikely]]
      return !(b.flags & kBufferLocallyOriginated) && is_joined(net, b.rx_if, ip.dst)
                 ? kAdjacencyLocal
                 : kAdjacencyBlackhole;
    const Ip4Fib* table = fib(net, b.fib_index);
    return table ? RouteTables::adjacency_of(table->lookup(ip.dst)) : kNoIndex;
  }
  static bool may_forward(const Header&) noexcept { return true; }
};

struct Ip6 : V6 {
  static constexpr CounterInfo kMulticastInfo{"not-joined", Severity::kInfo,
                                              "multicast, which nobody here has joined"};
  static constexpr CounterInfo kNotForwardedInfo{
      "beyond-scope", Severity::kWarn, "a link-local or unspecified address may not be forwarded"};
  static uint32_t way(const NetState& net, const Buffer& b, const Header& ip) noexcept {
    const Ip6Address dst = ip.dst;
    const bool is_own = b.flags & kBufferLocallyOriginated;
    if (dst.is_multicast()) [[unlikely]]
      return !is_own && is_joined(net, b.rx_if, dst) ? kAdjacencyLocal : kAdjacencyBlackhole;
    const IfIndex link = is_own ? b.tx_if : b.rx_if;
    // Link-local ones are looked up on their link, not in a table (RFC 4291 section 2.5.6).
    if (dst.is_link_local() && link != kNoIndex) {
      const Interface* f = net.interfaces.find(link);
      if (!f) return kAdjacencyNoRoute;
      return f->address_view().has(IpAddress(dst)) ? kAdjacencyLocal : f->glean_adjacency;
    }
    const Ip6Fib* table = fib(net, b.fib_index);
    return table ? RouteTables::adjacency_of(table->lookup(dst)) : kNoIndex;
  }
  static bool may_forward(const Header& ip) noexcept {  // RFC 4291 sections 2.5.2 and 2.5.6
    return !(ip.dst.is_link_local() || ip.src.is_link_local() || ip.src.is_zero());
  }
};

template <class Ip>
constexpr CounterInfo kCounters[kCounterCount] = {
    {"local", Severity::kInfo, "packets for this host"},
    {"forward", Severity::kInfo, "packets that leave"},
    {"unresolved", Severity::kInfo, "packets to a neighbour whose address is not known"},
    {"no-route", Severity::kWarn, "no route; the sender is told"},
    {"blackhole", Severity::kInfo, "dropped by a route"},
    Ip::kMulticastInfo,
    Ip::kNotForwardedInfo,
    {"link-broadcast", Severity::kWarn,
     "not forwarded: received as a link-layer broadcast (RFC 1812 section 5.3.4)"},
    {"no-table", Severity::kError, "the routing table is gone"},
    {"too-short", Severity::kError, "this host's own, with fewer bytes than an IP header"},
};

// A packet for everybody on a link: out by that link, or up here. Only IPv4 has such adjacencies.
Verdict<Next, Counter> broadcast(Buffer& b, const Adjacency& a) noexcept {
  const bool is_limited = a.tx_if == kNoIndex;  // 255.255.255.255 names no link
  if (!(b.flags & kBufferLocallyOriginated)) {
    if (!is_limited && b.rx_if != a.tx_if) return {kToDrop, kNotForwarded};
    b.flags |= kBufferNetGroup;
    return {kToLocal, kLocal};
  }
  if (is_limited) return {kToError, kNoRoute};
  return {kToRewrite, kForward};
}

template <class Ip>
Verdict<Next, Counter> decide(const NodeContext& at, Buffer& b) noexcept {
  const auto* ip = b.peek<typename Ip::Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  b.l3_offset = b.offset_of_data();
  const uint32_t way = Ip::way(at.net, b, *ip);
  if (way == kNoIndex) [[unlikely]]
    return {kToDrop, kNoTable};
  b.adjacency = way;
  const Adjacency a = at.net.adjacencies.read(way);
  if (a.kind == AdjacencyKind::kLocal) {
    if (ip->dst.is_multicast()) [[unlikely]]
      b.flags |= kBufferNetGroup;
    return {kToLocal, kLocal};
  }
  if (a.kind == AdjacencyKind::kBroadcast) [[unlikely]]
    return broadcast(b, a);
  if (a.kind == AdjacencyKind::kBlackhole) [[unlikely]]
    return {kToDrop, ip->dst.is_multicast() ? kMulticast : kBlackhole};
  if (!(b.flags & kBufferLocallyOriginated)) {
    if (b.flags & kBufferLinkGroup) [[unlikely]]
      return {kToDrop, kLinkBroadcast};
    if (!Ip::may_forward(*ip)) [[unlikely]]
      return {kToDrop, kNotForwarded};
  }
  switch (a.kind) {
    case AdjacencyKind::kRewrite:
      return {kToRewrite, kForward};
    case AdjacencyKind::kGlean: {
      const uint32_t neighbor = at.net.neighbors.find_adjacency(a.tx_if, IpAddress(ip->dst));
      if (neighbor == kNoIndex) return {kToResolve, kUnresolved};
      b.adjacency = neighbor;
      return {kToRewrite, kForward};  // which sees when it is not resolved yet
    }
    case AdjacencyKind::kIncomplete:
      return {kToResolve, kUnresolved};
    default:
      return {kToError, kNoRoute};
  }
}

template <class Ip>
Verdict<Next, Counter> look_up(const NodeContext& at, Buffer& b) noexcept {
  const auto verdict = decide<Ip>(at, b);
  if (verdict.next == kToError) [[unlikely]]
    request_icmp_error(b, Ip::kUnreachable, Ip::kNoRouteCode);
  return verdict;
}

}  // namespace

const NodeInfo kIp4Lookup{
    .name = "ip4-lookup",
    .run = decide_each<look_up<Ip4>, kCounterCount, kLoopTraceAfter, V4>,
    .counters = kCounters<Ip4>,
    .next = {"drop", "ip4-local", "ip4-rewrite", "neighbor-resolve", "icmp4-error"},
    .trace_format = format_ip_trace<V4>};
const NodeInfo kIp6Lookup{
    .name = "ip6-lookup",
    .run = decide_each<look_up<Ip6>, kCounterCount, kLoopTraceAfter, V6>,
    .counters = kCounters<Ip6>,
    .next = {"drop", "ip6-local", "ip6-rewrite", "neighbor-resolve", "icmp6-error"},
    .trace_format = format_ip_trace<V6>};

}  // namespace loom
