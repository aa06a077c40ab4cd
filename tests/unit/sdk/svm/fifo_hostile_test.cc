// The application writes whatever it likes into memory that the daemon uses. The daemon may see
// garbage or report a violation; it may not crash, loop, or touch memory outside the segments.
#include <signal.h>
#include <sys/wait.h>

#include <chrono>

#include "rig.h"

namespace loom::svm {
namespace {

// Plausible lies go deeper than noise.
uint64_t lie(std::mt19937_64& rng, const Segment& s, const FifoShared& f) {
  switch (rng() % 8) {
    case 0:
      return rng();
    case 1:
      return rng() % 64;
    case 2:
      return make_ref(s.id(), (rng() % s.size()) & ~63ull);
    case 3:
      return make_ref(s.id(), (rng() % s.size()) & ~4095ull);
    case 4:
      return f.producer.tail.load() + rng() % 9 - 4;
    case 5:
      return f.consumer.head.load() + rng() % 9 - 4;
    case 6:
      return f.producer.base_chunk.load();
    default:
      return f.producer.base_chunk.load() + 4096;
  }
}

void scribble(std::mt19937_64& rng, const Segment& s, FifoShared& f) {
  const uint64_t value = lie(rng, s, f);
  void* where;
  switch (rng() % 4) {
    case 0:
    case 1:
      where = reinterpret_cast<uint32_t*>(&f) + rng() % (sizeof f / 4 - 1);
      break;
    case 2:
      where = s.base() + ((rng() % (s.size() / 4096)) << 12) + 4 * (rng() % 5);
      break;
    default:
      where = s.base() + (rng() % (s.size() - 8) & ~3ull);
      break;
  }
  std::memcpy(where, &value, rng() % 2 ? 4 : 8);
}

TEST(FifoHostile, TxConsumerSurvivesAnyBytes) {
  std::mt19937_64 rng(11);
  uint64_t violations = 0, bytes = 0;
  for (int life = 0; life < 3000; ++life) {
    TxRig rig(200'000, static_cast<uint32_t>(rng()), 2 << 20);
    const Bytes data(30'000);
    for (int i = 0; i < 60 && !rig.consumer.violation(); ++i) {
      rig.producer.enqueue(ByteView(data).first(rng() % data.size()));
      if (rng() % 2) scribble(rng, *rig.segment, *rig.fifo);
      ByteView views[32];
      const uint32_t k = rig.consumer.segments(static_cast<uint32_t>(rng() % 30'000),
                                               static_cast<uint32_t>(rng() % 60'000), views);
      for (uint32_t v = 0; v < k; ++v) {
        ASSERT_GE(views[v].data(), rig.segment->base() + kSegmentDataOffset);
        ASSERT_LE(views[v].data() + views[v].size(), rig.segment->base() + rig.segment->size());
      }
      Bytes out(rng() % 20'000);
      bytes += rig.consumer.peek(static_cast<uint32_t>(rng() % 1000), out);
      ASSERT_LE(rig.consumer.cached_available(), rig.consumer.size());
      rig.consumer.drop(static_cast<uint32_t>(rng() % 20'000));
      rig.consumer.should_notify();
      rig.consumer.arm(0);
      rig.consumer.eof();
    }
    violations += rig.consumer.violation();
    if (rig.consumer.violation()) {  // and stays quiet
      ByteView v[1];
      EXPECT_EQ(rig.consumer.segments(0, 100, v), 0u);
      EXPECT_EQ(rig.consumer.available(), 0u);
      rig.consumer.drop(100);
    }
  }
  EXPECT_GT(violations, 500u);
  EXPECT_GT(bytes, 1'000'000u);
}

TEST(FifoHostile, RxProducerSurvivesAnyBytes) {
  std::mt19937_64 rng(12);
  uint64_t violations = 0;
  for (int life = 0; life < 1500; ++life) {
    RxRig rig(200'000, static_cast<uint32_t>(rng()), 2 << 20);
    const Segment& s = rig.arena.segment(0);
    const Bytes data(30'000);
    Bytes out(30'000);
    for (int i = 0; i < 60 && !rig.producer.violation(); ++i) {
      rig.producer.enqueue(ByteView(data).first(rng() % data.size()));
      rig.producer.enqueue_at(static_cast<uint32_t>(rng() % 250'000),
                              ByteView(data).first(rng() % 3000));
      if (rng() % 2) scribble(rng, s, *rig.fifo);
      // Keeps head plausible most of the time, so that freeing goes on.
      rig.consumer.dequeue(MutableByteView(out).first(rng() % out.size()));
      rig.producer.should_notify();
      if (rng() % 4 == 0) rig.producer.reclaim();
      if (rng() % 4 == 0) rig.producer.want_space(60'000);
      MutableByteView views[8];
      const uint32_t k = rig.producer.reserve(static_cast<uint32_t>(rng() % 50'000), views);
      for (uint32_t v = 0; v < k; ++v) {
        ASSERT_GE(views[v].data(), s.base() + kSegmentDataOffset);
        ASSERT_LE(views[v].data() + views[v].size(), s.base() + s.size());
      }
      if (k) rig.producer.commit(static_cast<uint32_t>(rng() % (views[0].size() + 1)));
    }
    violations += rig.producer.violation();
    rig.producer.release();
    EXPECT_EQ(rig.chunk_bytes(), 0u);  // the private lists never lost a chunk
  }
  EXPECT_GT(violations, 100u);
}

// The same with an enemy that really runs at the same time, in a process of its own.
class Enemy {
 public:
  Enemy(const Segment& s, FifoShared& f) : pid_(fork()) {
    if (pid_ != 0) return;
    std::mt19937_64 rng(13);
    while (true) scribble(rng, s, f);
  }
  ~Enemy() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
};

TEST(FifoHostile, TxConsumerSurvivesAConcurrentEnemy) {
  const auto segment = std::move(*Segment::create(2 << 20, SegmentKind::kAppArena));
  // The fifo's lines lie in the segment too, so that the enemy shares them.
  auto& fifo = *reinterpret_cast<FifoShared*>(segment->ptr(segment->size() - 4096));
  SegmentTable table;
  table.add(*segment);
  AppArena arena(table);
  arena.add_segment(*segment);
  init_fifo(fifo);
  const Enemy enemy(*segment, fifo);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  std::mt19937_64 rng(14);
  uint64_t rounds = 0;
  while (std::chrono::steady_clock::now() < end || rounds <= 100) {
    init_fifo(fifo);
    segment->header().bump.store(kSegmentDataOffset);
    AppFifoProducer producer(fifo, arena, 200'000);
    OwnedFifoConsumer consumer(fifo, table, 200'000);
    const Bytes data(20'000);
    for (int i = 0; i < 50 && !consumer.violation(); ++i, ++rounds) {
      producer.enqueue(ByteView(data).first(rng() % data.size()));
      ByteView views[32];
      const uint32_t k = consumer.segments(static_cast<uint32_t>(rng() % 20'000), 60'000, views);
      for (uint32_t v = 0; v < k; ++v) {
        ASSERT_GE(views[v].data(), segment->base() + kSegmentDataOffset);
        ASSERT_LE(views[v].data() + views[v].size(), segment->base() + segment->size());
      }
      Bytes out(5000);
      consumer.peek(0, out);
      consumer.drop(static_cast<uint32_t>(rng() % 20'000));
      consumer.should_notify();
    }
  }
}

TEST(FifoHostile, RxProducerSurvivesAConcurrentEnemy) {
  SegmentTable table;
  DaemonArena arena;
  Segment& s = *arena.add_segment(std::move(*Segment::create(4 << 20, SegmentKind::kDaemonArena)));
  table.add(s);
  auto& fifo = *reinterpret_cast<FifoShared*>(arena.alloc_object(sizeof(FifoShared)).ptr);
  init_fifo(fifo);
  const Enemy enemy(s, fifo);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  std::mt19937_64 rng(15);
  while (std::chrono::steady_clock::now() < end) {
    init_fifo(fifo);
    OwnedFifoProducer producer(fifo, arena, 200'000);
    const Bytes data(20'000);
    for (int i = 0; i < 50 && !producer.violation(); ++i) {
      producer.enqueue(ByteView(data).first(rng() % data.size()));
      producer.enqueue_at(static_cast<uint32_t>(rng() % 100'000), ByteView(data).first(1460));
      fifo.consumer.head.store(producer.tail());
      producer.should_notify();
      producer.reclaim();
    }
  }
  EXPECT_EQ(arena.stats().chunk_bytes, 0u);
}

}  // namespace
}  // namespace loom::svm
