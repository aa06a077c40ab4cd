// A cut-through session whose other end lies: it shares all lines of both fifos and the app arena
// of the chunks, and writes what it likes there. This end may read garbage, lose what it wrote or
// find a violation; it may not leave the segment, and every call comes to an end.
#include <unistd.h>

#include "rig.h"

namespace loom::svm {
namespace {

constexpr uint32_t kSize = 200'000;

// One end, honest. The peer's work is done by the test.
struct PeerRig {
  PeerRig() {
    segment = std::move(*Segment::create_anonymous(2 << 20, SegmentKind::kAppArena));
    table.add(*segment);
    arena.add_segment(*segment);
    // At the end of the segment, so that a wild write of ours may hit them, as it may in the
    // pair's.
    const auto fifos = reinterpret_cast<FifoShared*>(segment->ptr(segment->size() - 4096));
    init_fifo(fifos[0]);
    init_fifo(fifos[1]);
    out = &fifos[0];
    in = &fifos[1];
    producer = AppFifoProducer(*out, arena, kSize);
    consumer = AppFifoConsumer(*in, table, kSize);
    peer = AppFifoProducer(*in, arena, kSize);
  }
  ChunkHeader& chunk(uint64_t offset) {
    return *reinterpret_cast<ChunkHeader*>(segment->ptr(offset));
  }
  Ref ref(uint64_t offset) const { return make_ref(segment->id(), offset); }
  template <class View>
  bool is_inside(const View& v) const {
    return v.data() >= segment->base() + kSegmentDataOffset &&
           v.data() + v.size() <= segment->base() + segment->size();
  }

  SegmentTable table;
  AppArena arena{table};
  std::unique_ptr<Segment> segment;
  FifoShared *out, *in;
  AppFifoProducer producer, peer;
  AppFifoConsumer consumer;
};

// A call that never returns ends the test.
struct PeerHostile : testing::Test {
  PeerHostile() { ::alarm(60); }
  ~PeerHostile() override { ::alarm(0); }
};

TEST_F(PeerHostile, AListThatLeadsBackToItsFirstChunkIsNotFreedForEver) {
  PeerRig rig;
  constexpr uint64_t kA = kSegmentDataOffset, kB = kA + 8192;
  auto& line = rig.out->producer;
  for (const uint64_t at : {kA, kB}) {
    rig.chunk(at).log2_size = kMinChunkLog2;
    rig.chunk(at).start = 0;
    rig.chunk(at).next.store(rig.ref(kA));
  }
  rig.segment->header().free_list[0].store(kA >> 12);  // as if it were free already
  line.oldest_chunk = rig.ref(kA);
  line.tail_chunk = rig.ref(kB);
  line.tail_chunk_end = 20'000;
  line.tail.store(20'000);
  line.head_seen = 10'000;
  rig.out->consumer.head.store(10'000);
  const Bytes data(5000);
  EXPECT_EQ(rig.producer.enqueue(ByteView(data)), 0u);
  EXPECT_TRUE(rig.producer.violation());
}

TEST_F(PeerHostile, ChunksThatSayTheyGoOnForEver) {
  // As many headers as fit, each the next one's predecessor, and the last the first one's.
  PeerRig rig;
  Ref before = 0;
  uint32_t start = 0;
  for (uint64_t at = kSegmentDataOffset; at + 4096 <= rig.segment->size() - 4096; at += 64) {
    rig.chunk(at).log2_size = kMinChunkLog2;
    rig.chunk(at).start = start;
    if (before) rig.chunk(ref_offset(before)).next.store(rig.ref(at));
    before = rig.ref(at);
    start += chunk_capacity(kMinChunkLog2);
  }
  rig.chunk(ref_offset(before)).next.store(rig.ref(kSegmentDataOffset));
  rig.in->consumer.chunk = rig.ref(kSegmentDataOffset);
  rig.in->consumer.chunk_start = 0;
  rig.in->consumer.chunk_end = chunk_capacity(kMinChunkLog2);
  rig.in->consumer.head.store(0x7fff0000);
  rig.in->consumer.tail_seen = 0x7fff0000 + kSize;
  rig.in->producer.tail.store(0x7fff0000 + kSize);
  Bytes out(1000);
  EXPECT_EQ(rig.consumer.peek(0, out), 0u);
  EXPECT_TRUE(rig.consumer.violation());

  rig.out->producer.oldest_chunk = rig.out->producer.tail_chunk = rig.ref(kSegmentDataOffset);
  rig.out->producer.tail.store(0x7fff0000);
  rig.out->producer.head_seen = 0x7fff0000;
  rig.out->producer.tail_chunk_end = 0x7fff0000 + 1000;
  rig.out->consumer.head.store(0x7fff0000);
  EXPECT_EQ(rig.producer.enqueue(ByteView(out)), 0u);
  EXPECT_TRUE(rig.producer.violation());
}

TEST_F(PeerHostile, AnEndIsOneStepHoweverManyChunksThereAreSaidToBe) {
  PeerRig rig;
  const Bytes data(100'000);
  ASSERT_EQ(rig.producer.enqueue(ByteView(data)), data.size());
  const Ref first = rig.out->producer.oldest_chunk;
  rig.chunk(ref_offset(first)).next.store(first);  // it never ends
  rig.producer.release();
  const SegmentHeader& h = rig.segment->header();
  EXPECT_EQ(h.ended_list.load() & 0xff'ffff'ffff, ref_offset(first) >> 12);
  for (const auto& list : h.free_list) EXPECT_EQ(list.load(), 0u);
  EXPECT_FALSE(rig.producer.holds_chunks());
}

uint64_t lie(std::mt19937_64& rng, const PeerRig& rig, const FifoShared& f) {
  switch (rng() % 10) {
    case 0:
      return rng();
    case 1:
      return rng() % 64;
    case 2:
      return rig.ref((rng() % rig.segment->size()) & ~63ull);
    case 3:
    case 4:
      return rig.ref(kSegmentDataOffset + (rng() % 8 << 12));
    case 5:
      return f.producer.tail.load() + rng() % 9 - 4;
    case 6:
      return f.consumer.head.load() + rng() % 9 - 4;
    case 7:
      return f.producer.oldest_chunk;
    case 8:
      return (kSegmentDataOffset + (rng() % 8 << 12)) >> 12;  // as a free list has it
    default:
      return kMinChunkLog2 + rng() % 8;
  }
}

void scribble(std::mt19937_64& rng, PeerRig& rig) {
  FifoShared& f = rng() % 2 ? *rig.out : *rig.in;
  const uint64_t value = lie(rng, rig, f);
  void* where;
  switch (rng() % 5) {
    case 0:
    case 1:
      where = reinterpret_cast<uint32_t*>(&f) + rng() % (sizeof f / 4 - 1);
      break;
    case 2:  // a chunk's header
      where = rig.segment->base() + ((1 + rng() % 64) << 12) + 4 * (rng() % 5);
      break;
    case 3:  // the allocator
      where = reinterpret_cast<uint32_t*>(&rig.segment->header().bump) + rng() % 70;
      break;
    default:
      where = rig.segment->base() + (rng() % (rig.segment->size() - 8) & ~3ull);
      break;
  }
  std::memcpy(where, &value, rng() % 2 ? 4 : 8);
}

TEST_F(PeerHostile, AnyBytes) {
  uint64_t violations = 0, bytes = 0;
  for (uint64_t life = 0; life < 1500; ++life) {
    std::mt19937_64 rng(life);
    PeerRig rig;
    Bytes data(20'000);
    for (int i = 0; i < 60; ++i) {
      rig.peer.enqueue(ByteView(data).first(rng() % data.size()));
      for (auto n = rng() % 3; n > 0; --n) scribble(rng, rig);
      switch (rng() % 8) {
        case 0:
        case 1: {
          const auto n = static_cast<uint32_t>(rng() % data.size());
          ASSERT_LE(rig.producer.enqueue(ByteView(data).first(n)), n);
          break;
        }
        case 2: {
          MutableByteView views[8];
          const uint32_t k = rig.producer.reserve(static_cast<uint32_t>(rng() % 60'000), views);
          for (uint32_t v = 0; v < k; ++v) ASSERT_TRUE(rig.is_inside(views[v]));
          rig.producer.commit(static_cast<uint32_t>(rng() % 3000));
          break;
        }
        case 3:
          (void)rig.producer.want_space(static_cast<uint32_t>(rng() % (2 * kSize)));
          (void)rig.producer.should_notify();
          break;
        case 4: {
          ByteView views[8];
          const uint32_t k = rig.consumer.segments(static_cast<uint32_t>(rng() % 3000),
                                                   static_cast<uint32_t>(rng() % 60'000), views);
          for (uint32_t v = 0; v < k; ++v) ASSERT_TRUE(rig.is_inside(views[v]));
          rig.consumer.drop(static_cast<uint32_t>(rng() % 20'000));
          break;
        }
        case 5:
        case 6: {
          const auto n = static_cast<uint32_t>(rng() % data.size());
          const uint32_t got = rig.consumer.dequeue(MutableByteView(data).first(n));
          ASSERT_LE(got, n);
          bytes += got;
          break;
        }
        default:
          (void)rig.consumer.arm(rig.consumer.cached_available());
          (void)rig.consumer.eof();
          (void)rig.producer.reclaim();
          break;
      }
      if (rng() % 50 == 0) (void)rig.arena.give_back();
    }
    violations += rig.consumer.violation() + rig.producer.violation();
    rig.producer.release();  // as the daemon does for both
    rig.peer.release();
  }
  EXPECT_GT(violations, 500u);
  EXPECT_GT(bytes, 1'000'000u);
}

}  // namespace
}  // namespace loom::svm
