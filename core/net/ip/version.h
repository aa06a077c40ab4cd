// The two IP versions, for what is written once for both: template <class Ip>, Ip = V4 or V6. Here
// is what several nodes ask; what one node asks stands in its file.
#pragma once
#include <hostloom/wire.h>

#include "net/state.h"

namespace loom {

struct V4 {
  using Header = Ip4Header;
  static constexpr uint32_t kFlags = 0;  // BufferFlags of every packet
  static constexpr uint8_t kUnreachable = kIcmp4Unreachable, kNoRouteCode = kIcmp4NetUnreachable,
                           kTimeExceeded = kIcmp4TimeExceeded;
  static uint8_t hop_limit(const Header& h) noexcept { return h.ttl; }
  static const Ip4Fib* fib(const NetState& net, uint32_t index) noexcept {
    return net.routes.fib4(index);
  }
};

struct V6 {
  using Header = Ip6Header;
  static constexpr uint32_t kFlags = kBufferIsIp6;
  static constexpr uint8_t kUnreachable = kIcmp6Unreachable, kNoRouteCode = kIcmp6NoRoute,
                           kTimeExceeded = kIcmp6TimeExceeded;
  static uint8_t hop_limit(const Header& h) noexcept { return h.hop_limit; }
  static const Ip6Fib* fib(const NetState& net, uint32_t index) noexcept {
    return net.routes.fib6(index);
  }
};

}  // namespace loom
