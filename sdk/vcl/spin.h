// Looking again for a moment before a thread sleeps. Two programs that answer each other at once
// would otherwise pay two system calls and two wake-ups for each step, which take longer than the
// answer. Only what comes from applications of this daemon is looked for in that way.
//
// SpinGauge says whether it is worth it, from what came of it so far. A thread whose answers never
// come in time, because the peer has no core of its own, say, tries one wait in a thousand; one
// that was idle sleeps at once.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include <hostloom/types.h>

#include "svm/bell.h"
#include "vcl/list.h"

namespace loom::vcl {

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

// The bells that such a look is for, in memory of others' that stays mapped as long.
class Bells {
 public:
  // False: they are too many.
  bool add(const svm::BellRow& row) noexcept {
    if (n_ == rows_.size()) return false;
    rows_[n_++] = &row;
    return true;
  }
  bool empty() const noexcept { return n_ == 0; }
  bool are_quiet() const noexcept {
    return std::all_of(rows_.begin(), rows_.begin() + n_,
                       [](const svm::BellRow* row) { return svm::bell::is_quiet(*row); });
  }

 private:
  std::array<const svm::BellRow*, 16> rows_;
  size_t n_ = 0;
};

class Attachment;
class CutThroughPair;
struct LookTag;

// What a thread looks at stays mapped as long. In AppWorker's list: a child that another thread
// forks meanwhile has nobody who looks, and lets go of it.
struct Look : ListNode<LookTag> {
  static constexpr size_t kMostPairs = 8;  // with more of them somebody is always ringing
  std::shared_ptr<Attachment> attachment;
  std::array<std::shared_ptr<CutThroughPair>, kMostPairs> pairs;
};

}  // namespace loom::vcl
