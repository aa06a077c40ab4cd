// What a call of a queue costs is bounded, whatever the rings' owner has written into them.
#include <thread>

#include "bed.h"

namespace loom::memif {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class RxWorks : public RingBed {
 protected:
  // A slave's ring of which the test writes every slot.
  void join(uint8_t log2_ring_size, uint16_t buffer_size) {
    ends = memif::join({.log2_ring_size = log2_ring_size, .buffer_size = buffer_size});
  }
  RxRing& ring() { return *ends.master->rx[0]; }
  Descriptor& slot(uint32_t i) { return ring().shared->descriptors[i]; }
  void write(uint32_t i, uint32_t length, bool goes_on = false) {
    Descriptor d{};
    d.flags = goes_on ? kDescriptorNext : uint16_t{0};
    d.length = length;
    slot(i) = d;
  }
  void offer(uint32_t n) { ring().shared->head = static_cast<uint16_t>(n); }
  std::vector<Bytes> gets() { return receive(*ends.master, ring()); }
  Ends ends;
};

TEST_F(RxWorks, PacketsThatAreDroppedCount) {
  join(10, 64);
  for (uint32_t i = 0; i < 1024; ++i) write(i, 1);
  offer(1024);
  for (uint32_t n = 1; n <= 4; ++n) {
    EXPECT_THAT(gets(), IsEmpty());
    EXPECT_EQ(count(kRunt), n * kFrameSize);
    EXPECT_FALSE(work.is_left());
  }
  EXPECT_EQ(ring().ready(), 0u);
}

TEST_F(RxWorks, APacketThatIsTooLongIsNotCopied) {
  join(4, 65535);
  for (uint32_t i = 0; i < 16; i += 2) {
    write(i, kMaxPacket, /*goes_on=*/true);
    write(i + 1, 1);
  }
  offer(16);
  const auto all = host.take_buffers(0);
  EXPECT_THAT(gets(), IsEmpty());
  EXPECT_EQ(count(kTooLong), 8u);
  EXPECT_EQ(count(kNoBuffers), 0u);
  EXPECT_EQ(work.bytes, RxWork().bytes);
  host.worker().free(all);
}

TEST_F(RxWorks, LengthsOfAChainDoNotGoRound) {
  join(12, 65535);
  // 2^32 + 20 bytes.
  for (uint32_t i = 0; i < 8; ++i) write(i, 1u << 29, /*goes_on=*/true);
  write(8, 20);
  offer(9);
  EXPECT_THAT(gets(), IsEmpty());
  EXPECT_EQ(count(kTooLong), 1u);
}

TEST_F(RxWorks, SlotsCount) {
  join(11, 64);
  for (uint32_t i = 0; i < 2048; ++i) write(i, 1, /*goes_on=*/(i + 1) % 512 != 0);
  offer(2048);
  EXPECT_THAT(gets(), SizeIs(2));
  EXPECT_THAT(gets(), SizeIs(2));
}

TEST_F(RxWorks, BytesCount) {
  join(4, 65535);
  for (uint32_t i = 0; i < 16; ++i) write(i, 65535);
  offer(16);
  EXPECT_THAT(gets(), SizeIs(5)) << "what exceeds 256 KB";
  EXPECT_THAT(gets(), SizeIs(5));
}

TEST_F(RxWorks, AChainThatChangesWhileItIsCopiedIsAFault) {
  join(1, 65535);
  std::atomic<bool> ends_now{false};
  std::thread changing([&] {
    while (!ends_now.load(std::memory_order_relaxed))
      for (const uint32_t n : {60'000u, 20u, 10u})
        __atomic_store_n(&slot(1).length, n, __ATOMIC_RELAXED);
  });
  write(0, 60'000, /*goes_on=*/true);
  write(1, 20);
  for (uint16_t head = 2; count(Fault::kChain) < 20;) {
    offer(head);
    for (const Bytes& b : gets()) EXPECT_LE(b.size(), 60'020u);
    if (last_taken.fault == Fault::kNone) head = static_cast<uint16_t>(head + 2);
  }
  ends_now = true;
  changing.join();
}

// --- Over all rings of a queue

class ManyRings : public ::testing::Test {
 protected:
  static constexpr uint16_t kRings = 8;
  // Another master of the socket may have as many rings, so the slave offers them; this one reads
  // them all by one queue.
  void SetUp() override {
    bed.h.ok("create interface memif socket-id 1 id 9 master rx-queues 8");
    master = &bed.master();
    slave = &bed.slave("tx-queues 8 buffer-size 16384 ring-size 256");
    ASSERT_TRUE(bed.is_up(*slave));
    ASSERT_EQ(master->link.load()->rx.size(), kRings);
  }
  // Every slot of every ring is a packet of so many bytes.
  void fill(uint32_t length) {
    for (const auto& r : master->link.load()->rx) {
      for (uint32_t i = 0; i < r->size(); ++i) r->shared->descriptors[i].length = length;
      r->shared->head = static_cast<uint16_t>(r->next + r->size());
    }
  }
  // One call.
  uint32_t receive() {
    Worker& w = bed.h.worker();
    return rx(w, w.node_runtime(bed.h.engine->find_node("memif-input")), master, 0);
  }
  uint64_t counter(const std::string& name) { return bed.h.counter("memif-input/" + name); }

  Bed bed;
  Device *master = nullptr, *slave = nullptr;
};

TEST_F(ManyRings, ShareTheDroppedPacketsOfACall) {
  fill(1);
  EXPECT_EQ(receive(), kFrameSize);
  EXPECT_EQ(counter("runt"), kFrameSize);
  master->queues[0]->ear.shout();
  bed.h.settle();
  EXPECT_EQ(counter("runt"), kRings * 256u) << "the rest comes later";
}

TEST_F(ManyRings, ShareTheBytesOfACall) {
  fill(16384);
  EXPECT_EQ(receive(), RxBudget::kMaxBytes / 16384);
}

TEST_F(ManyRings, AnEmptyPoolEndsACall) {
  fill(16384);
  const uint64_t before = counter("no-buffers");
  const auto hoard = bed.h.take_buffers(0);
  EXPECT_EQ(receive(), 1u) << "there is something";
  EXPECT_EQ(counter("no-buffers") - before, 1u);
  bed.h.worker().free(hoard);
}

}  // namespace
}  // namespace loom::memif
