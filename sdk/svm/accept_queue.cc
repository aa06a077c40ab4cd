#include "svm/accept_queue.h"

#include <algorithm>
#include <cstring>

#include "svm/bytes.h"

namespace loom::svm {
namespace {

// A slot but for seq, word by word with relaxed atomics: a consumer that lost the race for a slot
// may read it while the daemon fills it again, and then throws away what it read.
struct Words {
  uint32_t ports;
  uint64_t rest[7];
};
static_assert(sizeof(AcceptSlot) == 64 && offsetof(AcceptSlot, local_port) == 4 &&
              offsetof(AcceptSlot, handle) == 8 && offsetof(AcceptSlot, session) == 16 &&
              offsetof(AcceptSlot, is_ip4) == 24 && offsetof(AcceptSlot, cut_through) == 25 &&
              offsetof(AcceptSlot, interface) == 26 && offsetof(AcceptSlot, local_ip) == 32);

uint32_t* ports_of(AcceptSlot& s) { return reinterpret_cast<uint32_t*>(&s) + 1; }
uint64_t* rest_of(AcceptSlot& s) { return reinterpret_cast<uint64_t*>(&s) + 1; }

Words pack(const AcceptedSession& s) {
  Words w{};
  w.ports = s.local_port | static_cast<uint32_t>(s.remote_port) << 16;
  w.rest[0] = s.handle;
  w.rest[1] = s.session;
  w.rest[2] = s.is_ip4 | static_cast<uint64_t>(s.cut_through) << 8 | uint64_t{s.interface} << 16;
  std::memcpy(&w.rest[3], s.local_ip, 16);
  std::memcpy(&w.rest[5], s.remote_ip, 16);
  return w;
}

AcceptedSession unpack(const Words& w) {
  AcceptedSession s;
  s.local_port = static_cast<uint16_t>(w.ports);
  s.remote_port = static_cast<uint16_t>(w.ports >> 16);
  s.handle = w.rest[0];
  s.session = w.rest[1];
  s.is_ip4 = (w.rest[2] & 0xff) != 0;
  s.cut_through = static_cast<CutThrough>(w.rest[2] >> 8 & 0xff);
  s.interface = static_cast<uint16_t>(w.rest[2] >> 16);
  std::memcpy(s.local_ip, &w.rest[3], 16);
  std::memcpy(s.remote_ip, &w.rest[5], 16);
  return s;
}

}  // namespace

AcceptProducer::AcceptProducer(ListenerShared& l, uint32_t capacity, uint64_t handle) noexcept
    : l_(&l), tail_(capacity) {
  l.capacity = capacity;
  l.handle = handle;
}

AcceptProducer::Push AcceptProducer::push(const AcceptedSession& s, uint32_t& position) noexcept {
  if (const auto took = tail_.take(l_->head, position); took != Push::kOk) return took;
  AcceptSlot& slot = accept_slots(*l_)[position & (tail_.capacity() - 1)];
  const Words w = pack(s);
  write_once(*ports_of(slot), w.ports);
  for (unsigned i = 0; i < 7; ++i) write_once(rest_of(slot)[i], w.rest[i]);
  slot.seq.store(position + 1, std::memory_order_release);
  return Push::kOk;
}

uint64_t AcceptProducer::interested() const noexcept {
  // Dekker with arm(): seq stored, fence, look at interest | interest stored, fence, look at seq.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return l_->interest.load(std::memory_order_relaxed);
}

bool AcceptProducer::take_interest(unsigned w) noexcept {
  // Release and acquire with disarm(): who finds its bit taken also finds the session.
  return l_->interest.fetch_and(~(1ull << w), std::memory_order_acq_rel) >> w & 1;
}

bool AcceptProducer::is_taken(uint32_t position) const noexcept {
  // One tail for both, and not an older one than the head: others push meanwhile.
  const uint32_t head = l_->head.load(std::memory_order_acquire);
  const uint32_t tail = tail_.tail();
  const uint32_t waiting = std::min(tail - head, tail_.capacity());
  return static_cast<int32_t>(tail - waiting - position) > 0;
}

uint32_t AcceptProducer::count() const noexcept {
  const uint32_t head = l_->head.load(std::memory_order_acquire);
  return std::min(tail_.tail() - head, tail_.capacity());
}

bool AcceptConsumer::pop(AcceptedSession& out) noexcept {
  uint32_t h = l_->head.load(std::memory_order_acquire);
  while (true) {
    AcceptSlot& slot = accept_slots(*l_)[h & (capacity_ - 1)];
    if (slot.seq.load(std::memory_order_acquire) != h + 1) {
      const uint32_t now = l_->head.load(std::memory_order_acquire);
      if (now == h) return false;
      h = now;  // another process was faster
      continue;
    }
    Words w;
    w.ports = read_once(*ports_of(slot));
    for (unsigned i = 0; i < 7; ++i) w.rest[i] = read_once(rest_of(slot)[i]);
    if (l_->head.compare_exchange_weak(h, h + 1, std::memory_order_acq_rel,
                                       std::memory_order_acquire)) {
      out = unpack(w);
      return true;
    }
  }
}

bool AcceptConsumer::empty() const noexcept {
  uint32_t h = l_->head.load(std::memory_order_acquire);
  while (true) {
    const AcceptSlot& slot = accept_slots(*l_)[h & (capacity_ - 1)];
    if (slot.seq.load(std::memory_order_acquire) == h + 1) return false;
    const uint32_t now = l_->head.load(std::memory_order_acquire);
    if (now == h) return true;
    h = now;  // that slot was of another lap
  }
}

bool AcceptConsumer::arm(unsigned w) noexcept {
  l_->interest.fetch_or(1ull << w, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return empty();
}

bool AcceptConsumer::disarm(unsigned w) noexcept {
  return !(l_->interest.fetch_and(~(1ull << w), std::memory_order_acq_rel) >> w & 1);
}

}  // namespace loom::svm
