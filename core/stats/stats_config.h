// What `statseg { }` of the start-up file says about the statistics segment.
#pragma once
#include <cstdint>

namespace loom {

struct StatsConfig {
  uint64_t size = 32u << 20;      // bytes of address space; memory is taken as entries come
  double update_interval_s = 1;   // between two copies of the counters
  bool per_node_counters = true;  // /sys/node/... and /nodes/...
};

}  // namespace loom
