// The questions that the neighbour table asks. On worker 0. False: no buffer, no interface, or no
// address to ask from; the next try is a timer away.
#pragma once
#include <hostloom/interface.h>
#include <hostloom/worker.h>

namespace loom {

// RFC 826 request, RFC 1122 section 2.3.2.1 (unicast poll) when `unicast` is given.
bool send_arp_request(Worker&, IfIndex, const Ip4Address& target, const MacAddress* unicast);
// Announces an address of this host (RFC 5227 section 2.3).
bool send_gratuitous_arp(Worker&, IfIndex, const Ip4Address& own);
// RFC 4861 section 4.3.
bool send_neighbor_solicitation(Worker&, IfIndex, const Ip6Address& target,
                                const MacAddress* unicast);
// Duplicate address detection (RFC 4862 section 5.4.2): from the unspecified address.
bool send_dad_solicitation(Worker&, IfIndex, const Ip6Address& own);

}  // namespace loom
