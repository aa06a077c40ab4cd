// A frame's lookups are made before its first segment is handled, and handling one may change what
// the next belongs to: the ACK that ends a handshake makes a half-open entry a connection, and the
// request behind it must find that connection. What a segment meets must not depend on how the
// driver grouped packets, so a match that has gone out of date is made again. Runs within a
// TcpWorker::Scope.
#pragma once
#include "rx.h"

namespace loom::tcp {

// What the flow tables know of these endpoints now.
FlowMatch lookup(TcpWorker&, const Endpoints&) noexcept;

// The segment of a connection in whatever state it is; each state's steps of RFC 9293
// section 3.10.7.
RxCounter connection_arrives(TcpWorker&, Connection&, Buffer&, const Segment&,
                             const Options&) noexcept;

// Looks the buffer's endpoints up once more and handles the segment there; with nobody left it is
// answered as in state CLOSED (section 3.10.7.1) and counted as kRxStale. kRxHandedOff: it belongs
// to another worker, which has the buffer now.
RxCounter rematch(TcpWorker&, Buffer&, const Segment&, const Options&) noexcept;

// Section 3.10.7.3, state SYN-SENT (syn_sent.cc), and SYN-RECEIVED of a simultaneous open
// (rcv_process.cc).
RxCounter syn_sent_arrives(TcpWorker&, Connection&, Buffer&, Segment, const Options&) noexcept;
RxCounter syn_received_arrives(TcpWorker&, Connection&, Buffer&, Segment, const Options&) noexcept;

}  // namespace loom::tcp
