// Peers that take nothing any more: what waits for them is little of the pool, and not for long.
#include "bed.h"

namespace loom::memif {
namespace {

class Stopped : public ::testing::Test {
 protected:
  // memif1/ID with a peer that has stopped.
  Device& stopped(uint32_t id) {
    const std::string name = "memif1/" + std::to_string(id);
    bed.h.ok("create interface memif socket-id 1 master id " + std::to_string(id));
    bed.up(name);
    PlayedSlave& peer = *peers.emplace_back(std::make_unique<PlayedSlave>(bed));
    peer.init.init.id = id;
    EXPECT_TRUE(peer.say_all());
    peer.m2s().head = static_cast<uint16_t>(peer.m2s().tail);  // no room from the first on
    return bed.device(name);
  }
  // Until no buffer is left. How many were taken.
  uint32_t send(Device& d, uint32_t n, std::size_t length = 60) {
    uint32_t taken = 0;
    while (n-- != 0 && free_buffers() > length / kDefaultDataSize)
      taken += bed.send(d, {packet(length)});
    return taken;
  }
  uint32_t free_buffers() { return bed.h.engine->pool_of(0).stats().free + bed.h.worker().cache.n; }
  uint32_t pool() { return bed.h.engine->pool_of(0).stats().total; }
  uint32_t kept() { return bed.memifs->kept().n(); }

  Bed bed;
  std::vector<std::unique_ptr<PlayedSlave>> peers;
};

TEST_F(Stopped, EachLeavesAsMuchToOthersAsItHas) {
  const uint32_t all = free_buffers();
  uint32_t held = 0;
  for (uint32_t id = 1; id <= 6; ++id) {
    const uint32_t left = pool() / Kept::kShare - held;
    const uint32_t mine = send(stopped(id), 3000);
    EXPECT_EQ(mine, left / 2) << id;
    held += mine;
  }
  EXPECT_EQ(kept(), held);
  EXPECT_EQ(free_buffers(), all - held);
  Device& other = bed.master();
  PlayedSlave peer(bed);
  ASSERT_TRUE(peer.say_all());
  peer.s2m().descriptors[0].length = 60;
  peer.s2m().head = 1;
  peer.wake();
  EXPECT_EQ(bed.received(other).packets, 1u);
}

TEST_F(Stopped, BuffersCountNotPackets) {
  const std::size_t length = 3 * kDefaultDataSize;
  const uint32_t held = send(stopped(1), 1000, length), most = pool() / Kept::kShare / 2;
  EXPECT_GE(kept(), 3 * held);
  EXPECT_LE(kept(), most);
  EXPECT_GT(kept() + 5, most);
  EXPECT_EQ(bed.device("memif1/1").tx_counters.ring_full, 1000 - held);
}

// One interface has several workers.
TEST(KeptBuffers, AreSharedOutBetweenInterfaces) {
  Kept all;
  all.set_most(100);
  std::atomic<uint32_t> one{0}, other{0};
  EXPECT_EQ(all.take(30, one), 30u);
  EXPECT_EQ(all.take(30, one), 20u) << "half of all";
  EXPECT_EQ(all.take(1, one), 0u);
  EXPECT_EQ(all.take(30, other), 25u);
  all.give(50, one);
  EXPECT_EQ(one, 0u);
  EXPECT_EQ(all.n(), 25u);
  EXPECT_EQ(all.take(100, other), 25u);
  all.set_most(10);
  EXPECT_EQ(all.take(1, one), 0u) << "less than is taken";
}

TEST_F(Stopped, ForOneThatTakesNothingNothingWaitsForEver) {
  const uint32_t all = free_buffers();
  Device& d = stopped(1);
  EXPECT_EQ(send(d, 100), 100u);
  bed.h.pass(Backlog::kPatience - 2 * Backlog::kLastLook);
  EXPECT_EQ(d.tx_counters.stopped, 0u);
  EXPECT_EQ(kept(), 100u);
  bed.h.pass(4 * Backlog::kLastLook);
  EXPECT_EQ(d.tx_counters.stopped, 100u);
  EXPECT_EQ(kept(), 0u);
  EXPECT_EQ(free_buffers(), all);
  EXPECT_FALSE(d.backlogs[0]->timer.is_running());
  EXPECT_EQ(send(d, 10), 0u) << "nothing is kept now";
  EXPECT_EQ(d.tx_counters.ring_full, 10u);
}

// A peer on a machine that has something else to do.
TEST_F(Stopped, OneThatHasNoCoreForAWhileGetsAll) {
  Device& d = stopped(1);
  EXPECT_EQ(send(d, 100), 100u);
  for (int i = 0; i < 9; ++i) {
    bed.h.pass(Backlog::kPatience / 10);
    EXPECT_EQ(send(d, 10), 10u) << i;
  }
  EXPECT_EQ(send(d, 10), 10u);
  EXPECT_EQ(d.tx_counters.stopped, 0u);
  EXPECT_EQ(kept(), 200u);
  const uint16_t tail = peers[0]->m2s().tail;
  for (uint32_t n = 200; n != 0; n -= std::min(n, PlayedSlave::kSlots)) {
    peers[0]->m2s().head = static_cast<uint16_t>(peers[0]->m2s().tail + PlayedSlave::kSlots);
    bed.h.pass(Backlog::kLastLook);
  }
  EXPECT_EQ(static_cast<uint16_t>(peers[0]->m2s().tail - tail), 200u);
  EXPECT_EQ(kept(), 0u);
}

TEST_F(Stopped, OneLeavesRoomToOneThatTakes) {
  Device& d = stopped(1);
  const uint32_t held = send(d, 3000);
  EXPECT_EQ(held, pool() / Kept::kShare / 2);
  Device& other = stopped(2);  // for a moment only
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(send(other, 10), 10u) << i;
    peers[1]->m2s().head = static_cast<uint16_t>(peers[1]->m2s().tail + 10);
    bed.h.pass(Backlog::kLastLook);
    EXPECT_EQ(other.backlogs[0]->n, 0u);
  }
  EXPECT_EQ(d.tx_counters.stopped, 0u);
  EXPECT_EQ(kept(), held);
}

// Whatever it was refused, and whatever became of it.
TEST_F(Stopped, OneHasNoClaimOnAnother) {
  Device& d = stopped(1);
  EXPECT_EQ(send(d, 3000), pool() / Kept::kShare / 2);
  EXPECT_EQ(send(d, 10), 0u);
  bed.h.ok("delete interface memif memif1/1");
  EXPECT_EQ(kept(), 0u);
  Device& other = stopped(2);
  EXPECT_EQ(send(other, 10), 10u);
  bed.h.pass(Backlog::kPatience - 2 * Backlog::kLastLook);
  EXPECT_EQ(other.tx_counters.stopped, 0u);
  EXPECT_EQ(kept(), 10u);
}

// What waits keeps sessions that have ended: a peer that takes some now and then does not keep it.
TEST_F(Stopped, OneThatTakesTooLittleHasStopped) {
  Device& d = stopped(1);
  EXPECT_EQ(send(d, 100), 100u);
  uint32_t taken = 0;
  for (; d.tx_counters.stopped == 0 && taken < 100; ++taken) {
    EXPECT_EQ(kept(), 100 - taken);
    ++peers[0]->m2s().head;
    bed.h.pass(Backlog::kPatience / 2);
  }
  // The first, which waited alone at first, and what went in the 10 s after it.
  EXPECT_EQ(taken, 1 + 2 * Backlog::kMostWait / Backlog::kPatience);
  EXPECT_EQ(d.tx_counters.stopped, 100 - taken);
  EXPECT_EQ(kept(), 0u);
  EXPECT_EQ(send(d, 10), 0u);
  ++peers[0]->m2s().head;
  EXPECT_EQ(send(d, 10), 10u);
}

// The same for one that is sent to all the time.
TEST_F(Stopped, AlsoWhenMoreIsSentMeanwhile) {
  Device& d = stopped(1);
  EXPECT_EQ(send(d, 100), 100u);
  ++peers[0]->m2s().head;
  bed.h.pass(Backlog::kLastLook);
  bed.h.worker().timer_stop(d.backlogs[0]->timer);  // it is put off again and again
  bed.h.pass(Backlog::kMostWait);
  ++peers[0]->m2s().head;
  EXPECT_EQ(send(d, 1), 1u);
  EXPECT_EQ(d.tx_counters.stopped, 98u);
  EXPECT_EQ(kept(), 1u);
}

TEST_F(Stopped, OneThatIsSlowIsWaitedFor) {
  Device& d = stopped(1);
  EXPECT_EQ(send(d, 100), 100u);
  for (int i = 0; i < 80; ++i) {
    bed.h.pass(Backlog::kPatience / 2);
    EXPECT_EQ(send(d, 6), 6u);  // never fewer than 100, of which all have gone in 9 s
    peers[0]->m2s().head = static_cast<uint16_t>(peers[0]->m2s().tail + 6);
    bed.h.pass(2 * Backlog::kLastLook);
    EXPECT_EQ(kept(), 100u);
  }
  EXPECT_EQ(d.tx_counters.stopped, 0u);
}

TEST_F(Stopped, OneThatGoesOnIsWaitedForAgain) {
  Device& d = stopped(1);
  EXPECT_EQ(send(d, 100), 100u);
  bed.h.pass(Backlog::kPatience + Backlog::kLastLook);
  ASSERT_EQ(d.tx_counters.stopped, 100u);
  ++peers[0]->m2s().head;
  const uint16_t tail = peers[0]->m2s().tail;
  EXPECT_EQ(send(d, 3), 3u);
  EXPECT_EQ(peers[0]->m2s().tail, static_cast<uint16_t>(tail + 1));
  EXPECT_EQ(kept(), 2u);
  bed.h.pass(Backlog::kPatience + Backlog::kLastLook);
  EXPECT_EQ(d.tx_counters.stopped, 102u);
  EXPECT_EQ(send(d, 1), 0u);
}

// A packet for which there is too little room yet.
TEST_F(Stopped, ACursorThatMovesIsEnough) {
  Device& d = stopped(1);
  EXPECT_EQ(send(d, 1), 1u);
  bed.h.pass(Backlog::kPatience + Backlog::kLastLook);
  ASSERT_EQ(d.tx_counters.stopped, 1u);
  const std::size_t length = 4 * PlayedSlave::kBuffer;
  EXPECT_EQ(send(d, 1, length), 0u);
  ++peers[0]->m2s().head;
  EXPECT_EQ(send(d, 1, length), 1u);
  EXPECT_EQ(kept(), 1u);
}

TEST_F(Stopped, WhoComesAgainIsAnother) {
  Device& d = stopped(1);
  ++peers[0]->m2s().head;
  ASSERT_EQ(peers[0]->m2s().head, 1u);
  EXPECT_EQ(send(d, 2), 2u);
  bed.h.pass(Backlog::kPatience + Backlog::kLastLook);
  ASSERT_EQ(d.tx_counters.stopped, 1u);
  peers.clear();
  bed.h.settle();
  PlayedSlave again(bed);
  again.init.init.id = 1;
  ASSERT_TRUE(again.say_all());
  again.m2s().head = 1;  // where the other had stopped
  EXPECT_EQ(send(d, 3), 3u);
  EXPECT_EQ(again.m2s().tail, 1u);
}

}  // namespace
}  // namespace loom::memif
