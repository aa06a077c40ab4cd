// Which connections will send next. Applications answer in the order of what they were sent, so
// those that brought text are fetched into the cache some at a time when the answers begin: with
// many, the first look at each is one at memory that has left it since its segment came.
#pragma once
#include <algorithm>
#include <array>

#include <hostloom/node.h>
#include <hostloom/session.h>

namespace loom::tcp {

class NextSenders {
 public:
  static constexpr uint32_t kAtOnce = 16;

  // `now`: the round's. Who does not answer is forgotten when others have brought text since.
  void brought_text(ConnId id, TimeNs now) noexcept {
    const bool nobody_answers = n_ == ids_.size() && now != latest_;
    latest_ = now;
    if (n_sent_ != 0 || nobody_answers) n_ = n_sent_ = 0;  // these are the next frame's
    if (n_ != 0 && ids_[n_ - 1] == id) return;
    if (n_ < ids_.size()) ids_[n_++] = id;
  }
  // One is about to send. Calls fetch(ConnId) for those that come next.
  template <class F>
  void will_send(F&& fetch) noexcept {
    if (n_sent_ >= n_) return;
    if (n_sent_ % kAtOnce == 0)
      for (uint32_t i = n_sent_; i < std::min(n_sent_ + kAtOnce, n_); ++i) fetch(ids_[i]);
    ++n_sent_;
  }

 private:
  uint32_t n_ = 0, n_sent_ = 0;
  TimeNs latest_ = 0;  // when the last one came
  std::array<ConnId, kFrameSize> ids_;
};

}  // namespace loom::tcp
