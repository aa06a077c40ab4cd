// What `loomctl top` shows, from two readings of the statistics. Times are the daemon's own, so
// rates are right however late the second reading is.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "stats/stats_reader.h"

namespace loomctl {

// One reading, by name: sums over the workers, but for `workers`.
struct TopSample {
  struct Node {
    uint64_t calls = 0, packets = 0, clocks = 0;
  };
  struct Interface {
    loom::stats::Combined rx{}, tx{};
    uint64_t drops = 0;
  };
  struct Worker {
    uint64_t rounds = 0, busy_rounds = 0, asleep_ns = 0, sessions = 0;
  };
  uint64_t updates = 0;  // the segment's heartbeat
  uint64_t time_ns = 0;  // when the daemon made it
  std::map<std::string, Node> nodes;
  std::map<std::string, Interface> interfaces;
  std::vector<Worker> workers;
  std::map<std::string, uint64_t> gauges;    // "session/listeners", "tcp/connections"
  std::map<std::string, uint64_t> counters;  // "tcp/active-opens"
};
TopSample top_sample(std::span<const loom::StatsValue> values);
// The names that top_sample() looks at.
loom::StatsFilter top_filter();

struct TopView {
  struct Node {
    std::string name;
    double calls_s, packets_s, packets_per_call, clocks_per_packet;
  };
  struct Interface {
    std::string name;
    double rx_packets_s, rx_bits_s, tx_packets_s, tx_bits_s, drops_s;
  };
  struct Worker {
    double rounds_s, busy_percent, asleep_percent;  // busy: of its rounds; asleep: of the time
    uint64_t sessions;
  };
  struct Rate {
    std::string name;
    double per_s;
  };
  double seconds = 0;                 // between the readings
  std::vector<Node> nodes;            // that had packets; most clocks per packet first
  std::vector<Interface> interfaces;  // most bits first
  std::vector<Worker> workers;
  std::map<std::string, uint64_t> gauges;
  std::vector<Rate> rates;  // of counters that moved; fastest first
};
// `before` is of the same daemon, and earlier.
TopView top_view(const TopSample& before, const TopSample& now);

}  // namespace loomctl
