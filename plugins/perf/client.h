// Perf clients: a run opens connections to one server, does with each what its configuration says,
// and tells what came of it. Each run is an in-process application of its own.
//
// Threads: a run is split by workers (part.h). The rest is the control thread's, which a part tells
// when its last connection has ended.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/app.h>
#include <hostloom/host.h>

#include "options.h"
#include "part.h"
#include "result.h"

namespace loom::perf {

class Run : public std::enable_shared_from_this<Run> {
 public:
  Run(Host& host, RunConfig config, uint32_t number)
      : host_(host), config_(std::move(config)), number_(number) {}

  // Called once, when it is over, and let go of then. Empty: nobody waits.
  using Done = std::function<void(const Run&)>;
  // When it fails, `done` is not called.
  Result<void> start(Done done);
  // Ends it now: connections are reset. Nothing, when it is over.
  void stop();
  bool is_over() const { return parts_left_ == 0; }
  const RunConfig& config() const { return config_; }
  uint32_t number() const { return number_; }
  uint64_t sum(Counter what) const noexcept;
  // Once it is over: what came of it, and whether that is a success.
  const Outcome& outcome() const { return outcome_; }
  Result<void> success() const;

  // For parts, on any worker.
  uint32_t n_parts() const noexcept { return static_cast<uint32_t>(parts_.size()); }
  // By a part, on its worker: its last connection has ended.
  void part_done(Part& part) noexcept;

 private:
  void on_part_done();

  Host& host_;
  const RunConfig config_;
  uint32_t number_;
  std::string name_;
  Application* app_ = nullptr;
  std::vector<Part> parts_;
  std::vector<Counters> counters_;
  uint32_t parts_left_ = 0;
  Done done_;
  Outcome outcome_;
};

}  // namespace loom::perf
