// Accept queue of a listener: sessions that are established and wait for a process of the
// application to take them. Daemon workers push (MPMC ring with a private tail); consumers are all
// processes of the application, by compare and swap on the shared head.
//
// Trust: the daemon believes its private tail, and head within its bounds. It never reads a slot.
// The handle that a process later claims is checked by the session layer like any other.
#pragma once
#include <bit>

#include "svm/layout.h"
#include "svm/ring.h"

namespace loom::svm {

inline AcceptSlot* accept_slots(ListenerShared& l) noexcept {
  return reinterpret_cast<AcceptSlot*>(&l + 1);
}
constexpr uint64_t listener_bytes(uint32_t capacity) noexcept {
  return sizeof(ListenerShared) + static_cast<uint64_t>(capacity) * sizeof(AcceptSlot);
}

// What a slot carries.
struct AcceptedSession {
  uint64_t handle = 0;
  Ref session = 0;
  uint16_t local_port = 0, remote_port = 0;  // network order
  bool is_ip4 = true;
  CutThrough cut_through = CutThrough::kNo;
  uint16_t interface = 0;  // as SocketOptions::interface
  uint8_t local_ip[16] = {}, remote_ip[16] = {};
};

// Daemon's end. Threads: any worker.
class AcceptProducer {
 public:
  using Push = RingTail::Take;

  AcceptProducer() = default;
  // Sets up zeroed memory of listener_bytes(capacity); capacity is a power of two.
  AcceptProducer(ListenerShared& l, uint32_t capacity, uint64_t handle) noexcept;

  // `position` of the session in the queue, for is_taken().
  Push push(const AcceptedSession& s, uint32_t& position) noexcept;
  // Whether the session that was put in as number `position` has been taken out.
  bool is_taken(uint32_t position) const noexcept;
  // After push: the workers (bits) that want a kAcceptReady event. The caller ignores bits of
  // workers that it does not have.
  uint64_t interested() const noexcept;
  // Chooses worker `w` for a session. False: it has just given up waiting. Once chosen it has to
  // register again. A bit that is not taken is never stored back: its worker may have cleared it.
  bool take_interest(unsigned w) noexcept;
  // Sessions not yet taken; kViolation-like heads count as capacity.
  uint32_t count() const noexcept;
  uint32_t capacity() const noexcept { return tail_.capacity(); }

 private:
  ListenerShared* l_ = nullptr;
  RingTail tail_;
};

// Application's end; stateless, so that all processes are equal. Threads: any.
class AcceptConsumer {
 public:
  AcceptConsumer() = default;
  // `capacity`: ListenerShared::capacity, bounded by the segment first.
  AcceptConsumer(ListenerShared& l, uint32_t capacity) noexcept : l_(&l), capacity_(capacity) {}

  bool pop(AcceptedSession& out) noexcept;
  bool empty() const noexcept;
  // Before sleeping, for application worker `w` (below 64): asks for an event. True: the queue is
  // empty, sleep. False: pop.
  bool arm(unsigned w) noexcept;
  // Waits no longer. True: it was chosen for a session, or had not asked; if it leaves that session
  // in the queue, another waiter has to be told.
  bool disarm(unsigned w) noexcept;

 private:
  ListenerShared* l_ = nullptr;
  uint32_t capacity_ = 0;
};

}  // namespace loom::svm
