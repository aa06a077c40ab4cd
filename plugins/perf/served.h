// What a server keeps about its connections: one piece of each, from a pool for each worker, so
// that a connection allocates nothing, and what many of them took goes back when they have gone.
#pragma once
#include <atomic>
#include <cstdint>

#include <hostloom/slots.h>

namespace loom::perf {

struct Server;

struct Served {
  enum class Kind : uint8_t { kUnknown, kSink, kEcho, kSource, kResponder };
  uint32_t link = 0;    // the pool's
  uint32_t index = 0;   // in it
  uint32_t worker = 0;  // whose pool it is
  Kind kind = Kind::kUnknown;
  Server* server = nullptr;
  uint64_t position = 0;                // in the pattern, of the next byte to be sent
  uint32_t request = 0, response = 0;   // bytes, of each
  uint32_t to_come = 0, to_answer = 0;  // of this request; of its response. One of them is 0
};

// Threads: the worker's, but for give_back.
class ServedPool {
 public:
  void use(Worker& worker) noexcept {
    worker_ = worker.index;
    slots_.use(worker);
  }
  // nullptr: no memory.
  Served* take() noexcept {
    uint32_t next = returned_.exchange(kNone, std::memory_order_acquire);
    while (next != kNone) {
      const uint32_t index = std::exchange(next, slots_.at(next).link);
      slots_.give(index);
    }
    const uint32_t index = slots_.take();
    if (index == kNone) return nullptr;
    auto* s = new (&slots_.at(index)) Served;
    s->index = index;
    s->worker = worker_;
    return s;
  }
  void give(Served& s) noexcept { slots_.give(s.index); }
  // On another worker, to which its session has moved. It is taken in with the next take().
  void give_back(Served& s) noexcept {
    uint32_t first = returned_.load(std::memory_order_relaxed);
    do s.link = first;
    while (!returned_.compare_exchange_weak(first, s.index, std::memory_order_release,
                                            std::memory_order_relaxed));
  }

 private:
  using Slots = SlotBlocks<Served, &Served::link, 256>;
  static constexpr uint32_t kNone = Slots::kNone;

  Slots slots_;
  uint32_t worker_ = 0;
  std::atomic<uint32_t> returned_{kNone};
};

}  // namespace loom::perf
