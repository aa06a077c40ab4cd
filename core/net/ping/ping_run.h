// Pings under way: worker 0's timers send the requests, and the control thread is told when it is
// over. A bounded number at once.
//
// Threads: control starts and ends a run; worker 0 sends and decides that it is over; any worker
// marks answers. A run is freed after a grace period, so a worker's pointer to it is good until the
// end of its node function.
#pragma once
#include <array>
#include <atomic>
#include <memory>

#include "net/net.h"
#include "net/ping/ping.h"

namespace loom {

class PingRuns {
 public:
  explicit PingRuns(Engine& engine) : engine_(engine) {}

  // Control. count, interval: as Net::start_ping checked them. Its number, which no other run gets.
  Result<uint64_t> start(const IpAddress& address, uint32_t count, TimeNs interval,
                         uint32_t fib_index, Net::PingDone done);
  void cancel(uint64_t number);  // nobody is told
  void cancel();                 // all of them
  // Any worker. True when it is the first answer to a request of a run.
  bool answered(const EchoReply& reply);

 private:
  struct Run;
  void finished(Run& run);        // control
  void cancel_at(std::size_t i);  // control; nothing when the place is free
  void free_place(std::size_t i);

  Engine& engine_;
  uint64_t n_started_ = 0;                                     // control's
  std::array<std::shared_ptr<Run>, Net::kMaxPingRuns> owned_;  // control's
  std::array<std::atomic<Run*>, Net::kMaxPingRuns> runs_{};
};

}  // namespace loom
