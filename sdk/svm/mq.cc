#include "svm/mq.h"

#include <algorithm>

namespace loom::svm {

MqProducer::Push MqProducer::push(uint32_t type, const void* payload, uint32_t len,
                                  uint32_t* taken) noexcept {
  uint32_t position;
  switch (tail_.take(q_->head, position)) {
    case RingTail::Take::kFull:
      return Push::kFull;
    case RingTail::Take::kViolation:
      return Push::kViolation;
    case RingTail::Take::kOk:
      break;
  }
  MqSlot& slot = mq_slots(*q_)[position & (tail_.capacity() - 1)];
  slot.type = type;
  std::memcpy(slot.payload, payload, std::min<size_t>(len, sizeof slot.payload));
  slot.seq.store(position + 1, std::memory_order_release);
  if (taken) *taken = position;
  return Push::kOk;
}

bool MqProducer::needs_wake() noexcept {
  // Dekker with prepare_sleep(): seq stored, fence, look at sleeping | sleeping stored, fence, look
  // at seq.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return q_->sleeping.load(std::memory_order_relaxed) != 0 &&
         q_->sleeping.exchange(0, std::memory_order_relaxed) != 0;
}

bool MqConsumer::pop(MqEvent& out) noexcept {
  if (empty()) return false;
  const MqSlot& slot = mq_slots(*q_)[head_ & (capacity_ - 1)];
  out.type = slot.type;
  std::memcpy(out.payload, slot.payload, sizeof out.payload);
  q_->head.store(++head_, std::memory_order_release);
  return true;
}

bool MqConsumer::prepare_sleep() noexcept {
  q_->sleeping.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (empty()) return true;
  finish_sleep();
  return false;
}

}  // namespace loom::svm
