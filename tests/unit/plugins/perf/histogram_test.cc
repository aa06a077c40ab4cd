#include "histogram.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

namespace loom::perf {
namespace {

// By the definition: nearest rank.
uint64_t exact(const std::vector<uint64_t>& sorted, uint64_t part, uint64_t whole) {
  const uint64_t rank = (sorted.size() * part + whole - 1) / whole;
  return sorted[std::max<uint64_t>(rank, 1) - 1];
}

void expect_near_to_exact(const Histogram& h, std::vector<uint64_t> all) {
  std::sort(all.begin(), all.end());
  ASSERT_EQ(h.count(), all.size());
  EXPECT_EQ(h.least(), all.front());
  EXPECT_EQ(h.most(), all.back());
  for (const auto& [part, whole] : {std::pair{0u, 100u},
                                    {1u, 100u},
                                    {50u, 100u},
                                    {90u, 100u},
                                    {99u, 100u},
                                    {999u, 1000u},
                                    {99'999u, 100'000u},
                                    {1u, 1u}}) {
    const uint64_t is = exact(all, part, whole), told = h.quantile(part, whole);
    EXPECT_GE(told, is) << part << " of " << whole;
    EXPECT_LE(told - is, is / 64) << part << " of " << whole << ": " << told << " for " << is;
  }
}

TEST(PerfHistogram, QuantilesAreWithinA64thOfTheExactOnes) {
  std::mt19937_64 random(1);
  for (const std::size_t n : {1, 2, 3, 99, 1000, 100'000}) {
    for (int kind = 0; kind < 3; ++kind) {
      const auto h = std::make_unique<Histogram>();
      std::vector<uint64_t> all;
      for (std::size_t i = 0; i < n; ++i) {
        const uint64_t any = random();
        all.push_back(kind == 0   ? any >> (22 + any % 40)  // all sizes, up to 2^42
                      : kind == 1 ? any % 1000              // small
                                  : 20'000 + any % 5000 + (any % 997 == 0) * 10'000'000);
        h->add(all.back());
      }
      expect_near_to_exact(*h, std::move(all));
    }
  }
}

TEST(PerfHistogram, SmallNumbersAndEdgesOfBucketsAreExactOrLess) {
  for (unsigned bits = 0; bits < 42; ++bits)
    for (const int64_t off : {-1, 0, 1}) {
      const uint64_t v = (uint64_t{1} << bits) + static_cast<uint64_t>(off);
      if (v >= uint64_t{1} << 42) continue;
      const auto h = std::make_unique<Histogram>();
      h->add(v);
      h->add(uint64_t{1} << 41);
      const uint64_t told = h->quantile(1, 100);
      EXPECT_GE(told, std::min(v, uint64_t{1} << 41));
      EXPECT_LE(told, v + v / 64);
    }
}

TEST(PerfHistogram, MergedIsAsIfOneHadCountedAll) {
  std::mt19937_64 random(2);
  const auto sum = std::make_unique<Histogram>();
  std::vector<uint64_t> all;
  for (int worker = 0; worker < 4; ++worker) {
    const auto h = std::make_unique<Histogram>();
    for (int i = 0; i < 5000 * worker; ++i) {  // the first has none
      all.push_back(random() % (1000u << worker));
      h->add(all.back());
    }
    sum->merge(*h);
  }
  expect_near_to_exact(*sum, std::move(all));
}

TEST(PerfHistogram, WithoutAnyItTellsZeroAndBeyondItsBoundTheMost) {
  const auto h = std::make_unique<Histogram>();
  EXPECT_EQ(h->quantile(50, 100), 0u);
  EXPECT_EQ(h->least(), 0u);
  EXPECT_EQ(h->most(), 0u);
  h->add(~uint64_t{0});
  h->add(uint64_t{1} << 50);
  EXPECT_EQ(h->quantile(50, 100), ~uint64_t{0});
  EXPECT_EQ(h->least(), uint64_t{1} << 50);
}

}  // namespace
}  // namespace loom::perf
