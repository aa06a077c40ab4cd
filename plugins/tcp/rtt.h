// Round-trip time estimation and the retransmission timeout (RFC 6298), in nanoseconds.
#pragma once
#include <algorithm>

#include <hostloom/types.h>

namespace loom::tcp {

constexpr TimeNs kInitialRto = 1 * kSecond;         // section 2.1
constexpr TimeNs kRtoAfterSynLoss = 3 * kSecond;    // section 5.7
constexpr TimeNs kMaxRto = 60 * kSecond;            // section 2.5
constexpr TimeNs kClockGranularity = kMillisecond;  // G of section 2: at least a wheel tick

struct RttEstimator {
  TimeNs srtt = 0;  // 0 = no sample yet
  TimeNs rttvar = 0;
  TimeNs min_rtt = 0;  // smallest sample of this connection, 0 = none
  TimeNs rto = kInitialRto;

  // min_rto: section 2.4 says 1 s; the default is 200 ms, as every deployed stack has it, because
  // path delays have fallen tenfold since.
  void add_sample(TimeNs r, TimeNs min_rto) noexcept {
    r = std::max<TimeNs>(r, 1);
    if (srtt == 0) {  // section 2.2
      srtt = r;
      rttvar = r / 2;
      min_rtt = r;
    } else {  // section 2.3, alpha = 1/8, beta = 1/4
      rttvar += ((srtt > r ? srtt - r : r - srtt) - rttvar) / 4;
      srtt += (r - srtt) / 8;
      min_rtt = std::min(min_rtt, r);
    }
    rto = std::clamp(srtt + std::max(kClockGranularity, 4 * rttvar), min_rto, kMaxRto);
  }
};

}  // namespace loom::tcp
