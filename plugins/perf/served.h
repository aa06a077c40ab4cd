// What a server keeps about its connections: one piece of each, from a pool for each worker, so
// that a connection allocates nothing, and what many of them took goes back when they have gone.
#pragma once
#include <cstdint>

#include <hostloom/slots.h>

namespace loom::perf {

struct Server;

struct Served {
  enum class Kind : uint8_t { kUnknown, kSink, kEcho, kSource, kResponder };
  uint32_t link = 0;   // the pool's
  uint32_t index = 0;  // in it
  Kind kind = Kind::kUnknown;
  Server* server = nullptr;
  uint64_t position = 0;                // in the pattern, of the next byte to be sent
  uint32_t request = 0, response = 0;   // bytes, of each
  uint32_t to_come = 0, to_answer = 0;  // of this request; of its response. One of them is 0
};

// Threads: the worker's. No session of a server moves to another one, as it does not say `moved`.
class ServedPool {
 public:
  void use(Worker& worker) noexcept { slots_.use(worker); }
  // nullptr: no memory.
  Served* take() noexcept {
    const uint32_t index = slots_.take();
    if (index == slots_.kNone) return nullptr;
    auto* s = new (&slots_.at(index)) Served;
    s->index = index;
    return s;
  }
  void give(Served& s) noexcept { slots_.give(s.index); }

 private:
  SlotBlocks<Served, &Served::link, 256> slots_;
};

}  // namespace loom::perf
