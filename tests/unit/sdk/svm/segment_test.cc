#include "svm/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace loom::svm {
namespace {

TEST(Segment, IsSealedAgainstResizing) {
  auto s = Segment::create(100'000, SegmentKind::kAppArena);
  ASSERT_TRUE(s);
  EXPECT_EQ((*s)->size(), 102'400u);  // 25 pages
  EXPECT_NE(ftruncate((*s)->fd(), 4096), 0);
  EXPECT_NE(ftruncate((*s)->fd(), 1 << 20), 0);
  EXPECT_NE(fcntl((*s)->fd(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(Segment, MappedTwiceIsTheSameMemory) {
  auto s = Segment::create(1 << 20, SegmentKind::kDaemonArena);
  ASSERT_TRUE(s);
  auto t = Segment::map(dup((*s)->fd()), (*s)->id(), (*s)->kind(), (*s)->size());
  ASSERT_TRUE(t) << t.error().message;
  (*s)->base()[5000] = std::byte{42};
  EXPECT_EQ((*t)->base()[5000], std::byte{42});
  EXPECT_NE((*s)->base(), (*t)->base());
}

TEST(Segment, MapRefusesWhatWasNotAnnounced) {
  auto made = Segment::create(1 << 20, SegmentKind::kDaemonArena);
  Segment& s = **made;
  EXPECT_FALSE(Segment::map(dup(s.fd()), s.id(), s.kind(), s.size() * 2));
  EXPECT_FALSE(Segment::map(dup(s.fd()), s.id() + 1, s.kind(), s.size()));
  EXPECT_FALSE(Segment::map(dup(s.fd()), s.id(), SegmentKind::kAppArena, s.size()));
  EXPECT_FALSE(Segment::map(-1, s.id(), s.kind(), s.size()));
  s.header().magic = 1;
  EXPECT_FALSE(Segment::map(dup(s.fd()), s.id(), s.kind(), s.size()));
}

TEST(Segment, RefusesSizesThatARefCannotReach) {
  EXPECT_FALSE(Segment::create(0, SegmentKind::kAppArena));
  EXPECT_FALSE(Segment::create(4096, SegmentKind::kAppArena));
  EXPECT_FALSE(Segment::create(1ull << 40, SegmentKind::kAppArena));
}

TEST(Segment, LivingSegmentsHaveDistinctIds) {
  std::vector<std::unique_ptr<Segment>> all;
  std::vector<bool> seen(1 << 24);
  for (int i = 0; i < 200; ++i) {
    auto s = Segment::create_anonymous(8192, SegmentKind::kAppArena);
    ASSERT_TRUE(s);
    ASSERT_NE((*s)->id(), 0u);
    ASSERT_FALSE(seen[(*s)->id()]);
    seen[(*s)->id()] = true;
    all.push_back(std::move(*s));
  }
}

TEST(Segment, GivesPagesBackToTheKernel) {
  for (const auto create : {Segment::create, Segment::create_anonymous, Segment::create_private}) {
    auto s = create(16 << 20, SegmentKind::kDaemonArena);
    for (const uint64_t at : {8192u, 11u << 20}) {
      std::memset((*s)->base() + at, 1, 65536);
      (*s)->give_back(at, 65536);
      unsigned char resident[16];
      ASSERT_EQ(mincore((*s)->base() + at, 65536, resident), 0);
      for (const auto r : resident) EXPECT_EQ(r & 1, 0);
      EXPECT_EQ((*s)->base()[at], std::byte{0});
    }
  }
}

TEST(SegmentTable, ResolvesOnlyWhatLiesInside) {
  auto made = Segment::create_anonymous(1 << 16, SegmentKind::kAppArena);
  const Segment& s = **made;
  SegmentTable table(4);
  const Ref inside = make_ref(s.id(), 8192);
  EXPECT_EQ(table.resolve(inside, 64), nullptr);  // not added yet
  ASSERT_TRUE(table.add(s));
  EXPECT_FALSE(table.add(s));
  EXPECT_EQ(table.resolve(inside, 64), s.base() + 8192);
  EXPECT_NE(table.resolve(make_ref(s.id(), 4096), s.size() - 4096), nullptr);
  EXPECT_EQ(table.resolve(make_ref(s.id(), 4096), s.size() - 4095), nullptr);  // one too many
  EXPECT_EQ(table.resolve(make_ref(s.id(), 8193), 8), nullptr);                // not aligned
  EXPECT_EQ(table.resolve(make_ref(s.id(), 0), 64), nullptr);                  // header page
  EXPECT_EQ(table.resolve(make_ref(s.id(), s.size()), 64), nullptr);
  EXPECT_EQ(table.resolve(make_ref(s.id(), 8192), ~0ull), nullptr);  // no overflow
  EXPECT_EQ(table.resolve(make_ref(s.id() + 1, 8192), 64), nullptr);
  EXPECT_EQ(table.resolve(make_ref(s.id() + 4, 8192), 64), nullptr);  // same slot
  EXPECT_EQ(table.resolve(0, 64), nullptr);
  EXPECT_EQ(table.resolve(~0ull, 64), nullptr);  // the mark of removed entries is no id
  table.remove(s.id());
  EXPECT_EQ(table.resolve(inside, 64), nullptr);
  EXPECT_TRUE(table.add(s));
}

TEST(SegmentTable, AsksTheLoaderForUnknownSegments) {
  struct Context {
    SegmentTable table;
    std::unique_ptr<Segment> segment;
    int calls = 0;
  } c;
  c.segment = std::move(*Segment::create_anonymous(1 << 16, SegmentKind::kDaemonArena));
  c.table.set_loader(
      [](void* p, uint32_t id) {
        auto& c = *static_cast<Context*>(p);
        ++c.calls;
        return id == c.segment->id() && c.table.add(*c.segment);
      },
      &c);
  EXPECT_NE(c.table.resolve(make_ref(c.segment->id(), 4096), 64), nullptr);
  EXPECT_NE(c.table.resolve(make_ref(c.segment->id(), 4096), 64), nullptr);
  EXPECT_EQ(c.calls, 1);
  EXPECT_EQ(c.table.resolve(make_ref(c.segment->id() + 1, 4096), 64), nullptr);
}

}  // namespace
}  // namespace loom::svm
