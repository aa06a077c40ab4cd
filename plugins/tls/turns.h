// What a session may receive, or send, in a round of its worker. Each turn costs the application a
// wake-up, and the peer an acknowledgement, whatever its length: who is alone has a long one. With
// others the round is shared, so that it gets no longer by two or three, and everybody has a least.
//   cost  a comparison a session and round
// Thread: the worker.
#pragma once
#include <algorithm>
#include <utility>

#include <hostloom/types.h>

namespace loom::tls {

class Turns {
 public:
  static constexpr uint32_t kMost = 512 * 1024, kLeast = 128 * 1024;  // bytes

  // One session's part of a round.
  struct Turn {
    TimeNs round = 0;
    uint32_t spent = 0;
  };
  // It is about to move bytes in `round`, which may have begun since.
  void begin(Turn& t, TimeNs round) noexcept {
    if (std::exchange(round_, round) != round) {
      n_before_ = std::exchange(n_, 0);
      spent_ = 0;
    }
    if (std::exchange(t.round, round) != round) t.spent = 0;
  }
  // The rest comes in the next round. Of a turn of this one.
  bool is_over(const Turn& t) const noexcept {
    const uint32_t others = spent_ - t.spent;
    const uint32_t left = kMost - std::min(others, kMost);
    return t.spent >= std::max(kLeast, std::min(kMost / std::max(n_before_, 1u), left));
  }
  void spend(Turn& t, uint32_t bytes) noexcept {
    if (t.spent < kLeast && t.spent + bytes >= kLeast) ++n_;
    t.spent += bytes;
    spent_ += bytes;
  }

 private:
  TimeNs round_ = 0;
  uint32_t spent_ = 0;             // by all
  uint32_t n_ = 0, n_before_ = 0;  // who had at least kLeast, in this round and in the last one
};

}  // namespace loom::tls
