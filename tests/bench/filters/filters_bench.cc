// What a packet that belongs to no connection pays for session rules and the deny list, and what
// the control thread pays for changes.
#include <benchmark/benchmark.h>

#include <random>

#include "session/rules.h"
#include "session/sdl.h"

namespace loom::session {
namespace {

constexpr std::size_t kFlows = 1 << 16;
void at_once(std::function<void()> release) { release(); }

std::vector<FlowKey4> random_flows() {
  std::mt19937 rng(2);
  std::vector<FlowKey4> flows(kFlows);
  for (FlowKey4& f : flows) {
    f.local = Ip4Address::from_host(0x0a000001);
    f.remote = Ip4Address::from_host(rng());
    f.local_port = static_cast<uint16_t>(1 + rng() % 100);
    f.remote_port = static_cast<uint16_t>(rng());
    f.protocol = 6;
  }
  return flows;
}

// range(0) rules spread over range(1) masks.
std::unique_ptr<RuleTable> filled_rules(int64_t n, int64_t masks) {
  auto t = std::move(RuleTable::create(at_once)).value();
  std::mt19937 rng(1);
  for (int64_t i = 0; i < n; ++i) {
    RuleMatch m;
    m.protocol = 6;
    m.remote = {Ip4Address::from_host(rng()), static_cast<uint8_t>(32 - i % masks / 2)};
    m.local_port = static_cast<uint16_t>(i % masks % 2 ? 1 + rng() % 100 : 0);
    LOOM_CHECK(t->add(m, static_cast<uint64_t>(i)) == Status::kOk);
  }
  return t;
}

void BM_RuleLookup(benchmark::State& state) {
  const auto t = filled_rules(state.range(0), state.range(1));
  const auto flows = random_flows();
  for (std::size_t i = 0; auto _ : state) benchmark::DoNotOptimize(t->lookup(flows[i++ % kFlows]));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_RuleLookup)
    ->ArgNames({"rules", "masks"})
    ->Args({0, 1})
    ->Args({10, 4})
    ->Args({1000, 4})
    ->Args({1000, 32})
    ->Args({50'000, 4});

void BM_RuleAddDel(benchmark::State& state) {
  const auto t = filled_rules(state.range(0), 4);
  RuleMatch m;
  m.protocol = 6;
  m.remote = {Ip4Address::from_host(0x0a010203), 32};
  for (auto _ : state) {
    LOOM_CHECK(t->add(m, 1) == Status::kOk);
    LOOM_CHECK(t->del(m) == Status::kOk);
  }
}
BENCHMARK(BM_RuleAddDel)->ArgName("rules")->Arg(10)->Arg(50'000);

// Uniformly random sources: hosts (32), or with about the lengths of real lists.
std::vector<DenyEntry> random_sources(std::size_t n, bool hosts, bool ip4) {
  std::mt19937 rng(1);
  std::vector<DenyEntry> all;
  for (std::size_t i = 0; i < n; ++i) {
    IpPrefix p;
    if (ip4) {
      p = {Ip4Address::from_host(static_cast<uint32_t>(i * 2'654'435'761u)),
           static_cast<uint8_t>(hosts || i % 4 ? 32 : 24)};
    } else {
      Ip6Address a;
      a.bytes[0] = 0x20;
      for (std::size_t b = 1; b < 8; ++b) a.bytes[b] = static_cast<uint8_t>(rng());
      p = {a, static_cast<uint8_t>(hosts || i % 4 ? 64 : 48)};
    }
    all.push_back({p, kActionDrop, {}});
  }
  return all;
}

std::unique_ptr<DenyList> filled_list(std::span<const DenyEntry> all) {
  auto list = std::move(DenyList::create(at_once)).value();
  for (std::size_t i = 0; i < all.size(); i += 10'000) {
    // Two that fall together are refused as a whole: such a batch goes in one by one.
    const auto batch = all.subspan(i, std::min<std::size_t>(10'000, all.size() - i));
    if (list->add(batch)) continue;
    for (const DenyEntry& e : batch) (void)list->add({&e, 1}).has_value();
  }
  return list;
}

void BM_DenyListLookup(benchmark::State& state) {
  const auto list =
      filled_list(random_sources(static_cast<std::size_t>(state.range(0)), false, true));
  const auto flows = random_flows();
  for (std::size_t i = 0; auto _ : state)
    benchmark::DoNotOptimize(list->denies(flows[i++ % kFlows].remote));
  state.SetItemsProcessed(state.iterations());
  state.counters["leaf MB"] = static_cast<double>(list->leaf_bytes()) / 1e6;
}
BENCHMARK(BM_DenyListLookup)->ArgName("sources")->Arg(10)->Arg(10'000)->Arg(1'000'000);

void BM_DenyListLookup6(benchmark::State& state) {
  const auto sources = random_sources(static_cast<std::size_t>(state.range(0)), false, false);
  const auto list = filled_list(sources);
  for (std::size_t i = 0; auto _ : state)
    benchmark::DoNotOptimize(list->denies(sources[i++ % sources.size()].prefix.address.ip6()));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_DenyListLookup6)->ArgName("sources")->Arg(10)->Arg(1'000'000);

// One message's worth into a list of a million: what the control thread is busy with.
void BM_DenyListAddDel(benchmark::State& state) {
  static const auto list = filled_list(random_sources(1'000'000, true, true));  // it takes a while
  const auto n = static_cast<std::size_t>(state.range(0));
  std::vector<DenyEntry> more;
  std::vector<IpPrefix> same;
  for (std::size_t i = 0; i < n; ++i) {
    same.push_back(
        {Ip4Address::from_host(static_cast<uint32_t>((i + 1'000'000) * 2'654'435'761u)), 32});
    more.push_back({same.back(), kActionDrop, {}});
  }
  for (auto _ : state) {
    LOOM_CHECK(list->add(more).has_value());
    LOOM_CHECK(list->del(same).has_value());
  }
}
BENCHMARK(BM_DenyListAddDel)
    ->ArgName("sources")
    ->Arg(1)
    ->Arg(12'000)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace loom::session
