// What becomes of a datagram to send. The verdict travels in Buffer::opaque to the output node,
// which counts it.
#pragma once
#include <hostloom/datagram.h>

#include "udp.h"

namespace loom::udp {

// Counters of the output nodes, in their order.
enum class Sent : uint8_t {
  kSent,
  kNoDestination,
  kNoRoute,
  kOtherFamily,
  kToGroup,
  kTooLong,
  kFragmented,  // IPv6, by this host, to the MTU that is in opaque
  kCount,
};

constexpr std::size_t kMtuAt = 4;  // in opaque, of fragmented ones

// False for what no datagram can be sent to so far, and none may come from: zero, broadcast,
// multicast.
inline bool is_unicast(const IpAddress& a) noexcept {
  if (a.is_zero()) return false;
  if (!a.is_ip4) return !a.ip6().is_multicast();
  return !a.ip4().is_multicast() && !a.ip4().is_broadcast();
}

// How one datagram leaves.
struct Way {
  Endpoints ends;
  uint32_t adjacency = kNoIndex, tx_if = kNoIndex, mtu = 0;
  bool knows_path = true;  // a router that says the packet was too big is believed
  bool is_narrow = false;  // and one has: mtu is the path's, not the link's
};

// Puts UDP and IP headers in front of the payload. IPv4's packets longer than `mtu` are sent
// without DF and leave as fragments, or become some on their way; so do all where nobody would hear
// that they were too big. IPv6's are split by this host alone, to `mtu`.
void push_headers(UdpWorker&, Buffer&, const Way&, uint8_t tos, uint8_t ttl) noexcept;

// SOCK_DGRAM's send (send.cc): TransportOps::push_datagrams.
void push_datagrams(Worker&, ConnId, std::span<Buffer* const>, const Datagram*) noexcept;

}  // namespace loom::udp
