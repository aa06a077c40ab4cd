// Node "interface-output": the last stop before an interface's own queue. What leaves by a
// sub-interface gets its VLAN's tag here, whoever made it, and leaves by the parent from then on.
//   in    packets with tx_if set, data at the link-layer header
//   out   the interface-output features, then interface-tx, by way of tx-offload where the device
//         lacks an offload: all packets of an interface take the same way and keep their order
//         | interface-output again, of the parent, behind features of the sub-interface | drop
#include "net/interface/nodes.h"
#include "net/offload/tx_checksum.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToTx, kToOffload, kToParent };
enum Counter : uint16_t {
  kSent,
  kViaFeatures,
  kNoInterface,
  kInterfaceDown,
  kTooShort,
  kNoHeadroom,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"sent", Severity::kInfo, "packets passed to the interface"},
    {"to-parent", Severity::kInfo,
     "passed to features of a sub-interface, behind which they come here again for the parent"},
    {"no-interface", Severity::kError, "the interface is gone"},
    {"interface-down", Severity::kWarn, "the interface is down"},
    {"too-short", Severity::kError, "by a sub-interface, with fewer than 14 bytes"},
    {"no-headroom", Severity::kError, "by a sub-interface, without room for a tag in front"},
};

// Offsets of headers count from the start of the buffer's memory: they stay as they are.
Counter put_tag_on(Worker& w, Interface& sub, Buffer& b) noexcept {
  if (!b.peek<EthernetHeader>()) return kTooShort;
  if (b.headroom() < sizeof(VlanTag)) return kNoHeadroom;
  constexpr std::size_t kAddresses = offsetof(EthernetHeader, type);
  std::byte* eth = b.prepend(sizeof(VlanTag));
  std::memmove(eth, eth + sizeof(VlanTag), kAddresses);
  reinterpret_cast<EthernetHeader*>(eth)->type = kEtherTypeVlan;
  reinterpret_cast<VlanTag*>(eth + sizeof(EthernetHeader))->tci = sub.vlan_id;  // priority 0
  b.l2_offset = b.offset_of_data();
  b.tx_if = sub.parent->index;
  InterfaceCounters& counters = sub.counters[w.index].tx;
  add_counter(counters.packets, 1);
  add_counter(counters.bytes, b.length());
  return kSent;
}

void interface_output(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  const NetState& net = net_state(w);
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    Buffer& b = *in[i];
    Interface* f = net.interfaces.find(b.tx_if);
    Counter counter = !f ? kNoInterface : f->is_up() ? kSent : kInterfaceDown;
    if (counter == kSent && f->parent) counter = put_tag_on(w, *f, b);
    if (counter != kSent) [[unlikely]] {
      ++counts[counter];
      rt.set_error(b, counter);
      next[i] = kToDrop;
      continue;
    }
    if (f->parent) {
      if (net.arcs.interface_output->is_enabled(f->index)) [[unlikely]] {
        ++counts[kViaFeatures];
        next[i] = net.arcs.interface_output->start(rt, b, f->index, kToParent);
        continue;
      }
      f = f->parent;
    }
    ++counts[kSent];
    // Few devices do these 20 bytes, and fewer senders leave them to one: not worth a detour.
    const bool is_odd = !(f->caps & kCapTxIp4Checksum) && !finish_ip4_checksum(b);
    next[i] = net.arcs.interface_output->start(rt, b, b.tx_if,
                                               f->needs_offload || is_odd ? kToOffload : kToTx);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

}  // namespace

const NodeInfo kInterfaceOutput{.name = "interface-output",
                                .run = interface_output,
                                .counters = kCounters,
                                .next = {"drop", "interface-tx", "tx-offload", "interface-output"}};

}  // namespace loom
