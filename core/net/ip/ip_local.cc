// Nodes "ip4-local" and "ip6-local": hand packets for this host to the protocol above.
//   in    IP packets, data at the IP header: received and checked by ipN-input, or this host's own
//   out   ipN-reassembly, fragments as they came | the ipN-local features, then the node that
//         add_ip_protocol named, data at the L4 header, l3_offset, l4_offset and l4_protocol set,
//         TCP and UDP checksums verified, where there are any | icmpN-error | drop
//   cost  the transport's checksum, unless the device verified it; BM_IpNLocal is without
#include "net/ip/l4_checksum.h"
#include "net/ip/node_loop.h"
#include "net/ip4/nodes.h"
#include "net/ip6/extension_headers.h"
#include "net/ip6/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop = kNextDrop, kToError, kToReassembly };  // protocols' arcs follow
enum Counter : uint16_t {
  kDelivered,
  kUnknownProtocol,
  kFragment,
  kBadHeader,
  kTcpTooShort,
  kTcpChecksum,
  kUdpTooShort,
  kUdpLengthShort,
  kUdpLengthOverrun,
  kUdpChecksum,
  kCounterCount4,
  kExtensionTooShort = kCounterCount4,  // from here on IPv6's
  kExtensionOverrun,
  kTooManyHeaders,
  kMisplacedHopByHop,
  kNoNextHeader,
  kRoutingHeader,
  kOptionOverrun,
  kRefusedOption,
  kBadSource,
  kCounterCount6
};
constexpr std::array<CounterInfo, kCounterCount6> kCounters = {{
    {"delivered", Severity::kInfo, "packets handed to a protocol"},
    {"unknown-protocol", Severity::kInfo, "no such protocol here; the sender is told"},
    {"fragment", Severity::kInfo, "fragments, which are put together first"},
    {"bad-header", Severity::kError, "this host's own, without a whole IP header"},
    {"tcp-too-short", Severity::kError, "fewer than the 20 bytes of a TCP header"},
    {"tcp-checksum", Severity::kError, "wrong TCP checksum"},
    {"udp-too-short", Severity::kError, "fewer than the 8 bytes of a UDP header"},
    {"udp-length-short", Severity::kError, "UDP length below 8"},
    {"udp-length-overrun", Severity::kError, "UDP length beyond the packet"},
    {"udp-checksum", Severity::kError, "wrong UDP checksum"},
    {"extension-too-short", Severity::kError, "fewer than 8 bytes of an extension header"},
    {"extension-overrun", Severity::kError, "an extension header goes beyond the packet"},
    {"too-many-headers", Severity::kError, "more than 8 extension headers"},
    {"misplaced-hop-by-hop", Severity::kError, "hop-by-hop options that are not first"},
    {"no-next-header", Severity::kInfo, "packets that end with their headers"},
    {"routing-header", Severity::kError, "a routing header with segments left"},
    {"option-overrun", Severity::kError, "an option goes beyond its extension header"},
    {"refused-option", Severity::kWarn, "an unknown option that says discard"},
    {"bad-source", Severity::kError, "an unspecified source, and not ICMPv6"},
}};

// What the IP header, and the headers that belong to it, say: the protocol above and where it
// begins; or, with a counter other than kDelivered, what is wrong.
struct Parsed {
  Counter counter = kDelivered;
  bool is_answered = false;  // the sender is to be told, as IcmpErrorRequest has been set
  uint8_t protocol = 0;
  uint32_t header_bytes = 0;
  uint32_t named_at = 0;  // offset of the byte that names the protocol
};

struct Ip4 : V4 {
  static const FeatureArc& arc(const NetState& net) noexcept { return *net.arcs.ip4_local; }
  static uint16_t protocol_next(const NetState& net, uint8_t protocol) noexcept {
    return net.ip4_protocols[protocol].load(std::memory_order_relaxed);
  }
  static Parsed parse(Buffer& b, const Header& ip) noexcept {
    if (ip.header_length() < sizeof(Ip4Header) || ip.header_length() > b.len) [[unlikely]]
      return {kBadHeader};
    if (ip.is_fragment()) [[unlikely]]
      return {kFragment};
    return {.protocol = ip.protocol, .header_bytes = ip.header_length()};
  }
  static void request_unknown_protocol(Buffer& b, const Parsed&) noexcept {
    request_icmp_error(b, kIcmp4Unreachable, kIcmp4ProtocolUnreachable);
  }
};

struct Ip6 : V6 {
  static const FeatureArc& arc(const NetState& net) noexcept { return *net.arcs.ip6_local; }
  static uint16_t protocol_next(const NetState& net, uint8_t protocol) noexcept {
    return net.ip6_protocols[protocol].load(std::memory_order_relaxed);
  }
  static Counter counter_of(Ip6Walk verdict) noexcept {
    switch (verdict) {
      case Ip6Walk::kTooShort:
        return kExtensionTooShort;
      case Ip6Walk::kOverrun:
        return kExtensionOverrun;
      case Ip6Walk::kTooMany:
        return kTooManyHeaders;
      case Ip6Walk::kMisplacedHopByHop:
        return kMisplacedHopByHop;
      case Ip6Walk::kFragment:
        return kFragment;
      case Ip6Walk::kNoNextHeader:
        return kNoNextHeader;
      case Ip6Walk::kRoutingHeader:
        return kRoutingHeader;
      case Ip6Walk::kOptionOverrun:
        return kOptionOverrun;
      case Ip6Walk::kRefusedOption:
        return kRefusedOption;
      case Ip6Walk::kOk:
        break;
    }
    return kDelivered;
  }
  static Parsed parse(Buffer& b, const Header& ip) noexcept {
    const Ip6WalkResult walk = walk_extension_headers(b);
    if (ip.src.is_zero() && walk.protocol != kProtoIcmp6) [[unlikely]]
      return {kBadSource};  // RFC 4291 section 2.5.2
    if (walk.verdict == Ip6Walk::kOk) [[likely]]
      return {.protocol = walk.protocol,
              .header_bytes = walk.header_bytes,
              .named_at = walk.next_header_field};
    if (walk.is_answered) request_icmp_error(b, kIcmp6ParameterProblem, walk.code, walk.pointer);
    return {.counter = counter_of(walk.verdict), .is_answered = walk.is_answered};
  }
  static void request_unknown_protocol(Buffer& b, const Parsed& parsed) noexcept {
    request_icmp_error(b, kIcmp6ParameterProblem, 1, parsed.named_at);  // RFC 8200 section 4
  }
};

Counter counter_of(L4Check check) noexcept {
  switch (check) {
    case L4Check::kTcpTooShort:
      return kTcpTooShort;
    case L4Check::kTcpChecksum:
      return kTcpChecksum;
    case L4Check::kUdpTooShort:
      return kUdpTooShort;
    case L4Check::kUdpLengthShort:
      return kUdpLengthShort;
    case L4Check::kUdpLengthOverrun:
      return kUdpLengthOverrun;
    case L4Check::kUdpChecksum:
      return kUdpChecksum;
    case L4Check::kOk:
      break;
  }
  return kDelivered;
}

template <class Ip>
Verdict<uint16_t, Counter> deliver(const NodeContext& at, Buffer& b) noexcept {
  const auto* ip = b.peek<typename Ip::Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kBadHeader};
  b.l3_offset = b.offset_of_data();
  const Parsed parsed = Ip::parse(b, *ip);
  if (parsed.counter != kDelivered) [[unlikely]] {
    if (parsed.counter == kFragment) return {kToReassembly, kFragment};
    return {parsed.is_answered ? kToError : kToDrop, parsed.counter};
  }
  const uint16_t next = Ip::protocol_next(at.net, parsed.protocol);
  if (next == kNextDrop) [[unlikely]] {
    Ip::request_unknown_protocol(b, parsed);
    return {kToError, kUnknownProtocol};
  }
  b.advance(parsed.header_bytes);
  const Counter checked = counter_of(verify_l4(b, parsed.protocol, ip->src, ip->dst));
  if (checked != kDelivered) [[unlikely]]
    return {kToDrop, checked};
  b.l4_offset = b.offset_of_data();
  b.l4_protocol = parsed.protocol;
  // From here on it is a received packet, also when this host sent it to itself.
  b.flags &= ~(kBufferLocallyOriginated | kBufferTxIp4Checksum | kBufferTxL4Checksum);
  b.flags |= Ip::kFlags;
  return {Ip::arc(at.net).start(at.rt, b, b.rx_if, next), kDelivered};
}

}  // namespace

const NodeInfo kIp4Local{.name = "ip4-local",
                         .run = decide_each<deliver<Ip4>, kCounterCount4, kLoopTraceBefore, V4>,
                         .counters = std::span(kCounters).first(kCounterCount4),
                         .next = {"drop", "icmp4-error", "ip4-reassembly"},
                         .trace_format = format_ip_trace<V4>};
const NodeInfo kIp6Local{.name = "ip6-local",
                         .run = decide_each<deliver<Ip6>, kCounterCount6, kLoopTraceBefore, V6>,
                         .counters = kCounters,
                         .next = {"drop", "icmp6-error", "ip6-reassembly"},
                         .trace_format = format_ip_trace<V6>};

}  // namespace loom
