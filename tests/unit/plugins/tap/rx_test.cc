// DriverOps::rx over a socket pair: packets that no kernel would send, and the bookkeeping.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "harness.h"

namespace loom::tap {
namespace {

class RxTest : public ::testing::Test {
 protected:
  explicit RxTest(uint32_t n_buffers = 4096, uint32_t data_size = kDefaultDataSize)
      : harness_(n_buffers, data_size) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
      throw std::runtime_error("socketpair");
    peer_ = pair[1];
    const int room = 1 << 20;  // as far as the system allows
    setsockopt(peer_, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    all_ = harness_.free_buffers();
    device_ = harness_.device_on(pair[0]);
  }
  ~RxTest() override { close(peer_); }
  void arrive(const std::string& packet, VnetHeader h = {}) {
    std::string datagram(reinterpret_cast<const char*>(&h), sizeof h);
    datagram += packet;
    ASSERT_EQ(send(peer_, datagram.data(), datagram.size(), 0),
              static_cast<ssize_t>(datagram.size()));
  }
  Harness harness_;
  int peer_ = -1;
  uint32_t all_ = 0;
  std::unique_ptr<Device> device_;
};

TEST_F(RxTest, APacketArrivesWhole) {
  arrive(pattern(100));
  EXPECT_EQ(harness_.rx(*device_), 1u);
  ASSERT_EQ(harness_.sink.size(), 1u);
  const Buffer& b = *harness_.sink[0];
  EXPECT_EQ(bytes_of(b), pattern(100));
  EXPECT_EQ(b.rx_if, 7u);
  EXPECT_EQ(b.next, nullptr);
  EXPECT_EQ(harness_.counter(kReceived), 1u);
  EXPECT_EQ(harness_.counters.packets, 1u);
  EXPECT_EQ(harness_.counters.bytes, 100u);
}

TEST_F(RxTest, PacketsOfEverySizeBecomeRightChains) {
  // Around the edges of one buffer, two, and the largest packet there is.
  for (const uint32_t n : {14u, 2047u, 2048u, 2049u, 4096u, 4097u, 65549u, 65553u}) {
    harness_.clear();
    arrive(pattern(n));
    ASSERT_EQ(harness_.rx(*device_), 1u) << n;
    const Buffer& b = *harness_.sink.at(0);
    EXPECT_EQ(b.length(), n);
    EXPECT_EQ(bytes_of(b), pattern(n)) << n;
    EXPECT_GE(b.len, std::min(n, 128u));
  }
}

TEST_F(RxTest, OnlyTheBuffersThatWereUsedAreReplaced) {
  arrive(pattern(100));
  harness_.rx(*device_);
  const auto standing = [&] {
    const auto held = device_->queues[0]->buffers.held();
    return std::vector<Buffer*>(held.end() - 32, held.end());
  };
  const std::vector<Buffer*> before = standing();
  arrive(pattern(100));
  harness_.rx(*device_);
  EXPECT_EQ(standing(), before);
  EXPECT_NE(harness_.sink[0], harness_.sink[1]);
}

TEST_F(RxTest, TheBudgetFollowsTheLoad) {
  // A frame's worth at once: 1, 2, 4 ... without a failing read, until the socket is empty.
  for (int i = 0; i < 100; ++i) arrive(pattern(60));
  std::vector<uint32_t> found;
  while (const uint32_t n = harness_.rx(*device_)) found.push_back(n);
  EXPECT_EQ(found, (std::vector<uint32_t>{1, 2, 4, 8, 16, 32, 37}));
  EXPECT_EQ(device_->queues[0]->budget.packets(), 1u);
  EXPECT_EQ(harness_.sink.size(), 100u);
}

TEST_F(RxTest, ACallStopsWhenTheCacheIsFull) {
  device_->queues[0]->budget = RxBudget(kFrameSize);
  for (int i = 0; i < 7; ++i) arrive(pattern(45000));
  EXPECT_EQ(harness_.rx(*device_), 6u);  // the sixth passes 256 KB
  EXPECT_EQ(harness_.rx(*device_), 1u);
}

TEST_F(RxTest, AlsoWithPacketsThatAreDropped) {
  device_->queues[0]->budget = RxBudget(kFrameSize);
  for (int i = 0; i < 7; ++i)
    arrive(pattern(45000), {.flags = kVnetNeedsChecksum, .csum_start = 45000, .csum_offset = 16});
  EXPECT_EQ(harness_.rx(*device_), 6u);
  EXPECT_EQ(harness_.rx(*device_), 1u);
  EXPECT_EQ(harness_.counter(kMalformed), 7u);
  EXPECT_EQ(harness_.counters.bytes, 0u) << "none is received";
}

TEST_F(RxTest, AHeaderThatContradictsItsPacketDropsIt) {
  device_->queues[0]->budget = RxBudget(kFrameSize);
  arrive(pattern(60), {.flags = kVnetNeedsChecksum, .csum_start = 60, .csum_offset = 16});
  arrive(pattern(60));
  arrive(pattern(3000), {.gso_type = 3, .gso_size = 1000});
  EXPECT_EQ(harness_.rx(*device_), 3u);
  EXPECT_EQ(harness_.sink.size(), 1u);
  EXPECT_EQ(harness_.counter(kReceived), 1u);
  EXPECT_EQ(harness_.counter(kMalformed), 2u);
  EXPECT_EQ(harness_.counters.packets, 1u);
  EXPECT_EQ(harness_.counters.errors, 2u);
}

TEST_F(RxTest, ARuntIsCountedAndCostsNothing) {
  device_->queues[0]->budget = RxBudget(kFrameSize);
  for (const std::size_t n : {0u, 1u, 13u}) arrive(pattern(n));
  const char tiny = 1;
  ASSERT_EQ(send(peer_, &tiny, 1, 0), 1);  // not even a virtio-net header
  arrive(pattern(14));
  EXPECT_EQ(harness_.rx(*device_), 5u);
  EXPECT_EQ(harness_.counter(kRunt), 4u);
  EXPECT_EQ(harness_.sink.size(), 1u);
}

TEST_F(RxTest, NothingIsReadBeforeTheCountersAreThere) {
  device_->has_totals = false;
  arrive(pattern(60));
  EXPECT_EQ(harness_.rx(*device_), 0u);
  device_->has_totals = true;
  EXPECT_EQ(harness_.rx(*device_), 1u);
}

TEST_F(RxTest, BuffersAreNeitherLostNorFreedTwice) {
  for (int round = 0; round < 200; ++round) {
    arrive(pattern(14 + static_cast<std::size_t>(round) * 327));
    while (harness_.rx(*device_)) {}
    harness_.clear();
  }
  EXPECT_EQ(harness_.free_buffers() + device_->queues[0]->buffers.held().size(), all_);
}

class SmallPool : public RxTest {
 protected:
  SmallPool() : RxTest(256) {}
};

TEST_F(SmallPool, AnEmptyPoolLeavesPacketsInTheKernel) {
  arrive(pattern(60000));
  EXPECT_EQ(harness_.rx(*device_),
            1u);  // 30 of 33 buffers, and the budget: nothing is replaced yet
  std::vector<Buffer*> hoard;
  while (Buffer* b = harness_.worker().alloc()) hoard.push_back(b);
  arrive(pattern(61000));
  EXPECT_EQ(harness_.rx(*device_), 0u);
  EXPECT_EQ(harness_.counter(kNoBuffers), 1u);
  harness_.clear();  // 30 buffers: what is missing, and no more
  EXPECT_EQ(harness_.rx(*device_), 1u);
  EXPECT_EQ(bytes_of(*harness_.sink.at(0)), pattern(61000));
  harness_.worker().free(hoard);
}

class SmallBuffers : public RxTest {
 protected:
  SmallBuffers() : RxTest(4096, 512) {}
};

TEST_F(SmallBuffers, ThereAreMoreOfThem) {
  arrive(pattern(65553));
  ASSERT_EQ(harness_.rx(*device_), 1u);
  EXPECT_EQ(bytes_of(*harness_.sink.at(0)), pattern(65553));
}

}  // namespace
}  // namespace loom::tap
