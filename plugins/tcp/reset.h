// The answer to a segment that belongs to no connection.
#pragma once
#include <hostloom/session.h>

#include "segment.h"
#include "tcp_worker.h"

namespace loom::tcp {

// RFC 9293 section 3.10.7.1; RST is never answered. True: a reset was sent. Within a Scope.
bool answer_by_reset(TcpWorker&, const Endpoints&, const Segment&) noexcept;

// Both ends of a received packet, local being this host's. TCP has one peer: false for multicast,
// broadcast and unspecified addresses (RFC 9293 section 3.9.2.3).
bool endpoints_of(Buffer&, Endpoints& out) noexcept;

}  // namespace loom::tcp
