// A token bucket: so many units (bytes, requests) a second, by a clock that the caller reads. It
// begins empty, so no time ever sees more than its share, and what is not used is saved up to a
// bound, so a caller that comes late does not fall behind, and one that was held up for long does
// not make up for it at once.
#pragma once
#include <algorithm>
#include <cstdint>

#include <hostloom/types.h>

namespace loom::perf {

constexpr uint64_t kMostRate = 125'000'000'000;  // units a second: 1 Tbit/s in bytes

class Pacer {
 public:
  // rate: 1 to kMostRate. most: units that are saved up, 1 to kMostRate / 10.
  void start(TimeNs now, uint64_t rate, uint64_t most) noexcept {
    rate_ = rate;
    most_ = most;
    // Behind this the bucket is full, whatever it had; and no product below overflows.
    fill_time_ = static_cast<TimeNs>(most * kSecond / rate + 1);
    saved_ = part_ = 0;
    at_ = now;
  }
  bool is_started() const noexcept { return rate_ != 0; }

  // Takes n units, at most `most`, or none.
  bool take(TimeNs now, uint64_t n) noexcept {
    fill(now);
    if (saved_ < n) return false;
    saved_ -= n;
    return true;
  }
  // The first time at which take(n) is granted, if nobody takes anything before; after take().
  TimeNs due(uint64_t n) const noexcept {
    if (saved_ >= n) return at_;
    const uint64_t missing = (n - saved_) * kSecond - part_;
    return at_ + static_cast<TimeNs>((missing + rate_ - 1) / rate_);
  }

 private:
  void fill(TimeNs now) noexcept {
    const uint64_t grown =
        static_cast<uint64_t>(std::min<TimeNs>(now - at_, fill_time_)) * rate_ + part_;
    at_ = now;
    saved_ += grown / kSecond;
    part_ = grown % kSecond;
    if (saved_ < most_) return;
    saved_ = most_;
    part_ = 0;
  }

  uint64_t rate_ = 0, most_ = 0;
  uint64_t saved_ = 0, part_ = 0;  // units; and of one more, in 10^-9
  TimeNs at_ = 0, fill_time_ = 0;
};

}  // namespace loom::perf
