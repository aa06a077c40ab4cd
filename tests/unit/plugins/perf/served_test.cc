// Of connections that end on another worker than the one that accepted them, each piece is used
// again, once.
#include "perf/served.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace loom::perf {
namespace {

TEST(ServedPool, WhatEndsElsewhereIsUsedAgain) {
  ServedPool pool;
  constexpr std::size_t kMany = 1000;
  std::set<Served*> seen;
  for (int turn = 0; turn < 4; ++turn) {
    std::vector<Served*> all;
    std::set<Served*> now;
    for (std::size_t i = 0; i < kMany; ++i) {
      all.push_back(pool.take());
      ASSERT_NE(all.back(), nullptr);
      EXPECT_TRUE(now.insert(all.back()).second);
      EXPECT_EQ(all.back()->position, 0u);
      all.back()->position = 7;
    }
    seen.merge(now);
    EXPECT_LE(seen.size(), kMany + 256) << "in turn " << turn;
    std::vector<std::thread> elsewhere;
    for (std::size_t t = 0; t < 2; ++t)
      elsewhere.emplace_back([&, t] {
        for (std::size_t i = t; i < kMany; i += 3) pool.give_back(*all[i]);
      });
    for (std::size_t i = 2; i < kMany; i += 3) pool.give(*all[i]);
    for (std::thread& t : elsewhere) t.join();
  }
}

}  // namespace
}  // namespace loom::perf
