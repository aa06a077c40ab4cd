// The pool of sessions: memory that many sessions took goes back, handles of those that have gone
// stay stale nevertheless, and what was preallocated is there before it is used.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <set>
#include <vector>

#include "session/session.h"

namespace {
thread_local bool no_memory = false;
}

// NOLINTBEGIN: all of them, so that whoever replaces one (a sanitizer) replaces none.
void* operator new(std::size_t n) {
  void* p = no_memory ? nullptr : std::malloc(n);
  if (!p) throw std::bad_alloc();
  return p;
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return no_memory ? nullptr : std::malloc(n);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
// NOLINTEND

namespace loom::session {
namespace {

constexpr uint32_t kMany = 128 * 40;

// Whether the page at `p` has memory behind it.
bool is_resident(const void* p) {
  unsigned char answer = 0;
  const auto page = reinterpret_cast<uintptr_t>(p) & ~uintptr_t{4095};
  EXPECT_EQ(mincore(reinterpret_cast<void*>(page), 4096, &answer), 0);
  return answer & 1;
}

std::vector<SessionId> fill(SessionPool& pool, uint32_t n) {
  std::vector<SessionId> ids;
  for (uint32_t i = 0; i < n; ++i) {
    Session* s = pool.alloc();
    EXPECT_NE(s, nullptr);
    s->state = State::kOpen;
    ids.push_back(s->id);
  }
  return ids;
}

uint32_t resident(SessionPool& pool) {
  std::set<uintptr_t> pages;
  for (SessionId id = 0; id < pool.end(); ++id)
    if (is_resident(&pool.at(id))) pages.insert(reinterpret_cast<uintptr_t>(&pool.at(id)) / 4096);
  return static_cast<uint32_t>(pages.size());
}

TEST(SessionPool, MemoryOfManySessionsGoesBackWhenTheyHaveGone) {
  SessionPool pool;
  const auto ids = fill(pool, kMany);
  const uint32_t full = resident(pool);
  EXPECT_GE(full, kMany * sizeof(Session) / 4096);
  for (const SessionId id : ids) pool.free(pool.at(id));
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_LT(resident(pool), full / 3);  // some empty blocks are kept
  for (const SessionId id : ids) {      // and may still be looked at
    EXPECT_EQ(pool.at(id).state, State::kFree);
    EXPECT_EQ(pool.at(id).flags, 0);
  }
}

TEST(SessionPool, NoHandleIsGivenOutTwice) {
  SessionPool pool;
  std::set<std::pair<SessionId, uint32_t>> seen;
  for (int turn = 0; turn < 4; ++turn) {
    const auto ids = fill(pool, kMany);
    for (const SessionId id : ids) {
      EXPECT_TRUE(pool.contains(id));
      EXPECT_TRUE(seen.emplace(id, pool.at(id).generation).second) << id << " in turn " << turn;
    }
    for (const SessionId id : ids) pool.free(pool.at(id));
  }
}

// Of so many that blocks share huge pages: 4 MB have pages of their own.
TEST(SessionPool, WhatSurvivorsDoNotNeedGoesBackAndTheyKeepTheirs) {
  constexpr uint32_t kBlock = 128, kBlocks = 400, kCrowd = kBlock * kBlocks;
  SessionPool pool;
  std::set<std::pair<SessionId, uint32_t>> seen;
  for (int turn = 0; turn < 3; ++turn) {
    const auto ids = fill(pool, kCrowd);
    const uint32_t full = resident(pool);
    for (const SessionId id : ids) {
      EXPECT_TRUE(seen.emplace(id, pool.at(id).generation).second) << id << " in turn " << turn;
      pool.at(id).accept_pos = id;
    }
    // One block in ten keeps a session.
    std::vector<SessionId> left;
    for (const SessionId id : ids)
      if (id % (10 * kBlock) == 7)
        left.push_back(id);
      else
        pool.free(pool.at(id));
    EXPECT_EQ(pool.in_use(), left.size());
    EXPECT_LT(resident(pool), full / 5);
    for (const SessionId id : left) EXPECT_EQ(pool.at(id).accept_pos, id);
    EXPECT_EQ(pool.at(3 * kBlock).state, State::kFree);
    // And some come back beside them.
    for (const SessionId id : fill(pool, 5 * kBlock)) pool.free(pool.at(id));
    for (const SessionId id : left) {
      EXPECT_EQ(pool.at(id).accept_pos, id);
      pool.free(pool.at(id));
    }
    EXPECT_LT(resident(pool), full / 20);
  }
  EXPECT_LE(pool.end(), kCrowd + (2u << 20) / sizeof(Session));  // blocks come by 2 MB
}

TEST(SessionPool, SlotsAreReusedBeforeThePoolGrows) {
  SessionPool pool;
  const auto ids = fill(pool, kMany);
  const uint32_t end = pool.end();
  for (std::size_t i = 0; i < ids.size(); i += 2) pool.free(pool.at(ids[i]));
  (void)fill(pool, kMany / 2);
  EXPECT_EQ(pool.end(), end);
  EXPECT_EQ(pool.in_use(), kMany);
}

TEST(SessionPool, WhatWasPreallocatedIsThereAndStays) {
  SessionPool pool;
  ASSERT_TRUE(pool.reserve(kMany));
  EXPECT_GE(pool.end(), kMany);
  const uint32_t full = resident(pool);
  EXPECT_GE(full, kMany * sizeof(Session) / 4096);
  const auto ids = fill(pool, kMany);
  EXPECT_EQ(resident(pool), full);
  for (const SessionId id : ids) pool.free(pool.at(id));
  EXPECT_EQ(resident(pool), full);
}

TEST(SessionPool, WithoutMemoryThereIsNoSessionAndNothingElseHappens) {
  SessionPool pool;
  (void)fill(pool, kMany);
  no_memory = true;
  uint32_t more = 0;
  while (more < kMany && pool.alloc()) ++more;
  no_memory = false;
  EXPECT_LT(more, kMany);
  EXPECT_EQ(pool.in_use(), kMany + more);
  EXPECT_EQ(fill(pool, kMany).size(), kMany);
}

}  // namespace
}  // namespace loom::session
