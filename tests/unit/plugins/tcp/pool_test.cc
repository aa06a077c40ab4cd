#include "tcp/pool.h"

#include <gtest/gtest.h>

#include <vector>

namespace loom::tcp {
namespace {

struct Thing {
  ConnId id = kNoConn;
  int value = 42;
};
using Things = Pool<Thing, IdKind::kTimeWait>;

TEST(Pool, AddressesAreStableAndHandlesGoStale) {
  Things pool(1000);
  Thing* first = pool.alloc();
  const ConnId id = first->id;
  EXPECT_EQ(kind_of(id), IdKind::kTimeWait);
  for (int i = 0; i < 500; ++i) ASSERT_NE(pool.alloc(), nullptr);
  EXPECT_EQ(pool.find(id), first);
  pool.free(*first);
  EXPECT_EQ(pool.find(id), nullptr);
  Thing* again = pool.alloc();
  EXPECT_EQ(again, first) << "freed slots come first";
  EXPECT_NE(again->id, id);
  EXPECT_EQ(again->value, 42);
  EXPECT_EQ(pool.find(id), nullptr);
}

TEST(Pool, HasALimit) {
  Things pool(70);
  for (int i = 0; i < 70; ++i) ASSERT_NE(pool.alloc(), nullptr);
  EXPECT_TRUE(pool.is_full());
  EXPECT_EQ(pool.alloc(), nullptr);
}

TEST(Pool, HandlesStayStaleWhenTheMemoryOfEmptyBlocksHasGoneBack) {
  Things pool(5000);
  std::vector<ConnId> ids;
  for (int turn = 0; turn < 3; ++turn) {
    std::vector<Thing*> all;
    for (int i = 0; i < 5000; ++i) all.push_back(pool.alloc());
    EXPECT_EQ(pool.alloc(), nullptr);
    for (const ConnId id : ids) EXPECT_EQ(pool.find(id), nullptr);
    ids.clear();
    for (Thing* t : all) {
      EXPECT_EQ(pool.find(t->id), t);
      EXPECT_EQ(t->value, 42);
      ids.push_back(t->id);
    }
    for (Thing* t : all) pool.free(*t);
    EXPECT_EQ(pool.size(), 0u);
    for (const ConnId id : ids) EXPECT_EQ(pool.find(id), nullptr);
  }
}

TEST(Pool, ForeignIdsAreNotFound) {
  Things pool(100);
  pool.alloc();
  EXPECT_EQ(pool.find(kNoConn), nullptr);
  EXPECT_EQ(pool.find(0), nullptr) << "another kind";
  EXPECT_EQ(pool.find(2u << 30 | 5), nullptr) << "never handed out";
}

}  // namespace
}  // namespace loom::tcp
