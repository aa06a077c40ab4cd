// Message queue between an application worker and the daemon: MPSC ring of 128-byte slots in
// shared memory. Full is the sender's problem: push returns kFull, and it tries again later.
//
// Trust: either end may face a hostile other. The producer believes only its private tail, and the
// consumer's head within its bounds; the consumer believes only its private head, and copies a slot
// out once before anybody looks at it.
// Wake-up: what wakes the consumer (of an application a socket, of the daemon an eventfd) is
// written only when it said that it sleeps.
#pragma once
#include <cstring>
#include <type_traits>

#include "svm/layout.h"
#include "svm/ring.h"

namespace loom::svm {

inline MqSlot* mq_slots(MqShared& q) noexcept { return reinterpret_cast<MqSlot*>(&q + 1); }
constexpr uint64_t mq_bytes(uint32_t capacity) noexcept {
  return sizeof(MqShared) + static_cast<uint64_t>(capacity) * sizeof(MqSlot);
}
// Sets up zeroed memory of mq_bytes(capacity); capacity is a power of two.
inline void init_mq(MqShared& q, uint32_t capacity) noexcept { q.capacity = capacity; }

// Threads: push and needs_wake from any thread of one process.
class MqProducer {
 public:
  enum class Push { kOk, kFull, kViolation };

  MqProducer() = default;
  // `capacity` as the daemon set it up; the application bounds MqShared::capacity by its segment
  // first. A fresh queue: the tail starts at 0.
  MqProducer(MqShared& q, uint32_t capacity) noexcept : q_(&q), tail_(capacity) {}

  // `position`: where kOk has put it, for is_read().
  Push push(uint32_t type, const void* payload, uint32_t len,
            uint32_t* position = nullptr) noexcept;
  template <class E, class T>
  Push push(E type, const T& payload) noexcept {
    static_assert(sizeof(T) <= sizeof(MqSlot::payload) && std::is_trivially_copyable_v<T>);
    return push(static_cast<uint32_t>(type), &payload, sizeof(T));
  }
  // After one or several pushes: whether the consumer must be woken. True for one producer only.
  bool needs_wake() noexcept;
  bool is_full() const noexcept { return tail_.is_full(q_->head); }
  // Whether the consumer has gone beyond that position. It says so itself: what follows from a lie
  // must be its own loss.
  bool is_read(uint32_t position) const noexcept {
    // However long ago it was put there: only what the queue can hold is still in it.
    return position - q_->head.load(std::memory_order_acquire) >= tail_.capacity();
  }
  // For choosing between consumers; may have changed by the time it is known.
  bool consumer_sleeps() const noexcept {
    return q_->sleeping.load(std::memory_order_relaxed) != 0;
  }

  MqShared* shared() const noexcept { return q_; }

 private:
  MqShared* q_ = nullptr;
  RingTail tail_;
};

struct MqEvent {
  uint32_t type;
  std::byte payload[sizeof(MqSlot::payload)];

  // The payload as a T, copied: it is plain data of the sender's choosing, check it.
  template <class T>
  T as() const noexcept {
    static_assert(sizeof(T) <= sizeof(payload) && std::is_trivially_copyable_v<T>);
    T t;
    std::memcpy(&t, payload, sizeof t);
    return t;
  }
};

// Threads: one at a time.
class MqConsumer {
 public:
  MqConsumer() = default;
  MqConsumer(MqShared& q, uint32_t capacity) noexcept : q_(&q), capacity_(capacity) {}

  // False: empty (or the next slot is still being filled; its producer wakes us if we sleep).
  bool pop(MqEvent& out) noexcept;
  bool empty() const noexcept {
    return mq_slots(*q_)[head_ & (capacity_ - 1)].seq.load(std::memory_order_acquire) != head_ + 1;
  }

  // Before poll on what wakes it. True: nothing has come, sleep. False: pop first; no
  // finish_sleep() is needed then.
  bool prepare_sleep() noexcept;
  // After waking up, whatever the reason: producers need not wake us any more.
  void finish_sleep() noexcept { q_->sleeping.store(0, std::memory_order_relaxed); }

  MqShared* shared() const noexcept { return q_; }

 private:
  MqShared* q_ = nullptr;
  uint32_t head_ = 0, capacity_ = 0;
};

}  // namespace loom::svm
