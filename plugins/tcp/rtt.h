// Round-trip time estimation and the retransmission timeout (RFC 6298), in nanoseconds.
#pragma once
#include <algorithm>
#include <cstdint>

#include <hostloom/types.h>

namespace loom::tcp {

constexpr TimeNs kInitialRto = 1 * kSecond;         // section 2.1
constexpr TimeNs kRtoAfterSynLoss = 3 * kSecond;    // section 5.7
constexpr TimeNs kMaxRto = 60 * kSecond;            // section 2.5
constexpr TimeNs kClockGranularity = kMillisecond;  // G of section 2: at least a wheel tick

// In units of 16 ns, so that each value takes 32 bits; a sample is at most kMaxRto.
class RttEstimator {
 public:
  TimeNs srtt() const noexcept { return time(srtt_); }  // 0 = no sample yet
  TimeNs rttvar() const noexcept { return time(rttvar_); }
  TimeNs min_rtt() const noexcept { return time(min_rtt_); }  // of this connection, 0 = no sample
  TimeNs rto() const noexcept { return time(rto_); }
  void set_rto(TimeNs rto) noexcept { rto_ = units(rto); }

  // min_rto: section 2.4 says 1 s; the default is 200 ms, as every deployed stack has it, because
  // path delays have fallen tenfold since.
  void add_sample(TimeNs sample, TimeNs min_rto) noexcept {
    const uint32_t r = units(std::clamp<TimeNs>(sample, 1 << kUnitLog2, kMaxRto));
    if (srtt_ == 0) {  // section 2.2
      srtt_ = r;
      rttvar_ = r / 2;
      min_rtt_ = r;
    } else {  // section 2.3, alpha = 1/8, beta = 1/4
      rttvar_ = moved(rttvar_, srtt_ > r ? srtt_ - r : r - srtt_, 4);
      srtt_ = moved(srtt_, r, 8);
      min_rtt_ = std::min(min_rtt_, r);
    }
    set_rto(std::clamp(srtt() + std::max(kClockGranularity, 4 * rttvar()), min_rto, kMaxRto));
  }

 private:
  static constexpr unsigned kUnitLog2 = 4;
  static constexpr TimeNs time(uint32_t units) noexcept { return TimeNs{units} << kUnitLog2; }
  static constexpr uint32_t units(TimeNs t) noexcept {
    return static_cast<uint32_t>(t >> kUnitLog2);
  }
  static_assert(kMaxRto >> kUnitLog2 <= UINT32_MAX);
  // One n-th of the way from `from` to `to`.
  static constexpr uint32_t moved(uint32_t from, uint32_t to, int64_t n) noexcept {
    return static_cast<uint32_t>(from + (int64_t{to} - from) / n);
  }

  uint32_t srtt_ = 0, rttvar_ = 0, min_rtt_ = 0;
  uint32_t rto_ = units(kInitialRto);
};

}  // namespace loom::tcp
