#include "result.h"

#include <memory>

namespace loom::perf {
namespace {

void add_failure(Totals& t, Status why, uint32_t n) {
  t.failed += n;
  switch (why) {
    case Status::kRefused:
      t.refused += n;
      break;
    case Status::kTimedOut:
      t.timed_out += n;
      break;
    case Status::kUnreachable:
      t.unreachable += n;
      break;
    case Status::kNoMemory:
    case Status::kInUse:
      t.no_resources += n;
      break;
    default:
      t.failed_otherwise += n;
  }
}

void add_reset(Totals& t, ResetReason why, uint32_t n) {
  t.reset += n;
  if (why == ResetReason::kPeerReset)
    t.reset_by_peer += n;
  else if (why == ResetReason::kTimedOut)
    t.reset_by_timeout += n;
  else
    t.reset_otherwise += n;
}

Totals totals_of(std::span<const Part> parts) {
  Totals t;
  for (const auto& p : parts) {
    const Tally& y = p.tally;
    t.connections += y.connected;
    t.unfinished += y.unfinished;
    t.mismatched += y.mismatched;
    t.not_opened += y.not_opened;
    for (std::size_t i = 0; i < kStatuses; ++i) add_failure(t, static_cast<Status>(i), y.failed[i]);
    for (std::size_t i = 0; i < kResetReasons; ++i)
      add_reset(t, static_cast<ResetReason>(i), y.reset[i]);
  }
  t.failed += t.not_opened;
  return t;
}

Latency latency_of(std::span<const Part> parts, Histogram Tally::*what) {
  const auto all = std::make_unique<Histogram>();
  for (const auto& p : parts) all->merge(p.tally.*what);
  return {all->count(),
          all->least(),
          all->quantile(50, 100),
          all->quantile(99, 100),
          all->quantile(999, 1000),
          all->most()};
}

// From the first part's beginning to the last one's end; 0 when there was neither.
double time_between(std::span<const Part> parts, TimeNs Tally::*from, TimeNs Tally::*to) {
  TimeNs first = 0, last = 0;
  for (const auto& p : parts) {
    if (const TimeNs t = p.tally.*from; t != 0 && (first == 0 || t < first)) first = t;
    last = std::max(last, p.tally.*to);
  }
  return first == 0 || last < first ? 0 : to_seconds(last - first);
}

double rate(uint64_t n, double seconds) {
  return seconds > 0 ? static_cast<double>(n) / seconds : 0;
}

}  // namespace

Outcome outcome_of(std::span<const Part> parts) {
  Outcome o;
  o.totals = totals_of(parts);
  o.connect = latency_of(parts, &Tally::connects);
  o.round_trip = latency_of(parts, &Tally::round_trips);
  o.seconds = time_between(parts, &Tally::began, &Tally::ended);
  o.connections_per_second =
      rate(o.totals.connections, time_between(parts, &Tally::opened_first, &Tally::connected_last));
  o.round_trips_per_second = rate(o.round_trip.count, o.seconds);
  for (const auto& p : parts)
    for (std::size_t i = 0; i < kStatuses; ++i)
      if (p.tally.failed[i] != 0 && static_cast<Status>(i) != Status::kClosed)
        o.failure = static_cast<Status>(i);
  return o;
}

}  // namespace loom::perf
