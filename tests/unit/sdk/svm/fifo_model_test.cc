// Fifos against a std::deque: every operation, random sizes, cursors that wrap, memory that runs
// out. Both directions run the same tests.
#include <deque>

#include "rig.h"

namespace loom::svm {
namespace {

constexpr uint32_t kBeforeWrap = 0u - 5000;

template <class Rig>
class Fifo : public testing::Test {};
using Rigs = testing::Types<RxRig, TxRig>;
TYPED_TEST_SUITE(Fifo, Rigs);

template <class Rig>
class Model {
 public:
  Model(uint32_t size, uint32_t start, uint32_t seed, uint64_t memory = 64 << 20)
      : rig(size, start, memory), size_(size), rng_(seed) {}

  void step() {
    switch (rng_() % 10) {
      case 0:
      case 1:
        enqueue();
        break;
      case 2:
        reserve();
        break;
      case 3:
      case 4:
        dequeue();
        break;
      case 5:
        peek();
        break;
      case 6:
        segments();
        break;
      case 7:
        drop();
        break;
      case 8:
        if (rng_() % 8 == 0) rig.producer.reclaim();
        break;
      case 9:
        check();
        break;
    }
  }

  void check() {
    ASSERT_EQ(rig.consumer.refresh(), model_.size());
    ASSERT_EQ(rig.producer.refresh(), size_ - model_.size());
    ASSERT_FALSE(rig.consumer.violation());
    ASSERT_FALSE(rig.producer.violation());
  }

  void drain() {
    while (!model_.empty()) {
      dequeue();
      if (testing::Test::HasFatalFailure()) return;
    }
    rig.producer.reclaim();
    ASSERT_FALSE(rig.producer.holds_chunks());
  }

  Rig rig;
  uint64_t moved = 0;
  bool memory_is_short = false;

 private:
  uint32_t some(uint32_t most) {
    return rng_() % (rng_() % 2 ? most + 1 : std::min(most + 1, 2000u));
  }
  Bytes random_bytes(uint32_t n) {
    Bytes b(n);
    const uint32_t place = rng_();
    for (uint32_t i = 0; i < n; ++i) b[i] = stream_byte(place + i);
    return b;
  }

  void enqueue() {
    const Bytes b = random_bytes(some(size_ + size_ / 2));
    const size_t cut1 = b.empty() ? 0 : rng_() % b.size(), cut2 = cut1 + (b.size() - cut1) / 2;
    const ByteView all(b);
    const ByteView parts[] = {all.subspan(0, cut1), all.subspan(cut1, cut2 - cut1),
                              all.subspan(cut2)};
    const uint32_t n = rig.producer.enqueue(parts);
    const auto fits = static_cast<uint32_t>(std::min<size_t>(b.size(), size_ - model_.size()));
    if (memory_is_short) {
      ASSERT_LE(n, fits);
    } else {
      ASSERT_EQ(n, fits);
    }
    model_.insert(model_.end(), b.begin(), b.begin() + n);
  }
  void reserve() {
    MutableByteView views[3];
    const uint32_t want = some(size_);
    const uint32_t k = rig.producer.reserve(want, views);
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < k; ++i) bytes += static_cast<uint32_t>(views[i].size());
    ASSERT_LE(bytes, std::min<size_t>(want, size_ - model_.size()));
    if (want && model_.size() < size_ && !memory_is_short) {
      ASSERT_GT(bytes, 0u);
    }
    uint32_t left = bytes - (bytes && rng_() % 2 ? rng_() % bytes : 0);
    const uint32_t commit = left;
    for (uint32_t i = 0; i < k; ++i)
      for (auto& x : views[i]) {
        x = static_cast<std::byte>(rng_());
        if (left) model_.push_back(x), --left;
      }
    rig.producer.commit(commit);
  }
  bool same(uint32_t offset, ByteView got) {
    return std::equal(got.begin(), got.end(), model_.begin() + offset);
  }
  void dequeue() {
    Bytes b(some(size_));
    const uint32_t n = rig.consumer.dequeue(b);
    ASSERT_EQ(n, std::min(b.size(), model_.size()));
    ASSERT_TRUE(same(0, ByteView(b).first(n)));
    model_.erase(model_.begin(), model_.begin() + n);
    moved += n;
  }
  void peek() {
    Bytes b(some(size_));
    const uint32_t offset = some(static_cast<uint32_t>(model_.size()));
    const uint32_t n = rig.consumer.peek(offset, b);
    ASSERT_EQ(n, std::min(b.size(), model_.size() - offset));
    ASSERT_TRUE(same(offset, ByteView(b).first(n)));
  }
  void segments() {
    ByteView views[64];
    const uint32_t offset = some(static_cast<uint32_t>(model_.size())), most = some(size_);
    const uint32_t k = rig.consumer.segments(offset, most, views);
    uint32_t at = offset;
    for (uint32_t i = 0; i < k; ++i) {
      ASSERT_FALSE(views[i].empty());
      ASSERT_LE(at + views[i].size(), model_.size());
      ASSERT_TRUE(same(at, views[i]));
      at += static_cast<uint32_t>(views[i].size());
    }
    if (k < 64) {
      ASSERT_EQ(at - offset, std::min<size_t>(most, model_.size() - offset));
    }
  }
  void drop() {
    const uint32_t n = some(rig.consumer.available());
    rig.consumer.drop(n);
    model_.erase(model_.begin(), model_.begin() + n);
    moved += n;
  }

  uint32_t size_;
  std::mt19937 rng_;
  std::deque<std::byte> model_;
};

TYPED_TEST(Fifo, BehavesLikeADeque) {
  for (const uint32_t size : {100u, 4096u, 20'000u, 200'000u, 2'000'000u}) {
    Model<TypeParam> m(size, kBeforeWrap, size);
    for (int i = 0; i < (size > 1'000'000 ? 200 : size > 100'000 ? 600 : 6000); ++i) {
      m.step();
      if (this->HasFatalFailure()) FAIL() << "size " << size << " step " << i;
    }
    m.check();
    m.drain();
    EXPECT_GT(m.moved, 10'000u);
    if constexpr (std::is_same_v<TypeParam, RxRig>) {
      EXPECT_EQ(m.rig.chunk_bytes(), 0u) << "size " << size;
    }
  }
}

TYPED_TEST(Fifo, TakesWhatThereIsMemoryForAndRecovers) {
  // 15 pages (one may hold the session) for a fifo of 200 KB.
  Model<TypeParam> m(200'000, kBeforeWrap, 7, 65536);
  m.memory_is_short = true;
  for (int i = 0; i < 3000; ++i) {
    m.step();
    if (this->HasFatalFailure()) FAIL() << "step " << i;
  }
  m.check();
  m.drain();
  const Bytes b(1000);
  EXPECT_EQ(m.rig.producer.enqueue(ByteView(b)), 1000u);
}

TYPED_TEST(Fifo, IdleFifoHoldsNoMemory) {
  TypeParam rig(1 << 20);
  EXPECT_FALSE(rig.producer.holds_chunks());
  EXPECT_EQ(rig.chunk_bytes(), 0u);
  Bytes b(100'000);
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(rig.producer.enqueue(ByteView(b)), b.size());
    EXPECT_TRUE(rig.producer.holds_chunks());
    ASSERT_EQ(rig.consumer.dequeue(b), b.size());
    EXPECT_GT(rig.producer.reclaim(), 0u);
    EXPECT_FALSE(rig.producer.holds_chunks());
    ASSERT_EQ(rig.consumer.available(), 0u);
  }
}

TYPED_TEST(Fifo, AFlowWhoseReaderKeepsUpLivesInOneChunk) {
  TypeParam rig(1 << 20);
  Bytes b(1000);
  std::byte* place = nullptr;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(rig.producer.enqueue(ByteView(b)), 1000u);
    ByteView v[2];
    ASSERT_GT(rig.consumer.segments(0, 1000, v), 0u);
    if (i % 4 == 0) {  // 4032 bytes: four messages, then the same chunk again
      if (place) {
        ASSERT_LT(std::abs(v[0].data() - place), 4096);
      }
      place = const_cast<std::byte*>(v[0].data());
    }
    rig.consumer.drop(1000);
    ASSERT_LE(rig.chunk_bytes(), 8192u);
  }
}

TYPED_TEST(Fifo, ChunksGrowWithWhatTheFifoHolds) {
  TypeParam rig(8 << 20);
  Bytes b(1460);
  uint32_t total = 0;
  while (const uint32_t n = rig.producer.enqueue(ByteView(b))) total += n;
  EXPECT_EQ(total, 8u << 20);
  std::vector<ByteView> v(1000);
  const uint32_t k = rig.consumer.segments(0, total, v);
  EXPECT_LT(k, 50u);  // 6 chunks up to 256 KB, then 256 KB each
  EXPECT_LT(v[0].size(), 4096u);
  EXPECT_GT(v[k - 2].size(), 250'000u);
  EXPECT_LT(rig.chunk_bytes(), 9u << 20);
}

// TCP's use: bytes are sent at snd_nxt, acknowledged later, and sometimes sent again.
TYPED_TEST(Fifo, SendsFromAnyOffsetWhileHeadMovesBehind) {
  TypeParam rig(1 << 20, kBeforeWrap);
  const Stream stream;
  std::mt19937 rng(5);
  uint64_t una = 0, nxt = 0, end = 0;
  while (una < 40'000'000) {
    end += rig.producer.enqueue(stream.at(end, rng() % 60'000));
    ByteView v[8];
    const auto send = [&](uint64_t from, uint32_t most) -> uint32_t {
      const uint32_t k = rig.consumer.segments(static_cast<uint32_t>(from - una), most, v);
      uint64_t at = from;
      for (uint32_t i = 0; i < k; ++i) {
        if (!stream.matches(at, v[i])) ADD_FAILURE() << "wrong bytes at " << at;
        at += v[i].size();
      }
      return static_cast<uint32_t>(at - from);
    };
    nxt += send(nxt, rng() % 65'000);
    if (rng() % 4 == 0 && nxt > una) send(una + rng() % (nxt - una), 1460);  // retransmission
    const auto acked = static_cast<uint32_t>(nxt == una ? 0 : rng() % (nxt - una + 1));
    rig.consumer.drop(acked);
    una += acked;
    ASSERT_FALSE(rig.consumer.violation());
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(Fifo, SmallerSizeStopsFurtherBytesOnly) {
  TypeParam rig(100'000);
  Bytes b(60'000);
  ASSERT_EQ(rig.producer.enqueue(ByteView(b)), 60'000u);
  rig.producer.set_size(50'000);
  EXPECT_EQ(rig.producer.space(), 0u);
  EXPECT_EQ(rig.producer.enqueue(ByteView(b)), 0u);
  ASSERT_EQ(rig.consumer.dequeue(b), 60'000u);
  EXPECT_EQ(rig.producer.enqueue(ByteView(b)), 50'000u);
  rig.consumer.set_size(200'000);
  rig.producer.set_size(200'000);
  EXPECT_EQ(rig.producer.space(), 150'000u);
}

TYPED_TEST(Fifo, EndOfFileComesAfterTheLastByte) {
  TypeParam rig(10'000);
  Bytes b(500);
  rig.producer.enqueue(ByteView(b));
  EXPECT_FALSE(rig.consumer.eof());
  rig.producer.set_eof();
  EXPECT_FALSE(rig.consumer.eof());
  EXPECT_EQ(rig.consumer.dequeue(b), 500u);
  EXPECT_TRUE(rig.consumer.eof());
  EXPECT_FALSE(rig.consumer.reset());
  rig.producer.set_reset(ECONNRESET);
  EXPECT_TRUE(rig.consumer.reset());
  EXPECT_EQ(rig.consumer.error(), ECONNRESET);
}

TYPED_TEST(Fifo, WakesOnlyTheSleeper) {
  TypeParam rig(10'000);
  Bytes b(6000);
  rig.producer.enqueue(ByteView(b).first(10));
  EXPECT_FALSE(rig.producer.should_notify());  // nobody sleeps
  EXPECT_FALSE(rig.consumer.arm());            // there is something to read
  EXPECT_TRUE(rig.consumer.arm(10));           // nothing beyond what was seen
  rig.producer.enqueue(ByteView(b).first(10));
  EXPECT_TRUE(rig.producer.should_notify());
  EXPECT_FALSE(rig.producer.should_notify());  // once
}

TYPED_TEST(Fifo, TellsTheProducerOnceWhenTheAskedForSpaceIsThere) {
  TypeParam rig(9000);
  Bytes b(9000);
  EXPECT_FALSE(rig.producer.want_space(3000));  // free already
  ASSERT_EQ(rig.producer.enqueue(ByteView(b)), 9000u);
  EXPECT_FALSE(rig.consumer.should_notify());
  EXPECT_TRUE(rig.producer.want_space(3000));
  rig.consumer.dequeue(MutableByteView(b).first(2999));
  EXPECT_FALSE(rig.consumer.should_notify());
  rig.consumer.dequeue(MutableByteView(b).first(1));
  EXPECT_TRUE(rig.consumer.should_notify());
  EXPECT_FALSE(rig.consumer.should_notify());
  EXPECT_FALSE(rig.producer.want_space(3000));
  ASSERT_EQ(rig.producer.enqueue(ByteView(b)), 3000u);
  EXPECT_TRUE(rig.producer.want_space(9000));  // a new request is answered anew
  rig.consumer.dequeue(MutableByteView(b).first(8999));
  EXPECT_FALSE(rig.consumer.should_notify());
  rig.consumer.dequeue(b);
  EXPECT_TRUE(rig.consumer.should_notify());
}

}  // namespace
}  // namespace loom::svm
