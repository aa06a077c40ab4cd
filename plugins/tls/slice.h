// What handshakes may take of a worker's round: private-key operations are long, and sessions that
// are open must not wait for many of them. One of each worker, of TLS and DTLS together.
#pragma once
#include <time.h>

#include <hostloom/types.h>

namespace loom::tls {

class HandshakeSlice {
 public:
  using Clock = TimeNs (*)() noexcept;
  explicit HandshakeSlice(Clock clock = clock_now) noexcept : clock_(clock) {}
  // Those that come now are for the next round.
  bool is_used_up(TimeNs round) noexcept {
    if (round_ != round) {
      round_ = round;
      spent_ = 0;
    }
    return spent_ >= kSlice;
  }
  // Calls `f`, whose time counts in the round that was asked about last; what is measured within it
  // counts once. When another round has begun within it only that which was measured since counts.
  template <class F>
  auto measure(F&& f) noexcept {
    const Span span(*this);
    return f();
  }
  TimeNs spent() const noexcept { return spent_; }  // in the round that was asked about last

 private:
  static constexpr TimeNs kSlice = kMillisecond;
  static TimeNs clock_now() noexcept {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<TimeNs>(t.tv_sec) * kSecond + static_cast<TimeNs>(t.tv_nsec);
  }
  class Span {
   public:
    explicit Span(HandshakeSlice& of) noexcept
        : of_(of), round_(of.round_), before_(of.spent_), begun_(of.clock_()) {}
    ~Span() {
      if (of_.round_ == round_) of_.spent_ = before_ + (of_.clock_() - begun_);
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    HandshakeSlice& of_;
    const TimeNs round_, before_, begun_;
  };
  const Clock clock_;
  TimeNs round_ = 0, spent_ = 0;  // of that one
};

}  // namespace loom::tls
