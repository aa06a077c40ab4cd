// Node "icmp4-input": ICMP for this host (RFC 792, RFC 1122 section 3.2.2).
//   in    ICMP messages from ip4-local, data at the ICMP header, l3_offset set
//   out   ip4-lookup (echo reply, made in place) | the node that add_icmp_error_handler named for
//         the quoted packet's protocol, data at the quoted L4 header | drop
#include <hostloom/checksum.h>
#include <hostloom/ip_push.h>

#include "net/ip/icmp_error.h"
#include "net/ip/node_loop.h"
#include "net/ip4/nodes.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop = kNextDrop, kToLookup };  // error handlers' arcs come after
enum Counter : uint16_t {
  kEchoAnswered,
  kEchoReply,
  kErrorDelivered,
  kErrorIgnored,
  kIgnoredType,
  kTooShort,
  kBadChecksum,
  kEchoToGroup,
  kBadSource,
  kQuoteTooShort,
  kQuoteVersion,
  kQuoteHeaderLength,
  kQuoteCutOff,
  kQuoteFragment,
  kEchoReplyUnasked,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"echo-answered", Severity::kInfo, "echo requests"},
    {"echo-reply", Severity::kInfo, "answers to this host's ping"},
    {"error-delivered", Severity::kInfo, "errors handed to the protocol they are about"},
    {"error-ignored", Severity::kInfo, "errors about a protocol that does not want them"},
    {"ignored-type", Severity::kInfo, "redirects, timestamps and types that are not used"},
    {"too-short", Severity::kError, "fewer than 8 bytes"},
    {"bad-checksum", Severity::kError, "wrong checksum"},
    {"echo-to-group", Severity::kWarn, "echo request to a broadcast or multicast address"},
    {"bad-source", Severity::kWarn, "echo request from a broadcast address"},
    {"quote-too-short", Severity::kError, "an error that quotes fewer than 20 bytes"},
    {"quote-version", Severity::kError, "the quoted packet's version is not 4"},
    {"quote-header-length", Severity::kError, "the quoted header length is below 5 words"},
    {"quote-cut-off", Severity::kError, "fewer than 8 bytes behind the quoted IP header"},
    {"quote-fragment", Severity::kWarn, "an error about a fragment that is not the first"},
    {"echo-reply-unasked", Severity::kInfo, "echo replies that no ping waits for"},
};

// Sends the request back to where it came from. Options are not returned.
Verdict<uint16_t, Counter> answer_echo(Worker& w, NetState& net, Buffer& b, IcmpHeader& icmp,
                                       const Ip4Header& request) {
  const Ip4Address src = request.src, dst = request.dst;
  const uint8_t tos = request.tos;
  const uint16_t flags = request.flags_fragment;
  if (!net.routes.is_local(IpAddress(dst), b.fib_index)) return {kToDrop, kEchoToGroup};
  if (is_broadcast(net, src, b.fib_index)) return {kToDrop, kBadSource};
  // The reply's header takes the place of the request's: there is room for it.
  LOOM_DCHECK(b.headroom() >= sizeof(Ip4Header));
  // RFC 1624: the type goes from 8 to 0, in the first byte of its 16-bit word.
  const uint32_t sum = icmp.checksum + uint32_t{kIcmp4Echo};
  icmp.checksum = static_cast<uint16_t>(sum + (sum >> 16));
  icmp.type = kIcmp4EchoReply;
  b.flags &= kBufferTraced;
  b.gso_size = 0;
  b.adjacency = b.tx_if = kNoIndex;
  auto& ip = push_ip4_header(b, dst, src, kProtoIcmp, tos, static_cast<uint16_t>(w.random()));
  if (!(flags & kIp4DontFragment)) {  // what came in fragments goes back in fragments
    ip.flags_fragment = 0;
    ip.checksum = 0;
    ip.checksum = ip4_header_checksum(ip);
  }
  return {kToLookup, kEchoAnswered};
}

// RFC 1122 section 3.2.2: the quoted header says whom to tell. All of it is a claim.
Verdict<uint16_t, Counter> deliver_error(NetState& net, Buffer& b, const IcmpHeader& icmp) {
  IcmpErrorNote note{.type = icmp.type, .code = icmp.code};
  if (icmp.type == kIcmp4Unreachable && icmp.code == kIcmp4FragmentationNeeded)
    note.mtu = icmp.rest & 0xffff;  // RFC 1191 section 4; 0 from an old router
  const auto* quoted = b.peek<Ip4Header>(sizeof(IcmpHeader));
  constexpr uint32_t kQuotedL4 = 8;
  if (!quoted) return {kToDrop, kQuoteTooShort};
  if (quoted->version() != 4) return {kToDrop, kQuoteVersion};
  if (quoted->header_length() < sizeof(Ip4Header)) return {kToDrop, kQuoteHeaderLength};
  if (b.len < sizeof(IcmpHeader) + quoted->header_length() + kQuotedL4)
    return {kToDrop, kQuoteCutOff};
  if (quoted->flags_fragment & 0x1fff) return {kToDrop, kQuoteFragment};
  const uint16_t next = net.icmp4_handlers[quoted->protocol].load(std::memory_order_relaxed);
  if (next == kNextDrop) return {kToDrop, kErrorIgnored};
  b.l4_protocol = quoted->protocol;
  const uint32_t header = quoted->header_length();
  b.advance(sizeof(IcmpHeader));
  const int outer = (b.offset_of_data() - b.l3_offset) / 4;
  note.outer = static_cast<uint8_t>(outer > 0 && outer <= 255 ? outer : 0);
  b.l3_offset = b.offset_of_data();
  b.advance(header);
  b.l4_offset = b.offset_of_data();
  std::memcpy(b.opaque, &note, sizeof note);
  return {next, kErrorDelivered};
}

Verdict<uint16_t, Counter> handle(const NodeContext& at, Buffer& b) noexcept {
  auto* icmp = b.peek<IcmpHeader>();
  if (!icmp) return {kToDrop, kTooShort};
  if (checksum_fold(checksum_add_chain(0, &b, 0, b.length())) != 0xffff)
    return {kToDrop, kBadChecksum};
  const auto& ip = *b.at<Ip4Header>(b.l3_offset);
  switch (icmp->type) {
    case kIcmp4Echo:
      return answer_echo(at.w, at.net, b, *icmp, ip);
    case kIcmp4EchoReply: {
      const uint32_t rest = icmp->rest;
      const bool is_asked = ping_answered(at.net, {.now = at.w.now,
                                                   .from = IpAddress(ip.src),
                                                   .id = static_cast<uint16_t>(rest >> 16),
                                                   .sequence = static_cast<uint16_t>(rest),
                                                   .bytes = b.length(),
                                                   .ttl = ip.ttl});
      return {kToDrop, is_asked ? kEchoReply : kEchoReplyUnasked};
    }
    case kIcmp4Unreachable:
    case kIcmp4TimeExceeded:
    case kIcmp4ParameterProblem:
      return deliver_error(at.net, b, *icmp);
    default:
      return {kToDrop, kIgnoredType};
  }
}

}  // namespace

const NodeInfo kIcmp4Input{.name = "icmp4-input",
                           .run = decide_each<handle, kCounterCount>,
                           .counters = kCounters,
                           .next = {"drop", "ip4-lookup"}};

}  // namespace loom
