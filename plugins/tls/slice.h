// What handshakes may take of a worker's round: private-key operations are long, and sessions that
// are open must not wait for many of them. One of each worker, of TLS and DTLS together.
#pragma once
#include <time.h>

#include <hostloom/types.h>

namespace loom::tls {

class HandshakeSlice {
 public:
  // Those that come now are for the next round.
  bool is_used_up(TimeNs round) noexcept {
    if (round_ != round) {
      round_ = round;
      spent_ = 0;
    }
    return spent_ >= kSlice;
  }
  // Calls `f`, whose time counts.
  template <class F>
  auto measure(F&& f) noexcept {
    const TimeNs begun = clock_now();
    const auto outcome = f();
    spent_ += clock_now() - begun;
    return outcome;
  }
  TimeNs spent() const noexcept { return spent_; }  // in the round that was asked about last

 private:
  static constexpr TimeNs kSlice = kMillisecond;
  static TimeNs clock_now() noexcept {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<TimeNs>(t.tv_sec) * kSecond + static_cast<TimeNs>(t.tv_nsec);
  }
  TimeNs round_ = 0, spent_ = 0;  // of that one
};

}  // namespace loom::tls
