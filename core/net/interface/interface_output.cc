// Node "interface-output": the last stop before an interface's own queue.
//   in    packets with tx_if set, data at the link-layer header
//   out   the interface-output features, then interface-tx, by way of tx-offload where the device
//         lacks an offload: all packets of an interface take the same way and keep their order
//         | drop
#include "net/interface/nodes.h"
#include "net/offload/tx_checksum.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToTx, kToOffload };
enum Counter : uint16_t { kSent, kNoInterface, kInterfaceDown, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"sent", Severity::kInfo, "packets passed to the interface"},
    {"no-interface", Severity::kError, "the interface is gone"},
    {"interface-down", Severity::kWarn, "the interface is down"},
};

void interface_output(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  const NetState& net = net_state(w);
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    Buffer& b = *in[i];
    const Interface* f = net.interfaces.find(b.tx_if);
    if (!f || !f->is_up()) [[unlikely]] {
      const Counter counter = f ? kInterfaceDown : kNoInterface;
      ++counts[counter];
      rt.set_error(b, counter);
      next[i] = kToDrop;
      continue;
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
                                .next = {"drop", "interface-tx", "tx-offload"}};

}  // namespace loom
