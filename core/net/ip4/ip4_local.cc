// Node "ip4-local": hands packets for this host to the protocol above.
//   in    IPv4 packets, data at the IP header: received and checked by ip4-input, or this host's
//   own out   the ip4-local features, then the node that add_ip_protocol named, data at the L4
//   header,
//         l3_offset, l4_offset and l4_protocol set, TCP and UDP checksums verified | icmp4-error
//         (no such protocol) | drop
#include "net/ip/l4_checksum.h"
#include "net/ip4/ip4_trace.h"
#include "net/ip4/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToError };  // protocols' arcs come after
enum Counter : uint16_t {
  kDelivered,
  kUnknownProtocol,
  kFragment,
  kTooShort,
  kBadLength,
  kBadChecksum,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"delivered", Severity::kInfo, "packets handed to a protocol"},
    {"unknown-protocol", Severity::kInfo, "no such protocol here; the sender is told"},
    {"fragment", Severity::kWarn, "fragments, which are not reassembled"},
    {"too-short", Severity::kError, "fewer bytes than the headers"},
    {"bad-length", Severity::kError, "UDP length below 8 or beyond the packet"},
    {"bad-checksum", Severity::kError, "wrong TCP or UDP checksum"},
};
static_assert(kToDrop == kNoProtocol);

Verdict<uint16_t, Counter> deliver(const NetState& net, Buffer& b) {
  const auto* ip = b.peek<Ip4Header>();
  if (!ip || ip->header_length() < sizeof(Ip4Header) || ip->header_length() > b.len) [[unlikely]]
    return {kToDrop, kTooShort};
  b.l3_offset = b.offset_of_data();
  if (ip->is_fragment()) [[unlikely]]
    return {kToDrop, kFragment};
  const uint16_t next = net.ip4_protocols[ip->protocol].load(std::memory_order_relaxed);
  if (next == kNoProtocol) [[unlikely]] {
    request_icmp_error(b, kIcmp4Unreachable, kIcmp4ProtocolUnreachable);
    return {kToError, kUnknownProtocol};
  }
  b.advance(ip->header_length());
  switch (verify_l4(b, ip->protocol, ip->src, ip->dst)) {
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
  b.l4_protocol = ip->protocol;
  // From here on it is a received packet, also when this host sent it to itself.
  b.flags &= ~(kBufferLocallyOriginated | kBufferTxIp4Checksum | kBufferTxL4Checksum);
  return {next, kDelivered};
}

void ip4_local(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    Buffer& b = *in[i];
    if (b.is_traced()) [[unlikely]]
      trace_ip4(rt, b);
    const auto verdict = deliver(net, b);
    next[i] = verdict.next;
    ++counts[verdict.counter];
    if (verdict.next == kToDrop) [[unlikely]]
      rt.set_error(b, verdict.counter);
    else if (verdict.counter == kDelivered) [[likely]]
      next[i] = net.arcs.ip4_local->start(rt, b, b.rx_if, verdict.next);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

}  // namespace

const NodeInfo kIp4Local{.name = "ip4-local",
                         .run = ip4_local,
                         .counters = kCounters,
                         .next = {"drop", "icmp4-error"},
                         .trace_format = format_ip4_trace};

}  // namespace loom
