// What a SYN finds when no connection matches it any more. Runs within a TcpWorker::Scope.
#pragma once
#include "rx.h"

namespace loom::tcp {

// Looks for a listener and gives it the SYN; without one the peer is reset. True: answered by
// SYN-ACK.
bool listener_arrives(TcpWorker&, const Endpoints&, Buffer&, const Segment&, const Options&,
                      const Seq* iss_above) noexcept;

}  // namespace loom::tcp
