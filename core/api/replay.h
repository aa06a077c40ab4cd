// Answers the requests of a trace again, in their order, as if a client sent them; the answers are
// counted and thrown away. Control thread, and as long as the handlers take.
#pragma once
#include <span>

#include "api/trace.h"

namespace loom {

struct ApiReplay {
  std::size_t requests = 0;   // of the trace
  std::size_t unknown = 0;    // this run has no such message, or nobody answers it
  std::size_t malformed = 0;  // it does not decode
  std::size_t failed = 0;     // replies with a retval below 0, other than EAGAIN
  std::size_t answers = 0;    // messages that would have been sent
};

// A dump is asked for its first answers only: its request changes nothing.
ApiReplay replay_api_trace(ApiRegistry& registry, std::span<const ApiTraceRecord> records);

}  // namespace loom
