// One connection of a run: what it sends, what it expects, and what becomes of it. On its worker.
//
//   send      the pattern, until the bytes are through or the time is up; back comes nothing, or
//             (echo) the same
//   reverse   nothing is sent; what comes is counted, and checked when that is asked for
//   request   a request, its response, the next request, with a measured time for each round trip
#pragma once
#include <hostloom/app.h>

#include "part.h"

namespace loom::perf {

struct Connection {
  Part* part = nullptr;
  SessionId session = kNoSession;
  std::size_t place = 0;                            // in Part::connections
  Connection *previous = nullptr, *next = nullptr;  // in Part::turns
  bool is_waiting = false;                          // in Part::turns
  uint64_t sent = 0, received = 0;                  // bytes
  TimeNs since = 0;      // connect was called; then: the request's first bytes were written
  uint64_t granted = 0;  // bytes that may be sent and have not been; a request's rest
  uint32_t awaited = 0;  // bytes of the response that have not come
  uint64_t round_trips = 0;
  uint32_t retransmitted = 0;  // segments, when last asked
  bool is_up = false, has_failed = false, is_shut = false, is_mismatched = false, got_eof = false,
       was_reset = false;
};

// The callbacks of a run's application.
void set_callbacks(AppOps& ops) noexcept;
// Starts one. False: it cannot be, which is counted.
bool open_connection(Part& part) noexcept;
// Units (bytes, or one request) that its next turn is good for, and the turn itself: it sends.
uint32_t turn_size(const Connection& c) noexcept;
void take_turn(Connection& c, uint32_t units) noexcept;
// The time is up: nothing new is begun.
void wind_up(Connection& c) noexcept;
void abort(Connection& c) noexcept;

}  // namespace loom::perf
