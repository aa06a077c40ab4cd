// Node "arp-input": RFC 826 on worker 0, with the checks of RFC 5227. Answers requests for this
// host's addresses and tells the neighbour table what senders say about themselves.
//   in    ARP packets, data at the ARP header
//   out   interface-output (a reply, made in place) | drop
#include "net/ethernet/nodes.h"
#include "net/neighbor/to_worker0.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToOutput, kToDrop };
enum Counter : uint16_t {
  kRequestAnswered,
  kReplyLearned,
  kOverheard,
  kHandedOff,
  kHandoffFull,
  kTooShort,
  kTooLong,
  kHardwareType,
  kProtocolType,
  kHardwareLength,
  kProtocolLength,
  kBadOperation,
  kBadSenderMac,
  kBadSenderIp,
  kOwnAddress,
  kNotOnLink,
  kNoInterface,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"request-answered", Severity::kInfo, "requests for an address of this host"},
    {"reply-learned", Severity::kInfo, "replies to this host"},
    {"overheard", Severity::kInfo, "about others; refreshes what is known already"},
    {"handed-off", Severity::kInfo, "passed to worker 0, which handles and counts it again"},
    {"handoff-full", Severity::kWarn, "worker 0 does not keep up"},
    {"too-short", Severity::kError, "fewer than 28 bytes"},
    {"too-long", Severity::kError, "more than one buffer; no ARP packet is that long"},
    {"hardware-type", Severity::kError, "the hardware is not Ethernet"},
    {"protocol-type", Severity::kError, "the protocol is not IPv4"},
    {"hardware-length", Severity::kError, "hardware addresses that have not 6 bytes"},
    {"protocol-length", Severity::kError, "protocol addresses that have not 4 bytes"},
    {"bad-operation", Severity::kError, "neither request nor reply"},
    {"bad-sender-mac", Severity::kError, "group or zero address as sender"},
    {"bad-sender-ip", Severity::kError, "multicast, broadcast or loopback address as sender"},
    {"own-address", Severity::kWarn, "another station uses an address of this host (ignored)"},
    {"not-on-link", Severity::kWarn, "the sender is in no subnet of the interface (ignored)"},
    {"no-interface", Severity::kError, "the interface is gone"},
};
constexpr uint16_t kRequest = 1, kReply = 2;

bool is_on_link(const AddressList& list, const Ip4Address& a) noexcept {
  for (const auto& i : list.ip4) {
    const uint32_t mask = i.prefix.length == 0 ? 0 : ~0u << (32 - i.prefix.length);
    if (((i.prefix.address.ip4().host() ^ a.host()) & mask) == 0) return true;
  }
  return false;
}

// The stations behind an unnumbered interface are in no subnet of it: a route says that they are
// there, or this host has asked for them.
bool is_behind(const NetState& net, const Interface& f, const Ip4Address& a) noexcept {
  if (!f.is_unnumbered.load(std::memory_order_relaxed)) return false;
  const uint32_t fib_index = f.ip4_fib_index.load(std::memory_order_relaxed);
  const Adjacency way = net.adjacencies.read(net.routes.lookup(IpAddress(a), fib_index));
  return (way.kind == AdjacencyKind::kGlean && way.tx_if == f.index) ||
         net.neighbors.find_adjacency(f.index, IpAddress(a)) != kNoIndex;
}

void make_reply(Buffer& b, ArpHeader& arp, const Interface& f) noexcept {
  const Ip4Address own = arp.target_ip;
  arp.operation = kReply;
  arp.target_mac = arp.sender_mac;
  arp.target_ip = arp.sender_ip;
  arp.sender_mac = f.mac;
  arp.sender_ip = own;
  b.len = sizeof(ArpHeader);  // what follows is padding
  *b.prepend<EthernetHeader>() = {arp.target_mac, f.mac, Be16(kEtherTypeArp)};
  b.l2_offset = b.offset_of_data();
  b.flags = (b.flags & kBufferTraced) | kBufferLocallyOriginated;
  b.gso_size = 0;
  b.tx_if = f.index;
}

Verdict<Next, Counter> handle(Worker& w, NetState& net, Buffer& b) {
  const Interface* f = net.interfaces.find(b.rx_if);
  if (!f) return {kToDrop, kNoInterface};
  auto* arp = b.peek<ArpHeader>();
  if (!arp) return {kToDrop, kTooShort};
  if (b.next) return {kToDrop, kTooLong};
  if (arp->hardware_type != 1) return {kToDrop, kHardwareType};
  if (arp->protocol_type != kEtherTypeIp4) return {kToDrop, kProtocolType};
  if (arp->hardware_length != 6) return {kToDrop, kHardwareLength};
  if (arp->protocol_length != 4) return {kToDrop, kProtocolLength};
  if (arp->operation != kRequest && arp->operation != kReply) return {kToDrop, kBadOperation};
  const MacAddress sender_mac = arp->sender_mac;
  const Ip4Address sender = arp->sender_ip, target = arp->target_ip;
  if (sender_mac.is_multicast() || sender_mac == MacAddress{}) return {kToDrop, kBadSenderMac};
  if (sender.is_multicast() || sender.is_broadcast() || sender.is_loopback())
    return {kToDrop, kBadSenderIp};

  const AddressList& own = f->address_view();
  if (!sender.is_zero() && own.has(IpAddress(sender))) {
    if (sender_mac != f->mac) net.neighbors.conflict(w);
    return {kToDrop, kOwnAddress};
  }
  const bool is_for_us = own.has(IpAddress(target));
  if (!sender.is_zero()) {  // zero: an address probe (RFC 5227 section 1.1), answered, not learned
    if (!is_on_link(own, sender) && !is_behind(net, *f, sender)) return {kToDrop, kNotOnLink};
    const bool is_answer = arp->operation == kReply && is_for_us;
    net.neighbors.learn(
        w, {.interface = f->index,
            .address = IpAddress(sender),
            .mac = sender_mac,
            .is_solicited = is_answer && net.neighbors.is_asked(f->index, IpAddress(sender)),
            .may_create = is_for_us && arp->operation == kRequest});
    if (is_answer) return {kToDrop, kReplyLearned};
  }
  if (!is_for_us || arp->operation != kRequest) return {kToDrop, kOverheard};
  make_reply(b, *arp, *f);
  return {kToOutput, kRequestAnswered};
}

void arp_input(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  std::array<Buffer*, kFrameSize> kept;
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  std::size_t n = 0;
  for (Buffer* b : in) {
    if (w.index != 0) {
      const bool is_taken = take_to_worker0(w, rt.id, b);
      ++counts[is_taken ? kHandedOff : kHandoffFull];
      if (is_taken) continue;
      rt.set_error(*b, kHandoffFull);
      next[n] = kToDrop;
    } else {
      const auto verdict = handle(w, net, *b);
      ++counts[verdict.counter];
      if (verdict.next == kToDrop) rt.set_error(*b, verdict.counter);
      next[n] = verdict.next;
    }
    kept[n++] = b;
  }
  rt.add_counters(counts);
  rt.enqueue({kept.data(), n}, next);
}

}  // namespace

const NodeInfo kArpInput{.name = "arp-input",
                         .run = arp_input,
                         .counters = kCounters,
                         .next = {"interface-output", "drop"}};

}  // namespace loom
