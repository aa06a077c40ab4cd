// Perf clients: a run opens connections to one server, sends for a time or a number of bytes, and
// says what came of it. Each run is an in-process application of its own.
//
// Threads: a run is split by workers. A part's connections, timers and times are its worker's; the
// rest is the control thread's, which a part tells when its last connection has ended.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include <hostloom/app.h>
#include <hostloom/cli.h>
#include <hostloom/host.h>

#include "server.h"

namespace loom::perf {

struct RunConfig {
  std::string uri;
  AppEndpoint endpoint;
  TimeNs run_time = 0;  // or
  uint64_t bytes = 0;   // to send on each connection
  uint32_t n_clients = 1;
  bool echo = false;       // the server sends everything back, and it is checked
  uint32_t fifo_size = 0;  // 0: the host's default
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

  // `later`: who waits for the outcome, or null.
  Result<void> start(std::shared_ptr<CliLater> later);
  // Ends it now: connections are reset.
  void stop();
  bool is_over() const { return parts_left_ == 0; }
  const RunConfig& config() const { return config_; }
  uint32_t number() const { return number_; }
  Application* app() const { return app_; }
  uint64_t sum(Counter what) const noexcept;
  // Fields of the outcome so far. Complete once it is over.
  void describe(CliReply& reply) const;
  double seconds() const;  // 0 until it is over

  // By a part, on its worker: its last connection has ended.
  void part_done(Part& part) noexcept;
  Counters& counters(const Worker& w) noexcept { return counters_[w.index]; }

 private:
  void on_part_done();
  Result<void> outcome() const;
  template <class F>
  uint32_t total(F&& of) const {
    uint32_t n = 0;
    for (const auto& p : parts_) n += of(p);
    return n;
  }

  Host& host_;
  RunConfig config_;
  uint32_t number_;
  std::string name_;
  Application* app_ = nullptr;
  std::vector<Part> parts_;
  std::vector<Counters> counters_;
  uint32_t parts_left_ = 0;
  std::shared_ptr<CliLater> later_;
};

}  // namespace loom::perf
