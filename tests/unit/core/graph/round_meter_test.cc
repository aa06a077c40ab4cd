// What rounds cost: whose doing a long one was.
#include "graph/round_meter.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <time.h>

namespace loom {
namespace {

TEST(RoundMeter, ARoundIsItsOwnUnlessTheCoreWasTakenFromIt) {
  EXPECT_EQ((RoundCost{.wall = 900, .cpu = 200}.own()), 900);                  // it waited
  EXPECT_EQ((RoundCost{.wall = 900, .cpu = 200, .preempted = 1}.own()), 200);  // others ran
  EXPECT_EQ((RoundCost{.wall = 199, .cpu = 200}.own()), 200);  // two clocks, read one by one
}

TEST(RoundMeter, KeepsTheLongestByWhatWasItsOwn) {
  RoundMeter m;
  const RoundCost preempted{.wall = 50 * kMillisecond, .cpu = 100, .preempted = 2};
  const RoundCost faulting{.wall = 3 * kMillisecond, .cpu = 2 * kMillisecond, .minor_faults = 7};
  const RoundCost busy{.wall = kMillisecond, .cpu = kMillisecond};
  for (const RoundCost& c : {preempted, faulting, busy, preempted}) m.note(c);
  EXPECT_EQ(m.read().longest, faulting);
  EXPECT_EQ(m.read().long_own, 2u);
  m.clear();
  EXPECT_EQ(m.read().longest, RoundCost{});
  EXPECT_EQ(m.read().long_own, 0u);
  m.note(preempted);
  EXPECT_EQ(m.read().longest, preempted);
}

TEST(RoundMeter, MeasuresFromOneRoundToTheNext) {
  const auto cpu = [] {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * kSecond + t.tv_nsec;
  };
  constexpr std::size_t kPages = 100;
  RoundMeter m;
  EXPECT_FALSE(m.read().is_on);
  m.turn(true);
  EXPECT_TRUE(m.read().is_on);
  m.round();
  for (const TimeNs until = cpu() + 2 * kMillisecond; cpu() < until;) {}
  auto* p = static_cast<volatile char*>(
      mmap(nullptr, kPages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(p, MAP_FAILED);
  madvise(const_cast<char*>(p), kPages * 4096, MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < kPages; ++i) p[i * 4096] = 1;
  EXPECT_EQ(m.read().longest, RoundCost{});  // it is not over
  m.round();
  const RoundCost c = m.read().longest;
  EXPECT_GE(c.cpu, 2 * kMillisecond);
  EXPECT_GE(c.own(), c.cpu);
  EXPECT_GE(c.minor_faults, kPages);
  EXPECT_EQ(m.read().long_own, 1u);

  // What is between two rounds belongs to none.
  m.pause();
  for (const TimeNs until = cpu() + 2 * kMillisecond; cpu() < until;) {}
  m.round();
  EXPECT_EQ(m.read().longest, c);
  EXPECT_EQ(m.read().long_own, 1u);

  m.turn(false);
  EXPECT_EQ(m.read().longest, c);  // to be read afterwards
  m.turn(true);
  EXPECT_EQ(m.read().longest, RoundCost{});
  munmap(const_cast<char*>(p), kPages * 4096);
}

}  // namespace
}  // namespace loom
