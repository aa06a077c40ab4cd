// Out-of-order bytes of an rx fifo, against a bitmap of what has arrived.
#include <algorithm>

#include "rig.h"

namespace loom::svm {
namespace {

std::vector<OooRange> ranges_of(const DaemonFifoProducer& p) {
  std::vector<OooRange> r(OooList::kMaxRanges);
  r.resize(p.ooo_ranges(r));
  return r;
}

TEST(FifoOoo, MergesAndReportsTheLatestChangeFirst) {  // RFC 2018 section 4
  RxRig rig(100'000, 0u - 1500);
  const Bytes b(1000);
  const auto put = [&](uint32_t at) { return rig.producer.enqueue_at(at, ByteView(b)); };
  EXPECT_EQ(put(1000).taken, 1000u);
  put(5000);
  put(3000);
  using R = std::vector<OooRange>;
  EXPECT_EQ(ranges_of(rig.producer), (R{{3000, 4000}, {5000, 6000}, {1000, 2000}}));
  put(2000);  // joins the first and the second
  EXPECT_EQ(ranges_of(rig.producer), (R{{1000, 4000}, {5000, 6000}}));
  EXPECT_EQ(rig.producer.ooo_bytes(), 4000u);
  EXPECT_EQ(rig.consumer.refresh(), 0u);
  const auto placed = put(0);
  EXPECT_EQ(placed.taken, 1000u);
  EXPECT_EQ(placed.advanced, 4000u);
  EXPECT_EQ(rig.consumer.refresh(), 4000u);
  EXPECT_EQ(ranges_of(rig.producer), (R{{1000, 2000}}));
  EXPECT_EQ(put(0).advanced, 2000u);
  EXPECT_TRUE(ranges_of(rig.producer).empty());
}

TEST(FifoOoo, NumberOfRangesIsBounded) {
  RxRig rig(1 << 20);
  const Bytes b(10);
  for (uint32_t i = 1; i <= OooList::kMaxRanges; ++i)
    ASSERT_EQ(rig.producer.enqueue_at(i * 100, ByteView(b)).taken, 10u);
  EXPECT_EQ(rig.producer.enqueue_at(50'000, ByteView(b)).taken, 0u);
  EXPECT_EQ(rig.producer.enqueue_at(110, ByteView(b)).taken, 10u);  // extends one
  EXPECT_EQ(rig.producer.enqueue_at(190, ByteView(b)).taken, 10u);  // extends one to the left
  EXPECT_EQ(rig.producer.ooo_bytes(), 660u);
  EXPECT_EQ(rig.producer.enqueue_at(0, ByteView(Bytes(100))).advanced, 120u);
  EXPECT_EQ(rig.producer.enqueue_at(50'000, ByteView(b)).taken, 10u);
}

TEST(FifoOoo, StaysInsideTheWindow) {
  RxRig rig(10'000);
  const Bytes b(20'000);
  EXPECT_EQ(rig.producer.enqueue_at(9'990, ByteView(b)).taken, 10u);
  EXPECT_EQ(rig.producer.enqueue_at(10'000, ByteView(b)).taken, 0u);
  EXPECT_EQ(rig.producer.enqueue_at(~0u, ByteView(b)).taken, 0u);
  EXPECT_EQ(rig.producer.enqueue_at(5'000, ByteView(b)).taken, 5'000u);
  const auto placed = rig.producer.enqueue_at(0, ByteView(b));
  EXPECT_EQ(placed.taken, 10'000u);
  EXPECT_EQ(placed.advanced, 10'000u);
  EXPECT_EQ(rig.producer.ooo_bytes(), 0u);
}

TEST(FifoOoo, BytesWithoutMemoryAreRefused) {
  RxRig rig(1 << 20, 0, 65536);
  const Bytes b(30'000);
  EXPECT_EQ(rig.producer.enqueue_at(500'000, ByteView(b)).taken, 0u);
  EXPECT_EQ(rig.producer.ooo_bytes(), 0u);
  EXPECT_GT(rig.producer.enqueue_at(10'000, ByteView(b)).taken, 0u);
  EXPECT_GT(rig.producer.enqueue_at(0, ByteView(b)).advanced, 10'000u);
}

TEST(FifoOoo, ReleaseFreesAll) {
  RxRig rig(1 << 20);
  rig.producer.enqueue_at(100'000, ByteView(Bytes(5'000)));
  rig.producer.enqueue(ByteView(Bytes(5'000)));
  EXPECT_EQ(rig.producer.reclaim(), 0u);  // nothing was read
  rig.producer.release();
  EXPECT_EQ(rig.chunk_bytes(), 0u);
  EXPECT_EQ(rig.producer.ooo_bytes(), 0u);
}

// Segments arrive shuffled, twice, overlapping and torn, while the application reads.
TEST(FifoOoo, ReassemblesAnyOrder) {
  const Stream stream;
  for (const uint32_t size : {5'000u, 64'000u, 400'000u}) {
    RxRig rig(size, 0u - size / 2);
    std::mt19937 rng(size);
    std::vector<bool> arrived;  // from position `tail` on
    uint64_t tail = 0, head = 0;
    Bytes buffer(size);
    for (int i = 0; i < 5000; ++i) {
      // A segment somewhere in the window, close to tail more often than not.
      const uint32_t window = rig.producer.refresh();
      ASSERT_EQ(window, size - (tail - head));
      const uint32_t offset = window == 0 || rng() % 3 == 0 ? 0
                              : rng() % 2                   ? rng() % std::min(window, 8000u)
                                                            : rng() % window;
      const uint32_t len = 1 + rng() % 1460;
      const ByteView bytes = stream.at(tail + offset, len);
      const ByteView parts[] = {bytes.first(len / 3), bytes.subspan(len / 3)};
      const auto placed = rig.producer.enqueue_at(offset, parts);
      const uint32_t fits = offset < window ? std::min(len, window - offset) : 0;
      if (ranges_of(rig.producer).size() < OooList::kMaxRanges) {
        ASSERT_EQ(placed.taken, fits);
      }
      if (placed.taken) {
        ASSERT_EQ(placed.taken, fits);
        if (arrived.size() < offset + fits) arrived.resize(offset + fits);
        std::fill_n(arrived.begin() + offset, fits, true);
      }
      const auto in_order = std::find(arrived.begin(), arrived.end(), false) - arrived.begin();
      ASSERT_EQ(placed.advanced, in_order);
      tail += placed.advanced;
      arrived.erase(arrived.begin(), arrived.begin() + in_order);

      auto got = ranges_of(rig.producer);
      if (placed.taken && offset > 0) {
        ASSERT_FALSE(got.empty());
        ASSERT_LE(got[0].start, offset);
        ASSERT_GE(got[0].end, offset + fits);
      }
      if (i % 64 == 0) {
        std::sort(got.begin(), got.end(), [](auto a, auto b) { return a.start < b.start; });
        uint32_t pos = 0, bytes_in = 0;
        for (const auto r : got) {
          ASSERT_GE(r.start, pos);
          ASSERT_EQ(std::count(arrived.begin() + pos, arrived.begin() + r.start, true), 0);
          ASSERT_EQ(std::count(arrived.begin() + r.start, arrived.begin() + r.end, false), 0);
          pos = r.end;
          bytes_in += r.end - r.start;
        }
        ASSERT_EQ(std::count(arrived.begin() + pos, arrived.end(), true), 0);
        ASSERT_EQ(rig.producer.ooo_bytes(), bytes_in);
      }
      if (rng() % 4 == 0) {
        const uint32_t n = rig.consumer.dequeue(MutableByteView(buffer).first(rng() % size));
        ASSERT_TRUE(stream.matches(head, ByteView(buffer).first(n)));
        head += n;
      }
      if (rng() % 64 == 0) rig.producer.reclaim();
    }
    ASSERT_FALSE(rig.consumer.violation());
    EXPECT_GT(head, size);
  }
}

}  // namespace
}  // namespace loom::svm
