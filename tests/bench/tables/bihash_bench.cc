// Bihash and its hash: tables that fit in L2, in L3, in neither. 16-byte keys (an IPv4 session).
#include <benchmark/benchmark.h>

#include <random>

#include "hash/bihash.h"

namespace loom {
namespace {

using Table = Bihash<16>;

struct Filled {
  std::unique_ptr<Table> table;
  std::vector<Table::Key> keys;  // in random order
};

Filled filled_table(int64_t n, uint64_t seed) {
  Filled f{.table = std::move(Table::create({.buckets = static_cast<std::size_t>(n) / 4,
                                             .max_bytes = std::size_t{4} << 30,
                                             .seed = seed}))
                        .value(),
           .keys = {}};
  std::mt19937_64 rng(seed);
  for (int64_t i = 0; i < n; ++i) {
    f.keys.push_back({rng(), rng()});
    LOOM_CHECK(f.table->add(f.keys.back(), static_cast<uint64_t>(i)) == Status::kOk);
  }
  std::shuffle(f.keys.begin(), f.keys.end(), rng);
  return f;
}

template <std::size_t Words>
void BM_KeyedHash(benchmark::State& state) {
  const HashSecret secret = HashSecret::from_seed(1);
  std::array<uint64_t, Words> key{1};
  for (auto _ : state) {
    key[0] = keyed_hash(key, secret);  // each depends on the last: latency, not throughput
    benchmark::DoNotOptimize(key);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_KeyedHash<2>);
BENCHMARK(BM_KeyedHash<6>);

void BM_BihashFindHit(benchmark::State& state) {
  const auto [table, keys] = filled_table(state.range(0), /*seed=*/1);
  for (std::size_t i = 0; auto _ : state)
    benchmark::DoNotOptimize(table->find(keys[i++ % keys.size()]));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_BihashFindHit)->Arg(1 << 10)->Arg(1 << 16)->Arg(1 << 22);

void BM_BihashFindMiss(benchmark::State& state) {
  const auto [table, keys] = filled_table(state.range(0), /*seed=*/1);
  for (std::size_t i = 0; auto _ : state) {
    const auto& k = keys[i++ % keys.size()];
    benchmark::DoNotOptimize(table->find({k[0], ~k[1]}));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_BihashFindMiss)->Arg(1 << 10)->Arg(1 << 16)->Arg(1 << 22);

// A frame of 256 at a time: hash and prefetch buckets, prefetch pages, resolve.
void BM_BihashFindBatch(benchmark::State& state) {
  const auto [table, keys] = filled_table(state.range(0), /*seed=*/1);
  constexpr std::size_t kFrame = 256;
  std::array<uint64_t, kFrame> hashes, values;
  for (std::size_t base = 0; auto _ : state) {
    const Table::Key* k = &keys[base];
    for (std::size_t i = 0; i < kFrame; ++i) table->prefetch_bucket(hashes[i] = table->hash(k[i]));
    for (std::size_t i = 0; i < kFrame; ++i) table->prefetch_page(hashes[i]);
    for (std::size_t i = 0; i < kFrame; ++i)
      benchmark::DoNotOptimize(table->find_with_hash(k[i], hashes[i], values[i]));
    base = (base + kFrame) % keys.size();
  }
  state.SetItemsProcessed(state.iterations() * kFrame);
}
BENCHMARK(BM_BihashFindBatch)->Arg(1 << 10)->Arg(1 << 16)->Arg(1 << 22);

// A connection comes and goes in a table that holds range(0) others.
void BM_BihashAddDel(benchmark::State& state) {
  const auto [table, keys] = filled_table(state.range(0), /*seed=*/1);
  for (std::size_t i = 0; auto _ : state) {
    const auto& k = keys[i++ % keys.size()];
    const Table::Key fresh{k[0], ~k[1]};
    benchmark::DoNotOptimize(table->add(fresh, i));
    benchmark::DoNotOptimize(table->del(fresh));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_BihashAddDel)->Arg(1 << 10)->Arg(1 << 16)->Arg(1 << 22);

}  // namespace
}  // namespace loom
