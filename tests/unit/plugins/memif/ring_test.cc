// Rings: what goes in comes out, full ones push back, and nothing that a peer writes is believed.
#include "pair.h"

namespace loom::memif {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Rings : public RingBed {
 protected:
  void join(uint8_t log2_ring_size, uint16_t buffer_size = 2048) {
    ends = memif::join({.log2_ring_size = log2_ring_size, .buffer_size = buffer_size});
    s2m_tx = ends.slave->tx[0].get();
    s2m_rx = ends.master->rx[0].get();
    m2s_tx = ends.master->tx[0].get();
    m2s_rx = ends.slave->rx[0].get();
  }
  uint32_t slave_sends(const std::vector<Bytes>& p) { return send(*ends.slave, *s2m_tx, p); }
  uint32_t master_sends(const std::vector<Bytes>& p) { return send(*ends.master, *m2s_tx, p); }
  std::vector<Bytes> master_gets(std::size_t most = kFrameSize) {
    return receive(*ends.master, *s2m_rx, most);
  }
  std::vector<Bytes> slave_gets(std::size_t most = kFrameSize) {
    return receive(*ends.slave, *m2s_rx, most);
  }
  Ends ends;
  TxRing *s2m_tx = nullptr, *m2s_tx = nullptr;
  RxRing *s2m_rx = nullptr, *m2s_rx = nullptr;
};

TEST_F(Rings, PacketsOfEverySizeCrossBothWaysWhateverTheBuffers) {
  for (const uint16_t buffer : {80, 100, 2048, 9000, 65535}) {
    join(11, buffer);
    for (const std::size_t n : {14ul, 79ul, 80ul, 81ul, 100ul, 2047ul, 2048ul, 2049ul, 9000ul,
                                9001ul, 65535ul, 65553ul}) {
      ASSERT_EQ(slave_sends({packet(n, 1)}), 1u) << buffer << " " << n;
      EXPECT_THAT(master_gets(), ElementsAre(packet(n, 1))) << buffer << " " << n;
      ASSERT_EQ(master_sends({packet(n, 2), packet(20, 3)}), 2u) << buffer << " " << n;
      EXPECT_THAT(slave_gets(), ElementsAre(packet(n, 2), packet(20, 3))) << buffer << " " << n;
    }
  }
}

TEST_F(Rings, ChainsOfSegmentsBecomeOnePacket) {
  join(4, 300);
  Buffer* head = host.make(packet(1000));
  Buffer* empty = host.worker().alloc();
  Buffer* tail = host.make(packet(500, 1));
  head->next = empty;
  empty->next = tail;
  head->rest_len = 500;
  EXPECT_EQ(put(*ends.slave, *s2m_tx, {&head, 1}).n, 1u);
  host.worker().free(head);
  EXPECT_THAT(master_gets(), ElementsAre(packet(1000) + packet(500, 1)));
}

TEST_F(Rings, AFullRingPushesBackAndGoesOnWhereItStopped) {
  join(2);
  std::vector<Bytes> six;
  for (std::size_t i = 0; i < 6; ++i) six.push_back(packet(100, i));
  for (const bool by_slave : {true, false}) {
    const auto sends = [&](auto p) { return by_slave ? slave_sends(p) : master_sends(p); };
    const auto gets = [&](std::size_t n) { return by_slave ? master_gets(n) : slave_gets(n); };
    EXPECT_EQ(sends(six), 4u);
    EXPECT_EQ(sends(six), 0u);
    EXPECT_THAT(gets(2), ElementsAre(six[0], six[1]));
    EXPECT_EQ(sends(std::vector(six.begin() + 4, six.end())), 2u);
    EXPECT_THAT(gets(9), ElementsAre(six[2], six[3], six[4], six[5]));
    EXPECT_THAT(gets(9), IsEmpty());
  }
}

TEST_F(Rings, APacketThatNeedsMoreSlotsThanAreFreeLeavesThemAsTheyWere) {
  join(2, 128);
  for (const bool by_slave : {true, false}) {
    const auto sends = [&](auto p) { return by_slave ? slave_sends(p) : master_sends(p); };
    const auto gets = [&] { return by_slave ? master_gets() : slave_gets(); };
    EXPECT_EQ(sends(std::vector<Bytes>{packet(300, 1), packet(129, 2)}), 1u);
    EXPECT_EQ(sends(std::vector<Bytes>{packet(128, 3)}), 1u);
    EXPECT_THAT(gets(), ElementsAre(packet(300, 1), packet(128, 3)));
    EXPECT_EQ(sends(std::vector<Bytes>{packet(512, 4)}), 1u);
    EXPECT_THAT(gets(), ElementsAre(packet(512, 4)));
  }
}

TEST_F(Rings, APacketThatNeverFitsIsTakenAndCounted) {
  join(2, 128);
  EXPECT_EQ(slave_sends({packet(513), packet(20)}), 2u);
  EXPECT_EQ(last_put.too_long, 1u);
  EXPECT_THAT(master_gets(), ElementsAre(packet(20)));
  EXPECT_EQ(master_sends({packet(513), packet(20)}), 2u);
  EXPECT_EQ(last_put.too_long, 1u);
  EXPECT_THAT(slave_gets(), ElementsAre(packet(20)));
}

TEST_F(Rings, CursorsGoRound) {
  join(3);
  for (std::size_t i = 0; i < 70'000; i += 7) {
    std::vector<Bytes> seven;
    for (std::size_t k = 0; k < 7; ++k) seven.push_back(packet(20, i + k));
    ASSERT_EQ(slave_sends(seven), 7u);
    ASSERT_EQ(master_gets(), seven);
    ASSERT_EQ(master_sends(seven), 7u);
    ASSERT_EQ(slave_gets(), seven);
  }
}

TEST_F(Rings, WithoutBuffersPacketsStay) {
  join(4);
  ASSERT_EQ(slave_sends({packet(5000, 1), packet(20, 2)}), 2u);
  const auto taken = host.take_buffers(2);
  EXPECT_THAT(master_gets(), IsEmpty());
  EXPECT_EQ(count(kNoBuffers), 1u);
  host.worker().free(taken);
  EXPECT_THAT(master_gets(), ElementsAre(packet(5000, 1), packet(20, 2)));
}

TEST_F(Rings, WhatIsNoPacketIsDroppedAndCounted) {
  join(11, 80);
  EXPECT_EQ(slave_sends({packet(13), packet(14), packet(65554), packet(15)}), 4u);
  EXPECT_THAT(master_gets(), ElementsAre(packet(14), packet(15)));
  EXPECT_EQ(count(kRunt), 1u);
  EXPECT_EQ(count(kTooLong), 1u);
  EXPECT_EQ(count(kReceived), 2u);
}

TEST_F(Rings, InModeIpAPacketHasAVersion) {
  ends = memif::join({.mode = Mode::kIp});
  s2m_tx = ends.slave->tx[0].get();
  s2m_rx = ends.master->rx[0].get();
  EXPECT_EQ(slave_sends({{0x45, 1}, {0x60, 2}, {0x55, 3}, {}}), 4u);
  EXPECT_THAT(master_gets(), ElementsAre(Bytes{0x45, 1}, Bytes{0x60, 2}));
  EXPECT_EQ(count(kBadVersion), 1u);
}

// --- Peers that write what they like

TEST_F(Rings, ACursorBeyondTheRingIsAFault) {
  join(2);
  s2m_tx->shared->head = 5;
  EXPECT_THAT(master_gets(), IsEmpty());
  EXPECT_EQ(last_taken.fault, Fault::kCursor);
  EXPECT_EQ(count(Fault::kCursor), 1u);
  m2s_tx->shared->tail = 5;
  EXPECT_THAT(slave_gets(), IsEmpty());
  EXPECT_EQ(last_taken.fault, Fault::kCursor);
  for (const uint16_t wrong : {1, 0x7fff, 0x8000, 0xfffb}) {
    s2m_tx->shared->tail = wrong;  // nothing has been sent: it can only be 0
    EXPECT_EQ(slave_sends({packet(20)}), 0u);
    EXPECT_EQ(last_put.fault, Fault::kCursor) << wrong;
    m2s_tx->shared->head = static_cast<uint16_t>(wrong + 4);
    EXPECT_EQ(master_sends({packet(20)}), 0u);
    EXPECT_EQ(last_put.fault, Fault::kCursor) << wrong;
  }
}

TEST_F(Rings, AChainThatGoesOnAndOnIsAFault) {
  join(4);
  for (auto& d : std::span(s2m_tx->shared->descriptors, 16))
    d.flags = kDescriptorNext, d.length = 1;
  s2m_tx->shared->head = 16;
  EXPECT_THAT(master_gets(), IsEmpty());
  EXPECT_EQ(last_taken.fault, Fault::kChain);
  EXPECT_EQ(count(Fault::kChain), 1u);
}

TEST_F(Rings, ADescriptorOfAnUnknownRegionIsAFault) {
  join(4);
  ASSERT_EQ(slave_sends({packet(20, 1), packet(20, 2)}), 2u);
  s2m_tx->shared->descriptors[1].region = 1;
  EXPECT_THAT(master_gets(), ElementsAre(packet(20, 1)));  // what is right before it counts
  EXPECT_EQ(last_taken.fault, Fault::kRegion);
  EXPECT_EQ(count(Fault::kRegion), 1u);
  m2s_rx->shared->descriptors[0].region = 1;
  EXPECT_EQ(master_sends({packet(20)}), 0u);
  EXPECT_EQ(last_put.fault, Fault::kRegion);
}

TEST_F(Rings, ADescriptorThatLeadsOutOfItsRegionIsAFault) {
  const auto end = [&] { return static_cast<uint32_t>(ends.master->regions[0].size()); };
  for (int i = 0; i < 4; ++i) {
    join(4);
    const uint32_t offset = i == 0 ? end() - 19 : i == 1 ? end() : i == 2 ? ~0u : 0;
    const uint32_t length = i == 3 ? ~0u : 20;
    ASSERT_EQ(slave_sends({packet(20)}), 1u);
    s2m_tx->shared->descriptors[0].offset = offset;
    s2m_tx->shared->descriptors[0].length = length;
    EXPECT_THAT(master_gets(), IsEmpty());
    EXPECT_EQ(last_taken.fault, Fault::kRange) << i;
    EXPECT_EQ(count(Fault::kRange), static_cast<uint32_t>(i) + 1);
    m2s_rx->shared->descriptors[0].offset = offset;
    m2s_rx->shared->descriptors[0].length = length;
    EXPECT_EQ(master_sends({packet(20)}), 0u);
    EXPECT_EQ(last_put.fault, Fault::kRange) << i;
  }
}

TEST_F(Rings, TheLastBytesOfARegionAreItsOwn) {
  join(4);
  ASSERT_EQ(slave_sends({packet(20)}), 1u);
  const uint64_t end = ends.master->regions[0].size();
  s2m_tx->shared->descriptors[0].offset = static_cast<uint32_t>(end - 20);
  EXPECT_EQ(master_gets().size(), 1u);
}

TEST_F(Rings, ASlaveKeepsToItsOwnBuffers) {
  join(4);
  ASSERT_EQ(master_sends({packet(20, 1)}), 1u);
  m2s_rx->shared->descriptors[0].region = 7;
  m2s_rx->shared->descriptors[0].offset = 1;
  EXPECT_THAT(slave_gets(), ElementsAre(packet(20, 1)));
  ASSERT_EQ(master_sends({packet(20)}), 1u);
  m2s_rx->shared->descriptors[1].length = 2049;
  EXPECT_THAT(slave_gets(), IsEmpty());
  EXPECT_EQ(last_taken.fault, Fault::kRange);
  s2m_tx->shared->descriptors[0].region = 7;
  s2m_tx->shared->descriptors[0].offset = 1;
  ASSERT_EQ(slave_sends({packet(20, 2)}), 1u);
  EXPECT_THAT(master_gets(), ElementsAre(packet(20, 2)));
}

TEST_F(Rings, AnEmptyBufferToSendIntoIsAFault) {
  join(4);
  m2s_rx->shared->descriptors[0].length = 0;
  EXPECT_EQ(master_sends({packet(20)}), 0u);
  EXPECT_EQ(last_put.fault, Fault::kLength);
}

TEST_F(Rings, ReleasedSlotsAreWholeAgain) {
  join(1);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(master_sends({packet(3000, 1)}), 1u);
    EXPECT_THAT(slave_gets(), ElementsAre(packet(3000, 1)));
    const Descriptor d = m2s_rx->read(0);
    EXPECT_EQ(d.length, 2048u);
    EXPECT_EQ(d.flags, 0u);
  }
}

// --- Waking

TEST_F(Rings, OnlyWhoWantsToBeIsWoken) {
  join(4);
  for (const bool by_slave : {true, false}) {
    RxRing& rx = by_slave ? *s2m_rx : *m2s_rx;
    Ear ear = must(Ear::make());
    must(ear.listen(rx.event.get()));
    const auto sends = [&] { by_slave ? slave_sends({packet(20)}) : master_sends({packet(20)}); };
    sends();
    EXPECT_FALSE(is_readable(ear.fd())) << "masked from the beginning";
    rx.set_masked(false);
    for (int i = 0; i < 3; ++i) {
      sends();
      EXPECT_TRUE(is_readable(ear.fd()));
      ear.consume();
      EXPECT_FALSE(is_readable(ear.fd()));
    }
    rx.set_masked(true);
    sends();
    EXPECT_FALSE(is_readable(ear.fd()));
    ear.forget(rx.event.get());
  }
}

TEST(Bells, RingingDoesNotWaitWhateverThePeerHasMadeOfItsEventfd) {
  UniqueFd full(eventfd(0, 0));  // a write to it waits
  const uint64_t most = ~uint64_t{0} - 1;
  ASSERT_EQ(write(full.get(), &most, sizeof most), 8);
  Bell bell = must(Bell::over(std::move(full)));
  for (int i = 0; i < 100; ++i) bell.ring();
}

TEST(Bells, RingAsOftenAsTheyAreRung) {
  UniqueFd fd(eventfd(0, EFD_NONBLOCK));
  const int theirs = dup(fd.get());
  Bell bell = must(Bell::over(std::move(fd)));
  for (int i = 0; i < 100; ++i) bell.ring();
  uint64_t n = 0;
  EXPECT_EQ(read(theirs, &n, sizeof n), 8);
  EXPECT_EQ(n, 100u);
  close(theirs);
}

TEST(Bells, OursIsReadEightBytesAtATimeAndMayBeFull) {
  UniqueFd theirs;
  Bell bell = must(Bell::make(theirs));
  for (int i = 0; i < 1000; ++i) bell.ring();
  uint64_t n = 0;
  EXPECT_EQ(read(theirs.get(), &n, sizeof n), 8);
  theirs = UniqueFd();
  bell.ring();  // nobody there: no signal
}

TEST(Bells, OnlyEventfdsAreTaken) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(must(Ear::make()).listen(ends[0]));
  EXPECT_FALSE(Bell::over(UniqueFd(ends[1])));
  close(ends[0]);
}

}  // namespace
}  // namespace loom::memif
