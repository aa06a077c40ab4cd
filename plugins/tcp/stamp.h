// Points of time of a connection in 32 bits, on the worker's clock. Both wrap; what each is good
// for is in its contract.
#pragma once
#include <algorithm>
#include <cstdint>

#include <hostloom/timer.h>
#include <hostloom/types.h>

namespace loom::tcp {

// When something is to happen, in ticks of the timer wheel, rounded up: the wheel fires no finer.
// At most kFarthest ahead, which every timer of TCP is (Config, apply_socket_options), and looked
// at no later than 59 hours behind it.
class Deadline {
 public:
  static constexpr TimeNs kFarthest = 24 * 3600 * kSecond;

  constexpr Deadline() = default;  // none
  static constexpr Deadline at(TimeNs t) noexcept {
    Deadline d;
    d.tick_ = std::max(tick_of(t + kTimerTick - 1), 1u);
    return d;
  }
  constexpr bool is_set() const noexcept { return tick_ != 0; }
  constexpr bool is_due(TimeNs now) const noexcept {
    return is_set() && static_cast<int32_t>(tick_of(now) - tick_) >= 0;
  }
  // Of one that is set.
  constexpr TimeNs time(TimeNs now) const noexcept {
    const auto ahead = static_cast<int32_t>(tick_ - tick_of(now));
    return (now / kTimerTick + ahead) * kTimerTick;
  }

 private:
  static constexpr uint32_t tick_of(TimeNs t) noexcept {
    return static_cast<uint32_t>(t / kTimerTick);
  }
  uint32_t tick_ = 0;
};

// When something happened, in milliseconds. After 49 days it seems to have happened later than it
// has: whoever looks must be right then, too. A clock may lie a little behind it, as that of the
// next worker does when a connection moves: then it was just now.
class Stamp {
 public:
  static constexpr TimeNs kClocksDiffer = 60 * kSecond;  // at most

  constexpr Stamp() = default;  // never
  static constexpr Stamp at(TimeNs t) noexcept {
    Stamp s;
    s.ms_ = std::max(ms_of(t), 1u);
    return s;
  }
  constexpr bool is_set() const noexcept { return ms_ != 0; }
  // Within a millisecond of it.
  constexpr TimeNs since(TimeNs now) const noexcept {
    const uint32_t ms = ms_of(now) - ms_;
    return ms > -ms_of(kClocksDiffer) ? 0 : static_cast<TimeNs>(ms) * kMillisecond;
  }
  // Less than `span` ago. Not for a clock that lies behind it, and so in 49 days wrong for no
  // longer than that span: for limits of how often something is done.
  constexpr bool is_within(TimeNs span, TimeNs now) const noexcept {
    return is_set() && ms_of(now) - ms_ < ms_of(span);
  }

 private:
  static constexpr uint32_t ms_of(TimeNs t) noexcept {
    return static_cast<uint32_t>(t / kMillisecond);
  }
  uint32_t ms_ = 0;
};

}  // namespace loom::tcp
