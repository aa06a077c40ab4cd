#include "tcp/pool.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

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

bool is_resident(const uint8_t* p) {
  unsigned char answer = 0;
  const auto page = reinterpret_cast<uintptr_t>(p) & ~uintptr_t{4095};
  EXPECT_EQ(mincore(reinterpret_cast<void*>(page), 4096, &answer), 0);
  return answer & 1;
}

TEST(Marks, ThePagesOfUnusedOnesGoBackAndTheirGenerationsGoOn) {
  constexpr uint32_t kMany = 3 * Marks::kPage;
  Marks m(kMany);
  ASSERT_TRUE(m.has_memory());
  std::vector<uint8_t> generation(kMany);
  for (int turn = 0; turn < 100; ++turn) {
    for (uint32_t i = 0; i < kMany; ++i) generation[i] = m.take(i);
    for (uint32_t i = 0; i < kMany; ++i) ASSERT_TRUE(m.is_used(i, generation[i])) << i;
    for (uint32_t i = 0; i + 1 < kMany; ++i) m.free(i);
    EXPECT_FALSE(is_resident(m.at(kMany / 2)));
    EXPECT_TRUE(is_resident(m.at(kMany - 1)));  // one is in use
    EXPECT_FALSE(m.is_used(kMany - 2, generation[kMany - 2]));
    const uint8_t again = m.take(kMany / 2);
    EXPECT_NE(again, generation[kMany / 2]);
    EXPECT_TRUE(m.is_used(kMany / 2, again));
    m.free(kMany / 2);
    EXPECT_FALSE(m.is_used(kMany / 2, again));
    m.free(kMany - 1);
    EXPECT_FALSE(is_resident(m.at(kMany - 1)));
    for (uint32_t i = 0; i < kMany; ++i) ASSERT_FALSE(m.is_used(i)) << i;
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
