#include "graph/runtime_stats.h"

#include "graph/engine.h"
#include "graph/worker_state.h"

namespace loom {

std::vector<NodeStats> RuntimeStats::read(uint32_t worker) const {
  std::vector<NodeStats> all;
  for (std::size_t i = 0; i < engine_.nodes().size(); ++i)
    all.push_back(node(worker, static_cast<NodeId>(i)));
  return all;
}

NodeStats RuntimeStats::node(uint32_t worker, NodeId id) const {
  const NodeSlot& slot = engine_.workers_[worker]->slots[id];
  return {.node = id,
          .calls = read_counter(slot.calls),
          .packets = read_counter(slot.packets),
          .clocks = read_counter(slot.clocks)};
}

std::vector<NodeStats> RuntimeStats::nodes(uint32_t worker) const {
  auto all = read(worker);
  if (worker >= runtime_base_.size()) return all;
  const auto& base = runtime_base_[worker];
  for (std::size_t i = 0; i < base.size(); ++i) {
    all[i].calls -= base[i].calls;
    all[i].packets -= base[i].packets;
    all[i].clocks -= base[i].clocks;
  }
  return all;
}

std::vector<NodeStats> RuntimeStats::nodes_total() const {
  auto sum = read(0);
  for (uint32_t w = 1; w < engine_.n_workers(); ++w) {
    const auto more = read(w);
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i].calls += more[i].calls;
      sum[i].packets += more[i].packets;
      sum[i].clocks += more[i].clocks;
    }
  }
  return sum;
}

uint64_t RuntimeStats::counter(NodeId node, uint16_t counter) const {
  if (node >= engine_.nodes().size() || counter >= engine_.nodes()[node].info.counters.size())
    return 0;
  uint64_t sum = 0;
  for (uint32_t w = 0; w < engine_.n_workers(); ++w) sum += this->counter(w, node, counter);
  return sum;
}

uint64_t RuntimeStats::counter(uint32_t worker, NodeId node, uint16_t counter) const {
  return read_counter(engine_.workers_[worker]->slots[node].rt.counters[counter]);
}

uint64_t RuntimeStats::counter(std::string_view node, std::string_view counter_name) const {
  const NodeId id = engine_.find_node(node);
  if (id == kNoNode) return 0;
  const auto counters = engine_.nodes()[id].info.counters;
  for (std::size_t i = 0; i < counters.size(); ++i)
    if (counters[i].name == counter_name) return counter(id, static_cast<uint16_t>(i));
  return 0;
}

std::vector<CounterValue> RuntimeStats::counters(bool since_start) const {
  std::vector<CounterValue> all;
  for (std::size_t node = 0; node < engine_.nodes().size(); ++node) {
    const auto id = static_cast<NodeId>(node);
    for (std::size_t i = 0; i < engine_.nodes()[id].info.counters.size(); ++i) {
      uint64_t value = counter(id, static_cast<uint16_t>(i));
      if (!since_start && node < counter_base_.size()) value -= counter_base_[node][i];
      all.push_back({id, static_cast<uint16_t>(i), value});
    }
  }
  return all;
}

WorkerStats RuntimeStats::worker(uint32_t index) const {
  const WorkerState& ws = *engine_.workers_[index];
  return {.index = index,
          .core = engine_.config().corelist.empty() ? -1 : engine_.config().corelist[index],
          .beside = ws.beside.load(std::memory_order_relaxed),
          .thread_id = ws.thread_id.load(std::memory_order_relaxed),
          .rounds = read_counter(ws.rounds),
          .busy_rounds = read_counter(ws.busy_rounds),
          .sleeps = read_counter(ws.sleeps),
          .long_rounds = read_counter(ws.long_rounds),
          .longest_round = __atomic_load_n(&ws.longest_round, __ATOMIC_RELAXED),
          .asleep = ws.asleep.total(engine_.clock_now()),
          .looked_on = ws.linger.spent(),
          .cached_buffers = static_cast<uint32_t>(read_counter(ws.cached_buffers)),
          .is_asleep = ws.sleep_state.load(std::memory_order_relaxed) == SleepState::kAsleep};
}

RoundCosts RuntimeStats::rounds(uint32_t worker) const {
  return engine_.workers_[worker]->meter.read();
}

void RuntimeStats::measure_rounds(bool on) {
  for (const auto& ws : engine_.workers_) ws->meter.turn(on);
}

void RuntimeStats::clear_runtime() {
  runtime_base_.clear();
  for (uint32_t w = 0; w < engine_.n_workers(); ++w) {
    runtime_base_.push_back(read(w));
    // A maximum has no baseline. The worker writes a later round's, at worst over this.
    __atomic_store_n(&engine_.workers_[w]->longest_round, TimeNs{0}, __ATOMIC_RELAXED);
    engine_.workers_[w]->meter.clear();
  }
}

void RuntimeStats::clear_counters() {
  counter_base_.assign(engine_.nodes().size(), {});
  for (const CounterValue& c : counters(true)) counter_base_[c.node].push_back(c.value);
}

}  // namespace loom
