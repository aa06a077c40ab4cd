#include "tcp/next_senders.h"

#include <gtest/gtest.h>

#include <vector>

namespace loom::tcp {
namespace {

using Ids = std::vector<ConnId>;

struct NextSendersTest : testing::Test {
  void bring(ConnId first, ConnId end, TimeNs now) {
    for (ConnId id = first; id < end; ++id) next.brought_text(id, now);
  }
  // What the next one to send has fetched.
  Ids send() {
    Ids fetched;
    next.will_send([&](ConnId id) { fetched.push_back(id); });
    return fetched;
  }
  static Ids range(ConnId first, ConnId end) {
    Ids ids;
    while (first < end) ids.push_back(first++);
    return ids;
  }
  NextSenders next;
};

TEST_F(NextSendersTest, AreFetchedSixteenAtATimeInTheirOrder) {
  EXPECT_EQ(send(), Ids{});
  bring(100, 120, 1);
  next.brought_text(119, 1);  // another segment of the last one's
  EXPECT_EQ(send(), range(100, 116));
  for (int i = 1; i < 16; ++i) EXPECT_EQ(send(), Ids{});
  EXPECT_EQ(send(), range(116, 120));
  for (int i = 1; i < 20; ++i) EXPECT_EQ(send(), Ids{});
}

TEST_F(NextSendersTest, BeginAnewOnceTheAnswersHaveBegun) {
  bring(100, 110, 1);
  EXPECT_EQ(send(), range(100, 110));
  bring(200, 203, 1);
  EXPECT_EQ(send(), range(200, 203));
}

TEST_F(NextSendersTest, AreThoseOfAllFramesThatNobodyHasAnswered) {
  bring(100, 104, 1);
  bring(200, 204, 2);
  Ids both = range(100, 104);
  for (const ConnId id : range(200, 204)) both.push_back(id);
  EXPECT_EQ(send(), both);
}

TEST_F(NextSendersTest, WhoNeverAnswersKeepsNobodyOut) {
  bring(1000, 1000 + kFrameSize, 1);
  bring(2000, 2010, 1);  // too many for one round: the first will answer first
  bring(3000, 3004, 2);
  EXPECT_EQ(send(), range(3000, 3004));
  bring(1000, 1000 + kFrameSize, 3);
  bring(2000, 2010, 3);
  EXPECT_EQ(send(), range(1000, 1016));
}

}  // namespace
}  // namespace loom::tcp
