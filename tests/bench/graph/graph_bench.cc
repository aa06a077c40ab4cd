// Cost of the engine per packet: moving packets from node to node, and allocating buffers. The
// nodes do nothing else. Items are packets.
#include <benchmark/benchmark.h>

#include <array>

#include "graph/engine.h"

namespace loom {
namespace {

std::unique_ptr<Engine> engine_with(std::span<const NodeInfo> nodes) {
  auto engine = Engine::create({.buffers = {.buffers_per_numa = 2048}});
  LOOM_CHECK(engine.has_value());
  for (const NodeInfo& n : nodes) LOOM_CHECK((*engine)->add_node(n).has_value());
  LOOM_CHECK((*engine)->build().has_value());
  return *std::move(engine);
}

// Where the packets come back to after their round trip: they are sent out again.
std::vector<Buffer*>& home(Worker& w) {
  return *static_cast<std::vector<Buffer*>*>(w.plugin_data[0]);
}
void home_node(Worker& w, NodeRuntime&, std::span<Buffer* const> in) noexcept {
  home(w).insert(home(w).end(), in.begin(), in.end());
}
void same_next_node(Worker&, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  std::array<uint16_t, kFrameSize> next;
  for (std::size_t i = 0; i < in.size(); ++i) next[i] = 0;
  rt.enqueue(in, next);
}
// Neighbours always part: the worst case for moving runs of packets.
void scatter_node(Worker&, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  std::array<uint16_t, kFrameSize> next;
  for (std::size_t i = 0; i < in.size(); ++i) next[i] = i & 3;
  rt.enqueue(in, next);
}

void run_round_trips(benchmark::State& state, const NodeInfo& first,
                     std::span<const NodeInfo> rest) {
  auto engine = engine_with(rest);
  const NodeId id = *engine->add_node(first);
  Worker& w = engine->worker(0);
  std::vector<Buffer*> packets(static_cast<std::size_t>(state.range(0))), at_home;
  LOOM_CHECK(w.alloc(std::span(packets)) == packets.size());
  at_home.reserve(packets.size());
  w.plugin_data[0] = &at_home;
  for (auto _ : state) {
    at_home.clear();
    w.enqueue_to_node(id, packets);
    engine->step();
    packets.swap(at_home);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  w.free(std::span(packets));
}

void BM_EnqueueSameNext(benchmark::State& state) {
  const NodeInfo rest[] = {{.name = "home", .run = home_node}};
  run_round_trips(state, {.name = "first", .run = same_next_node, .next = {"home"}}, rest);
}
BENCHMARK(BM_EnqueueSameNext)->Arg(1)->Arg(16)->Arg(256);

void BM_EnqueueScatter(benchmark::State& state) {
  const NodeInfo rest[] = {{.name = "home0", .run = home_node},
                           {.name = "home1", .run = home_node},
                           {.name = "home2", .run = home_node},
                           {.name = "home3", .run = home_node}};
  run_round_trips(
      state, {.name = "first", .run = scatter_node, .next = {"home0", "home1", "home2", "home3"}},
      rest);
}
BENCHMARK(BM_EnqueueScatter)->Arg(1)->Arg(16)->Arg(256);

// Batches that fit in the worker's cache, and batches that go through the pool's list.
void BM_BufferAllocFree(benchmark::State& state) {
  auto engine = engine_with({});
  Worker& w = engine->worker(0);
  std::vector<Buffer*> packets(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    LOOM_CHECK(w.alloc(std::span(packets)) == packets.size());
    w.free(std::span(packets));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_BufferAllocFree)->Arg(1)->Arg(256)->Arg(1024);

void BM_BufferAllocFreeOne(benchmark::State& state) {  // the inline path of drivers and transports
  auto engine = engine_with({});
  Worker& w = engine->worker(0);
  for (auto _ : state) w.free(w.alloc());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_BufferAllocFreeOne);

void BM_EmptyRound(benchmark::State& state) {  // what a spinning worker does; step() looks at fds
  auto engine = engine_with({});
  for (auto _ : state) engine->step();
}
BENCHMARK(BM_EmptyRound);

}  // namespace
}  // namespace loom
