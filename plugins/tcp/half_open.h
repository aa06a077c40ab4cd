// Passive opens between SYN and the end of the handshake. Everything here runs within a
// TcpWorker::Scope.
#pragma once
#include "rx.h"

namespace loom::tcp {

// kTaken: the 5-tuple belongs to a connection already.
enum class SynVerdict : uint8_t { kAnswered, kBacklogFull, kNoMemory, kNoRoute, kTaken };

// A SYN for a listener: remembers it and sends the SYN-ACK. iss_above: the ISS must be beyond it
// (RFC 6191), null otherwise.
SynVerdict answer_syn(TcpWorker&, Listener&, const Ends&, const Segment& syn, const Options&,
                      const Seq* iss_above) noexcept;
// A segment for a half-open connection: RFC 9293 section 3.10.7.4, state SYN-RECEIVED.
RxCounter half_open_arrives(TcpWorker&, HalfOpen&, Buffer&, const Segment&,
                            const Options&) noexcept;
// The listener goes away: its half-open connections are reset.
void reset_half_open(TcpWorker&, Listener&) noexcept;

}  // namespace loom::tcp
