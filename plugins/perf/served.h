// What a server keeps about its connections: one piece of each, from a pool for each worker, so
// that a connection allocates nothing, and what many of them took goes back when they have gone.
#pragma once
#include <cstdint>

#include <hostloom/slots.h>

namespace loom::perf {

struct Server;

struct Served {
  enum class Kind : uint8_t { kUnknown, kSink, kEcho, kSource, kResponder };
  uint32_t index = 0;  // in the pool, whose link this is while nobody has it
  Kind kind = Kind::kUnknown;
  bool is_answering = false;  // a response is under way, no request
  Server* server = nullptr;
  uint32_t position = 0;               // in the pattern's period, of the next byte to be sent
  uint32_t request = 0, response = 0;  // bytes, of each
  uint32_t left = 0;                   // of the one that is under way
};
static_assert(sizeof(Served) == 32);

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
  SlotBlocks<Served, &Served::index, 256> slots_;
};

}  // namespace loom::perf
