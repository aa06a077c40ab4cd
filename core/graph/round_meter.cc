#include "graph/round_meter.h"

#include <sys/resource.h>
#include <ctime>

#include <mutex>

namespace loom {
namespace {

TimeNs read_clock(clockid_t id) noexcept {
  timespec t{};
  (void)clock_gettime(id, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

}  // namespace

RoundMeter::Reading RoundMeter::now() noexcept {
  constexpr int kTries = 8;
  const auto count = [](long n) { return static_cast<uint64_t>(n); };
  rusage u{};
  (void)getrusage(RUSAGE_THREAD, &u);
  // Taken off the core in between, a round would have the time and the next one the reason.
  for (int i = 1;; ++i) {
    const Reading r{.wall = read_clock(CLOCK_MONOTONIC),
                    .cpu = read_clock(CLOCK_THREAD_CPUTIME_ID),
                    .preempted = count(u.ru_nivcsw),
                    .waited = count(u.ru_nvcsw),
                    .minor_faults = count(u.ru_minflt),
                    .major_faults = count(u.ru_majflt)};
    (void)getrusage(RUSAGE_THREAD, &u);
    if (i == kTries || count(u.ru_nivcsw) == r.preempted) return r;
  }
}

void RoundMeter::round() noexcept {
  const Reading at = now();
  if (has_begun_)
    note({.wall = at.wall - begun_.wall,
          .cpu = at.cpu - begun_.cpu,
          .preempted = at.preempted - begun_.preempted,
          .waited = at.waited - begun_.waited,
          .minor_faults = at.minor_faults - begun_.minor_faults,
          .major_faults = at.major_faults - begun_.major_faults});
  begun_ = at;
  has_begun_ = true;
}

void RoundMeter::note(const RoundCost& round) noexcept {
  const std::scoped_lock hold(lock_);
  if (round.own() >= kLongRound) ++long_own_;
  if (round.own() > longest_.own()) longest_ = round;
}

void RoundMeter::turn(bool on) noexcept {
  if (on && !is_on()) clear();
  is_on_.store(on, std::memory_order_relaxed);
}

void RoundMeter::clear() noexcept {
  const std::scoped_lock hold(lock_);
  long_own_ = 0;
  longest_ = {};
}

RoundCosts RoundMeter::read() const noexcept {
  const std::scoped_lock hold(lock_);
  return {.is_on = is_on(), .long_own = long_own_, .longest = longest_};
}

}  // namespace loom
