// Limits of the fifos of open datagram sessions (SO_RCVBUF, SO_SNDBUF).
#include "tests/unit/core/session/datagram_bed.h"

namespace loom::test {
namespace {

struct DatagramResize : DatagramTest {
  static constexpr uint32_t kBytes = 60'000;
  static constexpr uint32_t kRecord = kBytes + sizeof(DatagramHeader);
  Status resize(uint64_t handle, uint32_t rx, uint32_t tx) {
    app.push(svm::ToDaemon::kResize, svm::ResizeEvent{handle, 9, rx, tx});
    const auto e = app.expect<svm::InfoEvent>(svm::ToApp::kInfo);
    EXPECT_EQ(e.context, 9u);
    return static_cast<Status>(e.status);
  }
  // Until there is no room for another one.
  uint32_t receive_all(uint16_t& port) {
    uint32_t n = 0;
    for (; n < 100; ++n, ++port)
      if (const Status s = receive(pattern(kBytes), port); s != Status::kOk) {
        EXPECT_EQ(s, Status::kAgain);
        break;
      }
    return n;
  }
};

TEST_F(DatagramResize, MoreOrLessMayWaitAndNothingThatWaitsIsLost) {
  auto c = open();
  c->rx.set_size(1u << 30);  // as applications have it
  uint16_t next = 1000;
  const uint32_t before = receive_all(next);
  EXPECT_EQ(before, (256u << 10) / kRecord);
  ASSERT_EQ(resize(c->handle, 1u << 20, 0), Status::kOk);
  EXPECT_EQ(c->shared->rx_size, 1u << 20);
  EXPECT_EQ(c->shared->tx_size, 256u << 10);
  EXPECT_EQ(before + receive_all(next), (1u << 20) / kRecord);
  ASSERT_EQ(resize(c->handle, 100'000, 0), Status::kOk);
  EXPECT_EQ(receive_all(next), 0u);
  const uint16_t end = next;
  for (uint16_t port = 1000; port < end; ++port) {
    const auto got = take(*c);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->h.remote_port, Be16(port).raw());
    ASSERT_EQ(got->payload, pattern(kBytes));
  }
  EXPECT_FALSE(take(*c));
  EXPECT_EQ(receive_all(next), 1u);
}

TEST_F(DatagramResize, WhatMayWaitToBeSentGrowsAndADaemonKeepsToTheMostThatItHasSaid) {
  auto c = open();
  ASSERT_EQ(resize(c->handle, 0, 1u << 20), Status::kOk);
  EXPECT_EQ(c->shared->tx_size, 1u << 20);
  for (const uint32_t size : {1u << 20, 100'000u}) {
    // Written before it is told of less.
    c->tx.set_size(1u << 20);
    const DatagramHeader h = header(kBytes);
    std::string one(reinterpret_cast<const char*>(&h), sizeof h);
    one += pattern(kBytes);
    const std::size_t sent = transport.sent.size();
    for (uint32_t i = 0; i < 10; ++i)
      ASSERT_EQ(c->tx.enqueue(std::as_bytes(std::span(one))), one.size());
    ASSERT_EQ(resize(c->handle, 0, size), Status::kOk);
    app.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0});
    bed.pump();
    EXPECT_EQ(transport.sent.size(), sent + 10);
  }
  EXPECT_EQ(bed.counter("app-violation"), 0u);
  EXPECT_EQ(c->shared->tx_size, 100'000u);
}

TEST_F(DatagramResize, AnotherApplicationsSessionsAreNotToBeResized) {
  auto c = open();
  TestApp other(bed);
  other.push(svm::ToDaemon::kResize, svm::ResizeEvent{c->handle, 9, 8192, 8192});
  EXPECT_EQ(static_cast<Status>(other.expect<svm::InfoEvent>(svm::ToApp::kInfo).status),
            Status::kNotConnected);
  EXPECT_EQ(c->shared->rx_size, 256u << 10);
  EXPECT_EQ(c->shared->tx_size, 256u << 10);
}

TEST_F(DatagramResize, SizesAreWithinWhatAFifoMayHaveAndOfALiveSession) {
  auto c = open();
  EXPECT_EQ(resize(c->handle, 1, 1), Status::kOk);
  EXPECT_EQ(c->shared->rx_size, 4096u);
  EXPECT_EQ(c->shared->tx_size, 4096u);
  EXPECT_EQ(resize(c->handle, ~0u, ~0u), Status::kOk);
  EXPECT_EQ(c->shared->rx_size, 1u << 30);
  EXPECT_EQ(c->shared->tx_size, 1u << 30);
  EXPECT_EQ(resize(c->handle + (1ull << 40), 8192, 8192), Status::kNotConnected);
  EXPECT_EQ(c->shared->rx_size, 1u << 30);
}

}  // namespace
}  // namespace loom::test
