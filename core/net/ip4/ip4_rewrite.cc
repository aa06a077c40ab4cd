// Node "ip4-rewrite": turns an IPv4 packet into what its adjacency's interface sends.
//   in    packets with adjacency set, data at the IP header: from ip4-lookup, or straight from a
//         transport that cached its route
//   out   the ip4-output features, then interface-output, tx_if set and the link-layer header in
//         front | neighbor-resolve | ip4-local | ip4-lookup (the adjacency is stale) | icmp4-error
//         | drop
// The time to live counts down here, for forwarded packets only, so that a packet which waits for a
// neighbour pays once.
#include <hostloom/checksum.h>

#include "net/ip4/ip4_trace.h"
#include "net/ip4/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToOutput, kToResolve, kToLocal, kToLookup, kToError, kToFragment };
enum Counter : uint16_t {
  kSent,
  kUnresolved,
  kLocal,
  kStale,
  kTtlExpired,
  kFragmentationNeeded,
  kFragmented,
  kNoHeadroom,
  kTooShort,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"sent", Severity::kInfo, "packets that leave"},
    {"unresolved", Severity::kInfo, "the neighbour's address is not known (yet)"},
    {"local", Severity::kInfo, "this host's own packets to itself"},
    {"stale", Severity::kInfo, "the adjacency is gone: looked up again"},
    {"ttl-expired", Severity::kInfo, "time to live ran out; the sender is told"},
    {"fragmentation-needed", Severity::kInfo, "too big and DF set; the sender is told"},
    {"fragmented", Severity::kInfo, "too big and DF clear: sent as fragments"},
    {"no-headroom", Severity::kError, "no room for the link-layer header"},
    {"too-short", Severity::kError, "fewer than 20 bytes"},
};

// Length of the largest piece that will be on the wire: that of one segment when the packet is to
// be segmented, by the device or by tx-offload.
uint32_t wire_length(Buffer& b, const Ip4Header& ip) noexcept {
  if (b.gso_size == 0) return b.length();
  const uint32_t header = ip.header_length();
  const auto* tcp = b.peek<TcpHeader>(header);
  return header + (tcp ? tcp->header_length() : sizeof(TcpHeader)) + b.gso_size;
}

// RFC 1624, equation 3, for a field that is decremented by 0x0100 in network order.
void decrement_ttl(Ip4Header& ip) noexcept {
  --ip.ttl;
  uint32_t sum = ip.checksum + uint32_t{0x0001};  // the checksum grows by what the field loses
  ip.checksum = static_cast<uint16_t>(sum + (sum >> 16));
}

Verdict<Next, Counter> rewrite(NetState& net, Buffer& b) {
  auto* ip = b.peek<Ip4Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  b.l3_offset = b.offset_of_data();
  const Adjacency a = net.adjacencies.read(b.adjacency);
  if (a.kind != AdjacencyKind::kRewrite && a.kind != AdjacencyKind::kBroadcast) [[unlikely]] {
    switch (a.kind) {
      case AdjacencyKind::kGlean:
        if (const uint32_t n = net.neighbors.find_adjacency(a.tx_if, IpAddress(ip->dst));
            n != kNoIndex && net.adjacencies.read(n).kind == AdjacencyKind::kRewrite) {
          b.adjacency = n;
          return rewrite(net, b);
        }
        return {kToResolve, kUnresolved};
      case AdjacencyKind::kIncomplete:
        return {kToResolve, kUnresolved};
      case AdjacencyKind::kLocal:
        return {kToLocal, kLocal};
      default:
        return {kToLookup, kStale};
    }
  }
  const bool is_forwarded = !(b.flags & kBufferLocallyOriginated);
  if (is_forwarded && b.gso_size)  // whoever segments it must know where TCP begins
    b.l4_offset = static_cast<int16_t>(b.l3_offset + static_cast<int32_t>(ip->header_length()));
  if (is_forwarded && ip->ttl <= 1) [[unlikely]] {
    request_icmp_error(b, kIcmp4TimeExceeded, 0);
    return {kToError, kTtlExpired};
  }
  if (wire_length(b, *ip) > a.mtu) [[unlikely]] {
    if (ip->flags_fragment & kIp4DontFragment || b.gso_size) {
      request_icmp_error(b, kIcmp4Unreachable, kIcmp4FragmentationNeeded, a.mtu);
      return {kToError, kFragmentationNeeded};
    }
    if (is_forwarded) decrement_ttl(*ip);
    b.flags |= kBufferLocallyOriginated;  // the fragments come back here and pay no more
    std::memcpy(b.opaque, &a.mtu, sizeof a.mtu);
    return {kToFragment, kFragmented};
  }
  if (b.headroom() < a.rewrite_length) [[unlikely]]
    return {kToDrop, kNoHeadroom};
  if (is_forwarded) decrement_ttl(*ip);
  b.tx_if = a.tx_if;
  if (a.rewrite_length) {
    *b.prepend<EthernetHeader>() = a.rewrite;
    b.l2_offset = b.offset_of_data();
  }
  net.adjacencies.mark_used(b.adjacency);
  return {kToOutput, kSent};
}

void ip4_rewrite(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    Buffer& b = *in[i];
    if (b.is_traced()) [[unlikely]]
      trace_ip4(rt, b);
    const auto verdict = rewrite(net, b);
    next[i] = verdict.next;
    ++counts[verdict.counter];
    if (verdict.next == kToOutput) [[likely]]
      next[i] = net.arcs.ip4_output->start(rt, b, b.tx_if, kToOutput);
    else if (verdict.next == kToDrop)
      rt.set_error(b, verdict.counter);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

}  // namespace

const NodeInfo kIp4Rewrite{.name = "ip4-rewrite",
                           .run = ip4_rewrite,
                           .counters = kCounters,
                           .next = {"drop", "interface-output", "neighbor-resolve", "ip4-local",
                                    "ip4-lookup", "icmp4-error", "ip4-fragment"},
                           .trace_format = format_ip4_trace};

}  // namespace loom
