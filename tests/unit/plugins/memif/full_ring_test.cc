// A ring that is full: what finds no room waits, in order and bounded, and goes out later.
#include <gmock/gmock.h>

#include "bed.h"

namespace loom::memif {
namespace {

// A played slave whose ring is as full as the test likes.
class FullRings : public ::testing::Test {
 protected:
  void SetUp() override {
    master = &bed.master();
    ASSERT_TRUE(peer.say_all());
  }
  // As many packets, numbered from the first that was not yet sent; how many were taken.
  uint32_t send(uint32_t n) {
    uint32_t taken = 0;
    for (uint32_t i = 0; i < n; ++i) taken += bed.send(*master, {packet(60, next_sent++)});
    return taken;
  }
  // The peer reads what is there, in order, and offers its buffers again; how many it has read.
  uint32_t reads(uint32_t most) {
    uint32_t n = 0;
    for (; n < most && next_read != peer.m2s().tail; ++n, ++next_read) {
      const uint32_t slot = next_read % PlayedSlave::kSlots;
      EXPECT_EQ(
          std::memcmp(peer.base + PlayedSlave::buffer(1, slot), packet(60, next_read).data(), 60),
          0)
          << next_read;
      peer.m2s().descriptors[slot].length = PlayedSlave::kBuffer;
    }
    peer.m2s().head = static_cast<uint16_t>(peer.m2s().head + n);
    return n;
  }
  uint32_t free_buffers() { return bed.h.engine->pool_of(0).stats().free + bed.h.worker().cache.n; }
  Backlog& backlog() { return *master->backlogs[0]; }

  Bed bed;
  Device* master = nullptr;
  PlayedSlave peer{bed};
  std::size_t next_sent = 0;
  uint16_t next_read = 0;
};

TEST_F(FullRings, WhatFindsNoRoomWaitsAndGoesOutInOrder) {
  next_read = peer.m2s().tail;
  next_sent = next_read;
  const uint32_t all = free_buffers();
  const uint64_t held = master->tx_counters.held;
  bed.memifs->kept().set_most(~0u);
  peer.m2s().head = static_cast<uint16_t>(next_read + PlayedSlave::kSlots);
  EXPECT_EQ(send(1000), 1000u);
  EXPECT_EQ(master->tx_counters.held, held + 1000 - PlayedSlave::kSlots);
  EXPECT_EQ(free_buffers(), all - 1000 + PlayedSlave::kSlots);
  for (uint32_t n = 0; next_read != static_cast<uint16_t>(next_sent);) {
    const uint32_t some = reads(n % 7 + 1);
    ASSERT_NE(some, 0u) << "after " << n;
    n += some;
    if (n < 500) {
      EXPECT_EQ(send(some), some);  // behind those that wait
    } else {
      bed.h.pass(2 * Backlog::kFirstLook);
    }
  }
  EXPECT_TRUE(backlog().is_empty());
  EXPECT_FALSE(backlog().timer.is_running());
  EXPECT_EQ(free_buffers(), all);
  EXPECT_EQ(master->tx_counters.ring_full, 0u);
}

TEST_F(FullRings, ASmallPacketDoesNotOvertakeALargeOne) {
  const uint16_t begin = peer.m2s().tail;
  peer.m2s().head = static_cast<uint16_t>(begin + 3);
  EXPECT_EQ(bed.send(*master, {packet(4 * PlayedSlave::kBuffer, 1)}), 1u);
  EXPECT_EQ(bed.send(*master, {packet(60, 2)}), 1u);
  EXPECT_EQ(peer.m2s().tail, begin);
  peer.m2s().head = static_cast<uint16_t>(begin + 5);
  bed.h.pass(Backlog::kLastLook);
  EXPECT_EQ(peer.m2s().tail, static_cast<uint16_t>(begin + 5));
  EXPECT_EQ(peer.m2s().descriptors[(begin + 4) % PlayedSlave::kSlots].length, 60u);
}

// A sender that has filled the receiver's window waits for its answer and loses nothing to its own
// interface: what a ring of the usual size does not take, waits.
TEST_F(FullRings, AWindowOfABulkFlowFindsRoom) {
  const uint32_t segments = (4u << 20) / 1448 + 1 - (1u << LinkConfig().log2_ring_size);
  bed.memifs->kept().set_most(16384 / Kept::kShare);  // of a pool as it usually is
  EXPECT_EQ(send(segments), segments);
  EXPECT_EQ(master->tx_counters.ring_full, 0u);
}

TEST_F(FullRings, MoreThanTheBoundIsGivenBackAndCounted) {
  const uint32_t all = free_buffers();
  bed.memifs->kept().set_most(~0u);
  EXPECT_EQ(send(Backlog::kMost + 10), Backlog::kMost);
  EXPECT_EQ(master->tx_counters.ring_full, 10u);
  EXPECT_EQ(master->tx_counters.held, Backlog::kMost);
  EXPECT_EQ(free_buffers(), all - Backlog::kMost);
}

TEST_F(FullRings, APeerThatTakesNothingIsLookedAtLessAndLess) {
  EXPECT_EQ(send(1), 1u);
  EXPECT_EQ(backlog().delay, Backlog::kFirstLook);
  bed.h.pass(10 * Backlog::kLastLook);
  EXPECT_EQ(backlog().delay, Backlog::kLastLook);
  EXPECT_EQ(send(1), 1u);
  EXPECT_EQ(backlog().delay, Backlog::kLastLook);
  next_sent = next_read = peer.m2s().tail;
  peer.m2s().head = static_cast<uint16_t>(next_read + 1);
  int ticks = 0;
  for (; ticks <= Backlog::kLastLook / kTimerTick && peer.m2s().tail == next_read; ++ticks)
    bed.h.pass(kTimerTick);
  EXPECT_EQ(peer.m2s().tail, static_cast<uint16_t>(next_read + 1)) << ticks;
  EXPECT_EQ(backlog().delay, Backlog::kFirstLook);
}

// What is copied into the first buffer changes what the second is said to be, after the room in
// both was added up.
TEST_F(FullRings, ABufferThatLiesOverTheNextDescriptorIsAFault) {
  RingMemory& ring = peer.m2s();
  const uint16_t begin = ring.tail, slot = begin % PlayedSlave::kSlots;
  ASSERT_LT(slot + 1u, PlayedSlave::kSlots);
  Descriptor* next = &ring.descriptors[slot + 1];
  ring.descriptors[slot].offset =
      static_cast<uint32_t>(reinterpret_cast<std::byte*>(next) - peer.base);
  ring.descriptors[slot].length = sizeof *next;
  Bytes bytes = packet(60);
  const Descriptor smaller{.flags = 0,
                           .region = 0,
                           .length = 8,
                           .offset = PlayedSlave::buffer(1, slot + 1u),
                           .metadata = 0};
  std::memcpy(bytes.data(), &smaller, sizeof smaller);
  ring.head = static_cast<uint16_t>(begin + 2);
  bed.send(*master, {bytes});
  EXPECT_EQ(master->tx_counters.faults[static_cast<std::size_t>(Fault::kLength)], 1u);
  EXPECT_EQ(ring.tail, begin);
  bed.h.settle();
  EXPECT_FALSE(bed.is_up(*master));
}

TEST_F(FullRings, WhatWaitsDoesNotKeepTheLastBuffersFromThoseThatReceive) {
  const uint32_t all = free_buffers();
  EXPECT_EQ(send(100), 100u);
  const auto hoard = bed.h.take_buffers(0);
  bed.h.pass(Backlog::kLastLook);
  EXPECT_EQ(master->tx_counters.no_memory, 100u);
  EXPECT_TRUE(backlog().is_empty());
  bed.h.worker().free(hoard);
  EXPECT_EQ(free_buffers(), all);
}

TEST_F(FullRings, WhatWaitsIsLostWithTheLink) {
  const uint32_t all = free_buffers();
  EXPECT_EQ(send(100), 100u);
  peer.channel = Channel(UniqueFd());
  bed.h.settle();
  EXPECT_FALSE(bed.is_up(*master));
  bed.h.pass(Backlog::kLastLook);
  EXPECT_EQ(master->tx_counters.no_peer, 100u);
  EXPECT_EQ(free_buffers(), all);
  EXPECT_FALSE(backlog().timer.is_running());
}

TEST_F(FullRings, WhatWaitsGoesWithTheInterface) {
  const uint32_t all = free_buffers();
  EXPECT_EQ(send(100), 100u);
  bed.h.ok("delete interface memif memif1/0");
  EXPECT_EQ(free_buffers(), all);
  bed.h.pass(Backlog::kLastLook);  // the timer is gone as well
}

TEST_F(FullRings, AFaultWhileTheyWaitEndsTheLink) {
  const uint32_t all = free_buffers();
  EXPECT_EQ(send(5), 5u);
  peer.m2s().head = static_cast<uint16_t>(peer.m2s().tail + PlayedSlave::kSlots + 1);
  bed.h.pass(Backlog::kFirstLook);
  bed.h.settle();
  EXPECT_FALSE(bed.is_up(*master));
  bed.h.pass(Backlog::kLastLook);
  EXPECT_EQ(free_buffers(), all);
}

}  // namespace
}  // namespace loom::memif
