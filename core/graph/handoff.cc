#include "graph/handoff.h"

#include <algorithm>

namespace loom {

Handoff::Handoff(uint32_t n_workers) : n_(n_workers), incoming_(n_workers), senders_(n_workers) {
  rings_.resize(std::size_t{n_} * n_);
  for (uint32_t from = 0; from < n_; ++from) {
    senders_[from].touched.resize(n_);
    for (uint32_t to = 0; to < n_; ++to)
      if (from != to) {
        rings_[from * n_ + to] = std::make_unique<Ring>();
        incoming_[to].push_back(rings_[from * n_ + to].get());
      }
  }
}

// As many as there is room for.
uint32_t Handoff::fill(Ring& r, NodeId node, std::span<Buffer* const> packets) noexcept {
  if (r.next_write - r.tail_seen + packets.size() > kRing)
    r.tail_seen = r.tail.load(std::memory_order_acquire);
  const auto n = std::min<std::size_t>(kRing - (r.next_write - r.tail_seen), packets.size());
  for (std::size_t i = 0; i < n; ++i) r.entries[r.next_write++ % kRing] = {packets[i], node};
  return static_cast<uint32_t>(n);
}

uint32_t Handoff::push(uint32_t from, uint32_t to, NodeId node,
                       std::span<Buffer* const> packets) noexcept {
  Ring& r = *ring(from, to);
  Sender& s = senders_[from];
  s.n_touched += !s.touched[to];
  s.touched[to] = true;
  // Behind what waits already, or the order of a flow's packets would change.
  if (r.waiting.empty()) packets = packets.subspan(fill(r, node, packets));
  const auto left = static_cast<uint32_t>(packets.size());
  while (!packets.empty()) {
    Frame* f = r.waiting.last();
    if (!f || f->node != node || f->n == kFrameSize) f = r.waiting.push(node);
    const auto n = std::min<std::size_t>(kFrameSize - f->n, packets.size());
    std::copy_n(packets.begin(), n, f->packets.begin() + f->n);
    f->n = static_cast<uint16_t>(f->n + n);
    packets = packets.subspan(n);
  }
  return left;
}

// True: the receiver has something new.
bool Handoff::flush(uint32_t from, uint32_t to) noexcept {
  Ring& r = *ring(from, to);
  while (!r.waiting.empty()) {
    Frame* f = r.waiting.first();
    const uint32_t n = fill(r, f->node, f->used());
    std::copy(f->packets.begin() + n, f->packets.begin() + f->n, f->packets.begin());
    f->n = static_cast<uint16_t>(f->n - n);
    if (f->n != 0) break;
    r.waiting.recycle(r.waiting.pop());
  }
  if (r.head.load(std::memory_order_relaxed) == r.next_write) return false;
  // Sequentially consistent, as has_packets(): who falls asleep announces it and then looks here;
  // we store here and then look at the announcement.
  r.head.store(r.next_write);
  return true;
}

bool Handoff::has_packets(uint32_t to) const noexcept {
  for (const Ring* r : incoming_[to])
    if (r->head.load() != r->next_read) return true;
  return false;
}

}  // namespace loom
