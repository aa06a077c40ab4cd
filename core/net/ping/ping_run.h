// Pings that nobody waits for: worker 0's timers send the requests, and the control thread is told
// when it is over. A bounded number at once.
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

  // Control. count, interval: as Net::start_ping checked them.
  Result<void> start(const IpAddress& address, uint32_t count, TimeNs interval, uint32_t fib_index,
                     Net::PingDone done);
  void cancel();  // all of them; nobody is told
  // Any worker. True when it is the first answer to a request of a run.
  bool answered(const EchoReply& reply);

 private:
  struct Run;
  void finished(Run& run);  // control

  Engine& engine_;
  std::array<std::shared_ptr<Run>, Net::kMaxPingRuns> owned_;  // control's
  std::array<std::atomic<Run*>, Net::kMaxPingRuns> runs_{};
};

}  // namespace loom
