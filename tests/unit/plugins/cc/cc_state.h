// A connection as a controller sees it.
#pragma once
#include <hostloom/congestion.h>

#include <cstring>

namespace loom {

inline CcState cc_state(uint32_t cwnd, uint32_t ssthresh = kNoSsthresh) {
  CcState s{};
  s.cwnd = cwnd;
  s.ssthresh = ssthresh;
  s.mss = 1000;
  s.initial_cwnd = 10'000;
  return s;
}
inline AckSample ack_sample(uint32_t bytes, TimeNs now = 0, bool limited = true) {
  AckSample a{};
  a.now = now;
  a.bytes_acked = bytes;
  a.cwnd_limited = limited;
  return a;
}

}  // namespace loom
