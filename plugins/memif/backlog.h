// Packets of one worker that found no room in the ring of an interface. They wait here, in order,
// and go out before any others: in front of what is sent next, when the worker polls the interface,
// and by a timer, as a memif has no way to say that there is room again. On that worker.
#pragma once
#include <atomic>
#include <vector>

#include <hostloom/worker.h>

namespace loom::memif {

struct Device;

// Buffers that wait in all backlogs of the daemon: peers that take nothing must leave the most of
// the pool to everybody else, and room to those that do take. Rule: after each taking, what is left
// for other interfaces is at least what this one has ("dynamic thresholds", as in
// core/session/fair_share.h). Any thread; who takes while others do may get a little more or less.
class Kept {
 public:
  // Of which pool of workers they are is not told apart: a quarter of the smallest.
  static constexpr uint32_t kShare = 4;
  void set_most(uint32_t buffers) noexcept { most_.store(buffers, std::memory_order_relaxed); }
  uint32_t n() const noexcept { return n_.load(std::memory_order_relaxed); }
  // As many of so many as there is room for; `mine`: what the interface has.
  uint32_t take(uint32_t wanted, std::atomic<uint32_t>& mine) noexcept;
  void give(uint32_t buffers, std::atomic<uint32_t>& mine) noexcept;

 private:
  std::atomic<uint32_t> n_{0}, most_{0};
};

struct Backlog {
  // What one bulk flow may have on its way, whatever the ring: a window of 4 MB is 2,897 segments
  // of 1,448 bytes. Less than a fifth of the usual pool. What does not fit is the caller's, who
  // counts and drops it.
  static constexpr uint32_t kMost = 3072;
  // A peer that takes nothing is looked at less and less often.
  static constexpr TimeNs kFirstLook = kTimerTick, kLastLook = 50 * kTimerTick;

  // A peer that takes nothing for so long has stopped; one that takes less may have no core for a
  // while. What waits also keeps sessions that have ended, so a peer that has not taken within the
  // longer time what waited at its beginning has stopped as well.
  static constexpr TimeNs kPatience = 10'000 * kTimerTick, kMostWait = 10 * kPatience;

  Backlog(Device& d, Kept& of_all);
  bool is_empty() const noexcept { return n == 0; }
  // The oldest of them, as far as they lie one behind the other.
  std::span<Buffer* const> front() const noexcept;
  // Frees the oldest of those.
  void pop(Worker&, uint32_t count) noexcept;
  // Takes over as many as there is room for, and says how many.
  uint32_t push(std::span<Buffer* const> packets) noexcept;
  // Frees all, and says how many there were.
  uint32_t drop(Worker&) noexcept;
  // Has the timer look, unless there is nothing to wait for.
  void wait(Worker&, bool has_moved) noexcept;
  // After a look: whether the peer, whose cursor is now there, has stopped. Then what waits is to
  // be dropped, and nothing is kept until its cursor moves.
  bool gives_up(const Worker&, bool has_moved, uint16_t cursor) noexcept;
  // Whether packets are kept for this peer, whose cursor is now there.
  bool keeps(uint16_t cursor, bool has_moved) noexcept;

  static uint32_t wrapped(uint32_t slot) noexcept { return slot < kMost ? slot : slot - kMost; }

  Device& device;
  Kept& kept;
  Timer timer;
  TimeNs delay = kFirstLook;
  TimeNs moved_at = 0;    // when something went out, or began to wait
  uint32_t n_marked = 0;  // the oldest, that waited at marked_at: packets come after them
  TimeNs marked_at = 0;
  bool has_stopped = false;
  uint16_t stopped_at = 0;     // the peer's cursor then
  uint16_t queue = 0;          // tx queue of the worker
  uint32_t begin = 0, n = 0;   // in slots
  std::vector<Buffer*> slots;  // kMost
};

}  // namespace loom::memif
