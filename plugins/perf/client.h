// Perf clients: a run opens connections to one server, sends for a time or a number of bytes, and
// says what came of it. Each run is an in-process application of its own.
//
// Threads: a run is split by workers. A part's connections, timers and times are its worker's; the
// rest is the control thread's, which a part tells when its last connection has ended.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/app.h>
#include <hostloom/host.h>

#include "server.h"

namespace loom::perf {

constexpr uint32_t kMostSeconds = 24 * 3600, kMostClients = 100'000;

struct RunConfig {
  std::string uri;
  AppEndpoint endpoint;  // complete() makes it of the uri
  TimeNs run_time = 0;   // or
  uint64_t bytes = 0;    // to send on each connection; neither: 10 s
  uint32_t n_clients = 1;
  bool echo = false;       // the server sends everything back, and it is checked
  uint32_t fifo_size = 0;  // 0: the host's default
};

// Checks what is asked for, and fills in what is not.
Result<void> complete(RunConfig& config);

// What came of a run's connections.
struct Totals {
  uint32_t connections = 0, failed = 0, reset = 0, unfinished = 0, mismatched = 0;
};

class Run;
struct Connection;

// What one worker does of a run.
struct Part {
  enum class Phase : uint8_t { kSending, kEnding, kStopped };
  Run* run = nullptr;
  Worker* worker = nullptr;
  Phase phase = Phase::kSending;
  uint32_t to_open = 0;                  // connections not started yet
  std::vector<Connection*> connections;  // open ones; each knows its place
  Timer open_timer, end_timer;
  TimeNs began = 0, ended = 0;  // first connection is up; last one ended
  uint32_t connected = 0, failed = 0, reset = 0, unfinished = 0, mismatched = 0;
  Status failure = Status::kOk;  // the last one
};

class Run : public std::enable_shared_from_this<Run> {
 public:
  Run(Host& host, RunConfig config, uint32_t number)
      : host_(host), config_(config), number_(number) {}

  // Called once, when it is over, and let go of then. Empty: nobody waits.
  using Done = std::function<void(const Run&)>;
  // When it fails, `done` is not called.
  Result<void> start(Done done);
  // Ends it now: connections are reset. Nothing, when it is over.
  void stop();
  bool is_over() const { return parts_left_ == 0; }
  const RunConfig& config() const { return config_; }
  uint32_t number() const { return number_; }
  Application* app() const { return app_; }
  uint64_t sum(Counter what) const noexcept;
  // Once it is over: what came of it, and whether that is a success.
  Totals totals() const;
  Result<void> outcome() const;
  double seconds() const;  // 0 until it is over

  // By a part, on its worker: its last connection has ended.
  void part_done(Part& part) noexcept;
  Counters& counters(const Worker& w) noexcept { return counters_[w.index]; }

 private:
  void on_part_done();

  Host& host_;
  RunConfig config_;
  uint32_t number_;
  std::string name_;
  Application* app_ = nullptr;
  std::vector<Part> parts_;
  std::vector<Counters> counters_;
  uint32_t parts_left_ = 0;
  Done done_;
};

}  // namespace loom::perf
