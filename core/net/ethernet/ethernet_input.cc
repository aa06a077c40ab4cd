// Node "ethernet-input": looks at the Ethernet header and hands the packet to its protocol. A frame
// with a VLAN's tag is from the sub-interface of that VLAN: rx_if becomes it.
//   in    frames from drivers, data at the Ethernet header, rx_if set
//   out   ip4-input | ip6-input | arp-input | drop, data behind the header, l2_offset set,
//         kBufferLinkGroup on what was not for this station alone
//   cost  not measured on its own
#include "net/ethernet/nodes.h"
#include "net/ip/node_loop.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop = kNextDrop, kToIp4, kToIp6, kToArp };
enum Counter : uint16_t {
  kIp4,
  kIp6,
  kArp,
  kTooShort,
  kNoInterface,
  kInterfaceDown,
  kNotForUs,
  kBadSource,
  kVlan,
  kVlanTooShort,
  kNestedTag,
  kLlc,
  kUnknownType,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"ip4", Severity::kInfo, "IPv4 packets"},
    {"ip6", Severity::kInfo, "IPv6 packets"},
    {"arp", Severity::kInfo, "ARP packets"},
    {"too-short", Severity::kError, "fewer than 14 bytes"},
    {"no-interface", Severity::kError, "the interface is gone or has no Ethernet"},
    {"interface-down", Severity::kWarn, "the interface is down"},
    {"not-for-us", Severity::kInfo, "unicast to another station's address"},
    {"bad-source", Severity::kError, "the source is a group address"},
    {"vlan", Severity::kWarn, "tagged frame of a VLAN that has no sub-interface"},
    {"vlan-too-short", Severity::kError, "fewer than 4 bytes of a tag"},
    {"nested-tag", Severity::kWarn, "a tag behind the tag; sub-interfaces are of one"},
    {"llc", Severity::kInfo, "802.3 length instead of a type"},
    {"unknown-type", Severity::kInfo, "a protocol that nobody handles"},
};
constexpr uint16_t kEtherTypeQinQ = 0x88a8, kFirstEtherType = 0x0600;

// By what is behind the header, or behind the tag.
Verdict<Next, Counter> by_type(uint16_t type) noexcept {
  switch (type) {
    case kEtherTypeIp4:
      return {kToIp4, kIp4};
    case kEtherTypeIp6:
      return {kToIp6, kIp6};
    case kEtherTypeArp:
      return {kToArp, kArp};
    case kEtherTypeVlan:
    case kEtherTypeQinQ:
      return {kToDrop, kVlan};
    default:
      return {kToDrop, type < kFirstEtherType ? kLlc : kUnknownType};
  }
}

// A frame with an 802.1Q tag, data at it.
Verdict<Next, Counter> classify_tagged(Worker& w, const Interface& parent, Buffer& b) noexcept {
  const auto* tag = b.peek<VlanTag>();
  if (!tag) return {kToDrop, kVlanTooShort};
  const uint16_t id = tag->tci & VlanTable::kIdMask;
  if (id != VlanTable::kNoVlan) {
    const VlanTable* vlans = parent.vlans.load(std::memory_order_acquire);
    Interface* sub = vlans ? vlans->by_id[id].load(std::memory_order_acquire) : nullptr;
    if (!sub) return {kToDrop, kVlan};
    b.rx_if = sub->index;
    InterfaceCounters& counters = sub->counters[w.index].rx;
    if (!sub->is_up()) {
      add_counter(counters.drops, 1);
      return {kToDrop, kInterfaceDown};
    }
    add_counter(counters.packets, 1);
    add_counter(counters.bytes, b.length() + sizeof(EthernetHeader));
  }
  b.advance(sizeof(VlanTag));
  const auto verdict = by_type(tag->type);
  return verdict.counter == kVlan ? Verdict<Next, Counter>{kToDrop, kNestedTag} : verdict;
}

Verdict<Next, Counter> classify(Worker& w, const NetState& net, Buffer& b) noexcept {
  const Interface* f = net.interfaces.find(b.rx_if);
  if (!f || !f->is_ethernet) [[unlikely]]
    return {kToDrop, kNoInterface};
  if (!f->is_up()) [[unlikely]]
    return {kToDrop, kInterfaceDown};
  const auto* eth = b.peek<EthernetHeader>();
  if (!eth) [[unlikely]]
    return {kToDrop, kTooShort};
  if (eth->dst != f->mac) [[unlikely]] {
    if (!eth->dst.is_multicast()) return {kToDrop, kNotForUs};
    b.flags |= kBufferLinkGroup;
  }
  if (eth->src.is_multicast()) [[unlikely]]
    return {kToDrop, kBadSource};
  b.l2_offset = b.offset_of_data();
  const uint16_t type = eth->type;
  b.advance(sizeof(EthernetHeader));
  if (type == kEtherTypeVlan) [[unlikely]]
    return classify_tagged(w, *f, b);
  return by_type(type);
}

// The feature arc device-input begins here: of the device, whatever the VLAN.
Verdict<uint16_t, Counter> decide(const NodeContext& at, Buffer& b) noexcept {
  const IfIndex device = b.rx_if;
  const auto verdict = classify(at.w, at.net, b);
  if (verdict.next == kToDrop) [[unlikely]]
    return {kToDrop, verdict.counter};
  return {at.net.arcs.device_input->start(at.rt, b, device, verdict.next), verdict.counter};
}

void ethernet_input(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  NetState& net = net_state(w);
  if (net.engine.pcap_enabled()) [[unlikely]]
    net.engine.pcap().capture(w, kPcapRx, in);
  decide_each<decide, kCounterCount, kLoopPrefetch>(w, rt, in);
}

}  // namespace

const NodeInfo kEthernetInput{.name = "ethernet-input",
                              .run = ethernet_input,
                              .counters = kCounters,
                              .next = {"drop", "ip4-input", "ip6-input", "arp-input"}};

}  // namespace loom
