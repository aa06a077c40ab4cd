#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "svm/app_arena.h"
#include "svm/daemon_arena.h"

namespace loom::svm {
namespace {

std::unique_ptr<Segment> segment(uint64_t size, SegmentKind kind = SegmentKind::kDaemonArena) {
  return std::move(*Segment::create(size, kind));
}

uint64_t resident_pages(const Segment& s) {
  std::vector<unsigned char> v(s.size() / 4096);
  mincore(s.base(), s.size(), v.data());
  uint64_t n = 0;
  for (const auto b : v) n += b & 1;
  return n;
}

// Ranges handed out must be disjoint, aligned, and inside their segment behind the header page.
class Ledger {
 public:
  void take(const std::byte* p, uint64_t size, const Segment& s) {
    ASSERT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    ASSERT_TRUE(s.contains(static_cast<uint64_t>(p - s.base()), size));
    const auto next = ranges_.lower_bound(p);
    if (next != ranges_.end()) {
      ASSERT_LE(p + size, next->first);
    }
    if (next != ranges_.begin()) {
      ASSERT_LE(std::prev(next)->first + std::prev(next)->second, p);
    }
    ranges_[p] = size;
  }
  void give(const std::byte* p) { ASSERT_EQ(ranges_.erase(p), 1u); }

 private:
  std::map<const std::byte*, uint64_t> ranges_;
};

TEST(DaemonArena, HandsOutDisjointMemoryUnderRandomUse) {
  DaemonArena arena;
  Segment& s = *arena.add_segment(segment(21 << 20));  // ends in the middle of a span
  Ledger ledger;
  std::mt19937 rng(1);
  std::vector<ChunkId> chunks;
  std::vector<DaemonArena::Object> objects;
  for (int i = 0; i < 200'000; ++i) {
    switch (rng() % 4) {
      case 0:
        if (const uint32_t log2 = 12 + rng() % 11; const ChunkId c = arena.alloc_chunk(log2)) {
          ASSERT_EQ(arena.log2_size(c), log2);
          ledger.take(arena.base(c), 1ull << log2, s);
          chunks.push_back(c);
        }
        break;
      case 1:
        if (const uint64_t n = 1 + rng() % (rng() % 8 ? 1024 : 100'000); true) {
          const auto o = arena.alloc_object(n);
          if (!o.ptr) break;
          ledger.take(o.ptr, n, s);
          ASSERT_EQ(o.ref, s.ref(o.ptr));
          ASSERT_EQ(o.ptr[0], std::byte{0});
          ASSERT_EQ(o.ptr[n - 1], std::byte{0});
          o.ptr[0] = o.ptr[n - 1] = std::byte{0xff};
          objects.push_back(o);
        }
        break;
      case 2:
        if (!chunks.empty()) {
          std::swap(chunks[rng() % chunks.size()], chunks.back());
          ledger.give(arena.base(chunks.back()));
          arena.free_chunk(chunks.back());
          chunks.pop_back();
        }
        break;
      case 3:
        if (!objects.empty()) {
          std::swap(objects[rng() % objects.size()], objects.back());
          ledger.give(objects.back().ptr);
          arena.free_object(objects.back().ref);
          objects.pop_back();
        }
        break;
    }
    if (HasFatalFailure()) return;
    if (rng() % 10'000 == 0) arena.give_back(rng() % 2);
  }
  for (const auto c : chunks) arena.free_chunk(c);
  for (const auto& o : objects) arena.free_object(o.ref);
  EXPECT_EQ(arena.stats().chunk_bytes, 0u);
  EXPECT_EQ(arena.stats().object_bytes, 0u);
  // Everything has merged again: four spans of 4 MB (the first has the header page).
  arena.give_back(true);
  for (int i = 0; i < 4; ++i) EXPECT_NE(arena.alloc_chunk(22), 0u) << i;
  EXPECT_EQ(arena.alloc_chunk(22), 0u);
}

TEST(DaemonArena, ReusesTheChunkFreedLast) {
  DaemonArena arena;
  arena.add_segment(segment(64 << 20));
  for (const uint32_t log2 : {12u, 16u, 18u}) {
    const ChunkId a = arena.alloc_chunk(log2), b = arena.alloc_chunk(log2);
    arena.free_chunk(b);
    arena.free_chunk(a);
    EXPECT_EQ(arena.alloc_chunk(log2), a);
    EXPECT_EQ(arena.alloc_chunk(log2), b);
  }
}

TEST(DaemonArena, GrowsBySegments) {
  DaemonArena arena;
  EXPECT_EQ(arena.alloc_chunk(12), 0u);
  EXPECT_EQ(arena.alloc_object(320).ptr, nullptr);
  arena.add_segment(segment(16384));  // three pages
  std::set<ChunkId> got;
  for (int i = 0; i < 3; ++i) got.insert(arena.alloc_chunk(12));
  EXPECT_EQ(got.size(), 3u);
  EXPECT_FALSE(got.contains(0));
  EXPECT_EQ(arena.alloc_chunk(12), 0u);
  EXPECT_GE(arena.stats().failures, 2u);
  Segment* second = arena.add_segment(segment(16384));
  const ChunkId c = arena.alloc_chunk(12);
  ASSERT_NE(c, 0u);
  EXPECT_EQ(ref_segment(arena.ref(c)), second->id());
}

TEST(DaemonArena, ReturnsFreeSpansToTheKernel) {
  DaemonArena arena({.reserve_spans = 1});
  Segment& s = *arena.add_segment(segment(64 << 20));
  std::vector<ChunkId> chunks;
  for (int i = 0; i < 200; ++i) {  // 50 MB
    chunks.push_back(arena.alloc_chunk(18));
    ASSERT_NE(chunks.back(), 0u);
    std::memset(arena.base(chunks.back()), 1, 1 << 18);
  }
  EXPECT_GT(resident_pages(s), 12'000u);
  for (const auto c : chunks) arena.free_chunk(c);
  EXPECT_TRUE(arena.wants_give_back());
  EXPECT_GT(arena.give_back(), 0u);
  EXPECT_FALSE(arena.wants_give_back());
  EXPECT_LT(resident_pages(s), 3 * 1024u + 2);  // the reserve, span 0, the LIFO list's span
  arena.give_back(true);
  EXPECT_LT(resident_pages(s), 16u);     // span 0 has the header page and is never wholly free
  EXPECT_NE(arena.alloc_chunk(22), 0u);  // and cold spans are used again
}

TEST(DaemonArena, OfSpansInUseTheFreeBlocksGoBack) {
  DaemonArena arena;
  Segment& s = *arena.add_segment(segment(64 << 20));
  std::vector<ChunkId> chunks;
  std::vector<Ref> objects;
  for (int i = 0; i < 300; ++i) {
    chunks.push_back(arena.alloc_chunk(12 + i % 8));
    std::memset(arena.base(chunks.back()), i, std::size_t{1} << (12 + i % 8));
    objects.push_back(arena.alloc_object(256).ref);
  }
  const ChunkId kept = chunks[150];
  for (const auto c : chunks)
    if (c != kept) arena.free_chunk(c);
  const uint64_t resident = resident_pages(s);
  EXPECT_GT(arena.give_back(true), 0u);
  EXPECT_LT(resident_pages(s), resident / 10);
  const auto size = std::size_t{1} << arena.log2_size(kept);
  for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(arena.base(kept)[i], std::byte{150});
  for (const Ref o : objects) arena.free_object(o);
  arena.free_chunk(kept);
  arena.give_back(true);
  EXPECT_LT(resident_pages(s), 16u);
  EXPECT_NE(arena.alloc_chunk(22), 0u);
}

TEST(DaemonArena, ObjectsAreFoundAgainAfterAllThatWasKnownOfThemHasGone) {
  DaemonArena arena;
  ASSERT_TRUE(arena.add_segment(segment(16 << 20)));
  for (int turn = 0; turn < 3; ++turn) {
    std::vector<DaemonArena::Object> objects;
    for (int i = 0; i < 3000; ++i) {
      objects.push_back(arena.alloc_object(64u << (i % 5)));
      ASSERT_NE(objects.back().ptr, nullptr);
      std::memset(objects.back().ptr, i, 64u << (i % 5));
    }
    arena.give_back(true);  // all are in use
    for (int i = 0; i < 3000; ++i) {
      EXPECT_EQ(objects[i].ptr[(64u << (i % 5)) - 1], static_cast<std::byte>(i));
      arena.free_object(objects[i].ref);
    }
    EXPECT_EQ(arena.stats().object_bytes, 0u);
    arena.give_back(true);
  }
}

TEST(DaemonArena, WhatItKnowsOfManyChunksGoesBackWithThem) {
  DaemonArena arena;
  ASSERT_TRUE(arena.add_segment(segment(4ull << 30)));
  const auto resident = [] {
    uint64_t size = 0, pages = 0;
    std::ifstream("/proc/self/statm") >> size >> pages;
    return pages;
  };
  std::vector<ChunkId> chunks(1'000'000);
  for (ChunkId& c : chunks) ASSERT_NE(c = arena.alloc_chunk(12), 0u);
  const uint64_t many = resident();  // 16 bytes each, and nothing was written to the chunks
  for (const ChunkId c : chunks) arena.free_chunk(c);
  arena.give_back(true);
  EXPECT_LT(resident() + 2500, many);  // three quarters of 3,906 pages
  for (ChunkId& c : chunks) ASSERT_NE(c = arena.alloc_chunk(12), 0u);
  for (const ChunkId c : chunks) arena.free_chunk(c);
  arena.give_back(true);
  EXPECT_EQ(arena.stats().chunk_bytes, 0u);
}

TEST(DaemonArena, AMillionIdleSessionsCostTheirFourLines) {
  DaemonArena arena;
  Segment& s = *arena.add_segment(segment(1ull << 30));
  const uint64_t n = 100'000;
  for (uint64_t i = 0; i < n; ++i)
    ASSERT_NE(arena.alloc_object(sizeof(SessionShared)).ptr, nullptr);
  EXPECT_LT(resident_pages(s) * 4096, n * 256 * 101 / 100 + (128 << 10));
}

TEST(DaemonArena, WorkersShareIt) {
  DaemonArena arena;
  arena.add_segment(segment(64 << 20));
  const auto work = [&](unsigned seed) {
    std::mt19937 rng(seed);
    std::vector<ChunkId> mine;
    for (int i = 0; i < 20'000; ++i) {
      if (mine.size() < 20 && rng() % 2) {
        if (const ChunkId c = arena.alloc_chunk(12 + rng() % 6)) {
          arena.set_start(c, seed);
          std::memset(arena.base(c), static_cast<int>(seed), 256);
          mine.push_back(c);
        }
      } else if (!mine.empty()) {
        ASSERT_EQ(arena.start(mine.back()), seed);
        ASSERT_EQ(arena.base(mine.back())[255], std::byte(seed));
        arena.free_chunk(mine.back());
        mine.pop_back();
      }
      if (i % 5000 == 0) arena.give_back();
    }
    for (const auto c : mine) arena.free_chunk(c);
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i <= 3; ++i) threads.emplace_back(work, i);
  for (auto& t : threads) t.join();
  EXPECT_EQ(arena.stats().chunk_bytes, 0u);
}

struct AppRig {
  explicit AppRig(uint64_t size) : s(segment(size, SegmentKind::kAppArena)), arena(table) {
    table.add(*s);
    arena.add_segment(*s);
  }
  std::unique_ptr<Segment> s;
  SegmentTable table;
  AppArena arena;
};

TEST(AppArena, HandsOutDisjointMemoryAndReusesIt) {
  AppRig r(32 << 20);
  Ledger ledger;
  std::mt19937 rng(2);
  std::vector<Ref> mine;
  for (int i = 0; i < 100'000; ++i) {
    if (mine.size() < 60 && rng() % 2) {
      const uint32_t log2 = 12 + rng() % 7;
      const Ref c = r.arena.alloc(log2);
      ASSERT_NE(c, 0u);
      auto& h = *r.table.resolve_as<ChunkHeader>(c);
      ASSERT_EQ(h.log2_size, log2);
      ASSERT_EQ(h.next.load(), 0u);
      ledger.take(reinterpret_cast<std::byte*>(&h), 1ull << log2, *r.s);
      if (HasFatalFailure()) return;
      mine.push_back(c);
    } else if (!mine.empty()) {
      std::swap(mine[rng() % mine.size()], mine.back());
      ledger.give(r.table.resolve(mine.back(), 64));
      r.arena.free(mine.back());
      mine.pop_back();
    }
    if (rng() % 10'000 == 0) r.arena.give_back();
  }
  EXPECT_LE(r.arena.carved_bytes(), 60u * 7 << 18);
}

TEST(AppArena, FallsBackToOtherSizesAndThenToNothing) {
  AppRig r(first_chunk_offset(65536) + 65536);
  const Ref big = r.arena.alloc(16);
  ASSERT_NE(big, 0u);
  EXPECT_EQ(r.arena.alloc(12), 0u);
  r.arena.free(big);
  EXPECT_EQ(r.arena.alloc(12), big);  // the larger chunk, whole
  EXPECT_EQ(r.table.resolve_as<ChunkHeader>(big)->log2_size, 16u);
  AppRig small(first_chunk_offset(12288) + 12288);
  const Ref c = small.arena.alloc(18);
  ASSERT_NE(c, 0u);
  EXPECT_EQ(small.table.resolve_as<ChunkHeader>(c)->log2_size, 13u);
}

TEST(AppArena, GivesFreeChunksOfAllSizesBack) {
  AppRig r(32 << 20);
  std::vector<Ref> mine;
  const auto take = [&](uint32_t log2, int n) {
    for (int i = 0; i < n; ++i) {
      mine.push_back(r.arena.alloc(log2));
      std::memset(r.table.resolve(mine.back(), 1 << log2) + 64, 1, (1 << log2) - 64);
    }
  };
  take(18, 40);
  take(12, 1000);
  const uint64_t carved = r.arena.carved_bytes();
  const Ref kept = mine.back();
  mine.pop_back();
  for (const Ref c : mine) r.arena.free(c);
  EXPECT_GT(resident_pages(*r.s), 3500u);
  EXPECT_EQ(r.arena.give_back(), 40u * (1 << 18) + 999u * 4096);
  EXPECT_LT(resident_pages(*r.s), 20u);  // the header, the links, the chunk in use
  EXPECT_EQ(r.table.resolve(kept, 4096)[64], std::byte{1});
  EXPECT_EQ(r.arena.give_back(), 0u);
  // They are taken again before more is carved.
  const std::size_t n = mine.size();
  take(18, 40);
  take(12, 999);
  EXPECT_EQ(r.arena.carved_bytes(), carved);
  std::sort(mine.begin(), mine.end());
  EXPECT_EQ(std::unique(mine.begin(), mine.end()) - mine.begin(), static_cast<std::ptrdiff_t>(n));
}

TEST(AppArena, GivesBackWhileThreadsUseIt) {
  AppRig r(64 << 20);
  std::atomic<bool> is_over{false};
  std::thread giver([&] {
    while (!is_over.load()) (void)r.arena.give_back();
  });
  std::mt19937 rng(5);
  std::vector<std::pair<Ref, std::byte>> mine;
  for (int i = 0; i < 30'000; ++i) {
    if (mine.size() < 50 && rng() % 2) {
      const Ref c = r.arena.alloc(12 + rng() % 3);
      ASSERT_NE(c, 0u);
      mine.emplace_back(c, std::byte(i));
      r.table.resolve(c, 4096)[4000] = std::byte(i);
    } else if (!mine.empty()) {
      std::swap(mine[rng() % mine.size()], mine.back());
      ASSERT_EQ(r.table.resolve(mine.back().first, 4096)[4000], mine.back().second);
      r.arena.free(mine.back().first);
      mine.pop_back();
    }
  }
  is_over = true;
  giver.join();
}

TEST(AppArena, ThreadsNeverGetTheSameChunk) {
  AppRig r(64 << 20);
  const auto work = [&](unsigned seed) {
    std::mt19937 rng(seed);
    std::vector<Ref> mine;
    for (int i = 0; i < 50'000; ++i) {
      if (mine.size() < 8 && rng() % 2) {
        const Ref c = r.arena.alloc(12 + rng() % 2);
        ASSERT_NE(c, 0u);
        auto* p = r.table.resolve(c, 4096);
        p[100] = std::byte(seed);
        mine.push_back(c);
      } else if (!mine.empty()) {
        ASSERT_EQ(r.table.resolve(mine.back(), 4096)[100], std::byte(seed));
        r.arena.free(mine.back());
        mine.pop_back();
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i <= 3; ++i) threads.emplace_back(work, i);
  for (auto& t : threads) t.join();
  EXPECT_LE(r.arena.carved_bytes(), 3u * 8 * (4096 + 8192) * 2);
}

// A fifo of `n` chunks, each with the next one's place; first.
Ref fifo_of(AppRig& r, int n, uint32_t log2 = 12) {
  Ref first = 0, last = 0;
  for (int i = 0; i < n; ++i) {
    const Ref c = r.arena.alloc(log2);
    if (last)
      r.table.resolve_as<ChunkHeader>(last)->next.store(c);
    else
      first = c;
    last = c;
  }
  return first;
}

TEST(AppArena, AnEndedFifosChunksAreTakenAgainBeforeMoreIsCarved) {
  AppRig r(16 << 20);
  const Ref a = fifo_of(r, 1000), b = fifo_of(r, 3, 18);
  const uint64_t carved = r.arena.carved_bytes();
  r.arena.free_fifo(a);
  r.arena.free_fifo(b);
  EXPECT_EQ(r.s->header().free_list[0].load(), 0u);  // in constant time: nothing was followed
  std::vector<Ref> mine;
  for (int i = 0; i < 3; ++i) mine.push_back(r.arena.alloc(18));
  for (int i = 0; i < 1000; ++i) mine.push_back(r.arena.alloc(12));
  EXPECT_EQ(r.arena.carved_bytes(), carved);
  std::sort(mine.begin(), mine.end());
  EXPECT_EQ(std::unique(mine.begin(), mine.end()), mine.end());
  EXPECT_NE(mine.front(), 0u);
}

TEST(AppArena, OneAllocationTakesFewChunksOfAnEndedFifo) {
  AppRig r(16 << 20);
  r.arena.free_fifo(fifo_of(r, 1000));
  (void)r.arena.alloc(18);  // finds none so large
  uint32_t n = 0;
  auto page = static_cast<uint32_t>(r.s->header().free_list[0].load());
  for (; page != 0; ++n)  // each free chunk's word has the next one's page
    std::memcpy(&page, r.s->ptr(kSegmentDataOffset + page * sizeof page), sizeof page);
  EXPECT_GT(n, 0u);
  EXPECT_LE(n, 64u);
}

TEST(AppArena, EndedFifosMemoryIsGivenBack) {
  AppRig r(16 << 20);
  const Ref a = fifo_of(r, 1000);
  r.arena.free_fifo(a);
  EXPECT_EQ(r.arena.give_back(), 1000u * 4096);
}

TEST(AppArena, AnEndedFifoMayLeadAnywhere) {
  AppRig r(1 << 20);
  const Ref loop = fifo_of(r, 2);
  auto* first = r.table.resolve_as<ChunkHeader>(loop);
  r.table.resolve_as<ChunkHeader>(first->next.load())->next.store(loop);
  r.arena.free_fifo(loop);
  r.arena.free_fifo(loop + 64);                         // no chunk begins there
  r.arena.free_fifo(make_ref(r.s->id() + 1, 4096));     // nor is there such a segment
  r.arena.free_fifo(make_ref(r.s->id(), r.s->size()));  // nor this much of it
  (void)r.arena.give_back();                            // comes to an end
  for (int i = 0; i < 500; ++i) {
    const Ref c = r.arena.alloc(12 + i % 8);
    if (c != 0) {
      ASSERT_NE(r.table.resolve(c, 4096), nullptr);
    }
  }
}

TEST(AppArena, CorruptedStateNeverLeavesTheSegment) {
  AppRig r(1 << 20);
  std::mt19937_64 rng(3);
  std::vector<Ref> mine;
  for (int i = 0; i < 300'000; ++i) {
    auto& h = r.s->header();
    switch (rng() % 6) {
      case 0:
        h.free_list[rng() % kChunkClasses].store(rng() >> (rng() % 64));
        break;
      case 5:
        if (rng() % 2) h.ended_list.store(rng() >> (rng() % 64));
        r.arena.free_fifo(rng() % 2 || mine.empty() ? rng() >> (rng() % 64) : mine.front());
        break;
      case 1:
        h.bump.store(rng() >> (rng() % 64));
        break;
      case 2:
        for (const Ref c : mine) {
          auto& chunk = *r.table.resolve_as<ChunkHeader>(c);
          chunk.log2_size = static_cast<uint32_t>(rng() % 40);
          chunk.next.store(rng());
        }
        break;
      case 3:
        if (const Ref c = r.arena.alloc(12 + rng() % 11)) {
          ASSERT_NE(r.table.resolve(c, 4096), nullptr);
          mine.push_back(c);
        }
        break;
      case 4:
        r.arena.free(rng() % 2 || mine.empty() ? rng() : mine.back());
        if (!mine.empty()) mine.pop_back();
        break;
    }
  }
}

}  // namespace
}  // namespace loom::svm
