// Node "icmp4-error": tells a packet's sender what became of it (RFC 792, RFC 1122 section 3.2.2,
// RFC 1812 section 4.3.2).
//   in    the offending packet, l3_offset at its IP header, an IcmpErrorRequest in opaque
//   out   ip4-lookup (the error, made in place) | drop
// Never about ICMP errors, fragments after the first, or what was sent to or from more than one
// host; and no more than the configured rate per worker.
#include <hostloom/checksum.h>
#include <hostloom/ip_push.h>

#include "net/ip/icmp_error.h"
#include "net/ip/node_loop.h"
#include "net/ip4/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop = kNextDrop, kToLookup };
enum Counter : uint16_t {
  kSent,
  kRateLimited,
  kAboutError,
  kAboutFragment,
  kAboutGroup,
  kBadSource,
  kOwnPacket,
  kNoAddress,
  kNoHeader,
  kNoHeadroom,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"sent", Severity::kInfo, "ICMP errors sent"},
    {"rate-limited", Severity::kInfo, "packets whose sender is not told, too many errors"},
    {"about-error", Severity::kInfo, "not sent: the packet is an ICMP error itself"},
    {"about-fragment", Severity::kInfo, "not sent: not the first fragment"},
    {"about-group", Severity::kInfo, "not sent: the packet went to a group or broadcast address"},
    {"bad-source", Severity::kInfo, "not sent: the source is not a single host"},
    {"own-packet", Severity::kInfo, "not sent: this host's own packet"},
    {"no-address", Severity::kWarn, "not sent: no address of this host to send from"},
    {"no-header", Severity::kError, "not sent: no whole IP header where l3_offset says"},
    {"no-headroom", Severity::kError, "not sent: no room for the error in front of the packet"},
};
constexpr uint32_t kMostBytes = 576;  // RFC 1812 section 4.3.2.3, the whole message

bool is_error(const Buffer& b, const Ip4Header& ip) noexcept {
  if (ip.protocol != kProtoIcmp) return false;
  if (b.len < ip.header_length() + 1) return true;  // cannot tell: keep silent
  const auto type = static_cast<uint8_t>(b.data[ip.header_length()]);
  return type != kIcmp4Echo && type != kIcmp4EchoReply && type < 13;
}

// This host's address that the packet was for, or one on the interface it came by (RFC 1812
// section 4.3.2.4 allows any; this one the sender's administrator knows).
const IpAddress* source_for(const NetState& net, const Buffer& b, const IpAddress& offender) {
  const Interface* f = net.interfaces.find(b.rx_if);
  return f ? f->address_view().source_for(offender) : nullptr;
}

Verdict<Next, Counter> make(const NodeContext& at, Buffer& b) noexcept {
  NetState& net = at.net;
  IcmpErrorRequest request;
  std::memcpy(&request, b.opaque, sizeof request);
  if (b.flags & kBufferLocallyOriginated) return {kToDrop, kOwnPacket};
  if (!back_to_ip_header(b)) return {kToDrop, kNoHeader};
  const auto* ip = b.peek<Ip4Header>();
  if (!ip || ip->header_length() > b.len) return {kToDrop, kNoHeader};
  constexpr uint32_t kOurs = sizeof(Ip4Header) + sizeof(IcmpHeader);
  if (b.headroom() < kOurs) return {kToDrop, kNoHeadroom};
  if (ip->flags_fragment & 0x1fff) return {kToDrop, kAboutFragment};
  if (ip->dst.is_multicast() || is_broadcast(net, ip->dst, b.fib_index) ||
      (b.flags & kBufferLinkGroup))
    return {kToDrop, kAboutGroup};
  if (ip->src.is_zero() || ip->src.is_multicast() || is_broadcast(net, ip->src, b.fib_index) ||
      ip->src.is_loopback())
    return {kToDrop, kBadSource};
  if (is_error(b, *ip)) return {kToDrop, kAboutError};
  const IpAddress offender(ip->src), target(ip->dst);
  IpAddress source = target;
  if (!net.routes.is_local(target, b.fib_index)) {
    const IpAddress* own = source_for(net, b, offender);
    if (!own) return {kToDrop, kNoAddress};
    source = *own;
  }
  if (!net_worker(at.w).icmp4_errors.take(at.w.now)) return {kToDrop, kRateLimited};

  IcmpHeader& icmp = quote(at.w, b, request, kMostBytes - kOurs);
  icmp.checksum = checksum_finish(checksum_add(0, b.data, b.len));
  constexpr uint8_t kInternetworkControl = 0xc0;  // RFC 1812 section 4.3.2.5
  push_ip4_header(b, source.ip4(), offender.ip4(), kProtoIcmp, kInternetworkControl,
                  static_cast<uint16_t>(at.w.random()));
  return {kToLookup, kSent};
}

}  // namespace

const NodeInfo kIcmp4Error{.name = "icmp4-error",
                           .run = decide_each<make, kCounterCount>,
                           .counters = kCounters,
                           .next = {"drop", "ip4-lookup"}};

}  // namespace loom
