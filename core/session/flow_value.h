// What the flow tables hold. Private to core/session/.
#pragma once
#include <hostloom/session.h>

namespace loom::session {

constexpr uint64_t pack(ConnId conn, uint8_t worker, FlowKind kind) noexcept {
  return static_cast<uint64_t>(kind) << 40 | static_cast<uint64_t>(worker) << 32 | conn;
}
constexpr FlowMatch unpack(uint64_t value) noexcept {
  return {static_cast<ConnId>(value), static_cast<uint8_t>(value >> 32),
          static_cast<FlowKind>(value >> 40)};
}

// In the listeners' tables alone: `conn` is a PortGroups::Ref.
constexpr auto kGroup = static_cast<FlowKind>(0xff);

template <class Key>
Key listener_key(Key k, bool any_address) noexcept {
  k.remote = {};
  k.remote_port = {};
  if (any_address) k.local = {};
  return k;
}

}  // namespace loom::session
