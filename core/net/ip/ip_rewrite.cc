// Nodes "ip4-rewrite" and "ip6-rewrite": turn a packet into what its adjacency's interface sends.
//   in    packets with adjacency set, data at the IP header: from ipN-lookup, or straight from a
//         transport that cached its route
//   out   the ipN-output features, then interface-output, tx_if set and the link-layer header in
//         front | neighbor-resolve | ipN-local | ipN-lookup (the adjacency is stale) | icmpN-error
//         | ipN-fragment (of IPv6 this host's own only, RFC 8200 section 5) | drop
//   cost  BM_IpNForward has it with the nodes around
// The time to live counts down here, for forwarded packets only, so that a packet which waits for a
// neighbour pays once.
#include "net/group/group_wire.h"
#include "net/ip/node_loop.h"
#include "net/ip4/nodes.h"
#include "net/ip6/fragment_header.h"
#include "net/ip6/ip6_address.h"
#include "net/ip6/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t {
  kToDrop = kNextDrop,
  kToOutput,
  kToResolve,
  kToLocal,
  kToLookup,
  kToError,
  kToFragment
};
enum Counter : uint16_t {
  kSent,
  kUnresolved,
  kLocal,
  kStale,
  kHopLimitExpired,
  kTooBig,
  kNoHeadroom,
  kTooShort,
  kFragmented,
  kCounterCount
};

struct Ip4 : V4 {
  static constexpr CounterInfo kExpiredInfo{"ttl-expired", Severity::kInfo,
                                            "time to live ran out; the sender is told"};
  static constexpr CounterInfo kTooBigInfo{"fragmentation-needed", Severity::kInfo,
                                           "too big and DF set; the sender is told"};
  static const FeatureArc& output(const NetState& net) noexcept { return *net.arcs.ip4_output; }
  static uint32_t mtu(const Adjacency& a) noexcept { return a.ip4_mtu; }
  static bool is_sendable(AdjacencyKind k) noexcept {
    return k == AdjacencyKind::kRewrite || k == AdjacencyKind::kBroadcast ||
           k == AdjacencyKind::kMulticast;
  }
  static uint32_t header_length(const Header& ip) noexcept { return ip.header_length(); }
  static void count_down(Header& ip) noexcept {
    --ip.ttl;
    // RFC 1624, equation 3, for a field that is decremented by 0x0100 in network order: the
    // checksum grows by what the field loses.
    const uint32_t sum = ip.checksum + uint32_t{0x0001};
    ip.checksum = static_cast<uint16_t>(sum + (sum >> 16));
  }
  static Verdict<uint16_t, Counter> too_big(Buffer& b, Header& ip, uint32_t mtu) noexcept {
    if (ip.flags_fragment & kIp4DontFragment || b.gso_size) {
      request_icmp_error(b, kIcmp4Unreachable, kIcmp4FragmentationNeeded, mtu);
      return {kToError, kTooBig};
    }
    if (!(b.flags & kBufferLocallyOriginated)) count_down(ip);
    b.flags |= kBufferLocallyOriginated;  // the fragments come back here and pay no more
    std::memcpy(b.opaque, &mtu, sizeof mtu);
    return {kToFragment, kFragmented};
  }
};

struct Ip6 : V6 {
  static constexpr CounterInfo kExpiredInfo{"hop-limit-expired", Severity::kInfo,
                                            "hop limit ran out; the sender is told"};
  static constexpr CounterInfo kTooBigInfo{"too-big", Severity::kInfo,
                                           "bigger than the link's MTU; the sender is told"};
  static const FeatureArc& output(const NetState& net) noexcept { return *net.arcs.ip6_output; }
  static uint32_t mtu(const Adjacency& a) noexcept { return a.ip6_mtu; }
  static bool is_sendable(AdjacencyKind k) noexcept {
    return k == AdjacencyKind::kRewrite || k == AdjacencyKind::kMulticast;
  }
  // A packet to be segmented has TCP right behind the IPv6 header.
  static uint32_t header_length(const Header&) noexcept { return sizeof(Ip6Header); }
  static void count_down(Header& ip) noexcept { --ip.hop_limit; }
  static Verdict<uint16_t, Counter> too_big(Buffer& b, Header&, uint32_t mtu) noexcept {
    // TCP's segments follow the path's MTU; what asks for more than that wants to be split. Nobody
    // on the way will, and what the path takes is not known here: as little as it must take.
    if (b.flags & kBufferLocallyOriginated && b.l4_protocol != kProtoTcp && b.gso_size == 0 &&
        mtu >= kIp6LeastMtu) {
      std::memcpy(b.opaque, &kIp6LeastMtu, sizeof kIp6LeastMtu);
      return {kToFragment, kFragmented};
    }
    request_icmp_error(b, kIcmp6PacketTooBig, 0, mtu);
    return {kToError, kTooBig};
  }
};

template <class Ip>
constexpr std::array<CounterInfo, kCounterCount> kCounters = {{
    {"sent", Severity::kInfo, "packets that leave"},
    {"unresolved", Severity::kInfo, "the neighbour's address is not known (yet)"},
    {"local", Severity::kInfo, "this host's own packets to itself"},
    {"stale", Severity::kInfo, "the adjacency is gone: looked up again"},
    Ip::kExpiredInfo,
    Ip::kTooBigInfo,
    {"no-headroom", Severity::kError, "no room for the link-layer header"},
    {"too-short", Severity::kError, "this host's own, with fewer bytes than an IP header"},
    {"fragmented", Severity::kInfo, "too big, and may be split: sent as fragments"},
}};

// Length of the largest piece that will be on the wire: that of one segment when the packet is to
// be segmented, by the device or by tx-offload.
template <class Ip>
uint32_t wire_length(Buffer& b, const typename Ip::Header& ip) noexcept {
  if (b.gso_size == 0) return b.length();
  const uint32_t header = Ip::header_length(ip);
  const auto* tcp = b.peek<TcpHeader>(header);
  return header + (tcp ? tcp->header_length() : uint32_t{sizeof(TcpHeader)}) + b.gso_size;
}

// Where to with an adjacency that says nothing about sending.
Verdict<uint16_t, Counter> cannot_send(AdjacencyKind kind) noexcept {
  if (kind == AdjacencyKind::kIncomplete || kind == AdjacencyKind::kGlean)
    return {kToResolve, kUnresolved};
  if (kind == AdjacencyKind::kLocal) return {kToLocal, kLocal};
  return {kToLookup, kStale};
}

template <class Ip>
Verdict<uint16_t, Counter> rewrite(const NodeContext& at, Buffer& b) noexcept {
  NetState& net = at.net;
  auto* ip = b.peek<typename Ip::Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  b.l3_offset = b.offset_of_data();
  Adjacency a = net.adjacencies.read(b.adjacency);
  if (a.kind == AdjacencyKind::kGlean) [[unlikely]] {
    if (const uint32_t n = net.neighbors.find_adjacency(a.tx_if, IpAddress(ip->dst));
        n != kNoIndex) {
      b.adjacency = n;
      a = net.adjacencies.read(n);
    }
  }
  if (!Ip::is_sendable(a.kind)) [[unlikely]]
    return cannot_send(a.kind);
  const bool is_forwarded = !(b.flags & kBufferLocallyOriginated);
  if (is_forwarded && b.gso_size)  // whoever segments it must know where TCP begins
    b.l4_offset = static_cast<int16_t>(b.l3_offset + static_cast<int32_t>(Ip::header_length(*ip)));
  if (is_forwarded && Ip::hop_limit(*ip) <= 1) [[unlikely]] {
    request_icmp_error(b, Ip::kTimeExceeded, 0);
    return {kToError, kHopLimitExpired};
  }
  if (wire_length<Ip>(b, *ip) > Ip::mtu(a)) [[unlikely]]
    return Ip::too_big(b, *ip, Ip::mtu(a));
  if (b.headroom() < a.rewrite_length) [[unlikely]]
    return {kToDrop, kNoHeadroom};
  if (is_forwarded) Ip::count_down(*ip);
  b.tx_if = a.tx_if;
  if (a.kind == AdjacencyKind::kMulticast) [[unlikely]]
    a.rewrite.dst = multicast_mac_of(ip->dst);
  if (a.rewrite_length) {
    *b.prepend<EthernetHeader>() = a.rewrite;
    b.l2_offset = b.offset_of_data();
  }
  net.adjacencies.mark_used(b.adjacency);
  return {Ip::output(net).start(at.rt, b, b.tx_if, kToOutput), kSent};
}

}  // namespace

const NodeInfo kIp4Rewrite{.name = "ip4-rewrite",
                           .run = decide_each<rewrite<Ip4>, kCounterCount, kLoopTraceBefore, V4>,
                           .counters = kCounters<Ip4>,
                           .next = {"drop", "interface-output", "neighbor-resolve", "ip4-local",
                                    "ip4-lookup", "icmp4-error", "ip4-fragment"},
                           .trace_format = format_ip_trace<V4>};
const NodeInfo kIp6Rewrite{.name = "ip6-rewrite",
                           .run = decide_each<rewrite<Ip6>, kCounterCount, kLoopTraceBefore, V6>,
                           .counters = kCounters<Ip6>,
                           .next = {"drop", "interface-output", "neighbor-resolve", "ip6-local",
                                    "ip6-lookup", "icmp6-error", "ip6-fragment"},
                           .trace_format = format_ip_trace<V6>};

}  // namespace loom
