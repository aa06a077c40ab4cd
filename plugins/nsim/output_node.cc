// Node "nsim-output-feature", a feature of arc interface-output: packets that leave by an interface
// wait as if on a long wire, or get lost, or overtake the others.
//   in    packets with tx_if set, before segmentation by the device or in software
//   out   the arc's next feature, by way of the worker's delay line | drop
//   cost  one random number and one store a packet; nothing while no packet waits
#include "nsim.h"

namespace loom::nsim {
namespace {

enum Next : uint16_t { kToDrop };
constexpr CounterInfo kCounters[kFateCount] = {
    {"delayed", Severity::kInfo, "packets that have to wait"},
    {"dropped", Severity::kInfo, "packets lost by chance, as configured"},
    {"reordered", Severity::kInfo, "packets sent at once, ahead of those that wait"},
    {"overflow", Severity::kWarn, "packets lost because bandwidth times delay of them waited"},
};
constexpr const char* kFateNames[kFateCount] = {"delayed", "dropped", "reordered", "overflow"};

struct Record {
  Fate fate;
};

void run(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  DelayLine& line = line_of(w);
  std::array<Buffer*, kFrameSize> out;
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kFateCount> counts{};
  std::size_t n = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch();
    Buffer& b = *in[i];
    const Fate fate = line.offer(w, b);
    ++counts[fate];
    if (b.is_traced()) [[unlikely]]
      if (auto* record = rt.trace<Record>(b)) record->fate = fate;
    if (fate == kDelayed) continue;
    if (fate != kReordered) rt.set_error(b, fate);
    out[n] = &b;
    next[n++] = fate == kReordered ? kNextFeature : uint16_t{kToDrop};
  }
  line.watch(w);
  rt.add_counters(counts);
  rt.enqueue({out.data(), n}, next);
}

}  // namespace

const NodeInfo kOutputNode{
    .name = "nsim-output-feature",
    .run = run,
    .counters = kCounters,
    .next = {"drop"},
    .trace_format =
        [](const void* record, std::string& out) {
          out += kFateNames[static_cast<const Record*>(record)->fate];
        },
};

}  // namespace loom::nsim
