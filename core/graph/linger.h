// Looking on for a moment before a worker sleeps.
//
// Where a peer or a client answers at once, the sleep is over before it has paid: two system calls,
// and an interrupt to a core that has gone idle, which takes longer than the work that it is for.
// So a worker that is alone looks for up to `most` whether something comes, as long as it mostly
// does. Alone: all applications that give it work sleep. One that is awake may need the core that
// the worker is on, and its own answer is what the worker waits for; it wakes the worker.
#pragma once
#include <algorithm>
#include <utility>

#include <hostloom/types.h>

#include "svm/spin_gauge.h"

namespace loom {

// Thread: the worker; spent() any.
class Linger {
 public:
  // Before the worker runs. 0: never.
  void use(TimeNs most) noexcept {
    most_ = most;
    began_ = 0;
  }
  // A round has found nothing, and the worker could sleep. True: another round first, with a look
  // at the fds. `is_alone` is called only if the answer depends on it.
  template <class F>
  bool goes_on(TimeNs now, F&& is_alone) noexcept {
    if (most_ == 0) return false;
    if (began_ == 0) {
      if (!is_alone() || !gauge_.wants()) return false;
      began_ = now;
      return true;
    }
    const bool alone = is_alone();
    if (alone && now - began_ < most_) return true;
    if (alone) gauge_.missed();
    end(now);
    return false;
  }
  // A round has found work; `has_come`: from outside, it is not just a timer that has expired. A
  // look that had to end for one has mostly failed, if it has taken most of its time.
  void found(TimeNs now, bool has_come) noexcept {
    if (began_ == 0) return;
    if (has_come) {
      gauge_.rang();
      gauge_.satisfied();
    } else if (2 * (now - began_) >= most_) {
      gauge_.missed();
    }
    end(now);
  }
  // The wait took that long, and ended in a sleep.
  void slept(TimeNs took) noexcept { gauge_.slept(took, most_); }
  // How long it has looked on in vain or not, ever.
  TimeNs spent() const noexcept { return __atomic_load_n(&spent_, __ATOMIC_RELAXED); }

 private:
  // What is beyond `most_` somebody else has had the core.
  void end(TimeNs now) noexcept {
    const TimeNs took = std::min(now - std::exchange(began_, 0), most_);
    __atomic_store_n(&spent_, spent_ + took, __ATOMIC_RELAXED);
  }
  SpinGauge gauge_;
  TimeNs most_ = 0;
  TimeNs began_ = 0;  // this look; 0 = it does not look
  TimeNs spent_ = 0;
};

}  // namespace loom
