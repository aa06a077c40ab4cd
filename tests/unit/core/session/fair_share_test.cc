#include "session/fair_share.h"

#include <gtest/gtest.h>

#include <deque>

namespace loom::session {
namespace {

TEST(FairShare, OneAloneHasHalf) {
  FairShare all(1000);
  Taken one;
  one.begin(all);
  uint64_t n = 0;
  while (one.take(1)) ++n;
  EXPECT_EQ(n, 500u);
  EXPECT_EQ(one.count(), 500u);
  EXPECT_EQ(all.left(), 500u);
}

TEST(FairShare, HoweverManyTakeAllTheyCanANewcomerFindsSomething) {
  FairShare all(1u << 16);
  std::deque<Taken> greedy;
  for (int i = 0; i < 15; ++i) {
    greedy.emplace_back().begin(all);
    while (greedy.back().take(1)) continue;
  }
  Taken newcomer;
  newcomer.begin(all);
  EXPECT_TRUE(newcomer.take(1));
}

TEST(FairShare, WhatIsTooMuchIsNotTaken) {
  FairShare all(100);
  Taken one;
  one.begin(all);
  EXPECT_FALSE(one.take(51));
  EXPECT_FALSE(one.take(~uint64_t{0}));
  EXPECT_EQ(all.left(), 100u);
  EXPECT_TRUE(one.take(50));
}

TEST(FairShare, ItsEndGivesAllBack) {
  FairShare all(100);
  {
    Taken one;
    one.begin(all);
    ASSERT_TRUE(one.take(30));
    one.give_back(10);
    EXPECT_EQ(all.left(), 80u);
  }
  EXPECT_EQ(all.left(), 100u);
}

TEST(FairShare, WhoTakesOfNothingIsNotCounted) {
  Taken inside;
  EXPECT_TRUE(inside.take(1ull << 60));
  EXPECT_EQ(inside.count(), 0u);
}

TEST(FairShare, DescriptorsAreThoseOfTheProcessLessWhatItNeeds) {
  const Shares shares;
  EXPECT_GT(shares.descriptors.all(), 0u);
  EXPECT_LE(shares.descriptors.all(), 49'152u);
}

}  // namespace
}  // namespace loom::session
