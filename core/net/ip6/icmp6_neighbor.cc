// Node "icmp6-neighbor": neighbour solicitations and advertisements (RFC 4861 section 7) and the
// receiving half of duplicate address detection (RFC 4862 section 5.4), on worker 0.
//   in    from icmp6-input: data at the ICMP header, checksum verified, l3_offset set
//   out   drop: every message ends here; answers are packets of their own
#include "net/ip6/extension_headers.h"
#include "net/ip6/ip6_address.h"
#include "net/ip6/nd_messages.h"
#include "net/ip6/nd_wire.h"
#include "net/ip6/nodes.h"
#include "net/neighbor/to_worker0.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop };
enum Counter : uint16_t {
  kSolicitationAnswered,
  kSolicitationForOthers,
  kAdvertisementLearned,
  kHandedOff,
  kHandoffFull,
  kBadHopLimit,
  kBadCode,
  kTooShort,
  kTooLong,
  kBadTarget,
  kOptionLengthZero,
  kOptionOverrun,
  kLinkLayerLength,
  kDadOption,
  kDadDestination,
  kBadSource,
  kBadMac,
  kSenderUnknown,
  kFragmentHeader,
  kBadFlags,
  kOwnAddress,
  kNoInterface,
  kNoBuffer,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"solicitation-answered", Severity::kInfo, "solicitations for an address of this host"},
    {"solicitation-for-others", Severity::kInfo, "solicitations for other addresses"},
    {"advertisement-learned", Severity::kInfo, "advertisements of neighbours"},
    {"handed-off", Severity::kInfo, "passed to worker 0, which handles and counts it again"},
    {"handoff-full", Severity::kWarn, "worker 0 does not keep up"},
    {"bad-hop-limit", Severity::kError, "not 255: the message is not from this link"},
    {"bad-code", Severity::kError, "the code is not 0"},
    {"too-short", Severity::kError, "fewer than 24 bytes"},
    {"too-long", Severity::kError, "more than one buffer; no such message is that long"},
    {"bad-target", Severity::kError, "the target is a multicast or the unspecified address"},
    {"option-length-zero", Severity::kError, "an option of length 0"},
    {"option-overrun", Severity::kError, "an option goes beyond the message"},
    {"link-layer-length", Severity::kError, "a link-layer address option that is not Ethernet's"},
    {"dad-option", Severity::kError, "source link-layer option with the unspecified source"},
    {"dad-destination", Severity::kError,
     "unspecified source, and not to the target's solicited-node group"},
    {"bad-source", Severity::kError, "advertisement from the unspecified address"},
    {"bad-mac", Severity::kError, "a group or zero link-layer address"},
    {"sender-unknown", Severity::kInfo,
     "no option says where the answer should go, nor do we know"},
    {"fragment-header", Severity::kError, "in a fragment, were it a whole one (RFC 6980)"},
    {"bad-flags", Severity::kError, "solicited advertisement to a group"},
    {"own-address", Severity::kWarn, "another station claims an address of this host"},
    {"no-interface", Severity::kError, "the interface is gone"},
    {"no-buffer", Severity::kWarn, "no buffer for the answer"},
};

// Duplicate address detection is going on: the interface's addresses are optimistic (RFC 4429).
bool is_checking(const Worker& w, const Interface& f) noexcept {
  return w.now < f.dad_until.load(std::memory_order_relaxed);
}

// Another station has our address. During detection we give it up (RFC 4862 section 5.4.5); later
// it is only counted, or any station on the link could take our addresses away.
Counter conflict(Worker& w, NetState& net, const Interface& f, const Ip6Address& own) {
  net.neighbors.conflict(w);
  if (is_checking(w, f))
    net.engine.post_to_control(
        [&net, index = f.index, own] { mark_duplicate(net, index, IpAddress(own)); });
  return kOwnAddress;
}

bool is_station(const MacAddress& m) noexcept { return !m.is_multicast() && m != MacAddress{}; }

bool is_own(const Interface& f, const Ip6Address& a) noexcept {
  return f.address_view().has(IpAddress(a));
}

Counter solicited(Worker& w, NetState& net, const Interface& f, const Ip6Header& ip,
                  const NeighborMessage& m, const std::optional<MacAddress>& source_mac) {
  const bool is_detection = ip.src.is_zero();  // someone else's duplicate address detection
  if (is_detection && source_mac) return kDadOption;
  if (is_detection && ip.dst != solicited_node_of(m.target)) return kDadDestination;
  if (source_mac && !is_station(*source_mac)) return kBadMac;
  if (!is_detection && is_own(f, ip.src)) return conflict(w, net, f, ip.src);
  if (!is_own(f, m.target)) return kSolicitationForOthers;
  const uint32_t overrides = is_checking(w, f) ? 0 : kNdOverride;  // RFC 4429 section 3.3
  if (is_detection) {
    const bool is_sent = send_advertisement(w, f.index, m.target, all_nodes(),
                                            multicast_mac_of(all_nodes()), overrides);
    const Counter counter = conflict(w, net, f, m.target);
    return is_sent ? counter : kNoBuffer;
  }
  if (source_mac)
    net.neighbors.learn(w, {.interface = f.index,
                            .address = IpAddress(ip.src),
                            .mac = *source_mac,
                            .may_create = true});
  const Neighbor* n = net.neighbors.find(f.index, IpAddress(ip.src));
  const MacAddress* to = source_mac                                    ? &*source_mac
                         : n && n->state != NeighborState::kIncomplete ? &n->mac
                                                                       : nullptr;
  if (!to) return kSenderUnknown;  // we would have to ask before we can answer: let it ask again
  return send_advertisement(w, f.index, m.target, ip.src, *to, kNdSolicited | overrides)
             ? kSolicitationAnswered
             : kNoBuffer;
}

Counter advertised(Worker& w, NetState& net, const Interface& f, const Ip6Header& ip,
                   const NeighborMessage& m, const std::optional<MacAddress>& target_mac) {
  const uint32_t flags = m.flags;
  const bool is_solicited = flags & kNdSolicited;
  if (ip.dst.is_multicast() && is_solicited) return kBadFlags;
  if (ip.src.is_zero()) return kBadSource;
  if (target_mac && !is_station(*target_mac)) return kBadMac;
  if (is_own(f, m.target)) return conflict(w, net, f, m.target);
  Neighbor* n = net.neighbors.find(f.index, IpAddress(m.target));
  // Without the option only what is known can be confirmed (RFC 4861 section 7.2.5).
  if (n && (target_mac || n->state != NeighborState::kIncomplete))
    net.neighbors.learn(w, {.interface = f.index,
                            .address = IpAddress(m.target),
                            .mac = target_mac ? *target_mac : n->mac,
                            .is_solicited = is_solicited && n->requests != 0,
                            .overrides = (flags & kNdOverride) != 0});
  return kAdvertisementLearned;
}

Counter counter_of(NdOptionFault fault) noexcept {
  switch (fault) {
    case NdOptionFault::kLengthZero:
      return kOptionLengthZero;
    case NdOptionFault::kLinkLayerLength:
      return kLinkLayerLength;
    default:
      return kOptionOverrun;
  }
}

Counter handle(Worker& w, NetState& net, Buffer& b) {
  const Interface* f = net.interfaces.find(b.rx_if);
  if (!f || !f->is_ethernet) return kNoInterface;
  const auto& ip = *b.at<Ip6Header>(b.l3_offset);
  if (ip.hop_limit != kNdHopLimit) return kBadHopLimit;
  if (has_fragment_header(ip, static_cast<uint32_t>(b.offset_of_data() - b.l3_offset)))
    return kFragmentHeader;
  const auto* m = b.peek<NeighborMessage>();
  if (!m) return kTooShort;
  if (b.next) return kTooLong;
  if (m->code != 0) return kBadCode;
  if (m->target.is_multicast() || m->target.is_zero()) return kBadTarget;
  const bool is_solicitation = m->type == kIcmp6NeighborSolicitation;
  const NdOptions options =
      parse_nd_options(b.data + sizeof(NeighborMessage), b.len - sizeof(NeighborMessage),
                       is_solicitation ? kNdSourceLinkLayer : kNdTargetLinkLayer);
  if (options.fault != NdOptionFault::kNone) return counter_of(options.fault);
  return is_solicitation ? solicited(w, net, *f, ip, *m, options.link_layer)
                         : advertised(w, net, *f, ip, *m, options.link_layer);
}

void icmp6_neighbor(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  std::array<Buffer*, kFrameSize> done;
  std::array<uint32_t, kCounterCount> counts{};
  std::size_t n = 0;
  for (Buffer* b : in) {
    Counter counter;
    if (w.index != 0)
      counter = take_to_worker0(w, rt.id, b) ? kHandedOff : kHandoffFull;
    else
      counter = handle(w, net, *b);
    ++counts[counter];
    if (counter == kHandedOff) continue;
    rt.set_error(*b, counter);
    done[n++] = b;
  }
  rt.add_counters(counts);
  if (n) rt.enqueue_all({done.data(), n}, kToDrop);
}

}  // namespace

const NodeInfo kIcmp6Neighbor{
    .name = "icmp6-neighbor", .run = icmp6_neighbor, .counters = kCounters, .next = {"drop"}};

}  // namespace loom
