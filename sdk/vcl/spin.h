// Looking again for a moment before a thread sleeps. Two programs that answer each other at once
// would otherwise pay two system calls and two wake-ups for each step, which take longer than the
// answer. Only what comes from applications of this daemon is looked for in that way.
// Whether it is worth it says SpinGauge.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include <hostloom/types.h>

#include "svm/bell.h"
#include "svm/spin_gauge.h"
#include "vcl/list.h"

namespace loom::vcl {

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
