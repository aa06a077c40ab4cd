// What a SYN finds when no connection matches it any more. Runs within a TcpWorker::Scope.
#pragma once
#include <optional>

#include "half_open.h"

namespace loom::tcp {

// Looks for a listener that hears what comes `by` that link, and gives it the SYN; empty when there
// is none, and nothing was sent.
std::optional<SynVerdict> listener_arrives(TcpWorker&, const Ends&, IfIndex by, const Segment&,
                                           const Options&, const Seq* iss_above) noexcept;

}  // namespace loom::tcp
