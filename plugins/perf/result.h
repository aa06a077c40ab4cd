// What came of a run: counted by its parts, put together when all are over.
#pragma once
#include <span>

#include "part.h"

namespace loom::perf {

struct Totals {
  uint32_t connections = 0, failed = 0, reset = 0, unfinished = 0, mismatched = 0;
  // Of those that failed, by why. Their sum is `failed`.
  uint32_t refused = 0, timed_out = 0, unreachable = 0, no_resources = 0, not_opened = 0,
           failed_otherwise = 0;
  // Of those that were reset. Their sum is `reset`.
  uint32_t reset_by_peer = 0, reset_by_timeout = 0, reset_otherwise = 0;
};

// Times in nanoseconds, of the workers' clocks, which are read once in a round; quantiles as
// histogram.h says.
struct Latency {
  uint64_t count = 0, least = 0, p50 = 0, p99 = 0, p999 = 0, most = 0;
};

struct Outcome {
  Totals totals;
  double seconds = 0;                 // from the first connection to the last one's end
  double connections_per_second = 0;  // from the first connect to the last that succeeded
  double round_trips_per_second = 0;  // in `seconds`
  Latency connect, round_trip;
  Status failure = Status::kOk;  // why a connection did not come about; one of the reasons
};

Outcome outcome_of(std::span<const Part> parts);

}  // namespace loom::perf
