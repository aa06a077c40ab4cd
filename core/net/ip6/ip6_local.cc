// Node "ip6-local": hands packets for this host to the protocol above.
//   in    IPv6 packets, data at the IP header: received and checked by ip6-input, or this host's
//   own out   the ip6-local features, then the node that add_ip_protocol named, data at the L4
//   header,
//         l3_offset, l4_offset and l4_protocol set, TCP and UDP checksums verified | icmp6-error |
//         drop
#include "net/ip/l4_checksum.h"
#include "net/ip4/nodes.h"
#include "net/ip6/extension_headers.h"
#include "net/ip6/ip6_trace.h"
#include "net/ip6/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToError };  // protocols' arcs come after
enum Counter : uint16_t {
  kDelivered,
  kUnknownProtocol,
  kFragment,
  kTooShort,
  kTooManyHeaders,
  kMisplacedHopByHop,
  kNoNextHeader,
  kRoutingHeader,
  kBadOption,
  kRefusedOption,
  kBadLength,
  kBadChecksum,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"delivered", Severity::kInfo, "packets handed to a protocol"},
    {"unknown-protocol", Severity::kInfo, "no such protocol here; the sender is told"},
    {"fragment", Severity::kWarn, "fragments, which are not reassembled"},
    {"too-short", Severity::kError, "headers that run out of the packet or its first segment"},
    {"too-many-headers", Severity::kError, "more than 8 extension headers"},
    {"misplaced-hop-by-hop", Severity::kError, "hop-by-hop options that are not first"},
    {"no-next-header", Severity::kInfo, "packets that end with their headers"},
    {"routing-header", Severity::kError, "routing header type 0, or with segments left"},
    {"bad-option", Severity::kError, "an option runs out of its header"},
    {"refused-option", Severity::kWarn, "an unknown option that says discard"},
    {"bad-length", Severity::kError, "UDP length below 8 or beyond the packet"},
    {"bad-checksum", Severity::kError, "wrong TCP or UDP checksum"},
};
static_assert(kToDrop == kNoProtocol);

Counter counter_of(Ip6Walk verdict) noexcept {
  switch (verdict) {
    case Ip6Walk::kTooShort:
      return kTooShort;
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
    case Ip6Walk::kBadOption:
      return kBadOption;
    case Ip6Walk::kRefusedOption:
      return kRefusedOption;
    case Ip6Walk::kOk:
      break;
  }
  return kDelivered;
}

Verdict<uint16_t, Counter> deliver(const NetState& net, Buffer& b) {
  const auto* ip = b.peek<Ip6Header>();
  if (!ip) [[unlikely]]
    return {kToDrop, kTooShort};
  b.l3_offset = b.offset_of_data();
  const Ip6WalkResult walk = walk_extension_headers(b);
  if (walk.verdict != Ip6Walk::kOk) [[unlikely]] {
    const Counter counter = counter_of(walk.verdict);
    if (!walk.is_answered) return {kToDrop, counter};
    request_icmp_error(b, kIcmp6ParameterProblem, walk.code, walk.pointer);
    return {kToError, counter};
  }
  const uint16_t next = net.ip6_protocols[walk.protocol].load(std::memory_order_relaxed);
  if (next == kNoProtocol) [[unlikely]] {
    request_icmp_error(b, kIcmp6ParameterProblem, 1, walk.next_header_field);
    return {kToError, kUnknownProtocol};
  }
  b.advance(walk.header_bytes);
  switch (verify_l4(b, walk.protocol, ip->src, ip->dst)) {
    case L4Check::kOk:
      break;
    case L4Check::kTooShort:
      return {kToDrop, kTooShort};
    case L4Check::kBadLength:
      return {kToDrop, kBadLength};
    case L4Check::kBadChecksum:
      return {kToDrop, kBadChecksum};
  }
  b.l4_offset = b.offset_of_data();
  b.l4_protocol = walk.protocol;
  // From here on it is a received packet, also when this host sent it to itself.
  b.flags &= ~(kBufferLocallyOriginated | kBufferTxL4Checksum);
  b.flags |= kBufferIsIp6;
  return {next, kDelivered};
}

void ip6_local(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    Buffer& b = *in[i];
    if (b.is_traced()) [[unlikely]]
      trace_ip6(rt, b);
    const auto verdict = deliver(net, b);
    next[i] = verdict.next;
    ++counts[verdict.counter];
    if (verdict.next == kToDrop) [[unlikely]]
      rt.set_error(b, verdict.counter);
    else if (verdict.counter == kDelivered) [[likely]]
      next[i] = net.arcs.ip6_local->start(rt, b, b.rx_if, verdict.next);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

}  // namespace

const NodeInfo kIp6Local{.name = "ip6-local",
                         .run = ip6_local,
                         .counters = kCounters,
                         .next = {"drop", "icmp6-error"},
                         .trace_format = format_ip6_trace};

}  // namespace loom
