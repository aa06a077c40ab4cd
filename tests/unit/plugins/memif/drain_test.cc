// What waits goes out by the frame: a call is bounded, however much room the ring has by then.
#include "bed.h"

namespace loom::memif {
namespace {

class Drains : public ::testing::Test {
 protected:
  void SetUp() override {
    master = &bed.master();
    slave = &bed.slave();
    ASSERT_TRUE(bed.is_up(*slave));
    bed.memifs->kept().set_most(~0u);
    begin = ring().next;
  }
  TxRing& ring() { return *master->link.load()->tx[0]; }
  uint32_t sent() { return static_cast<uint16_t>(ring().next - begin); }
  Backlog& backlog() { return *master->backlogs[0]; }
  // As if the ring had been full until now.
  void hold(uint32_t n, std::size_t length) {
    for (uint32_t i = 0; i < n; ++i) {
      Buffer* b = bed.h.make(packet(length, n_held++));
      ASSERT_EQ(backlog().push({&b, 1}), 1u);
    }
  }
  uint32_t call_rx() {
    Worker& w = bed.h.worker();
    return rx(w, w.node_runtime(bed.h.engine->find_node("memif-input")), master, 0);
  }
  uint32_t call_tx() {
    Buffer* b = bed.h.make(packet(60, n_held++));
    return tx(bed.h.worker(), master, 0, {&b, 1});
  }

  static constexpr std::size_t kLong = 1900;
  static constexpr uint32_t kOfLong = RxBudget::kMaxBytes / kLong + 1;  // what exceeds 256 KB
  Bed bed;
  Device *master = nullptr, *slave = nullptr;
  uint16_t begin = 0;
  std::size_t n_held = 0;
};

TEST_F(Drains, AFrameACall) {
  hold(600, 60);
  EXPECT_TRUE(send_waiting(bed.h.worker(), *master));
  EXPECT_EQ(sent(), kFrameSize);
  EXPECT_TRUE(send_waiting(bed.h.worker(), *master));
  EXPECT_EQ(sent(), 2 * kFrameSize);
  EXPECT_FALSE(send_waiting(bed.h.worker(), *master));
  EXPECT_EQ(sent(), 600u);
}

TEST_F(Drains, AlsoWhereTheSlotsGoRound) {
  backlog().begin = Backlog::kMost - 100;
  hold(600, 60);
  EXPECT_TRUE(send_waiting(bed.h.worker(), *master));
  EXPECT_EQ(sent(), kFrameSize);
  EXPECT_EQ(backlog().n, 600 - kFrameSize);
}

TEST_F(Drains, And256KilobytesACall) {
  hold(200, kLong);
  EXPECT_TRUE(send_waiting(bed.h.worker(), *master));
  EXPECT_EQ(sent(), kOfLong);
  EXPECT_FALSE(send_waiting(bed.h.worker(), *master));
  EXPECT_EQ(sent(), 200u);
}

TEST_F(Drains, AFullRingIsNothingToComeBackForAtOnce) {
  hold(1100, 60);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(send_waiting(bed.h.worker(), *master));
  EXPECT_TRUE(send_waiting(bed.h.worker(), *master));  // the last slot
  EXPECT_EQ(sent(), 1024u);
  EXPECT_FALSE(send_waiting(bed.h.worker(), *master));
  EXPECT_EQ(backlog().n, 76u);
}

TEST_F(Drains, WhatIsSentMeanwhileStaysBehindIt) {
  hold(300, 60);
  EXPECT_EQ(call_tx(), 1u);
  EXPECT_EQ(sent(), kFrameSize);
  EXPECT_EQ(backlog().n, 300 - kFrameSize + 1);
  EXPECT_EQ(call_tx(), 1u);
  EXPECT_EQ(sent(), 302u);
}

// Other workers wait for the ring.
TEST_F(Drains, What256KilobytesExceedsComesAtOnceButNotInTheSameCall) {
  hold(50, kLong);
  std::vector<Buffer*> frame;
  for (int i = 0; i < 200; ++i) frame.push_back(bed.h.make(packet(kLong, n_held++)));
  EXPECT_EQ(tx(bed.h.worker(), master, 0, frame), 200u);
  EXPECT_EQ(sent(), kOfLong);
  EXPECT_EQ(backlog().n, 250 - kOfLong);
  EXPECT_EQ(backlog().delay, Backlog::kFirstLook);
  EXPECT_TRUE(backlog().timer.is_running());
  EXPECT_EQ(master->tx_counters.ring_full, 0u);
  bed.h.pass(2 * Backlog::kFirstLook);
  EXPECT_EQ(sent(), 250u);
}

TEST_F(Drains, AWorkerThatReceivesComesAgain) {
  ASSERT_EQ(call_rx(), 0u);
  hold(300, 60);
  EXPECT_NE(call_rx(), 0u);
  EXPECT_EQ(sent(), kFrameSize);
  EXPECT_EQ(call_rx(), 0u);
  EXPECT_EQ(sent(), 300u);
  kDriver.set_rx_mode(master, 0, RxMode::kPolling);
  hold(300, 60);
  EXPECT_NE(call_rx(), 0u);
  EXPECT_EQ(call_rx(), 0u);
  EXPECT_EQ(sent(), 600u);
}

TEST_F(Drains, TheTimerDoesTheRest) {
  hold(300, 60);
  EXPECT_TRUE(send_waiting(bed.h.worker(), *master));
  EXPECT_EQ(backlog().delay, Backlog::kFirstLook);
  EXPECT_TRUE(backlog().timer.is_running());
  bed.h.pass(2 * Backlog::kFirstLook);
  EXPECT_TRUE(backlog().is_empty());
  EXPECT_EQ(bed.received(*slave).packets, 300u);
}

}  // namespace
}  // namespace loom::memif
