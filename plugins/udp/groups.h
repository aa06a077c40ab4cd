// Datagrams to groups, multicast and broadcast: which sockets get them, and what those have asked
// for (man 7 ip, RFC 3678). Worker.
//
// Each socket without a peer that is bound to the port, on any address or on the group's, gets its
// own copy: of multicast, when its own membership lets the source through, or, without one, unless
// it has switched IP_MULTICAST_ALL off. Sockets live on all workers, so each worker that has some
// gets a copy of the packet, too: node "udp-group".
#pragma once
#include <hostloom/datagram.h>
#include <hostloom/net.h>

#include <algorithm>
#include <vector>

#include "udp.h"

namespace loom::udp {

// Of a socket: as Linux's net.ipv4.igmp_max_memberships; of IPv6 Linux bounds their memory alone.
constexpr std::size_t kMaxMemberships4 = 20, kMaxMemberships6 = 64;

inline bool is_multicast(const IpAddress& a) noexcept {
  return a.is_ip4 ? a.ip4().is_multicast() : a.ip6().is_multicast();
}

// TransportOps::group.
Status change_membership(Worker&, ConnId, const GroupRequest&) noexcept;
void leave_all(UdpWorker&, Connection&) noexcept;

// A bound end comes and goes.
void note_bound(UdpWorker&, const Connection&, uint16_t port) noexcept;
void note_unbound(UdpWorker&, const Connection&, uint16_t port) noexcept;

// What is said of a packet at its UDP header.
Datagram datagram_of(Buffer&) noexcept;

struct GroupOutcome {
  uint32_t delivered = 0, refused = 0;  // sockets of this worker
  bool passed_on = false;               // other workers have a copy
};
// The datagram, at its UDP header, with `payload` bytes behind it. The packet stays the caller's.
GroupOutcome deliver_to_group(UdpWorker&, Buffer&, uint32_t payload) noexcept;

// What this host has sent to a group comes to its own sockets as well: a copy of the packet, data
// at the IP header, as if it had come by the interface that it leaves by.
void loop_back(UdpWorker&, Buffer& sent, IfIndex by) noexcept;

extern const NodeInfo kUdpGroup;

}  // namespace loom::udp
