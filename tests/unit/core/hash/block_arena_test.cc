// The arena: what it hands out is disjoint, aligned and inside the limit, and freed blocks return.
#include "hash/block_arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace loom {
namespace {

struct Block {
  uint32_t offset;
  unsigned log2;
  uint8_t mark;
};

TEST(BlockArena, LiveBlocksNeverOverlap) {
  BlockArena arena;
  constexpr std::size_t kUnit = 64, kLimit = 1 << 20;
  ASSERT_TRUE(arena.reserve(kUnit, kLimit));
  std::mt19937_64 rng(1);
  std::vector<Block> live;
  uint8_t mark = 0;
  const auto bytes = [&](const Block& b) { return kUnit << b.log2; };
  const auto check_and_free = [&](std::size_t i) {
    const Block b = live[i];
    const auto* p = static_cast<const uint8_t*>(arena.at(b.offset));
    for (std::size_t j = 0; j < bytes(b); ++j) ASSERT_EQ(p[j], b.mark);
    arena.free(b.offset, b.log2);
    live[i] = live.back();
    live.pop_back();
  };
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (rng() % 3 && live.size() < 400) {
      const auto log2 = static_cast<unsigned>(rng() % 8);
      const uint32_t offset = arena.alloc(log2);
      if (!offset) {
        ++refused;
        continue;
      }
      live.push_back({offset, log2, ++mark});
      std::memset(arena.at(offset), mark, bytes(live.back()));
    } else if (!live.empty()) {
      check_and_free(rng() % live.size());
    }
  }
  while (!live.empty()) check_and_free(0);
  EXPECT_GT(refused, 0) << "the limit was meant to be reached";
  EXPECT_LE(arena.committed_bytes(), kLimit);
}

TEST(BlockArena, TheLimitIsAnAnswerNotACrash) {
  BlockArena arena;
  ASSERT_TRUE(arena.reserve(4096, 64 << 10));
  std::vector<uint32_t> blocks;
  while (const uint32_t b = arena.alloc(0)) blocks.push_back(b);
  EXPECT_EQ(blocks.size(), 15u);  // 16 units, the first of which means "none"
  EXPECT_EQ(arena.alloc(3), 0u);
  arena.free(blocks.back(), 0);
  EXPECT_EQ(arena.alloc(0), blocks.back());
}

TEST(BlockArena, ALargeFreeBlockServesSmallOnesWhenTheRangeIsUsedUp) {
  BlockArena arena;
  ASSERT_TRUE(arena.reserve(4096, 9 * 4096));
  const uint32_t big = arena.alloc(3);
  ASSERT_NE(big, 0u);
  EXPECT_EQ(arena.alloc(0), 0u);
  arena.free(big, 3);
  for (int i = 0; i < 8; ++i) EXPECT_NE(arena.alloc(0), 0u);
  EXPECT_EQ(arena.alloc(0), 0u);
}

TEST(BlockArena, CommitsAsItGrows) {
  BlockArena arena;
  ASSERT_TRUE(arena.reserve(256, std::size_t{1} << 40));
  EXPECT_EQ(arena.committed_bytes(), 0u);
  ASSERT_NE(arena.alloc(0), 0u);
  EXPECT_LE(arena.committed_bytes(), 64u << 10);
  std::size_t used = 256;
  for (int i = 0; i < 40; ++i, used += 256u << 12) ASSERT_NE(arena.alloc(12), 0u);
  EXPECT_GE(arena.committed_bytes(), used);
  EXPECT_LE(arena.committed_bytes(), used + (32u << 20));
}

TEST(BlockArena, GivesItsMemoryBackWhenNoBlockIsInUse) {
  BlockArena arena;
  ASSERT_TRUE(arena.reserve(128, 1 << 20));
  const auto fill = [&] {
    std::vector<Block> blocks;
    for (unsigned i = 0; i < 1000; ++i) {
      blocks.push_back({arena.alloc(i % 3), i % 3, static_cast<uint8_t>(i)});
      EXPECT_NE(blocks.back().offset, 0u);
      std::memset(arena.at(blocks.back().offset), blocks.back().mark, 128u << (i % 3));
    }
    return blocks;
  };
  auto blocks = fill();
  const std::size_t committed = arena.committed_bytes();
  for (std::size_t i = 1; i < blocks.size(); ++i) arena.free(blocks[i].offset, blocks[i].log2);
  EXPECT_EQ(arena.give_back(), 0u);  // one is in use
  EXPECT_EQ(static_cast<uint8_t*>(arena.at(blocks[5].offset))[100], 5);
  arena.free(blocks[0].offset, blocks[0].log2);
  EXPECT_GT(arena.give_back(), 290'000u);
  EXPECT_EQ(static_cast<uint8_t*>(arena.at(blocks[5].offset))[100], 0);  // and is zero
  EXPECT_EQ(arena.give_back(), 0u);                                      // nothing was used since
  // The same memory serves again, each block once.
  blocks = fill();
  EXPECT_EQ(arena.committed_bytes(), committed);
  for (const Block& b : blocks) {
    const auto* p = static_cast<const uint8_t*>(arena.at(b.offset));
    for (std::size_t j = 0; j < 128u << b.log2; ++j) ASSERT_EQ(p[j], b.mark);
    arena.free(b.offset, b.log2);
  }
}

TEST(BlockArena, TheRestOfAHugePageGoesBackWithWhatWasUsedOfIt) {
  BlockArena arena;
  ASSERT_TRUE(arena.reserve(4096, 64 << 20));
  const auto* base = static_cast<std::byte*>(arena.at(0));
  const auto resident = [&] {
    std::vector<unsigned char> pages(arena.committed_bytes() / 4096);
    EXPECT_EQ(mincore(arena.at(0), pages.size() * 4096, pages.data()), 0);
    return std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return p & 1; });
  };
  const auto fill = [&] {  // ends just behind the beginning of what may be a huge page
    std::vector<uint32_t> blocks;
    std::uintptr_t end = 0;
    do {
      blocks.push_back(arena.alloc(0));
      *static_cast<uint8_t*>(arena.at(blocks.back())) = 1;
      end = reinterpret_cast<std::uintptr_t>(base) + (blocks.back() + 1) * 4096ul;
    } while (blocks.size() < 2000 || end % (2 << 20) != 4096);
    return blocks;
  };
  for (int round = 0; round < 3; ++round) {
    const auto blocks = fill();
    EXPECT_GE(resident(), static_cast<long>(blocks.size()));
    for (const uint32_t b : blocks) arena.free(b, 0);
    EXPECT_GE(arena.give_back(), blocks.size() * 4096);
    EXPECT_EQ(resident(), 0);
  }
}

bool is_resident(const void* p) {
  unsigned char answer = 0;
  const auto page = reinterpret_cast<std::uintptr_t>(p) & ~std::uintptr_t{4095};
  EXPECT_EQ(mincore(reinterpret_cast<void*>(page), 4096, &answer), 0);
  return answer & 1;
}

TEST(BlockArena, WhatALargeOneHandsOutNextHasItsMemory) {
  BlockArena arena;
  constexpr std::size_t kUnits = 16 << 8;  // 16 MB
  ASSERT_TRUE(arena.reserve(4096, kUnits * 4096));
  for (int round = 0; round < 2; ++round) {
    std::vector<uint32_t> blocks;
    std::size_t found = 0;
    const auto next = [&] {
      const uint32_t b = arena.alloc(0);
      if (b == 0) return false;
      found += is_resident(arena.at(b));
      *static_cast<uint8_t*>(arena.at(b)) = 1;
      blocks.push_back(b);
      return true;
    };
    while (blocks.size() < 300) ASSERT_TRUE(next());
    EXPECT_FALSE(arena.wants_fetch()) << "so far it is small";
    while (!arena.wants_fetch()) ASSERT_TRUE(next());
    EXPECT_LT(blocks.size(), 1024u) << "before it has 4 MB";
    found = 0;
    while (blocks.size() < 1024) ASSERT_TRUE(next());
    std::size_t asked = blocks.size();
    do {
      if (!arena.wants_fetch()) continue;
      arena.fetch_ahead();
      EXPECT_FALSE(arena.wants_fetch());
      if (blocks.size() < kUnits - 1024) {
        EXPECT_GE(arena.committed_bytes(), (blocks.size() << 12) + (2 << 20));
      }
      found = 0;
      asked = blocks.size();
    } while (next());
    EXPECT_EQ(blocks.size(), kUnits - 1);
    EXPECT_EQ(found, blocks.size() - asked) << "the last ones were there, too";
    EXPECT_FALSE(arena.wants_fetch());
    for (const uint32_t b : blocks) arena.free(b, 0);
    EXPECT_GT(arena.give_back(), (kUnits - 2) * 4096);
    EXPECT_FALSE(is_resident(arena.at(kUnits - 1)));
  }
}

TEST(BlockArena, OneOfSmallUnitsGrowsOnAfterItWasFetchedAhead) {
  BlockArena arena;
  constexpr std::size_t kUnits = (24 << 20) / 64;
  ASSERT_TRUE(arena.reserve(64, kUnits * 64));
  std::size_t n = 0, fetched = 0;
  for (; arena.alloc(n % 3) != 0; ++n) {
    if (!arena.wants_fetch() || n % 1001 != 0) continue;
    arena.fetch_ahead();
    ++fetched;
  }
  EXPECT_GT(n * 7 / 3, kUnits - 5);
  EXPECT_GT(fetched, 5u);
}

TEST(BlockArena, WhatWasFetchedForNobodyGoesBack) {
  BlockArena arena;
  ASSERT_TRUE(arena.reserve(4096, 64 << 20));
  std::vector<uint32_t> blocks;
  while (!arena.wants_fetch()) blocks.push_back(arena.alloc(0));
  arena.fetch_ahead();
  EXPECT_TRUE(is_resident(arena.at(1025)));
  for (const uint32_t b : blocks) arena.free(b, 0);
  arena.give_back();
  for (uint32_t b = 1; b < 1600; ++b) EXPECT_FALSE(is_resident(arena.at(b))) << b;
}

TEST(BlockArena, FetchingTakesNothingFromAnybody) {
  BlockArena arena;
  constexpr std::size_t kUnits = 32 << 8;
  ASSERT_TRUE(arena.reserve(4096, kUnits * 4096));
  std::atomic<bool> is_over{false};
  std::thread fetcher([&] {
    while (!is_over) arena.fetch_ahead();
  });
  std::vector<uint32_t> blocks;
  while (const uint32_t b = arena.alloc(0)) {
    auto* p = static_cast<uint32_t*>(arena.at(b));
    *p = b;
    blocks.push_back(b);
  }
  is_over = true;
  fetcher.join();
  EXPECT_EQ(blocks.size(), kUnits - 1);
  for (const uint32_t b : blocks) ASSERT_EQ(*static_cast<uint32_t*>(arena.at(b)), b);
}

TEST(BlockArena, WhatHasGoneBackIsOneRangeWithWhatWasNeverUsed) {
  BlockArena arena;
  ASSERT_TRUE(arena.reserve(4096, 17 * 4096));
  uint32_t small[4];
  for (uint32_t& b : small) b = arena.alloc(0);
  for (const uint32_t b : small) arena.free(b, 0);
  EXPECT_GT(arena.give_back(), 0u);
  EXPECT_NE(arena.alloc(3), 0u);
  EXPECT_NE(arena.alloc(3), 0u);
}

// At its limit, all free: whoever asks meanwhile gets his block.
TEST(BlockArena, NothingIsRefusedWhileMemoryGoesBack) {
  constexpr std::size_t kUnits = 8192;
  BlockArena arena;
  ASSERT_TRUE(arena.reserve(4096, kUnits * 4096));
  // A round counts when it was on its way before the first was asked for, which keeps it all.
  for (int round = 0, counted = 0; round < 2000 && counted < 20; ++round) {
    std::vector<uint32_t> blocks;
    while (const uint32_t b = arena.alloc(0)) blocks.push_back(b);
    EXPECT_EQ(blocks.size(), kUnits - 1);
    for (const uint32_t b : blocks) *static_cast<uint8_t*>(arena.at(b)) = 1;
    for (const uint32_t b : blocks) arena.free(b, 0);
    std::atomic<bool> has_begun{false}, is_over{false};
    std::size_t given = 0;
    std::thread giver([&] {
      has_begun = true;
      given = arena.give_back();
      is_over = true;
    });
    while (!has_begun) std::this_thread::yield();
    for (int i = 0; i < round * 20 && !is_over; ++i) __builtin_ia32_pause();
    std::vector<bool> seen(kUnits);
    std::vector<uint32_t> mine;
    std::size_t refused = 0;
    do {
      const uint32_t b = arena.alloc(0);
      refused += b == 0;
      if (b == 0) continue;
      EXPECT_FALSE(seen[b]) << b;
      seen[b] = true;
      *static_cast<uint8_t*>(arena.at(b)) = 2;
      mine.push_back(b);
    } while (!is_over && mine.size() < kUnits - 1);
    giver.join();
    counted += given != 0;
    EXPECT_EQ(refused, 0u);
    // Neither lost nor taken away.
    for (const uint32_t b : mine) ASSERT_EQ(*static_cast<uint8_t*>(arena.at(b)), 2);
    while (const uint32_t b = arena.alloc(0)) {
      ASSERT_FALSE(seen[b]) << b;
      seen[b] = true;
      mine.push_back(b);
    }
    EXPECT_EQ(mine.size(), kUnits - 1);
    for (const uint32_t b : mine) arena.free(b, 0);
  }
}

// In a process of its own, which then has hardly any memory.
TEST(BlockArenaDeathTest, TakesWhatTheSystemStillHas) {
  EXPECT_EXIT(
      {
        BlockArena arena;
        if (!arena.reserve(4096, 1 << 30)) _exit(2);
        while (arena.committed_bytes() < 64 << 20)  // 16 MB at a time from here on
          if (!arena.alloc(0)) _exit(3);
        rlimit limit{};
        std::size_t kilobytes = 0;
        if (std::FILE* f = std::fopen("/proc/self/status", "r")) {
          char line[256];
          while (std::fgets(line, sizeof line, f))
            if (std::sscanf(line, "VmData: %zu", &kilobytes) == 1) break;
          std::fclose(f);
        }
        limit.rlim_cur = limit.rlim_max = (kilobytes + 1024) << 10;
        if (kilobytes == 0 || setrlimit(RLIMIT_DATA, &limit) != 0) _exit(4);
        const std::size_t before = arena.committed_bytes();
        while (arena.alloc(0)) {}
        _exit(arena.committed_bytes() > before ? 0 : 5);
      },
      testing::ExitedWithCode(0), "");
}

TEST(BlockArena, RefusesOddUnits) {
  BlockArena a, b;
  EXPECT_EQ(a.reserve(96, 1 << 20).error().code, Status::kInvalid);
  EXPECT_EQ(b.reserve(32, 1 << 20).error().code, Status::kInvalid);
}

}  // namespace
}  // namespace loom
