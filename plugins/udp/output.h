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
  kNotBroadcast,  // without SO_BROADCAST
  kTooLong,
  kFragmented,  // IPv6, by this host, to the MTU that is in opaque
  kTooBig,      // for the path, and it was not to be fragmented
  kLoopedOnly,  // to a group, with a time to live of 0
  kCount,
};

constexpr std::size_t kMtuAt = 4;  // in opaque, of fragmented ones

// False for zero, 255.255.255.255 and multicast. A subnet's broadcast address looks like any other.
inline bool is_unicast(const IpAddress& a) noexcept {
  if (a.is_zero()) return false;
  if (!a.is_ip4) return !a.ip6().is_multicast();
  return !a.ip4().is_multicast() && !a.ip4().is_broadcast();
}

// Whether what routers have said of the path counts (man 7 ip: IP_MTU_DISCOVER).
inline bool asks_path(PathMtu mode) noexcept {
  return mode == PathMtu::kDont || mode == PathMtu::kWant || mode == PathMtu::kDo;
}

// How one datagram leaves.
struct Way {
  Endpoints ends;
  uint32_t adjacency = kNoIndex, tx_if = kNoIndex;
  uint32_t link_mtu = 0, pmtu = 0;  // of the first link; what a router has said, 0: nothing
  bool may_fragment = false;        // IPv4 without DF
  bool no_checksum = false;         // IPv6 without one (RFC 6935)
  bool is_group = false, is_broadcast = false;  // multicast or broadcast; broadcast
  uint32_t mtu() const noexcept { return pmtu != 0 && pmtu < link_mtu ? pmtu : link_mtu; }
};

// The way to an address, by route; ends.local is the route's source. False: there is none.
bool find_way(UdpWorker&, const IpAddress& to, uint32_t fib_index, Way&) noexcept;
// The same to a multicast or broadcast address: by the interface that is named, or the one that the
// socket has chosen, or that has `source` if that is not zero, or by route. False: it is none, or
// there is none. By an interface that is named (kNoIndex: none) to any address.
bool find_group_way(UdpWorker&, const Connection&, const IpAddress& to, const IpAddress& source,
                    uint32_t fib_index, IfIndex by, Way&) noexcept;
bool find_way_to_peer(UdpWorker&, Connection&, Way&) noexcept;

// Puts UDP and IP headers in front of the payload. IPv4's packets without DF leave as fragments
// when they are longer than the link's MTU, or become some on their way. IPv6's are split by this
// host alone.
void push_headers(UdpWorker&, Buffer&, const Way&, uint8_t tos, uint8_t ttl) noexcept;

// SOCK_DGRAM's send (send.cc): TransportOps::push_datagrams.
void push_datagrams(Worker&, ConnId, std::span<Buffer* const>, const Datagram*) noexcept;

}  // namespace loom::udp
