// The segment as its writer has it: entries, rows, names, what a full one does. Read back through
// the bytes alone, by the SDK's reader.
#include "stats/segment.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "stats/stats_reader.h"

namespace loom {
namespace {

using stats::Combined;
using stats::EntryType;
using testing::ElementsAre;

constexpr uint64_t kMegabyte = 1u << 20;

std::unique_ptr<StatsSegment> segment_of(uint64_t size = kMegabyte) {
  auto s = StatsSegment::create(size);
  if (!s) ADD_FAILURE() << s.error().message;
  return std::move(*s);
}
StatsReader reader_of(const StatsSegment& s) {
  auto r = StatsReader::open(::dup(s.fd()));
  if (!r) ADD_FAILURE() << r.error().message;
  return std::move(*r);
}

TEST(SegmentHeap, BlocksAreUsedAgain) {
  SegmentHeap heap(4096, 8192);
  const auto a = heap.alloc(100);
  const auto b = heap.alloc(33);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(heap.used(), 128u + 64u);
  EXPECT_NE(*a, *b);
  heap.free(*a, 100);
  EXPECT_EQ(heap.alloc(128), a);
  EXPECT_FALSE(heap.alloc(4096));  // what is left is less
  EXPECT_FALSE(heap.alloc(~0ull));
  EXPECT_EQ(heap.used(), 128u + 64u);
}

TEST(StatsSegment, WhatIsWrittenIsRead) {
  const auto s = segment_of();
  const auto scalar = *s->add_scalar("/sys/one");
  const auto simple = *s->add_simple("/if/drops", 2, 3);
  const auto combined = *s->add_combined("/if/rx", 2, 3);
  const auto names = *s->add_names("/if/names");
  ASSERT_TRUE(s->add_symlink("/interfaces/tap0/rx", combined, 1));
  ASSERT_TRUE(s->add_symlink("/interfaces/tap0/drops", simple, 2));
  s->set(scalar, 42);
  s->set(simple, 1, 2, 7);
  s->set(combined, 0, 1, {3, 300});
  s->set(combined, 1, 1, {4, 400});
  ASSERT_TRUE(s->set_name(names, 1, "tap0"));

  StatsReader r = reader_of(*s);
  EXPECT_EQ(r.read("/sys/one")->scalar, 42u);
  EXPECT_THAT(r.read("/if/drops")->simple, ElementsAre(ElementsAre(0, 0, 0), ElementsAre(0, 0, 7)));
  EXPECT_EQ(r.read("/if/rx")->sum_combined().bytes, 700u);
  EXPECT_THAT(r.read("/if/names")->names, ElementsAre("", "tap0"));
  const auto link = r.read("/interfaces/tap0/rx");
  ASSERT_TRUE(link);
  EXPECT_TRUE(link->is_symlink);
  EXPECT_EQ(link->type, EntryType::kCombined);
  ASSERT_EQ(link->combined.size(), 2u);
  EXPECT_EQ(link->combined[1][0].packets, 4u);
  EXPECT_THAT(r.read("/interfaces/tap0/drops")->simple,
              ElementsAre(ElementsAre(0), ElementsAre(7)));
}

TEST(StatsSegment, TheFirstEntriesAreWhereVppsClientsLook) {
  const auto s = segment_of();
  EXPECT_EQ(s->find("/sys/heartbeat"), 0u);
  EXPECT_EQ(s->find("/sys/last_stats_clear"), 1u);
  EXPECT_EQ(s->find("/sys/boottime"), 2u);
}

TEST(StatsSegment, RowsKeepTheirNumbersAsTheyGrow) {
  const auto s = segment_of();
  const auto id = *s->add_simple("/x", 2, 1);
  for (uint32_t n = 1; n <= 1000; ++n) {
    ASSERT_TRUE(s->widen(id, n));
    s->set(id, 0, n - 1, n);
    s->set(id, 1, n - 1, 10 * n);
  }
  StatsReader r = reader_of(*s);
  const auto v = r.read("/x");
  ASSERT_TRUE(v);
  ASSERT_EQ(v->simple[0].size(), 1000u);
  for (uint32_t n = 1; n <= 1000; ++n) {
    ASSERT_EQ(v->simple[0][n - 1], n);
    ASSERT_EQ(v->simple[1][n - 1], 10 * n);
  }
}

TEST(StatsSegment, TheDirectoryGrowsBeyondItsFirstBlock) {
  const auto s = segment_of(8 * kMegabyte);
  for (int i = 0; i < 5000; ++i) {
    const auto id = s->add_scalar("/n/" + std::to_string(i));
    ASSERT_TRUE(id);
    s->set(*id, static_cast<uint64_t>(i));
  }
  StatsReader r = reader_of(*s);
  EXPECT_EQ(r.list(*StatsFilter::glob("/n/*"))->size(), 5000u);
  EXPECT_EQ(r.read("/n/4999")->scalar, 4999u);
}

TEST(StatsSegment, RemovedEntriesGiveEverythingBack) {
  const auto s = segment_of();
  const uint64_t used = s->heap().used();
  for (int round = 0; round < 1000; ++round) {
    const auto id = s->add_combined("/come-and-go", 4, 100);
    ASSERT_TRUE(id) << round;
    const auto names = s->add_names("/names");
    ASSERT_TRUE(names && s->set_name(*names, 5, "five"));
    s->remove(*id);
    s->remove(*names);
  }
  EXPECT_EQ(s->heap().used(), used);
  StatsReader r = reader_of(*s);
  EXPECT_EQ(r.list()->size(), 3u);
  EXPECT_EQ(r.read("/come-and-go").error().code, Status::kNotFound);
}

TEST(StatsSegment, NamesThatCannotBeAreRefused) {
  const auto s = segment_of();
  ASSERT_TRUE(s->add_scalar("/a"));
  EXPECT_EQ(s->add_simple("/a", 1, 1).error().code, Status::kExists);
  EXPECT_EQ(s->add_scalar("").error().code, Status::kInvalid);
  EXPECT_EQ(s->add_scalar(std::string(128, 'x')).error().code, Status::kInvalid);
  EXPECT_TRUE(s->add_scalar(std::string(127, 'x')));
  EXPECT_EQ(s->add_scalar(std::string("/a\0b", 4)).error().code, Status::kInvalid);
}

TEST(StatsSegment, AFullOneRefusesAndStaysWhole) {
  const auto s = segment_of();
  const auto id = *s->add_simple("/grows", 2, 1);
  s->set(id, 0, 0, 11);
  uint32_t columns = 1;
  while (s->widen(id, 2 * columns)) columns *= 2;
  EXPECT_EQ(s->widen(id, 2 * columns).error().code, Status::kNoMemory);
  EXPECT_EQ(s->add_simple("/new", 1, 1u << 20).error().code, Status::kNoMemory);
  EXPECT_EQ(s->find("/new"), StatsSegment::kNone);
  StatsReader r = reader_of(*s);
  const auto v = r.read("/grows");
  ASSERT_TRUE(v);
  EXPECT_EQ(v->simple[0].size(), columns);
  EXPECT_EQ(v->simple[1].size(), columns);
  EXPECT_EQ(v->simple[0][0], 11u);
}

TEST(StatsSegment, WhoeverGetsItCanOnlyRead) {
  const auto s = segment_of();
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::ftruncate(s->fd(), 4096), 0);
  EXPECT_EQ(::pwrite(s->fd(), "x", 1, 0), -1);
}

TEST(StatsSegment, NoVectorTouchesTheEnd) {  // VPP's Python client refuses one that does
  const auto s = segment_of();
  uint64_t end = 0;
  for (int i = 0;; ++i) {
    const auto id = s->add_simple("/" + std::to_string(i), 1, 3);
    if (!id) break;
    end = std::max(end, s->heap().used() + 4096);
  }
  EXPECT_LE(end, s->size() - 64);
}

TEST(StatsSegment, NestedChangesAreOneForReaders) {
  const auto s = segment_of();
  const uint64_t epoch = s->epoch();
  {
    StatsSegment::Change change(*s);
    ASSERT_TRUE(s->add_scalar("/a"));
    ASSERT_TRUE(s->add_scalar("/b"));
    StatsReader r = reader_of(*s);
    r.set_patience(std::chrono::milliseconds(1));
    EXPECT_EQ(r.list().error().code, Status::kTimedOut);  // it must not look now
  }
  EXPECT_EQ(s->epoch(), epoch + 1);
  StatsReader r = reader_of(*s);
  EXPECT_EQ(r.list(*StatsFilter::glob("/?"))->size(), 2u);
  s->set(s->find("/a"), 5);
  EXPECT_EQ(s->epoch(), epoch + 1);  // numbers change without
}

// The writer moves the pair's rows about all the time, and keeps both equal within each change.
TEST(StatsSegment, AReaderNeverSeesHalfAChange) {
  const auto s = segment_of(16 * kMegabyte);
  std::atomic<bool> stop{false}, failed{false};
  std::atomic<uint64_t> reads{0};
  std::thread reader([&] {
    StatsReader r = reader_of(*s);
    r.set_patience(std::chrono::seconds(60));
    while (!stop) {
      const auto all = r.dump(*StatsFilter::glob("/pair/*"));
      if (!all) {
        failed = true;
        ADD_FAILURE() << all.error().message;
        break;
      }
      if (all->empty()) continue;
      if (all->size() != 2 || (*all)[0].simple != (*all)[1].simple) {
        failed = true;
        ADD_FAILURE() << "half a change";
        break;
      }
      ++reads;
    }
  });
  // Bursts of changes, between which the reader comes to its end once.
  for (uint32_t round = 0; round < 6000 && !failed; ++round) {
    {
      StatsSegment::Change change(*s);
      for (const char* name : {"/pair/a", "/pair/b"}) {
        s->remove(s->find(name));
        const auto id = *s->add_simple(name, 1 + round % 3, 1 + round % 50);
        EXPECT_TRUE(s->widen(id, 60));
        for (uint32_t c = 0; c < 60; ++c) s->set(id, 0, c, uint64_t{round + c});
      }
    }
    const uint64_t before = reads;
    while (round % 20 == 19 && reads == before && !failed) std::this_thread::yield();
  }
  stop = true;
  reader.join();
}

}  // namespace
}  // namespace loom
