// Memberships of groups, of which one application may not take all.
#include <deque>

#include "net/group/group_table.h"
#include "session/fair_share.h"
#include "tests/unit/core/session/datagram_bed.h"

namespace loom::test {
namespace {

static_assert(session::kMaxMemberships <= GroupTable::kMaxGroups);

struct DatagramMemberships : DatagramTest {
  // As many as it gets, for the session of the transport's connection.
  uint32_t take_all(ConnId c) {
    uint32_t n = 0;
    while (worker().sessions->take_membership(worker(), transport.connections[c].session)) ++n;
    return n;
  }
};

TEST_F(DatagramMemberships, OneApplicationLeavesSomeForOthersWhateverSocketsItHas) {
  auto first = open(53), second = open(54);
  EXPECT_EQ(take_all(0), session::kMaxMemberships / 2);
  EXPECT_EQ(take_all(1), 0u);
  bed.pump();
  EXPECT_EQ(bed.counter("membership-refused"), 2u);
  TestApp other(bed);
  ASSERT_EQ(ask_open(other, any(55), any(0)).status, 0);
  EXPECT_EQ(take_all(2), session::kMaxMemberships / 4);
  // What one gives back is there for whoever has less.
  worker().sessions->give_back_memberships(worker(), transport.connections[0].session, 100);
  EXPECT_NE(take_all(2), 0u);
}

TEST_F(DatagramMemberships, AnApplicationsEndGivesItsOwnBack) {
  {
    TestApp greedy(bed);
    ASSERT_EQ(ask_open(greedy, any(55), any(0)).status, 0);
    EXPECT_EQ(take_all(0), session::kMaxMemberships / 2);
    greedy.die();
    bed.pump();
  }
  auto c = open(53);
  EXPECT_EQ(take_all(1), session::kMaxMemberships / 2);
}

}  // namespace
}  // namespace loom::test
