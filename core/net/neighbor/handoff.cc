#include "net/neighbor/handoff.h"

#include "graph/engine.h"

namespace loom {

NeighborHandoff::NeighborHandoff(Engine& engine) : engine_(engine) {
  for (uint32_t i = 0; i < engine.n_workers(); ++i) rings_.push_back(std::make_unique<Ring>());
}

bool NeighborHandoff::push(Worker& from, NodeId node, Buffer* packet) noexcept {
  Ring& r = *rings_[from.index];
  const uint32_t head = r.head.load(std::memory_order_relaxed);
  if (head - r.tail.load(std::memory_order_acquire) == kRing) return false;
  packet->flags &= ~kBufferTraced;  // trace logs are per worker
  r.entries[head % kRing] = {packet, node};
  r.head.store(head + 1, std::memory_order_release);
  // Told once until worker 0 has begun to drain: an exchange on both sides orders ring and flag.
  if (!is_told_.exchange(true)) engine_.post(0, [this](Worker& w0) { drain(w0); });
  return true;
}

void NeighborHandoff::drain(Worker& w0) noexcept {
  is_told_.exchange(false);
  for (auto& ring : rings_) {
    Ring& r = *ring;
    uint32_t tail = r.tail.load(std::memory_order_relaxed);
    const uint32_t head = r.head.load(std::memory_order_acquire);
    for (; tail != head; ++tail) {
      const Entry e = r.entries[tail % kRing];
      w0.enqueue_to_node(e.node, e.packet);
    }
    r.tail.store(tail, std::memory_order_release);
  }
}

}  // namespace loom
