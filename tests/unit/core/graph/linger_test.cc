#include "graph/linger.h"

#include <gtest/gtest.h>

namespace loom {
namespace {

constexpr TimeNs kMost = 50 * kMicrosecond;

// A worker's waits, one after the other. Each begins with rounds that found nothing.
struct LingerTest : testing::Test {
  Linger l;
  TimeNs now = kSecond;
  int asked = 0;  // whether it is alone

  LingerTest() { l.use(kMost); }
  bool goes_on(bool is_alone = true) {
    return l.goes_on(now, [&] {
      ++asked;
      return is_alone;
    });
  }
  // What comes after so long, and the wait's end.
  void find_after(TimeNs took) {
    ASSERT_TRUE(goes_on());
    now += took;
    l.found(now, /*has_come=*/true);
  }
  // A wait that had to look and found nothing.
  void miss() {
    ASSERT_TRUE(goes_on());
    now += kMost;
    EXPECT_FALSE(goes_on());
  }
  // How many waits sleep at once before one looks.
  int skipped() {
    int n = 0;
    while (!goes_on()) ++n;
    l.found(now, false);
    return n;
  }
};

TEST_F(LingerTest, GoesOnForItsTimeAndNoLonger) {
  EXPECT_TRUE(goes_on());
  now += kMost - 1;
  EXPECT_TRUE(goes_on());
  now += 1;
  EXPECT_FALSE(goes_on());
  EXPECT_FALSE(goes_on()) << "the same wait";
  EXPECT_EQ(l.spent(), kMost);
}

TEST_F(LingerTest, NeverWithoutTime) {
  l.use(0);
  EXPECT_FALSE(goes_on());
  EXPECT_EQ(asked, 0);
}

TEST_F(LingerTest, WhatMostlyComesIsLookedForEachTime) {
  for (int i = 0; i < 100; ++i) find_after(20 * kMicrosecond);
  EXPECT_EQ(l.spent(), 100 * 20 * kMicrosecond);
  miss();
  EXPECT_LE(skipped(), 2);
}

TEST_F(LingerTest, WhatNeverComesIsHardlyLookedFor) {
  for (int i = 0; i < 12; ++i) {
    miss();
    while (!goes_on()) continue;
    l.found(now, /*has_come=*/false);  // a timer is not what it looks for
  }
  miss();
  EXPECT_GT(skipped(), 1000);
}

TEST_F(LingerTest, ALookThatATimerEndsLateIsAMiss) {
  ASSERT_TRUE(goes_on());
  now += kMost / 2 - 1;
  l.found(now, /*has_come=*/false);
  EXPECT_TRUE(goes_on());
  now += kMost / 2;
  l.found(now, /*has_come=*/false);
  EXPECT_FALSE(goes_on());
}

TEST_F(LingerTest, WhatSomebodyElseHadTheCoreForIsNotSpent) {
  ASSERT_TRUE(goes_on());
  now += kSecond;
  EXPECT_FALSE(goes_on());
  EXPECT_EQ(l.spent(), kMost);
  while (!goes_on()) continue;
  l.use(kMost);  // it has been stopped meanwhile
  now += kSecond;
  EXPECT_TRUE(goes_on());
  EXPECT_EQ(l.spent(), kMost);
}

TEST_F(LingerTest, NotBesideAnApplicationThatIsAwake) {
  EXPECT_FALSE(goes_on(false));
  EXPECT_TRUE(goes_on());
  now += 10 * kMicrosecond;
  EXPECT_FALSE(goes_on(false)) << "it has woken meanwhile";
  EXPECT_EQ(l.spent(), 10 * kMicrosecond);
  EXPECT_TRUE(goes_on()) << "and that says nothing of what comes";
}

TEST_F(LingerTest, WhoWasIdleSleepsAtOnce) {
  l.slept(kMost + 1);
  EXPECT_FALSE(goes_on());
  l.slept(kMost);
  EXPECT_TRUE(goes_on());
}

}  // namespace
}  // namespace loom
