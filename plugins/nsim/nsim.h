// The simulator as the control thread sees it: what is configured, and where it is enabled.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "delay_line.h"

namespace loom::nsim {

constexpr const char* kArc = "interface-output";
extern const NodeInfo kOutputNode;  // output_node.cc

struct Config {
  TimeNs delay = 0;
  uint64_t bandwidth = 0;       // bits a second, of all workers together
  uint32_t packet_size = 1500;  // bytes of a common packet: how many of them fit on the link
  double drop_fraction = 0, reorder_fraction = 0;  // 0 to 1
  std::optional<uint64_t> seed;                    // none: one is made up
};

// Errors name the refused value.
Result<void> check_delay(TimeNs);
Result<void> check_bandwidth(uint64_t);
Result<void> check_packet_size(uint32_t);

class Nsim {
 public:
  explicit Nsim(Host& host) : host_(host) {}

  Result<void> init();   // node and feature
  Result<void> start();  // the workers exist
  void stop();
  // Packets that wait go on at once. kInvalid.
  Result<void> configure(const Config&);
  // kNotConnected: nothing is configured, also for disabling; kNotFound: no such interface. `name`,
  // which may be empty, for listings.
  Result<void> enable(IfIndex, const std::string& name, bool enable);

  const std::optional<Config>& config() const { return config_; }  // with its seed
  uint32_t places() const { return places_; }                      // by worker
  std::vector<std::string> interfaces();
  const std::vector<std::unique_ptr<DelayLine>>& lines() const { return lines_; }
  uint64_t counter(uint32_t worker, Fate) const;
  Host& host() { return host_; }

 private:
  Host& host_;
  uint32_t slot_ = 0;
  NodeId node_ = kNoNode;
  std::optional<Config> config_;
  uint32_t places_ = 0;
  std::map<IfIndex, std::string> enabled_;
  std::vector<std::unique_ptr<DelayLine>> lines_;  // by worker
  std::vector<const uint64_t*> counters_;          // of the node, by worker
};

Result<void> register_commands(Host&, Nsim&);
Result<void> add_api(Host&, Nsim&);

// The worker's line; its slot is the same for the life of the process.
DelayLine& line_of(Worker&) noexcept;

}  // namespace loom::nsim
