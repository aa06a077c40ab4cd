// DriverOps::tx: what goes to the kernel, and what happens when it does not take it.
#include <gtest/gtest.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "harness.h"

namespace loom::af_packet {
namespace {

class TxPairTest : public ::testing::Test {
 protected:
  TxPairTest() {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
      throw std::runtime_error("socketpair");
    peer_ = UniqueFd(pair[1]);
    device_ = harness_.device_on(pair[0]);
    all_ = harness_.free_buffers();
  }
  Harness harness_{2048};
  UniqueFd peer_;
  uint32_t all_ = 0;
  std::unique_ptr<Device> device_;
};

TEST_F(TxPairTest, WhatTheKernelHasNoRoomForStaysTheCallers) {
  std::vector<Buffer*> packets;
  for (int i = 0; i < 256; ++i)
    packets.push_back(make_packet(harness_.worker(), std::string(1500, 'x')));
  const uint32_t n = tx(harness_.worker(), device_.get(), 0, packets);
  ASSERT_GT(n, 0u);
  ASSERT_LT(n, 256u);  // a socket's default buffer does not hold them all
  EXPECT_EQ(bytes_of(*packets[n]), std::string(1500, 'x'));  // untouched
  EXPECT_EQ(device_->tx_counters.socket_full, 256u - n);
  harness_.worker().free({packets.data() + n, 256 - n});
  EXPECT_EQ(harness_.free_buffers(), all_);
}

TEST_F(TxPairTest, WhatCannotBeSentIsCountedAndFreed) {
  Buffer* bad = make_packet(harness_.worker(), std::string(60, 'x'));
  bad->flags |= kBufferTxTcpChecksum;
  bad->l4_offset = 2000;
  Buffer* longest = make_packet(harness_.worker(), "a");
  for (Buffer* last = longest; longest->rest_len < TxSegments::kMost; last = last->next) {
    last->next = make_packet(harness_.worker(), "b");
    ++longest->rest_len;
  }
  Buffer* good = make_packet(harness_.worker(), "the next one is sent");
  EXPECT_EQ(tx(harness_.worker(), device_.get(), 0, std::array{bad, longest, good}), 3u);
  char text[64];
  EXPECT_EQ(recv(peer_.get(), text, sizeof text, 0), 30);
  EXPECT_EQ(device_->tx_counters.bad_offsets, 1u);
  EXPECT_EQ(device_->tx_counters.too_many_segments, 1u);
  peer_ = UniqueFd();
  Buffer* refused = make_packet(harness_.worker(), "x");
  EXPECT_EQ(tx(harness_.worker(), device_.get(), 0, {&refused, 1}), 1u);
  EXPECT_EQ(device_->tx_counters.refused, 1u);
  EXPECT_EQ(harness_.free_buffers(), all_);
}

class TxVethTest : public ::testing::Test {
 protected:
  void SetUp() override {
    enter_private_network();
    make_veth();
  }
  void TearDown() override { delete_veth(); }
  uint32_t send(Device& d, const std::string& bytes) {
    Buffer* b = make_packet(harness_.worker(), bytes, 54);
    return tx(harness_.worker(), &d, 0, {&b, 1});
  }
  Harness harness_{2048};
};

TEST_F(TxVethTest, ALargePacketLeavesInOnePiece) {
  Device& d = harness_.made();
  Far far;
  Buffer* b = make_packet(harness_.worker(), tcp_frame(60000), 54);
  b->flags |= kBufferTxTcpChecksum;
  b->l4_offset = static_cast<int16_t>(b->offset_of_data() + 34);
  b->gso_size = 1400;
  ASSERT_EQ(tx(harness_.worker(), &d, 0, {&b, 1}), 1u);
  EXPECT_EQ(far.next(), tcp_frame(60000));
  EXPECT_EQ(far.header.gso_size, 1400);
  EXPECT_EQ(far.header.gso_type, kVnetGsoTcp4);
}

void switch_tso_off() {
  ethtool_value off{.cmd = ETHTOOL_STSO, .data = 0};
  ifreq r{};
  std::strcpy(r.ifr_name, "near");
  r.ifr_data = reinterpret_cast<char*>(&off);
  const UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(ioctl(any.get(), SIOCETHTOOL, &r), 0) << strerror(errno);
}

Buffer* large_packet(Worker& w) {
  Buffer* b = make_packet(w, tcp_frame(5000), 54);
  b->flags |= kBufferTxTcpChecksum;
  b->l4_offset = static_cast<int16_t>(b->offset_of_data() + 34);
  b->gso_size = 1400;
  return b;
}

TEST_F(TxVethTest, WhatTheDeviceDoesNotCutTheKernelDoes) {
  switch_tso_off();
  Device& d = harness_.made();
  Far far;
  Buffer* b = large_packet(harness_.worker());
  ASSERT_EQ(tx(harness_.worker(), &d, 0, {&b, 1}), 1u);
  EXPECT_EQ(far.next().size(), 1454u);
  EXPECT_EQ(d.tx_counters.queue_full, 0u);
}

TEST_F(TxVethTest, WhatTheKernelDropsForFullQueuesIsCountedAndTheNextIsSent) {
  switch_tso_off();
  Device& d = harness_.made();
  const int on = 1;  // the kernel drops what it has to cut, as if a queue were full
  ASSERT_EQ(setsockopt(d.queues[0]->socket.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on),
            0);
  Far far;
  Buffer* next = make_packet(harness_.worker(), frame(60));
  EXPECT_EQ(tx(harness_.worker(), &d, 0, std::array{large_packet(harness_.worker()), next}), 2u);
  EXPECT_EQ(far.next(), frame(60));
  EXPECT_EQ(d.tx_counters.queue_full, 1u);
  EXPECT_EQ(d.tx_counters.socket_full, 0u);
}

// What a program prints.
std::string output_of(const std::string& command) {
  std::string all;
  FILE* out = popen(("PATH=$PATH:/usr/sbin:/sbin " + command).c_str(), "r");
  for (char line[512]; out && std::fgets(line, sizeof line, out);) all += line;
  EXPECT_TRUE(out && pclose(out) == 0) << command;
  return all;
}

// Packets that the queueing discipline of our end has sent.
uint64_t n_queued() {
  const std::string shown = output_of("tc -s -j qdisc show dev near");
  const std::string key = "\"packets\":";
  const auto at = shown.find(key);
  EXPECT_NE(at, shown.npos) << shown;
  return at == shown.npos ? 0 : std::strtoull(shown.c_str() + at + key.size(), nullptr, 10);
}

TEST_F(TxVethTest, TheQueueingDisciplineIsPassedByWithoutOffloadUnlessItIsAskedFor) {
  constexpr uint32_t kFrames = 64;  // more than the kernel sends itself
  for (const auto& [words, is_bypassed] : std::initializer_list<std::pair<std::string, bool>>{
           {"", false},
           {"qdisc-bypass-disable", false},
           {"cksum-gso-disable", true},
           {"cksum-gso-disable qdisc-bypass-disable", false}}) {
    Device& d = harness_.made(words);
    EXPECT_EQ(d.config.is_qdisc_bypassed, is_bypassed);
    output_of("tc qdisc replace dev near root pfifo");
    Far far;
    const uint64_t before = n_queued();
    for (uint32_t i = 0; i < kFrames; ++i) {
      EXPECT_EQ(send(d, frame(60)), 1u);
      EXPECT_EQ(far.next(), frame(60));
    }
    EXPECT_EQ(n_queued() - before < kFrames, is_bypassed) << words;
    EXPECT_EQ(harness_.cli("delete host-interface name near"), "");
  }
}

// Why it is not passed by with offload: what a device cuts itself gets through, until it no longer
// does (WhatTheKernelDropsForFullQueues...).
TEST_F(TxVethTest, PastTheQueueingDisciplineGoesWhatTheDeviceCuts) {
  Device& d = harness_.made();
  const int on = 1;
  ASSERT_EQ(setsockopt(d.queues[0]->socket.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on),
            0);
  Far far;
  Buffer* b = large_packet(harness_.worker());
  EXPECT_EQ(tx(harness_.worker(), &d, 0, {&b, 1}), 1u);
  EXPECT_EQ(far.next(), tcp_frame(5000));
  switch_tso_off();
  b = large_packet(harness_.worker());
  EXPECT_EQ(tx(harness_.worker(), &d, 0, {&b, 1}), 1u);
  EXPECT_EQ(d.tx_counters.queue_full, 1u);
}

TEST_F(TxVethTest, WhatIsLongerThanTheHostsMtuIsCounted) {
  Device& d = harness_.made();
  EXPECT_EQ(send(d, frame(1500)), 1u);
  EXPECT_EQ(d.tx_counters.too_long, 0u);
  EXPECT_EQ(send(d, frame(1501)), 1u);
  EXPECT_EQ(d.tx_counters.too_long, 1u);
}

TEST_F(TxVethTest, SegmentsThatAreLongerThanTheHostsMtuAreCounted) {
  Device& d = harness_.made();
  Buffer* b = large_packet(harness_.worker());
  b->gso_size = 1460;
  EXPECT_EQ(tx(harness_.worker(), &d, 0, {&b, 1}), 1u);
  EXPECT_EQ(d.tx_counters.too_long, 0u);
  b = large_packet(harness_.worker());
  b->gso_size = 1461;
  EXPECT_EQ(tx(harness_.worker(), &d, 0, {&b, 1}), 1u);
  EXPECT_EQ(d.tx_counters.too_long, 1u);
}

TEST_F(TxVethTest, AnInterfaceThatIsDownOrGoneIsNamed) {
  Device& d = harness_.made();
  ip("link set near down");
  EXPECT_EQ(send(d, frame(60)), 1u);
  EXPECT_EQ(d.tx_counters.host_down, 1u);
  delete_veth();
  EXPECT_EQ(send(d, frame(60)), 1u);
  EXPECT_EQ(d.tx_counters.host_down, 2u);
  make_veth();
}

}  // namespace
}  // namespace loom::af_packet
