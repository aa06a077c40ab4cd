// Route lookups: uniformly random addresses (every touch a cache miss in a large table), and the
// few destinations that a host really talks to.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "net/fib/ip4_fib.h"
#include "net/fib/ip6_fib.h"

namespace loom {
namespace {

constexpr std::size_t kAddresses = 1 << 16;

// range(0) prefixes with about the lengths of the Internet's table: most 24, some 16 to 23, few 32.
std::unique_ptr<Ip4Fib> filled_ip4(int64_t n, std::vector<Ip4Address>& covered) {
  auto fib = std::move(Ip4Fib::create([](std::function<void()> release) { release(); })).value();
  std::mt19937 rng(1);
  LOOM_CHECK(fib->add({Ip4Address{}, 0}, 0) == Status::kOk);
  for (int64_t i = 1; i < n; ++i) {
    const auto pick = rng() % 20;
    const auto length = static_cast<uint8_t>(pick < 12 ? 24 : pick < 19 ? 16 + rng() % 8 : 32);
    const auto a = Ip4Address::from_host(rng());
    LOOM_CHECK(fib->add({a, length}, static_cast<uint32_t>(i)) == Status::kOk);
    if (covered.size() < kAddresses) covered.push_back(a);
  }
  while (covered.size() < kAddresses) covered.push_back(Ip4Address::from_host(rng()));
  return fib;
}

void BM_Ip4FibLookup(benchmark::State& state) {
  std::vector<Ip4Address> addresses;
  const auto fib = filled_ip4(state.range(0), addresses);
  const auto n_different = static_cast<std::size_t>(state.range(1));
  for (std::size_t i = 0; auto _ : state)
    benchmark::DoNotOptimize(fib->lookup(addresses[i++ % n_different]));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Ip4FibLookup)
    ->ArgNames({"routes", "destinations"})
    ->Args({16, 256})
    ->Args({100'000, 256})
    ->Args({100'000, kAddresses});

void BM_Ip4FibAddDel(benchmark::State& state) {
  std::vector<Ip4Address> addresses;
  const auto fib = filled_ip4(100'000, addresses);
  const auto length = static_cast<uint8_t>(state.range(0));
  const IpPrefix prefix{Ip4Address::from_host(0x0a010203), length};
  for (auto _ : state) {
    LOOM_CHECK(fib->add(prefix, 1) == Status::kOk);
    LOOM_CHECK(fib->del(prefix) == Status::kOk);
  }
}
BENCHMARK(BM_Ip4FibAddDel)->ArgName("length")->Arg(8)->Arg(16)->Arg(24)->Arg(32);

// range(0) routes, spread over range(1) different lengths; addresses match any of them.
void BM_Ip6FibLookup(benchmark::State& state) {
  auto fib = std::move(Ip6Fib::create({.buckets = 1 << 15, .seed = 1})).value();
  std::mt19937_64 rng(1);
  const auto n_lengths = static_cast<uint64_t>(state.range(1));
  std::vector<Ip6Address> addresses;
  for (int64_t i = 0; i < state.range(0); ++i) {
    Ip6Address a;
    for (auto& b : a.bytes) b = static_cast<uint8_t>(rng());
    const auto length = static_cast<uint8_t>(128 - 16 * (rng() % n_lengths));
    LOOM_CHECK(fib->add({a, length}, static_cast<uint32_t>(i)) == Status::kOk);
    addresses.push_back(a);
  }
  for (std::size_t i = 0; auto _ : state)
    benchmark::DoNotOptimize(fib->lookup(addresses[i++ % addresses.size()]));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Ip6FibLookup)
    ->ArgNames({"routes", "lengths"})
    ->Args({16, 1})
    ->Args({16, 4})
    ->Args({100'000, 4})
    ->Args({100'000, 8});

}  // namespace
}  // namespace loom
