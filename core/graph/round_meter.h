// What the longest rounds of a worker are made of. The clock on the wall says how long a round was,
// not whose doing that was: the kernel may have run somebody else meanwhile. When it is asked to,
// this one also asks the kernel around each round for the thread's time on a core, for how often it
// was taken off it, and for page faults.
//
// A round is `own` for as long as the worker itself made it last: its time on a core, and when
// nobody took the core from it the time on the wall, as it then waited for something that it asked
// for: a lock, or memory.
//
// Threads: round() and pause() on the worker, a few system calls a round while it is on; the rest
// on any.
#pragma once
#include <cstdint>

#include <hostloom/types.h>

#include "hash/spin_lock.h"

namespace loom {

// One round.
struct RoundCost {
  TimeNs wall = 0, cpu = 0;
  // Taken off the core, and left it by itself: to wait.
  uint64_t preempted = 0, waited = 0;
  uint64_t minor_faults = 0, major_faults = 0;

  TimeNs own() const noexcept { return preempted == 0 && wall > cpu ? wall : cpu; }
  friend bool operator==(const RoundCost&, const RoundCost&) = default;
};

// Since it was turned on, or since clear().
struct RoundCosts {
  bool is_on = false;
  uint64_t long_own = 0;  // rounds of which kLongRound or more were their own
  RoundCost longest;      // by own()
};

class RoundMeter {
 public:
  static constexpr TimeNs kLongRound = kMillisecond;

  bool is_on() const noexcept { return is_on_.load(std::memory_order_relaxed); }
  // While it is on. A round begins, and with it the one before has ended, if there was one.
  void round() noexcept;
  // None begins for now: what comes until the next one belongs to none.
  void pause() noexcept { has_begun_ = false; }
  // A round that is over.
  void note(const RoundCost&) noexcept;

  void turn(bool on) noexcept;
  void clear() noexcept;
  RoundCosts read() const noexcept;

 private:
  struct Reading {
    TimeNs wall = 0, cpu = 0;
    uint64_t preempted = 0, waited = 0, minor_faults = 0, major_faults = 0;
  };
  static Reading now() noexcept;

  // The worker's.
  bool has_begun_ = false;
  Reading begun_;
  // Others', too.
  std::atomic<bool> is_on_{false};
  mutable SpinLock lock_;  // of what follows
  uint64_t long_own_ = 0;
  RoundCost longest_;
};

}  // namespace loom
