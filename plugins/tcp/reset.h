// The answer to a segment that belongs to no connection.
#pragma once
#include "ends.h"
#include "segment.h"
#include "tcp_worker.h"

namespace loom::tcp {

// RFC 9293 section 3.10.7.1; RST is never answered. True: a reset was sent. Within a Scope.
bool answer_by_reset(TcpWorker&, const Ends&, const Segment&) noexcept;

// TCP has one peer (RFC 9293 section 3.9.2.3): not multicast, broadcast or unspecified. A subnet's
// broadcast address looks like any other here; tcpN-input refuses what was sent to one.
bool is_unicast(const IpAddress&) noexcept;

// Both ends of a received packet, local being this host's, and of link-local ones the link. False
// when one of them is not unicast.
bool endpoints_of(Buffer&, Ends& out) noexcept;

}  // namespace loom::tcp
