// Packets on their way from the worker that has them to the worker that must handle them: one
// bounded ring for each pair of workers, one writer and one reader each. Nothing is dropped: what
// finds its ring full waits with the sender, which stays awake until there is room; so a slow
// receiver costs its senders buffers, and in the end their devices wait.
//
// A sender publishes once a round, so a receiver sees whole batches, and the line that both touch
// moves between cores once a batch. Every call names the worker that makes it.
//   cost  BM_HandOff
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include <hostloom/buffer.h>

#include "graph/frame_queue.h"

namespace loom {

class Handoff {
 public:
  static constexpr uint32_t kRing = 1024;  // packets

  explicit Handoff(uint32_t n_workers);

  // Worker `from` != `to`. Takes the packets over; none has an external segment. Returns how many
  // of them found the ring full and wait here.
  uint32_t push(uint32_t from, uint32_t to, NodeId, std::span<Buffer* const>) noexcept;

  // Worker `from`: packets for `to` have found the ring full, and wait.
  bool has_waiting(uint32_t from, uint32_t to) const noexcept {
    return !ring(from, to)->waiting.empty();
  }

  // Worker `from`: it has pushed something since publish(), or something waits for room.
  bool has_pushed(uint32_t from) const noexcept { return senders_[from].n_touched != 0; }

  // Worker `from`, at the end of a round: shows what it pushed since, and what waited, to its
  // receivers. fn(to) is called for each that has something new, and must wake it if it sleeps.
  // Returns whether packets still wait for room.
  template <class Fn>
  bool publish(uint32_t from, Fn&& fn) noexcept {
    Sender& s = senders_[from];
    bool any_waits = false;
    for (uint32_t to = 0; s.n_touched != 0 && to < n_; ++to) {
      if (!s.touched[to]) continue;
      if (flush(from, to)) fn(to);
      s.touched[to] = !waiting(from, to).empty();
      s.n_touched -= !s.touched[to];
      any_waits |= s.touched[to];
    }
    return any_waits;
  }

  // Worker `to`: something was shown to it, perhaps just now.
  bool has_shown(uint32_t to) const noexcept {
    for (const Ring* r : incoming_[to])
      if (r->head.load(std::memory_order_relaxed) != r->next_read) return true;
    return false;
  }

  // Worker `to`: hands everything that was shown to it to append(node, packets). Returns how many.
  template <class Fn>
  uint32_t drain(uint32_t to, Fn&& append) noexcept {
    uint32_t n = 0;
    for (Ring* r : incoming_[to]) {
      // Relaxed: acquired below, only when something is there.
      if (r->head.load(std::memory_order_relaxed) == r->next_read) [[likely]]
        continue;
      const uint32_t head = r->head.load(std::memory_order_acquire);
      n += head - r->next_read;
      for (; r->next_read != head; ++r->next_read) {
        const Entry& e = r->entries[r->next_read % kRing];
        append(e.node, std::span<Buffer* const>(&e.packet, 1));
      }
      r->tail.store(head, std::memory_order_release);
    }
    return n;
  }
  // Worker `to`, which has announced that it falls asleep: something is there.
  bool has_packets(uint32_t to) const noexcept;

  // While no worker runs: everything that is on its way, in rings or waiting.
  template <class Fn>
  void take_all(Fn&& fn) {
    for (uint32_t from = 0; from < n_; ++from)
      while (publish(from, [](uint32_t) {}))
        for (uint32_t to = 0; to < n_; ++to)
          drain(to, [&](NodeId, std::span<Buffer* const> packets) { fn(packets); });
    for (uint32_t to = 0; to < n_; ++to)
      drain(to, [&](NodeId, std::span<Buffer* const> packets) { fn(packets); });
  }

 private:
  struct Entry {
    Buffer* packet;
    NodeId node;
  };
  struct Ring {
    // Written by the sender. next_write runs ahead of head until publish().
    alignas(kCacheLine) std::atomic<uint32_t> head{0};
    // The sender's own.
    alignas(kCacheLine) uint32_t next_write = 0;
    uint32_t tail_seen = 0;
    FrameQueue waiting;  // found the ring full, oldest first
    // Written by the receiver.
    alignas(kCacheLine) std::atomic<uint32_t> tail{0};
    uint32_t next_read = 0;
    alignas(kCacheLine) std::array<Entry, kRing> entries;
  };
  struct alignas(kCacheLine) Sender {
    std::vector<uint8_t> touched;  // by receiver: publish() has something to do
    uint32_t n_touched = 0;
  };

  Ring* ring(uint32_t from, uint32_t to) const noexcept { return rings_[from * n_ + to].get(); }
  FrameQueue& waiting(uint32_t from, uint32_t to) noexcept { return ring(from, to)->waiting; }
  uint32_t fill(Ring&, NodeId, std::span<Buffer* const>) noexcept;
  bool flush(uint32_t from, uint32_t to) noexcept;

  uint32_t n_;
  std::vector<std::unique_ptr<Ring>> rings_;  // from * n_ + to; none to itself
  std::vector<std::vector<Ring*>> incoming_;  // the same, by receiver
  std::vector<Sender> senders_;
};

}  // namespace loom
