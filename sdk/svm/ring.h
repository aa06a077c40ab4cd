// Producer's half of the bounded rings in shared memory (message queues, accept queues): several
// threads of one side take positions with compare and swap on a private tail; the consumer's head
// is shared, and believed only within [tail - capacity, tail].
#pragma once
#include <atomic>
#include <cstdint>

#include <hostloom/types.h>

namespace loom::svm {

class RingTail {
 public:
  enum class Take { kOk, kFull, kViolation };

  explicit RingTail(uint32_t capacity = 0) noexcept : capacity_(capacity) {}
  // For setting up, before other threads know it.
  RingTail(const RingTail& o) noexcept : RingTail(o.capacity_) { *this = o; }
  RingTail& operator=(const RingTail& o) noexcept {
    tail_.store(o.tail(), std::memory_order_relaxed);
    head_seen_.store(o.head_seen_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    capacity_ = o.capacity_;
    return *this;
  }

  // Takes the next position. The caller fills its slot and then stores position + 1 in slot.seq
  // (release); a slot that is taken and not yet filled stops the consumer there.
  Take take(const std::atomic<uint32_t>& shared_head, uint32_t& position) noexcept {
    uint32_t t = tail_.load(std::memory_order_acquire);
    while (true) {
      // Acquire and release also between producers: who uses a head that another one has read must
      // be as far behind the consumer's reads of the slot.
      if (t - head_seen_.load(std::memory_order_acquire) >= capacity_) {
        const uint32_t h = shared_head.load(std::memory_order_acquire);
        const uint32_t again = tail_.load(std::memory_order_acquire);
        if (again != t) {  // others went on meanwhile: h may be of a later time than t
          t = again;
          continue;
        }
        if (t - h > capacity_) return Take::kViolation;
        if (t - h == capacity_) return Take::kFull;
        head_seen_.store(h, std::memory_order_release);
      }
      if (tail_.compare_exchange_weak(t, t + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        position = t;
        return Take::kOk;
      }
    }
  }
  // For the moment; another producer may take or the consumer give a place meanwhile.
  bool is_full(const std::atomic<uint32_t>& shared_head) const noexcept {
    const uint32_t t = tail();
    return t - head_seen_.load(std::memory_order_relaxed) >= capacity_ &&
           t - shared_head.load(std::memory_order_relaxed) >= capacity_;
  }
  uint32_t tail() const noexcept { return tail_.load(std::memory_order_relaxed); }
  uint32_t capacity() const noexcept { return capacity_; }

 private:
  std::atomic<uint32_t> tail_{0};
  std::atomic<uint32_t> head_seen_{0};
  uint32_t capacity_;
};

}  // namespace loom::svm
