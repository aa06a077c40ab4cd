// DriverOps::tx over a socket pair: what goes to the kernel, and what happens when it does not take
// it.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "harness.h"

namespace loom::tap {
namespace {

class TxTest : public ::testing::Test {
 protected:
  TxTest() {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
      throw std::runtime_error("socketpair");
    peer_ = pair[1];
    device_ = harness_.device_on(pair[0]);
    all_ = harness_.free_buffers();
  }
  ~TxTest() override { close(peer_); }
  std::string left() {  // the next datagram, without its header
    std::string s(70000, 0);
    const ssize_t n = recv(peer_, s.data(), s.size(), 0);
    if (n < static_cast<ssize_t>(kVnetSize)) return "nothing";
    std::memcpy(&header_, s.data(), kVnetSize);
    return s.substr(kVnetSize, static_cast<std::size_t>(n) - kVnetSize);
  }
  uint32_t send(std::vector<Buffer*> packets) {
    return tx(harness_.worker(), device_.get(), 0, packets);
  }
  Harness harness_{2048};
  int peer_ = -1;
  uint32_t all_ = 0;
  VnetHeader header_;
  std::unique_ptr<Device> device_;
};

TEST_F(TxTest, AChainLeavesInOnePiece) {
  const std::string bytes(9000, 'z');
  EXPECT_EQ(send({make_packet(harness_.worker(), bytes, 54)}), 1u);
  EXPECT_EQ(left(), bytes);
  EXPECT_EQ(header_.flags, 0);
  EXPECT_EQ(harness_.free_buffers(), all_);
}

struct Owner : ExternalOwner {
  std::vector<uint32_t> released;
};

TEST_F(TxTest, BytesElsewhereAreSentFromWhereTheyAre) {
  Owner owner;
  owner.release = [](Worker&, ExternalOwner& o, uint32_t token) noexcept {
    static_cast<Owner&>(o).released.push_back(token);
  };
  const std::string payload(5000, 'p');
  Buffer* b = make_packet(harness_.worker(), std::string(54, 'h'));
  b->next = harness_.worker().alloc_external(std::as_bytes(std::span(payload)), &owner, 42);
  b->rest_len = 5000;
  EXPECT_EQ(send({b}), 1u);
  EXPECT_EQ(left(), std::string(54, 'h') + payload);
  EXPECT_EQ(owner.released, std::vector<uint32_t>{42});  // let go only after it was sent
  EXPECT_EQ(harness_.free_buffers(), all_);
}

TEST_F(TxTest, WhatTheKernelHasNoRoomForStaysTheCallers) {
  std::vector<Buffer*> packets;
  for (int i = 0; i < 256; ++i)
    packets.push_back(make_packet(harness_.worker(), std::string(1500, 'x')));
  const uint32_t n = send(packets);
  ASSERT_GT(n, 0u);
  ASSERT_LT(n, 256u);  // a socket's default buffer does not hold them all
  EXPECT_EQ(bytes_of(*packets[n]), std::string(1500, 'x'));  // untouched
  harness_.worker().free({packets.data() + n, 256 - n});
  EXPECT_EQ(harness_.free_buffers(), all_);
}

TEST_F(TxTest, WhatTheKernelRefusesIsCountedAndFreed) {
  close(peer_);
  EXPECT_EQ(send({make_packet(harness_.worker(), std::string(60, 'x'))}), 1u);
  EXPECT_EQ(device_->tx_errors.refused, 1u);
  EXPECT_EQ(harness_.free_buffers(), all_);
}

TEST_F(TxTest, OffsetsThatLieOutsideAreCountedAndFreed) {
  Buffer* b = make_packet(harness_.worker(), std::string(60, 'x'));
  b->flags |= kBufferTxTcpChecksum;
  b->l4_offset = 2000;
  EXPECT_EQ(send({b, make_packet(harness_.worker(), "the next one is sent")}), 2u);
  EXPECT_EQ(left(), "the next one is sent");
  EXPECT_EQ(device_->tx_errors.bad_offsets, 1u);
  EXPECT_EQ(harness_.free_buffers(), all_);
}

TEST_F(TxTest, AChainOfTooManySegmentsIsCountedAndFreed) {
  Buffer* head = make_packet(harness_.worker(), "a");
  for (Buffer* last = head; head->rest_len < TxSegments::kMost; last = last->next) {
    last->next = make_packet(harness_.worker(), "b");
    ++head->rest_len;
  }
  EXPECT_EQ(send({head}), 1u);
  EXPECT_EQ(device_->tx_errors.too_many_segments, 1u);
  EXPECT_EQ(harness_.free_buffers(), all_);
}

}  // namespace
}  // namespace loom::tap
