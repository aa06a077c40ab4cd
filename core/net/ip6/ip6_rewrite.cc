// Node "ip6-rewrite": turns an IPv6 packet into what its adjacency's interface sends.
//   in    packets with adjacency set, data at the IP header: from ip6-lookup, or straight from a
//         transport that cached its route
//   out   the ip6-output features, then interface-output, tx_if set and the link-layer header in
//         front | neighbor-resolve | ip6-local | ip6-lookup (the adjacency is stale) | icmp6-error
//         | drop
// The hop limit counts down here, for forwarded packets only. Routers never fragment IPv6.
#include <hostloom/wire.h>

#include "net/ip6/ip6_trace.h"
#include "net/ip6/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToOutput, kToResolve, kToLocal, kToLookup, kToError };
enum Counter : uint16_t {
  kSent,
  kUnresolved,
  kLocal,
  kStale,
  kHopLimitExpired,
  kTooBig,
  kNoHeadroom,
  kTooShort,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"sent", Severity::kInfo, "packets that leave"},
    {"unresolved", Severity::kInfo, "the neighbour's address is not known (yet)"},
    {"local", Severity::kInfo, "this host's own packets to itself"},
    {"stale", Severity::kInfo, "the adjacency is gone: looked up again"},
    {"hop-limit-expired", Severity::kInfo, "hop limit ran out; the sender is told"},
    {"too-big", Severity::kInfo, "bigger than the link's MTU; the sender is told"},
    {"no-headroom", Severity::kError, "no room for the link-layer header"},
    {"too-short", Severity::kError, "fewer than 40 bytes"},
};

// See ip4-rewrite. A packet to be segmented has TCP right behind the IPv6 header.
uint32_t wire_length(Buffer& b) noexcept {
  if (b.gso_size == 0) return b.length();
  const auto* tcp = b.peek<TcpHeader>(sizeof(Ip6Header));
  return sizeof(Ip6Header) + (tcp ? tcp->header_length() : sizeof(TcpHeader)) + b.gso_size;
}

Verdict<Next, Counter> rewrite(NetState& net, Buffer& b) {
  auto* ip = b.peek<Ip6Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  b.l3_offset = b.offset_of_data();
  Adjacency a = net.adjacencies.read(b.adjacency);
  if (a.kind == AdjacencyKind::kGlean) [[unlikely]] {
    const uint32_t n = net.neighbors.find_adjacency(a.tx_if, IpAddress(ip->dst));
    if (n == kNoIndex) return {kToResolve, kUnresolved};
    b.adjacency = n;
    a = net.adjacencies.read(n);
  }
  if (a.kind != AdjacencyKind::kRewrite) [[unlikely]] {
    if (a.kind == AdjacencyKind::kIncomplete) return {kToResolve, kUnresolved};
    if (a.kind == AdjacencyKind::kLocal) return {kToLocal, kLocal};
    return {kToLookup, kStale};
  }
  const bool is_forwarded = !(b.flags & kBufferLocallyOriginated);
  if (is_forwarded && b.gso_size)  // whoever segments it must know where TCP begins
    b.l4_offset = static_cast<int16_t>(b.l3_offset + static_cast<int16_t>(sizeof(Ip6Header)));
  if (is_forwarded && ip->hop_limit <= 1) [[unlikely]] {
    request_icmp_error(b, kIcmp6TimeExceeded, 0);
    return {kToError, kHopLimitExpired};
  }
  if (wire_length(b) > a.mtu) [[unlikely]] {
    request_icmp_error(b, kIcmp6PacketTooBig, 0, a.mtu);
    return {kToError, kTooBig};
  }
  if (b.headroom() < a.rewrite_length) [[unlikely]]
    return {kToDrop, kNoHeadroom};
  if (is_forwarded) --ip->hop_limit;
  b.tx_if = a.tx_if;
  if (a.rewrite_length) {
    *b.prepend<EthernetHeader>() = a.rewrite;
    b.l2_offset = b.offset_of_data();
  }
  net.adjacencies.mark_used(b.adjacency);
  return {kToOutput, kSent};
}

void ip6_rewrite(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    Buffer& b = *in[i];
    if (b.is_traced()) [[unlikely]]
      trace_ip6(rt, b);
    const auto verdict = rewrite(net, b);
    next[i] = verdict.next;
    ++counts[verdict.counter];
    if (verdict.next == kToOutput) [[likely]]
      next[i] = net.arcs.ip6_output->start(rt, b, b.tx_if, kToOutput);
    else if (verdict.next == kToDrop)
      rt.set_error(b, verdict.counter);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

}  // namespace

const NodeInfo kIp6Rewrite{.name = "ip6-rewrite",
                           .run = ip6_rewrite,
                           .counters = kCounters,
                           .next = {"drop", "interface-output", "neighbor-resolve", "ip6-local",
                                    "ip6-lookup", "icmp6-error"},
                           .trace_format = format_ip6_trace};

}  // namespace loom
