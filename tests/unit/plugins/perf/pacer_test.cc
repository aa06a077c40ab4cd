#include "pacer.h"

#include <gtest/gtest.h>

#include <random>

namespace loom::perf {
namespace {

TEST(PerfPacer, GrantsExactlyItsRateWhoeverAsksHowOften) {
  std::mt19937_64 random(1);
  for (const uint64_t rate : {uint64_t{1}, uint64_t{3}, uint64_t{1000}, uint64_t{999'983},
                              uint64_t{1'250'000'000}, kMostRate}) {
    Pacer p;
    TimeNs now = 12'345;
    p.start(now, rate, std::max<uint64_t>(rate / 100, 1));
    const TimeNs end = now + 20 * kSecond;
    uint64_t granted = 0;
    const uint64_t piece = std::max<uint64_t>(rate / 1000, 1);
    while (now < end) {
      while (p.take(now, piece)) granted += piece;
      // As a timer would, at most a millisecond late.
      now = std::min<TimeNs>(p.due(piece) + static_cast<TimeNs>(random() % kMillisecond), end);
    }
    while (p.take(now, piece)) granted += piece;
    EXPECT_LE(granted, 20 * rate);
    EXPECT_GE(granted + piece, 20 * rate - rate / 100) << rate;
  }
}

TEST(PerfPacer, DueIsTheFirstTimeThatGrants) {
  Pacer p;
  p.start(0, 3, 2);
  EXPECT_FALSE(p.take(0, 1));
  EXPECT_EQ(p.due(1), 333'333'334);  // a third of a second, rounded up
  EXPECT_FALSE(p.take(333'333'333, 1));
  EXPECT_TRUE(p.take(333'333'334, 1));
  EXPECT_FALSE(p.take(kSecond - 1, 2));
  EXPECT_EQ(p.due(2), kSecond);
  EXPECT_TRUE(p.take(kSecond, 2));  // the rounding has cost nothing
  EXPECT_FALSE(p.take(kSecond, 1));
}

TEST(PerfPacer, SavesNoMoreThanItsBound) {
  for (const uint64_t rate : {uint64_t{1}, uint64_t{1'000'000}, kMostRate}) {
    Pacer p;
    const uint64_t most = std::max<uint64_t>(rate / 10, 2);
    p.start(0, rate, most);
    const TimeNs late = 100'000 * kSecond;
    EXPECT_TRUE(p.take(late, most)) << rate;
    EXPECT_FALSE(p.take(late, 1)) << rate;
    EXPECT_FALSE(p.take(2 * late, most + 1)) << rate;
  }
}

TEST(PerfPacer, SharesOfARateAddUpToItHoweverSmallItIs) {
  for (const uint64_t rate : {uint64_t{1}, uint64_t{2}, uint64_t{10}, uint64_t{1001}}) {
    constexpr uint32_t kShares[] = {3, 2, 2};  // clients of each worker
    const TimeNs end = 7000 * kSecond;
    uint64_t granted = 0;
    for (const uint32_t share : kShares) {
      Pacer p;
      p.start(0, rate, std::max<uint64_t>(rate, 1), share, 7);
      for (TimeNs now = 0; now <= end; now = p.due(1))
        while (p.take(now, 1)) ++granted;
    }
    EXPECT_EQ(granted, 7000 * rate);
  }
}

TEST(PerfPacer, TheLargestRateIsSharedToo) {
  Pacer p;
  p.start(0, kMostRate, kMostRate / 10, kMostSharers - 1, kMostSharers);
  EXPECT_FALSE(p.take(kSecond / 20, kMostRate / 20));
  EXPECT_TRUE(p.take(p.due(kMostRate / 20), kMostRate / 20));
  EXPECT_TRUE(p.take(100'000 * kSecond, kMostRate / 10));
  EXPECT_FALSE(p.take(100'000 * kSecond, 1));
}

}  // namespace
}  // namespace loom::perf
