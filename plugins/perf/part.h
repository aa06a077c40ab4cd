// What one worker does of a run: opens its connections, evenly over a time or as fast as they can,
// gives them their turns where a rate limits the run, and ends them. All of it on that worker.
#pragma once
#include <array>
#include <vector>

#include <hostloom/app.h>

#include "histogram.h"
#include "options.h"
#include "pacer.h"
#include "server.h"

namespace loom::perf {

class Run;
struct Connection;
struct Part;

// Connections that wait for their turn, in order. Each is in it once at most.
class Turns {
 public:
  Connection* first() const noexcept { return first_; }
  void push(Connection& c) noexcept;
  void remove(Connection& c) noexcept;  // nothing, when it is not in it

 private:
  Connection *first_ = nullptr, *last_ = nullptr;
};

constexpr std::size_t kStatuses = static_cast<std::size_t>(Status::kMalformed) + 1;
constexpr std::size_t kResetReasons = static_cast<std::size_t>(ResetReason::kMessageSize) + 1;

// What came of a part's connections. Read by others once the part is over.
struct Tally {
  uint32_t connected = 0, unfinished = 0, mismatched = 0;
  uint32_t not_opened = 0;                      // the run ended before their time had come
  std::array<uint32_t, kStatuses> failed{};     // connections that did not come about, by why
  std::array<uint32_t, kResetReasons> reset{};  // that were reset, by why
  TimeNs opened_first = 0, connected_last = 0;  // connect was called first; succeeded last
  TimeNs began = 0, ended = 0;                  // first connection is up; last one ended
  Histogram connects, round_trips;              // ns
};

struct Part {
  enum class Phase : uint8_t { kRunning, kEnding, kStopped };
  Run* run = nullptr;
  const RunConfig* config = nullptr;
  Worker* worker = nullptr;
  Application* app = nullptr;
  Counters* counters = nullptr;
  Phase phase = Phase::kRunning;
  uint32_t share = 0, opened = 0;        // connections: of this part; started
  uint32_t under_way = 0;                // of them, that wait for the answer to their connect
  std::vector<Connection*> connections;  // open ones; each knows its place
  Pacer pacer;                           // not started: no limit
  uint32_t piece = 1;                    // bytes, or requests, that a turn is good for at most
  Turns turns;
  bool is_giving = false;  // turns, now
  Timer open_timer, end_timer, turn_timer;
  TimeNs start = 0;
  Tally tally;
};

// Begins with `share` connections, of which the run, with config and worker set, has room.
void begin(Part& part) noexcept;
// Ends it now: connections are reset.
void stop(Part& part) noexcept;

// For connections.
// Sends, when the rate allows it, as soon as it does: connection.h, take_turn.
void wait_for_turn(Part& part, Connection& c) noexcept;
void answered(Part& part) noexcept;               // a connect, well or not, or it is given up
void forget(Part& part, Connection& c) noexcept;  // it has ended

}  // namespace loom::perf
