// Node "icmp6-error": tells a packet's sender what became of it (RFC 4443 sections 2.4 and 3).
//   in    the offending packet, l3_offset at its IP header, an IcmpErrorRequest in opaque
//   out   ip6-lookup (the error, made in place) | drop
#include <hostloom/checksum.h>
#include <hostloom/ip_push.h>

#include "net/ip/icmp_error.h"
#include "net/ip/node_loop.h"
#include "net/ip6/extension_headers.h"
#include "net/ip6/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop = kNextDrop, kToLookup };
enum Counter : uint16_t {
  kSent,
  kRateLimited,
  kAboutError,
  kAboutGroup,
  kBadSource,
  kOwnPacket,
  kNoAddress,
  kNoHeader,
  kNoHeadroom,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"sent", Severity::kInfo, "ICMPv6 errors sent"},
    {"rate-limited", Severity::kInfo, "packets whose sender is not told, too many errors"},
    {"about-error", Severity::kInfo, "not sent: the packet is an ICMPv6 error or redirect itself"},
    {"about-group", Severity::kInfo, "not sent: the packet went to a group"},
    {"bad-source", Severity::kInfo, "not sent: the source is not a single host"},
    {"own-packet", Severity::kInfo, "not sent: this host's own packet"},
    {"no-address", Severity::kWarn, "not sent: no address of this host to send from"},
    {"no-header", Severity::kError, "not sent: no whole IP header where l3_offset says"},
    {"no-headroom", Severity::kError, "not sent: no room for the error in front of the packet"},
};
constexpr uint32_t kMostBytes = 1280;  // RFC 4443 section 2.4 c: the IPv6 minimum MTU
constexpr uint8_t kIcmp6Redirect = 137;

bool is_error(Buffer& b) noexcept {
  const Ip6UpperLayer up = find_upper_layer(b);
  if (up.protocol != kProtoIcmp6) return false;
  if (!up.is_visible) return true;  // cannot tell: keep silent
  const auto type = static_cast<uint8_t>(b.data[up.at]);
  return type < 128 || type == kIcmp6Redirect;
}

Verdict<Next, Counter> make(const NodeContext& at, Buffer& b) noexcept {
  NetState& net = at.net;
  IcmpErrorRequest request;
  std::memcpy(&request, b.opaque, sizeof request);
  if (b.flags & kBufferLocallyOriginated) return {kToDrop, kOwnPacket};
  if (!back_to_ip_header(b)) return {kToDrop, kNoHeader};
  const auto* ip = b.peek<Ip6Header>();
  if (!ip) return {kToDrop, kNoHeader};
  constexpr uint32_t kOurs = sizeof(Ip6Header) + sizeof(IcmpHeader);
  if (b.headroom() < kOurs) return {kToDrop, kNoHeadroom};
  // RFC 4443 section 2.4 e.3: the exceptions are path MTU discovery and refused options.
  const bool may_answer_group = request.type == kIcmp6PacketTooBig ||
                                (request.type == kIcmp6ParameterProblem && request.code == 2);
  if (!may_answer_group && (ip->dst.is_multicast() || (b.flags & kBufferLinkGroup)))
    return {kToDrop, kAboutGroup};
  if (ip->src.is_zero() || ip->src.is_multicast()) return {kToDrop, kBadSource};
  if (is_error(b)) return {kToDrop, kAboutError};
  const IpAddress offender(ip->src), target(ip->dst);
  const Interface* f = net.interfaces.find(b.rx_if);
  const bool is_for_us =
      net.routes.is_local(target, b.fib_index) || (f && f->address_view().has(target));
  const IpAddress* own = is_for_us ? &target : f ? f->address_view().source_for(offender) : nullptr;
  if (!own) return {kToDrop, kNoAddress};
  const Ip6Address source = own->ip6();
  if (!net_worker(at.w).icmp6_errors.take(at.w.now)) return {kToDrop, kRateLimited};

  IcmpHeader& icmp = quote(at.w, b, request, kMostBytes - kOurs);
  if (offender.ip6().is_link_local()) b.tx_if = b.rx_if;
  icmp.checksum = checksum_finish(
      checksum_add(pseudo_header_sum(source, offender.ip6(), kProtoIcmp6, b.len), b.data, b.len));
  push_ip6_header(b, source, offender.ip6(), kProtoIcmp6, 0, 0);
  return {kToLookup, kSent};
}

}  // namespace

const NodeInfo kIcmp6Error{.name = "icmp6-error",
                           .run = decide_each<make, kCounterCount>,
                           .counters = kCounters,
                           .next = {"drop", "ip6-lookup"}};

}  // namespace loom
