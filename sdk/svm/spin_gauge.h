// Whether it pays to look on for a moment before a sleep, from what came of it so far. What never
// comes in time, because who should answer has no core of his own, say, is tried in one wait of a
// thousand; who was idle sleeps at once.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include <hostloom/types.h>

namespace loom {

// Threads: one, whose it is.
class SpinGauge {
 public:
  static constexpr uint32_t kMostSkipped = 1023;

  // Once a wait that would have to sleep. True: look for a moment first, and then say how it went.
  bool wants() noexcept {
    if (skip_ == 0) return true;
    --skip_;
    return false;
  }
  // Something has come. Whether it is worth anything, the wait shows: who rings for nothing is not
  // looked for.
  void rang() noexcept { rang_ = true; }
  // The wait has something to return. Believed when it goes on: it may have been luck, as of one
  // whose core was another's meanwhile.
  void satisfied() noexcept {
    if (std::exchange(rang_, false)) backoff_ /= 2;
  }
  // It goes on: that was not for it.
  void unsatisfied() noexcept {
    if (std::exchange(rang_, false)) missed();
  }
  // The same wait asks again: that is one more to skip.
  void missed() noexcept {
    backoff_ = std::min(2 * backoff_ + 1, kMostSkipped);
    skip_ = 1 + backoff_;
  }
  // A sleep took that long; `most` is what a look may.
  void slept(TimeNs took, TimeNs most) noexcept {
    if (took > most) skip_ = std::max(skip_, 1u);
  }

 private:
  uint32_t skip_ = 0;     // waits
  bool rang_ = false;     // in the last look; nothing is known of it yet
  uint32_t backoff_ = 0;  // what is skipped after the next miss: 1, 3, 7, ...
};

}  // namespace loom
