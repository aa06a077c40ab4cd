// Node "icmp6-input": ICMPv6 for this host (RFC 4443).
//   in    ICMPv6 messages from ip6-local, data at the ICMP header, l3_offset set
//   out   ip6-lookup (echo reply, made in place) | icmp6-neighbor (solicitations, advertisements) |
//         the node that add_icmp_error_handler named for the quoted packet's protocol, data at the
//         quoted L4 header | drop
#include <hostloom/checksum.h>
#include <hostloom/ip_push.h>

#include "net/group/group_wire.h"
#include "net/ip/node_loop.h"
#include "net/ip6/fragment_header.h"
#include "net/ip6/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t {
  kToDrop = kNextDrop,
  kToLookup,
  kToNeighbor,
  kToGroups
};  // error handlers' arcs come after
enum Counter : uint16_t {
  kEchoAnswered,
  kEchoReply,
  kNeighbor,
  kGroupQuery,
  kErrorDelivered,
  kErrorIgnored,
  kIgnoredType,
  kTooShort,
  kBadChecksum,
  kEchoToGroup,
  kBadSource,
  kQuoteTooShort,
  kQuoteVersion,
  kQuoteCutOff,
  kQuoteFragment,
  kEchoReplyUnasked,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"echo-answered", Severity::kInfo, "echo requests"},
    {"echo-reply", Severity::kInfo, "answers to this host's ping"},
    {"neighbor", Severity::kInfo, "neighbour solicitations and advertisements"},
    {"group-query", Severity::kInfo, "queries of routers about groups (MLD)"},
    {"error-delivered", Severity::kInfo, "errors handed to the protocol they are about"},
    {"error-ignored", Severity::kInfo, "errors about a protocol that does not want them"},
    {"ignored-type", Severity::kInfo,
     "router discovery, reports of MLD and types that are not used"},
    {"too-short", Severity::kError, "fewer than 8 bytes"},
    {"bad-checksum", Severity::kError, "wrong checksum"},
    {"echo-to-group", Severity::kInfo, "echo request to a multicast address"},
    {"bad-source", Severity::kError, "echo request from the unspecified address"},
    {"quote-too-short", Severity::kError, "an error that quotes fewer than 40 bytes"},
    {"quote-version", Severity::kError, "the quoted packet's version is not 6"},
    {"quote-cut-off", Severity::kError, "fewer than 8 bytes behind the quoted IP header"},
    {"quote-fragment", Severity::kWarn, "an error about a fragment that is not the first"},
    {"echo-reply-unasked", Severity::kInfo, "echo replies that no ping waits for"},
};

Verdict<uint16_t, Counter> answer_echo(Buffer& b, IcmpHeader& icmp, const Ip6Header& request) {
  const Ip6Address src = request.src, dst = request.dst;
  if (dst.is_multicast()) return {kToDrop, kEchoToGroup};  // a source for it would be a guess
  if (src.is_zero()) return {kToDrop, kBadSource};
  // The reply's header takes the place of the request's: there is room for it.
  LOOM_DCHECK(b.headroom() >= sizeof(Ip6Header));
  // RFC 1624: the type goes from 128 to 129 in the first byte of its 16-bit word; the addresses of
  // the pseudo-header only swap places.
  const uint32_t sum = icmp.checksum + uint32_t{0xffff} - 1;
  icmp.checksum = static_cast<uint16_t>((sum & 0xffff) + (sum >> 16));
  icmp.type = kIcmp6EchoReply;
  const uint8_t traffic_class = request.traffic_class();
  b.flags &= kBufferTraced;
  b.gso_size = 0;
  b.adjacency = kNoIndex;
  b.tx_if = src.is_link_local() ? b.rx_if : kNoIndex;
  push_ip6_header(b, dst, src, kProtoIcmp6, traffic_class, 0);
  return {kToLookup, kEchoAnswered};
}

// RFC 4443 section 2.4 d: the quoted header says whom to tell. All of it is a claim.
Verdict<uint16_t, Counter> deliver_error(NetState& net, Buffer& b, const IcmpHeader& icmp) {
  IcmpErrorNote note{.type = icmp.type, .code = icmp.code, .is_ip6 = 1};
  if (icmp.type == kIcmp6PacketTooBig) note.mtu = icmp.rest;
  constexpr uint32_t kQuotedL4 = 8;
  const auto* quoted = b.peek<Ip6Header>(sizeof(IcmpHeader));
  if (!quoted) return {kToDrop, kQuoteTooShort};
  if (quoted->version() != 6) return {kToDrop, kQuoteVersion};
  uint8_t protocol = quoted->next_header;
  uint32_t headers = sizeof(Ip6Header);
  if (protocol == kIp6FragmentHeader) {  // of a packet that ip6-fragment has split
    const auto* f = b.peek<Ip6FragmentHeader>(sizeof(IcmpHeader) + headers);
    if (!f) return {kToDrop, kQuoteCutOff};
    if (f->offset_flags & kIp6FragmentOffset) return {kToDrop, kQuoteFragment};
    protocol = f->next_header;
    headers += static_cast<uint32_t>(sizeof *f);
  }
  if (b.len < sizeof(IcmpHeader) + headers + kQuotedL4) return {kToDrop, kQuoteCutOff};
  const uint16_t next = net.icmp6_handlers[protocol].load(std::memory_order_relaxed);
  if (next == kNextDrop) return {kToDrop, kErrorIgnored};
  b.l4_protocol = protocol;
  b.advance(sizeof(IcmpHeader));
  const int outer = (b.offset_of_data() - b.l3_offset) / 4;
  note.outer = static_cast<uint8_t>(outer > 0 && outer <= 255 ? outer : 0);
  b.l3_offset = b.offset_of_data();
  b.advance(headers);
  b.l4_offset = b.offset_of_data();
  std::memcpy(b.opaque, &note, sizeof note);
  return {next, kErrorDelivered};
}

Verdict<uint16_t, Counter> handle(const NodeContext& at, Buffer& b) noexcept {
  auto* icmp = b.peek<IcmpHeader>();
  if (!icmp) return {kToDrop, kTooShort};
  const auto& ip = *b.at<Ip6Header>(b.l3_offset);
  const uint32_t length = b.length();
  const ChecksumSum pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoIcmp6, length);
  if (checksum_fold(checksum_add_chain(pseudo, &b, 0, length)) != 0xffff)
    return {kToDrop, kBadChecksum};
  switch (icmp->type) {
    case kIcmp6Echo:
      return answer_echo(b, *icmp, ip);
    case kIcmp6EchoReply: {
      const uint32_t rest = icmp->rest;
      const bool is_asked = ping_answered(at.net, {.now = at.w.now,
                                                   .from = IpAddress(ip.src),
                                                   .id = static_cast<uint16_t>(rest >> 16),
                                                   .sequence = static_cast<uint16_t>(rest),
                                                   .bytes = length,
                                                   .ttl = ip.hop_limit});
      return {kToDrop, is_asked ? kEchoReply : kEchoReplyUnasked};
    }
    case kMldQuery:
      return {kToGroups, kGroupQuery};
    case kIcmp6NeighborSolicitation:
    case kIcmp6NeighborAdvertisement:
      return {kToNeighbor, kNeighbor};
    case kIcmp6Unreachable:
    case kIcmp6PacketTooBig:
    case kIcmp6TimeExceeded:
    case kIcmp6ParameterProblem:
      return deliver_error(at.net, b, *icmp);
    default:  // RFC 4443 section 2.4 b: errors of other types, too
      return icmp->type < kIcmp6Echo ? deliver_error(at.net, b, *icmp)
                                     : Verdict<uint16_t, Counter>{kToDrop, kIgnoredType};
  }
}

}  // namespace

const NodeInfo kIcmp6Input{.name = "icmp6-input",
                           .run = decide_each<handle, kCounterCount>,
                           .counters = kCounters,
                           .next = {"drop", "ip6-lookup", "icmp6-neighbor", "mld-input"}};

}  // namespace loom
