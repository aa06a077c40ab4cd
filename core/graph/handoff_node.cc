// Name "worker-handoff": what a worker gives to the others and gets from them (handoff.h), as part
// of its rounds.
//   in    Worker::hand_off, on the worker that has the packets
//   out   the node that it names, on the other worker, in that one's next round
#include "buffer/chain.h"
#include "graph/worker_state.h"

namespace loom {
namespace {

enum Counter : uint16_t { kHandedOff, kCopied, kWaited, kNoBuffers, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"handed-off", Severity::kInfo, "packets that another worker handles"},
    {"copied", Severity::kInfo, "the same, copied first: they referred to an application's bytes"},
    {"waited", Severity::kWarn, "the same, but there was no room at once: that worker is busy"},
    {"no-buffers", Severity::kWarn, "dropped: to be copied, and the buffer pool was empty"},
};

bool has_external(const Buffer& first) noexcept {
  for (const Buffer* b = &first; b; b = b->next)
    if (b->is_external()) return true;
  return false;
}

}  // namespace

const NodeInfo kHandoffNode{.name = "worker-handoff", .counters = kCounters};

void WorkerState::hand_off(uint32_t to, NodeId node, std::span<Buffer* const> packets) noexcept {
  LOOM_CHECK(to < engine.n_workers() && node < kMaxNodes && slots[node].rt.info &&
             slots[node].rt.info->run);
  if (to == w.index) return append(node, packets);
  std::array<uint32_t, kCounterCount> counts{};
  for (Buffer* b : packets) {
    Counter counter = kHandedOff;
    // ExternalOwner::release is for the worker that made the segment, which may have others of the
    // same owner on their way: only bytes leave it.
    if (has_external(*b)) [[unlikely]] {
      Buffer* copy = chain_copy(w, *b);
      w.free(b);
      if (!copy) {
        ++counts[kNoBuffers];
        continue;
      }
      b = copy;
      counter = kCopied;
    }
    if (engine.handoff_.push(w.index, to, node, {&b, 1}) != 0) counter = kWaited;
    ++counts[counter];
  }
  slots[engine.handoff_node()].rt.add_counters(counts);
}

// Trace logs are per worker: a marked packet is a new one here.
void WorkerState::take_handed_over() noexcept {
  w.work += engine.handoff_.drain(w.index, [&](NodeId node, std::span<Buffer* const> packets) {
    Buffer& b = *packets[0];
    if (b.is_traced()) [[unlikely]] {
      if (trace.active())
        b.trace_index = trace.new_packet();
      else
        b.flags &= ~kBufferTraced;
    }
    append(node, packets);
  });
}

void WorkerState::show_handed_off() noexcept {
  const bool any_waits = engine.handoff_.publish(w.index, [&](uint32_t to) {
    WorkerState& receiver = *engine.workers_[to];
    if (receiver.sleep_state.load() != SleepState::kAwake) receiver.watches.wake();
  });
  if (any_waits) ++w.work;  // awake until there is room for them
}

}  // namespace loom
