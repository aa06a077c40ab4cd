#include "tcp/pool.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <random>
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

TEST(Pool, WhatASlotHoldsWithoutAnObjectIsNoHandle) {
  constexpr uint32_t kSlots = 70'000;  // the number that ends a list of free ones is below that
  Pool<Thing, IdKind::kConnection> pool(kSlots);
  std::vector<Thing*> all;
  for (uint32_t i = 0; i < kSlots; ++i) all.push_back(pool.alloc());
  for (uint32_t i = 0; i < kSlots; i += 2) pool.free(*all[i]);  // each block has a list
  for (ConnId id = 0; id < 1u << kIdIndexBits; ++id) ASSERT_EQ(pool.find(id), nullptr) << id;
  for (uint32_t i = 1; i < kSlots; i += 2) pool.free(*all[i]);  // most pages go back
  for (ConnId id = 0; id < 1u << kIdIndexBits; ++id) ASSERT_EQ(pool.find(id), nullptr) << id;
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

TEST(Marks, NoGenerationComesAgainWithThePageThatHasGone) {
  constexpr uint32_t kOften = Marks::kPage + 7, kOnce = kOften + 1;
  Marks m(2 * Marks::kPage);
  (void)m.take(kOnce);
  std::vector<uint8_t> given;
  for (int i = 0; i < Marks::kMostSpread; ++i) {
    given.push_back(m.take(kOften));
    m.free(kOften);
  }
  m.free(kOnce);  // the last one, and it has had one generation only
  EXPECT_FALSE(is_resident(m.at(kOften)));
  EXPECT_EQ(m.take(kOnce), given.back() + 1);
  (void)m.take(kOften);
  for (const uint8_t stale : given) EXPECT_FALSE(m.is_used(kOften, stale)) << unsigned{stale};
}

TEST(Marks, APageWhoseGenerationsAreFarApartStays) {
  constexpr uint32_t kOften = Marks::kPage + 7, kOnce = kOften + 1;
  Marks m(2 * Marks::kPage);
  for (const int n : {int{Marks::kMostSpread} + 1, 63, 64, 65, 200}) {
    (void)m.take(kOnce);
    uint8_t last = 0;
    for (int i = 0; i < n; ++i) {
      last = m.take(kOften);
      m.free(kOften);
    }
    m.free(kOnce);
    EXPECT_TRUE(is_resident(m.at(kOften))) << n;
    EXPECT_EQ(m.take(kOften), (last + 1) & Marks::kGenerationMask) << n;
    m.free(kOften);
  }
}

// What marks.h says of when an id may come again, for slots that are taken and freed in any order.
TEST(Marks, AnIdComesAgainOnlyWhenManyOfItsPageHaveGoneSince) {
  constexpr uint32_t kSlots = 3, kFirst = Marks::kPage, kIds = Marks::kGenerationMask + 1;
  constexpr uint64_t kLeast = kIds - Marks::kMostSpread;
  std::mt19937 random(1);
  uint32_t went = 0;
  for (uint32_t round = 0; round < 200; ++round) {
    Marks m(2 * Marks::kPage);
    bool used[kSlots] = {};
    uint8_t generation[kSlots] = {};
    uint64_t freed[kSlots][kIds] = {}, n_freed = kLeast;  // an id that was never given out may come
    for (int turn = 0; turn < 1000; ++turn) {
      // From all alike to one much more often than the others.
      const uint32_t i = random() % (round + 1) < 10 ? random() % kSlots : 0;
      if (used[i]) {
        m.free(kFirst + i);
        freed[i][generation[i]] = ++n_freed;
      } else {
        generation[i] = m.take(kFirst + i);
        ASSERT_GE(n_freed - freed[i][generation[i]], kLeast) << round << " " << turn;
      }
      used[i] = !used[i];
      went += !used[0] && !used[1] && !used[2] && !is_resident(m.at(kFirst));
    }
  }
  EXPECT_GT(went, 10u) << "the page has gone and come again";
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
