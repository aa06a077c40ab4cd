// The statistics segment in the daemon: made at the start, brought up to date every update-interval
// by the control thread, handed to whoever connects to the statistics socket. Workers have no part
// in it, and sleeping ones are left asleep. Control thread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "stats/publisher.h"
#include "stats/segment.h"
#include "stats/stats_config.h"

namespace loom {

class StatsService {
 public:
  // All of them outlive the service.
  struct Parts {
    Engine& engine;
    Net& net;
    SessionLayer& sessions;
    StatsRegistry& registry;
  };
  StatsService(const StatsConfig&, const Parts&);
  ~StatsService();
  StatsService(const StatsService&) = delete;
  StatsService& operator=(const StatsService&) = delete;

  // The daemon's event loop and log.
  struct ControlLoop {
    std::function<uint64_t(int fd, std::function<void()> fn)> watch_fd;
    std::function<void(uint64_t handle)> unwatch_fd;
    std::function<uint64_t(double seconds, std::function<void()> fn)> after;  // once
    std::function<void(LogLevel, const std::string&)> log;
  };
  // Makes the segment and fills it once. Errors: kNoMemory, it is too small; those of
  // StatsSegment::create().
  Result<void> open();
  // From now on there are updates and a socket. After the plugins' start().
  Result<void> start(ControlLoop loop, const std::string& socket_path, std::optional<uint32_t> gid);
  // Before the plugins' stop(). No more updates; the socket is gone. Readers keep what they have.
  void stop();

  // Copies everything now.
  void update();

  const StatsSegment* segment() const noexcept { return segment_.get(); }  // null before open()
  const Parts& parts() const noexcept { return parts_; }
  const StatsConfig& config() const noexcept { return config_; }
  uint64_t updates() const noexcept { return updates_; }
  uint64_t handed_out() const noexcept { return handed_out_; }

 private:
  void tick();
  void accept_readers();

  StatsConfig config_;
  Parts parts_;
  std::vector<std::unique_ptr<StatsPublisher>> publishers_;
  std::unique_ptr<StatsSegment> segment_;
  ControlLoop loop_;
  std::shared_ptr<bool> is_running_;  // what is still due after stop() looks at it
  std::string socket_path_;
  int listen_fd_ = -1;
  uint64_t listen_watch_ = 0;
  TimeNs last_update_ = 0;
  uint64_t updates_ = 0, handed_out_ = 0;
  std::string complaint_;  // logged already, not again
};

// show statistics segment, show memory
Result<void> register_stats_commands(Host&, StatsService&);

}  // namespace loom
