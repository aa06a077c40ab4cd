// How long a worker has slept, a sleep that still goes on included: an idle worker may sleep for
// hours. begin and end on the worker, total on any thread. One word, so that a reader sees a sleep
// either going on or over, and never counts it twice.
#pragma once
#include <hostloom/types.h>

namespace loom {

class SleepClock {
 public:
  void begin(TimeNs now) noexcept { store(2 * (total(now) - now) + 1); }
  void end(TimeNs now) noexcept { store(2 * total(now)); }
  TimeNs total(TimeNs now) const noexcept {
    const TimeNs word = __atomic_load_n(&word_, __ATOMIC_RELAXED);
    return (word & 1) ? (word - 1) / 2 + now : word / 2;
  }

 private:
  void store(TimeNs word) noexcept { __atomic_store_n(&word_, word, __ATOMIC_RELAXED); }
  // Even: twice the sum of the sleeps. Odd, while one goes on: twice what the clock has to be
  // added to, and 1.
  TimeNs word_ = 0;
};

}  // namespace loom
