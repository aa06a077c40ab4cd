#include "tcp/scoreboard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace loom::tcp {
namespace {

bool add(Scoreboard& b, uint32_t from, uint32_t to, uint32_t una = 0, uint32_t nxt = 100'000) {
  Options o;
  o.n_sack = 1;
  o.sack[0] = {Seq(from), Seq(to)};
  return b.add(o, Seq(una), Seq(nxt));
}

TEST(Scoreboard, RangesMerge) {
  Scoreboard b;
  EXPECT_TRUE(add(b, 1000, 2000));
  EXPECT_TRUE(add(b, 3000, 4000));
  EXPECT_EQ(b.sacked(), 2000u);
  EXPECT_TRUE(add(b, 2000, 3000));
  EXPECT_EQ(b.sacked(), 3000u);
  EXPECT_FALSE(add(b, 1500, 3500)) << "nothing new";
  b.advance(Seq(1500));
  EXPECT_EQ(b.sacked(), 2500u);
  b.advance(Seq(4000));
  EXPECT_TRUE(b.empty());
}

TEST(Scoreboard, LossNeedsThreeRangesOrMoreThanTwoSegments) {  // RFC 6675 section 4, IsLost
  Scoreboard b;
  add(b, 1000, 2000);
  EXPECT_EQ(b.lost_below(Seq(0), 1000), Seq(0));
  add(b, 1000, 3000);
  EXPECT_EQ(b.lost_below(Seq(0), 1000), Seq(0)) << "exactly (DupThresh - 1) x SMSS";
  add(b, 1000, 3001);
  EXPECT_EQ(b.lost_below(Seq(0), 1000), Seq(1000));
  Scoreboard c;
  add(c, 1000, 1010);
  add(c, 2000, 2010);
  add(c, 3000, 3010);
  EXPECT_EQ(c.lost_below(Seq(0), 1000), Seq(1000));
  add(c, 4000, 4010);
  EXPECT_EQ(c.lost_below(Seq(0), 1000), Seq(2000));
}

TEST(Scoreboard, LastHoleHoldsTheHighestByteThatIsNotSacked) {  // NextSeg, rule 4
  Scoreboard b;
  SackBlock hole;
  ASSERT_TRUE(b.last_hole(Seq(0), Seq(5000), hole));
  EXPECT_EQ(hole.start, Seq(0));
  EXPECT_EQ(hole.end, Seq(5000));
  EXPECT_FALSE(b.last_hole(Seq(5000), Seq(5000), hole));
  add(b, 1000, 2000);
  ASSERT_TRUE(b.last_hole(Seq(0), Seq(5000), hole));
  EXPECT_EQ(hole.start, Seq(2000));
  ASSERT_TRUE(b.last_hole(Seq(0), Seq(2000), hole));
  EXPECT_EQ(hole.start, Seq(0));
  EXPECT_EQ(hole.end, Seq(1000));
  add(b, 3000, 5000);
  ASSERT_TRUE(b.last_hole(Seq(0), Seq(5000), hole));
  EXPECT_EQ(hole.start, Seq(2000));
  EXPECT_EQ(hole.end, Seq(3000));
}

TEST(Scoreboard, PipeCountsWhatIsNotLostAndWhatWasSentAgain) {  // SetPipe
  Scoreboard b;
  add(b, 1000, 3000);
  add(b, 5000, 8000);
  // Holes: [0, 1000) and [3000, 5000); behind: [8000, 10000).
  EXPECT_EQ(b.pipe(Seq(0), Seq(10'000), Seq(0), Seq(0)), 5000u);
  EXPECT_EQ(b.pipe(Seq(0), Seq(10'000), Seq(5000), Seq(0)), 2000u);
  EXPECT_EQ(b.pipe(Seq(0), Seq(10'000), Seq(5000), Seq(1000)), 3000u);
  EXPECT_EQ(b.pipe(Seq(0), Seq(10'000), Seq(5000), Seq(4000)), 4000u);
}

TEST(Scoreboard, AgreesWithAByteMap) {  // also across the wrap, and when it is full
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    const Seq base(static_cast<uint32_t>(0 - 3000));
    Scoreboard b;
    std::vector<char> map(6000);
    uint32_t una = 0;
    for (int i = 0; i < 60; ++i) {
      const uint32_t from = una + 1 + random() % 5000, to = from + 1 + random() % 300;
      if (to > 6000) continue;
      Options o;
      o.n_sack = 1;
      o.sack[0] = {base + from, base + to};
      b.add(o, base + una, base + 6000);
      std::fill(map.begin() + from, map.begin() + to, 1);
      if (i % 10 == 9) {
        una = std::min(una + static_cast<uint32_t>(random() % 200), 5999u);
        b.advance(base + una);
      }
      const auto sacked = static_cast<uint32_t>(std::count(map.begin() + una, map.end(), 1));
      ASSERT_EQ(b.sacked(), sacked);
      ASSERT_EQ(b.pipe(base + una, base + 6000, base + una, base + una), 6000 - una - sacked);
      SackBlock hole;
      const bool found = b.next_hole(base + una, base + 6000, hole);
      const auto first = std::find(map.begin() + una, map.end(), 0);
      ASSERT_EQ(found, first != map.end());
      if (found) {
        ASSERT_EQ(hole.start, base + static_cast<uint32_t>(first - map.begin()));
      }
    }
  }
}

TEST(Scoreboard, TooManyHolesAreForgottenNotOverrun) {
  Scoreboard b;
  for (uint32_t i = 0; i < 1000; ++i) add(b, 10 * i + 5, 10 * i + 7);
  EXPECT_EQ(b.sacked(), 128u);  // 64 ranges of 2
}

}  // namespace
}  // namespace loom::tcp
