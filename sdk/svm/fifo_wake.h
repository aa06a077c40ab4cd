// The four handshakes that decide who has to wake whom, and their fences, in one place.
//
// Both are Dekker's pattern: each side stores its own word, then looks at the other's. With a
// sequentially consistent fence between the two on both sides, at least one of them sees the
// other's store: either the sleeper sees the news and does not sleep, or the waker sees that it is
// asked for. Acquire and release alone would allow both to miss.
//
//   data    consumer: armed = 1        | fence | look at tail   -> nothing new: sleep
//           producer: tail = new       | fence | look at armed  -> 1: armed = 0, send one event
//   space   producer: request, WantSpace | fence | look at head -> still too full: sleep
//           consumer: head = new       | fence | look at flags  -> asked, reached: send one event
//
// `armed` lies in the consumer's line, and the producer may store 0 there: the consumer stores only
// 1 (arm), the producer only 0, and only when it then sends the event. A request for space lies in
// the producer's line, which the consumer never writes: it remembers the request's number instead.
#pragma once
#include "svm/layout.h"

namespace loom::svm::wake {

inline void fence() noexcept { std::atomic_thread_fence(std::memory_order_seq_cst); }

// Producer, after it published tail or eof: whether an event is due now.
inline bool consumer_waits(FifoConsumerWords& consumer) noexcept {
  fence();
  if (consumer.armed.load(std::memory_order_relaxed) == 0) return false;
  consumer.armed.store(0, std::memory_order_relaxed);
  return true;
}

// Consumer, before its last look at tail.
inline void arm(FifoConsumerWords& consumer) noexcept {
  consumer.armed.store(1, std::memory_order_relaxed);
  fence();
}

// Producer, before its last look at head. `flags` is the producer's own copy of producer.flags.
inline void request_space(FifoProducerWords& producer, uint32_t& flags,
                          uint32_t space_at) noexcept {
  const uint32_t number = (flags >> kFifoSpaceRequestShift) + 1;
  flags = (flags & ((1u << kFifoSpaceRequestShift) - 1)) | kFifoWantSpace |
          number << kFifoSpaceRequestShift;
  producer.space_at.store(space_at, std::memory_order_relaxed);
  producer.flags.store(flags, std::memory_order_release);
  fence();
}

// Consumer, after it published `head`: whether an event is due now. `answered` is the consumer's
// memory of the last request it answered.
inline bool producer_waits(const FifoProducerWords& producer, uint32_t head,
                           uint32_t& answered) noexcept {
  fence();
  const uint32_t flags = producer.flags.load(std::memory_order_acquire);
  if (!(flags & kFifoWantSpace) || flags >> kFifoSpaceRequestShift == answered) return false;
  const uint32_t space_at = producer.space_at.load(std::memory_order_relaxed);
  if (static_cast<int32_t>(head - space_at) < 0) return false;
  answered = flags >> kFifoSpaceRequestShift;
  return true;
}

}  // namespace loom::svm::wake
