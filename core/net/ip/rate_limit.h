// A token bucket for ICMP errors (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f). One worker's.
#pragma once
#include <algorithm>
#include <cstdint>

#include <hostloom/types.h>

namespace loom {

struct TokenBucket {
  uint32_t per_second = 0;
  uint32_t burst = 0;
  uint64_t tokens = 0;  // in billionths: one event costs kSecond
  TimeNs filled = 0;

  // True when one more event is within the limit; takes its token.
  bool take(TimeNs now) noexcept {
    const uint64_t full = uint64_t{burst} * kSecond;
    // Idle for longer than it takes to fill up: no multiplication that could overflow.
    const auto elapsed = static_cast<uint64_t>(std::clamp<TimeNs>(now - filled, 0, 60 * kSecond));
    tokens = std::min(full, filled == 0 ? full : tokens + elapsed * per_second);
    filled = now;
    if (tokens < kSecond) return false;
    tokens -= kSecond;
    return true;
  }
};

}  // namespace loom
