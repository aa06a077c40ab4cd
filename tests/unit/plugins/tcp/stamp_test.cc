// Points of time in 32 bits: what survives the wrap, and how far they may lie apart.
#include "tcp/stamp.h"

#include <gtest/gtest.h>

namespace loom::tcp {
namespace {
constexpr TimeNs kHour = 3600 * kSecond;

TEST(Deadline, IsDueFromItsTickOn) {
  const Deadline d = Deadline::at(10 * kMillisecond + 1);  // rounded up to the wheel's next tick
  EXPECT_TRUE(d.is_set());
  EXPECT_FALSE(d.is_due(10 * kMillisecond));
  EXPECT_FALSE(d.is_due(10 * kMillisecond + kTimerTick - 1));
  EXPECT_TRUE(d.is_due(10 * kMillisecond + kTimerTick));
  EXPECT_EQ(d.time(0), 10 * kMillisecond + kTimerTick);
  EXPECT_FALSE(Deadline().is_set());
  EXPECT_FALSE(Deadline().is_due(10 * kMillisecond));
}

TEST(Deadline, GoesOnAcrossTheWrap) {
  constexpr TimeNs kWrap = (TimeNs{1} << 32) * kTimerTick;  // 119 hours
  for (const TimeNs now : {kWrap - kHour, kWrap - kTimerTick, 3 * kWrap - 20 * kHour}) {
    const Deadline d = Deadline::at(now + Deadline::kFarthest);
    EXPECT_FALSE(d.is_due(now));
    EXPECT_FALSE(d.is_due(now + Deadline::kFarthest - kTimerTick));
    EXPECT_TRUE(d.is_due(now + Deadline::kFarthest));
    EXPECT_TRUE(d.is_due(now + Deadline::kFarthest + 58 * kHour));
    EXPECT_EQ(d.time(now), now + Deadline::kFarthest);
    EXPECT_EQ(d.time(now + 2 * Deadline::kFarthest), now + Deadline::kFarthest);
  }
  // The tick whose number is that of "none" is the next one.
  const Deadline at_wrap = Deadline::at(kWrap);
  EXPECT_TRUE(at_wrap.is_set());
  EXPECT_EQ(at_wrap.time(kWrap), kWrap + kTimerTick);
}

TEST(Stamp, TellsTheTimeSinceThenFor49Days) {
  constexpr TimeNs kWrap = (TimeNs{1} << 32) * kMillisecond;
  EXPECT_FALSE(Stamp().is_set());
  for (const TimeNs then : {kSecond, kWrap - 5 * kSecond, 7 * kWrap - kMillisecond}) {
    const Stamp s = Stamp::at(then);
    EXPECT_TRUE(s.is_set());
    EXPECT_EQ(s.since(then), 0);
    EXPECT_EQ(s.since(then + 17 * kSecond), 17 * kSecond);
    EXPECT_EQ(s.since(then + 49 * 24 * kHour), 49 * 24 * kHour);
    EXPECT_EQ(s.since(then + kWrap + kSecond), kSecond);  // and no longer
  }
}

TEST(Stamp, WasJustNowForAClockThatLiesBehind) {
  const Stamp s = Stamp::at(100 * kSecond);
  EXPECT_EQ(s.since(100 * kSecond - kMillisecond), 0);
  EXPECT_EQ(s.since(41 * kSecond), 0);
  EXPECT_EQ(Stamp::at(0).since(0), 0);  // which is 1 ms, so that it is not "never"
}

TEST(Stamp, LimitsNothingForLongerThanItIsTo) {
  constexpr TimeNs kWrap = (TimeNs{1} << 32) * kMillisecond, kSpan = 500 * kMillisecond;
  EXPECT_FALSE(Stamp().is_within(kSpan, 100 * kMillisecond));
  for (const TimeNs then : {kSecond, kWrap - 200 * kMillisecond, 7 * kWrap - kMillisecond}) {
    const Stamp s = Stamp::at(then);
    EXPECT_TRUE(s.is_within(kSpan, then));
    EXPECT_TRUE(s.is_within(kSpan, then + kSpan - 1));
    EXPECT_FALSE(s.is_within(kSpan, then + kSpan));
    EXPECT_FALSE(s.is_within(kSpan, then - kMillisecond));
    // A minute before it all begins anew, since() takes the clock for one that lies behind.
    for (const TimeNs before : {60 * kSecond, 30 * kSecond, kMillisecond})
      EXPECT_FALSE(s.is_within(kSpan, then + kWrap - before));
  }
}

}  // namespace
}  // namespace loom::tcp
