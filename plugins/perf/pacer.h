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
constexpr uint64_t kMostSharers = 1'000'000;

class Pacer {
 public:
  // rate: 1 to kMostRate, of which `share` in `sharers` are granted, 1 to kMostSharers: less than
  // one a second, perhaps, so that shares add up. most: units that are saved up, 1 to kMostRate
  // / 10.
  void start(TimeNs now, uint64_t rate, uint64_t most, uint32_t share = 1,
             uint32_t sharers = 1) noexcept {
    rate_ = rate * share;
    unit_ = uint64_t{sharers} * kSecond;
    most_ = most;
    // Behind this the bucket is full, whatever it had.
    fill_time_ = static_cast<TimeNs>(Wide{most} * unit_ / rate_ + 1);
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
    const Wide missing = Wide{n - saved_} * unit_ - part_;
    return at_ + static_cast<TimeNs>((missing + rate_ - 1) / rate_);
  }

 private:
  using Wide = unsigned __int128;

  void fill(TimeNs now) noexcept {
    const Wide grown =
        Wide{static_cast<uint64_t>(std::min<TimeNs>(now - at_, fill_time_))} * rate_ + part_;
    at_ = now;
    saved_ += static_cast<uint64_t>(grown / unit_);
    part_ = static_cast<uint64_t>(grown % unit_);
    if (saved_ <= most_) return;  // full: and what is on its way to one more
    saved_ = most_;
    part_ = 0;
  }

  uint64_t rate_ = 0, unit_ = 0, most_ = 0;  // in a ns come rate_ of the unit_ parts of a unit
  uint64_t saved_ = 0, part_ = 0;            // units; and parts of one more
  TimeNs at_ = 0, fill_time_ = 0;
};

}  // namespace loom::perf
