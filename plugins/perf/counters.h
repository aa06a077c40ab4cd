// What a server or a run counts while it goes on.
#pragma once
#include <atomic>

#include <hostloom/app.h>

namespace loom::perf {

// Of one worker, which alone writes them.
struct alignas(kCacheLine) Counters {
  std::atomic<uint64_t> opened{0}, closed{0}, received{0}, sent{0};  // connections; bytes
  std::atomic<uint64_t> round_trips{0};
  // Segments that were sent again, by connections that have ended. A transport that is done with a
  // connection tells no more: what was sent again after the end of the own direction may be
  // missing, and so is all of a connection that was reset before it.
  std::atomic<uint64_t> retransmitted{0};
};
using Counter = std::atomic<uint64_t> Counters::*;

inline void add(std::atomic<uint64_t>& counter, uint64_t n) noexcept {  // one writer
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

// Segments that a session has sent again so far; `known` when that cannot be asked any more. Asked
// before it is shut down and at its end, because the transport may have ended it by then.
inline uint32_t retransmitted(const AppSession& s, uint32_t known) noexcept {
  ConnectionInfo info;
  return s.info(info) == Status::kOk ? info.total_retrans : known;
}

}  // namespace loom::perf
