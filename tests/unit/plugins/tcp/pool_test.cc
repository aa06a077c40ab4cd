#include "tcp/pool.h"

#include <gtest/gtest.h>

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

TEST(Pool, ForeignIdsAreNotFound) {
  Things pool(100);
  pool.alloc();
  EXPECT_EQ(pool.find(kNoConn), nullptr);
  EXPECT_EQ(pool.find(0), nullptr) << "another kind";
  EXPECT_EQ(pool.find(2u << 30 | 5), nullptr) << "never handed out";
}

}  // namespace
}  // namespace loom::tcp
