// Snapshots of what workers count: calls, packets and clocks per node, node counters, scheduler
// rounds and sleeps. Reading disturbs no worker; "clear" remembers a baseline instead of writing to
// the workers' counters. Thread: control.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include <hostloom/node.h>

#include "graph/round_meter.h"

namespace loom {

class Engine;

struct NodeStats {
  NodeId node = kNoNode;
  uint64_t calls = 0, packets = 0, clocks = 0;  // clocks: CPU time-stamp ticks
};

struct CounterValue {
  NodeId node;
  uint16_t counter;
  uint64_t value;
};

struct WorkerStats {
  uint32_t index = 0;
  int core = -1;    // pinned to; -1 = not pinned
  int beside = -1;  // where it stays with who wakes it; -1 = where the kernel puts it
  int thread_id = 0;
  uint64_t rounds = 0, busy_rounds = 0, sleeps = 0;
  uint64_t long_rounds = 0;  // of 1 ms or more
  TimeNs longest_round = 0;  // since clear_runtime()
  TimeNs asleep = 0;         // time spent in sleep, until now
  TimeNs looked_on = 0;  // ... and in looking on before one (linger.h), until the last look's end
  uint32_t cached_buffers = 0;
  bool is_asleep = false;
};

class RuntimeStats {
 public:
  explicit RuntimeStats(Engine& engine) : engine_(engine) {}
  std::vector<NodeStats> nodes(uint32_t worker) const;  // by node id, since clear_runtime()
  std::vector<NodeStats> nodes_total() const;           // all workers, since the start
  NodeStats node(uint32_t worker, NodeId) const;        // since the start
  // Every counter of every node, summed over workers; since clear_counters(), or since the start.
  std::vector<CounterValue> counters(bool since_start = false) const;
  uint64_t counter(NodeId, uint16_t counter) const;                   // since the start, summed
  uint64_t counter(uint32_t worker, NodeId, uint16_t counter) const;  // since the start; all exist
  // By name: "ip4-input" "delivered"; 0 when there is none.
  uint64_t counter(std::string_view node, std::string_view counter) const;
  WorkerStats worker(uint32_t index) const;
  // What rounds cost; measured only once it is turned on. clear_runtime() clears it, too.
  RoundCosts rounds(uint32_t worker) const;
  void measure_rounds(bool on);
  void clear_runtime();
  void clear_counters();

 private:
  std::vector<NodeStats> read(uint32_t worker) const;  // since the start
  Engine& engine_;
  std::vector<std::vector<NodeStats>> runtime_base_;  // by worker and node
  std::vector<std::vector<uint64_t>> counter_base_;   // by node and counter
};

}  // namespace loom
