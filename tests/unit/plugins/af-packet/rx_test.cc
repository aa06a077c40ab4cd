// DriverOps::rx: over a socket pair, packets that no kernel would send; over a veth, what the
// kernel keeps beside the packet.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "harness.h"
#include "system_calls.h"

namespace loom::af_packet {
namespace {

class RxPairTest : public ::testing::Test {
 protected:
  RxPairTest() {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
      throw std::runtime_error("socketpair");
    peer_ = UniqueFd(pair[1]);
    const int room = 1 << 20;  // as far as the system allows
    setsockopt(peer_.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    all_ = harness_.free_buffers();
    device_ = harness_.device_on(pair[0]);
  }
  // As the kernel would: longer ones than a slot go by the socket.
  void arrive(const std::string& packet, VnetHeader h = {}) {
    if (packet.size() > kRoom) {
      const std::string s = std::string(reinterpret_cast<const char*>(&h), sizeof h) + packet;
      ASSERT_EQ(send(peer_.get(), s.data(), s.size(), 0), static_cast<ssize_t>(s.size()));
      return fill(packet.substr(0, kRoom), packet.size(), h, TP_STATUS_COPY);
    }
    fill(packet, packet.size(), h);
  }
  void fill(const std::string& packet, std::size_t length, VnetHeader h = {}, uint32_t status = 0,
            uint16_t mac = kMac) {
    std::byte* slot = harness_.ring_memory + at_++ % RxRing::kSlots * RxRing::kSlotSize;
    tpacket2_hdr head{};
    head.tp_len = static_cast<uint32_t>(length);
    head.tp_snaplen = static_cast<uint32_t>(packet.size());
    head.tp_mac = mac;
    head.tp_status = TP_STATUS_USER | status;
    std::memcpy(slot, &head, sizeof head);
    if (mac != kMac) return;
    std::memcpy(slot + kMac - kVnetSize, &h, kVnetSize);
    std::memcpy(slot + kMac, packet.data(), std::min<std::size_t>(packet.size(), kRoom));
  }
  static constexpr uint16_t kMac = 76;
  static constexpr std::size_t kRoom = RxRing::kSlotSize - kMac;
  std::size_t at_ = 0;
  Harness harness_{4096};
  UniqueFd peer_;
  uint32_t all_ = 0;
  std::unique_ptr<Device> device_;
};

TEST_F(RxPairTest, PacketsOfEverySizeBecomeRightChains) {
  for (const uint32_t n : {14u, 1971u, 1972u, 1973u, 2049u, 4097u, 65549u, 65553u}) {
    harness_.clear();
    arrive(pattern(n));
    ASSERT_EQ(harness_.rx(*device_), 1u) << n;
    EXPECT_EQ(bytes_of(*harness_.sink.at(0)), pattern(n)) << n;
    EXPECT_EQ(harness_.sink[0]->rx_if, 7u);
  }
  EXPECT_EQ(harness_.counters.packets, 8u);
}

TEST_F(RxPairTest, AQueueThatIsPolledAsksTheKernelForNothing) {
  Worker& w = harness_.worker();
  NodeRuntime& rt = harness_.input();
  Device& d = *device_;
  const auto empty_rounds = [&] {
    return count_system_calls([&] {
      for (int i = 0; i < 96; ++i) loom::af_packet::rx(w, rt, &d, 0);
    });
  };
  EXPECT_EQ(empty_rounds(), 3);  // every 32nd looks for an error in the socket
  kDriver.set_rx_mode(device_.get(), 0, RxMode::kPolling);
  EXPECT_EQ(empty_rounds(), 0);
  kDriver.set_rx_mode(device_.get(), 0, RxMode::kInterrupt);
  EXPECT_EQ(empty_rounds(), 3);
}

TEST_F(RxPairTest, OrderIsTheRings) {
  for (const uint32_t n : {60u, 5000u, 61u, 62u, 6000u, 63u}) arrive(pattern(n));
  EXPECT_EQ(harness_.rx(*device_), 6u);
  std::vector<uint32_t> lengths;
  for (const Buffer* b : harness_.sink) lengths.push_back(b->length());
  EXPECT_EQ(lengths, (std::vector<uint32_t>{60, 5000, 61, 62, 6000, 63}));
}

TEST_F(RxPairTest, ACallEndsAfterAFrameOrWhenTheCacheIsFull) {
  for (int i = 0; i < 300; ++i) arrive(pattern(60));
  EXPECT_EQ(harness_.rx(*device_), 256u);
  EXPECT_EQ(harness_.rx(*device_), 44u);
  for (int i = 0; i < 7; ++i) {
    arrive(pattern(45000));
    if (i == 2) {
      EXPECT_EQ(harness_.rx(*device_), 3u);  // the pair does not hold them all
    }
    harness_.clear();
  }
  EXPECT_EQ(harness_.rx(*device_), 4u);
  EXPECT_EQ(harness_.rx(*device_), 0u);
}

TEST_F(RxPairTest, BytesOfPacketsThatAreDroppedCount) {
  const VnetHeader bad{.flags = kVnetNeedsChecksum, .csum_start = 1900, .csum_offset = 16};
  for (int i = 0; i < 200; ++i) arrive(pattern(1900), bad);
  constexpr uint32_t kFirst = RxBudget::kMaxBytes / 1900 + 1;
  EXPECT_EQ(harness_.rx(*device_), kFirst);
  EXPECT_EQ(harness_.rx(*device_), 200 - kFirst);
  EXPECT_EQ(harness_.counter(kMalformed), 200u);
  EXPECT_EQ(harness_.counters.bytes, 0u) << "none is received";
}

TEST_F(RxPairTest, SoDoThoseOfPacketsThatAreTooLong) {
  for (int i = 0; i < 2; ++i) arrive(pattern(70000));
  for (int i = 0; i < 200; ++i) arrive(pattern(1900));
  constexpr uint32_t kCopied = 33 * kDefaultDataSize;  // of each: the buffers that stand ready
  constexpr uint32_t kLeft = RxBudget::kMaxBytes - 2 * kCopied;
  EXPECT_EQ(harness_.rx(*device_), 2 + kLeft / 1900 + 1);
  EXPECT_EQ(harness_.counter(kTooLong), 2u);
}

TEST_F(RxPairTest, TheRingGoesRound) {
  for (uint32_t i = 0; i < 2 * RxRing::kSlots + 5; ++i) {
    arrive(pattern(14 + i % 1000));
    ASSERT_EQ(harness_.rx(*device_), 1u) << i;
    EXPECT_EQ(harness_.sink.at(0)->length(), 14 + i % 1000);
    harness_.clear();
  }
  EXPECT_EQ(harness_.free_buffers(), all_);
}

TEST_F(RxPairTest, EveryPacketEndsInOneCounter) {
  arrive(pattern(60), {.flags = kVnetNeedsChecksum, .csum_start = 60, .csum_offset = 16});
  arrive(pattern(13));
  arrive(pattern(60));
  arrive(pattern(70000));                     // more than there is room for: the kernel cuts it off
  fill(pattern(kRoom), 3000);                 // there was no room for it in the queue
  fill(pattern(60), 60, {}, TP_STATUS_COPY);  // and nothing is there
  fill(pattern(60), 60, {}, 0, 20);           // slots that no kernel writes
  fill(pattern(60), 60, {}, 0, 4000);
  fill(std::string(kRoom + 1, 'x'), kRoom + 1);
  EXPECT_EQ(harness_.rx(*device_), 9u);
  EXPECT_EQ(harness_.counter(kReceived), 1u);
  EXPECT_EQ(harness_.counter(kMalformed), 1u);
  EXPECT_EQ(harness_.counter(kRunt), 1u);
  EXPECT_EQ(harness_.counter(kTooLong), 1u);
  EXPECT_EQ(harness_.counter(kSocketFull), 1u);
  EXPECT_EQ(harness_.counter(kReadFailed), 4u);
  EXPECT_EQ(harness_.counters.packets, 1u);
  EXPECT_EQ(harness_.counters.errors, 8u);
  harness_.clear();
  EXPECT_EQ(harness_.free_buffers() + device_->queues[0]->buffers.held().size(), all_);
}

TEST_F(RxPairTest, AnEmptyPoolLeavesPacketsWhereTheyAre) {
  std::vector<Buffer*> hoard;
  while (Buffer* b = harness_.worker().alloc()) hoard.push_back(b);
  arrive(pattern(60));
  arrive(pattern(5000));
  EXPECT_EQ(harness_.rx(*device_), 0u);
  EXPECT_EQ(harness_.counter(kNoBuffers), 1u);
  harness_.worker().free(hoard.back());
  hoard.pop_back();
  EXPECT_EQ(harness_.rx(*device_), 1u);  // of the second not one of its buffers
  EXPECT_EQ(harness_.counter(kNoBuffers), 2u);
  harness_.worker().free(hoard);
  EXPECT_EQ(harness_.rx(*device_), 1u);
  EXPECT_EQ(bytes_of(*harness_.sink.at(1)), pattern(5000));
}

TEST_F(RxPairTest, NothingIsReadBeforeTheCountersAreThere) {
  device_->has_totals = false;
  arrive(pattern(60));
  EXPECT_EQ(harness_.rx(*device_), 0u);
  device_->has_totals = true;
  EXPECT_EQ(harness_.rx(*device_), 1u);
}

TEST_F(RxPairTest, DatagramsThatAreToBeCutStayTogether) {
  std::string ip(20, '\0');
  ip[0] = 0x45;
  ip[9] = kProtoUdp;
  const std::string udp = std::string(12, '\2') + std::string("\x08\x00", 2) + ip +
                          std::string(8, '\0') + pattern(3000);
  const VnetHeader h{.flags = kVnetNeedsChecksum,
                     .gso_type = kVnetGsoUdp,
                     .gso_size = 1000,
                     .csum_start = 34,
                     .csum_offset = 6};
  arrive(udp, h);
  VnetHeader wrong = h;
  wrong.csum_offset = 16;
  arrive(udp, wrong);
  EXPECT_EQ(harness_.rx(*device_), 2u);
  ASSERT_EQ(harness_.sink.size(), 1u);
  EXPECT_EQ(harness_.sink[0]->gso_size, 1000);
  EXPECT_EQ(harness_.sink[0]->flags, kBufferL4ChecksumOk | kBufferTxUdpChecksum);
  EXPECT_EQ(harness_.counter(kMalformed), 1u);
  VnetHeader out;
  EXPECT_FALSE(vnet_make_to_send(*harness_.sink[0], out));  // nobody would cut it as TCP
}

TEST_F(RxPairTest, ALargePacketInATunnelIsUnsupportedAndOneThatIsVerifiedIsGood) {
  arrive(tcp_frame(3000), {.flags = kVnetDataValid, .gso_type = kVnetGsoTcp4, .gso_size = 1400});
  std::string ipip = tcp_frame(0).substr(0, 34) + tcp_frame(3000).substr(14);
  ipip[14 + 9] = 4;
  VnetHeader inner = gso();
  inner.csum_start = 54;
  arrive(ipip, inner);
  EXPECT_EQ(harness_.rx(*device_), 2u);
  ASSERT_EQ(harness_.sink.size(), 1u);
  EXPECT_EQ(harness_.sink[0]->gso_size, 1400);
  EXPECT_EQ(harness_.counter(kMalformed), 0u);
  EXPECT_EQ(harness_.counter(kUnsupported), 1u);
  EXPECT_EQ(harness_.counters.errors, 1u);
}

class RxVethTest : public ::testing::Test {
 protected:
  void SetUp() override {
    enter_private_network();
    make_veth();
  }
  void TearDown() override { delete_veth(); }
  Harness harness_{4096};
};

TEST_F(RxVethTest, ATagThatTheKernelKeepsBesideThePacketIsPutBack) {
  Device& d = harness_.made();
  Far far;
  far.send(frame(100, /*vlan=*/0x123));
  far.send(frame(100));
  ASSERT_TRUE(harness_.wait_for(d, 2));
  EXPECT_EQ(bytes_of(*harness_.own()[0]), frame(100, 0x123));
  EXPECT_EQ(bytes_of(*harness_.own()[1]), frame(100));
}

TEST_F(RxVethTest, ALargePacketArrivesWithItsOffsets) {
  Device& d = harness_.made();
  Far far;
  far.send(tcp_frame(40000), gso());
  ASSERT_TRUE(harness_.wait_for(d, 1));
  const Buffer& b = *harness_.own()[0];
  EXPECT_EQ(bytes_of(b), tcp_frame(40000));
  EXPECT_EQ(b.gso_size, 1400);
  EXPECT_EQ(b.flags, kBufferL4ChecksumOk | kBufferTxTcpChecksum);
  EXPECT_EQ(b.l4_offset, b.offset_of_data() + 34);
}

TEST_F(RxVethTest, WhatWeSendDoesNotComeBack) {
  Device& d = harness_.made("num-rx-queues 2");
  Far far;
  Buffer* b = make_packet(harness_.worker(), frame(60));
  ASSERT_EQ(tx(harness_.worker(), &d, 0, {&b, 1}), 1u);
  ASSERT_EQ(far.next(), frame(60));  // it has passed whoever listens
  far.send(frame(61));
  ASSERT_TRUE(harness_.wait_for(d, 1));
  EXPECT_EQ(bytes_of(*harness_.own()[0]), frame(61));
}

TEST_F(RxVethTest, WhatOthersSendIsNotReceived) {
  Device& d = harness_.made("num-rx-queues 2");
  Far far, other("near");
  other.send(frame(60));
  ASSERT_EQ(far.next(), frame(60));
  far.send(frame(61));
  ASSERT_TRUE(harness_.wait_for(d, 1));
  EXPECT_EQ(bytes_of(*harness_.own()[0]), frame(61));
}

TEST_F(RxVethTest, OfTwoQueuesOneGetsAPacket) {
  Device& d = harness_.made("num-rx-queues 2");
  Far far;
  for (std::size_t i = 0; i < 20; ++i) far.send(frame(60 + i));
  ASSERT_TRUE(harness_.wait_for(d, 20));
  far.send(frame(1000));
  ASSERT_TRUE(harness_.wait_for(d, 21));
  EXPECT_EQ(harness_.own().size(), 21u);
}

TEST_F(RxVethTest, DownNothingIsReceivedAndNobodyIsWoken) {
  Device& d = harness_.made();
  Far far;
  EXPECT_EQ(set_admin(&d, false), Status::kOk);
  far.send(frame(60));
  EXPECT_EQ(take_counts(d.queues[0]->socket.get()).packets, 0u);  // it is not kept for later
  ip("link set near down");  // an error that waits in the socket
  ip("link set near up");
  pollfd p{.fd = d.queues[0]->ready.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
  EXPECT_EQ(set_admin(&d, true), Status::kOk);
  far.send(frame(61));
  ASSERT_TRUE(harness_.wait_for(d, 1));
  EXPECT_EQ(bytes_of(*harness_.own()[0]), frame(61));
}

TEST_F(RxVethTest, WhatCameBeforeItWentDownIsThrownAway) {
  Device& d = harness_.made();
  Far far;
  far.send(frame(60));  // in the ring
  far.send(tcp_frame(40000), gso());
  EXPECT_EQ(set_admin(&d, false), Status::kOk);
  EXPECT_EQ(set_admin(&d, true), Status::kOk);
  far.send(frame(61));
  far.send(tcp_frame(41000), gso());
  ASSERT_TRUE(harness_.wait_for(d, 2));
  EXPECT_EQ(bytes_of(*harness_.own()[0]), frame(61));
  EXPECT_EQ(bytes_of(*harness_.own()[1]), tcp_frame(41000));
}

TEST_F(RxVethTest, WhatTheKernelHadNoRoomForIsCounted) {
  Device& d = harness_.made();
  Far far;
  for (uint32_t i = 0; i < RxRing::kSlots + 50; ++i) far.send(frame(100));
  ASSERT_TRUE(harness_.wait_for(d, RxRing::kSlots));
  note_kernel_drops(d);
  EXPECT_EQ(d.kernel_drops, 50u);
  EXPECT_EQ(harness_.own().size(), RxRing::kSlots);
}

TEST_F(RxVethTest, LargePacketsThatTheSocketHadNoRoomForAreCounted) {
  Device& d = harness_.made();
  const int little = 1;  // the kernel makes it two large packets' worth at most
  ASSERT_EQ(setsockopt(d.queues[0]->socket.get(), SOL_SOCKET, SO_RCVBUF, &little, sizeof little),
            0);
  Far far;
  for (int i = 0; i < 10; ++i) far.send(tcp_frame(40000), gso());
  far.send(frame(100));
  while (harness_.own().empty() || harness_.own().back()->length() > 1000)
    ASSERT_TRUE(harness_.wait_for(d, harness_.own().size() + 1));
  EXPECT_GT(harness_.counter(kSocketFull), 0u);
  EXPECT_EQ(harness_.counter(kSocketFull) + harness_.own().size(), 11u);
}

// A TAP is the host's interface: whoever holds it sends with any header.
class RxTapTest : public ::testing::Test {
 protected:
  void SetUp() override {
    enter_private_network();
    tap_ = UniqueFd(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    if (!tap_) GTEST_SKIP() << "/dev/net/tun may not be opened";
    ifreq r{};
    std::strcpy(r.ifr_name, "near");
    r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    ASSERT_EQ(ioctl(tap_.get(), TUNSETIFF, &r), 0) << strerror(errno);
    ip("link set near addrgenmode none");
  }
  void send(const std::string& frame, VnetHeader h = {}) {
    const std::string s = std::string(reinterpret_cast<const char*>(&h), sizeof h) + frame;
    ASSERT_EQ(write(tap_.get(), s.data(), s.size()), static_cast<ssize_t>(s.size()));
  }
  // A datagram that is to be cut into fragments (UFO), which no packet socket has words for.
  void send_undescribed() {
    std::string s = tcp_frame(2988);
    s[14 + 9] = kProtoUdp;
    send(s, {.flags = kVnetNeedsChecksum,
             .gso_type = 3,
             .hdr_len = 42,
             .gso_size = 1400,
             .csum_start = 34,
             .csum_offset = 6});
  }
  UniqueFd tap_;
  Harness harness_{4096};
};

TEST_F(RxTapTest, APacketThatTheKernelCannotDescribeStopsNoQueue) {
  Device& d = harness_.made();
  send(frame(60));
  ASSERT_TRUE(harness_.wait_for(d, 1));
  send_undescribed();
  int looks = 0;
  while (d.queues[0]->ring && ++looks < 100) {  // a tick looks
    send(frame(61));
    ASSERT_TRUE(harness_.news());
  }
  EXPECT_FALSE(d.queues[0]->ring);
  EXPECT_THAT(harness_.log.back(), ::testing::HasSubstr("each packet is read now"));
  send(frame(62));
  send(tcp_frame(40000), gso());
  send_undescribed();
  send(frame(63));
  ASSERT_TRUE(harness_.wait_for(d, 4));
  EXPECT_EQ(bytes_of(*harness_.own()[1]), frame(62));
  EXPECT_EQ(bytes_of(*harness_.own()[2]), tcp_frame(40000));
  EXPECT_EQ(bytes_of(*harness_.own()[3]), frame(63));
  EXPECT_EQ(harness_.counter(kUnsupported), 1u);
}

TEST_F(RxTapTest, ARingThatIsFullHasNotStopped) {
  Device& d = harness_.made();
  EXPECT_FALSE(has_stopped_ring(d));
  for (uint32_t i = 0; i < RxRing::kSlots; ++i) send(frame(60));
  EXPECT_FALSE(has_stopped_ring(d));
  send(frame(60));  // dropped, as the worker is late
  EXPECT_FALSE(has_stopped_ring(d));
  EXPECT_EQ(d.kernel_drops, 1u);
}

TEST(RxRingTest, OldKernelsHaveNone) {
  for (const char* old : {"4.20.0", "5.10.0-21-amd64", "6.1.0-9-amd64", "6", "", "next"})
    EXPECT_FALSE(RxRing::can_use(old)) << old;
  for (const char* release : {"6.2.0", "6.18.44-a", "7.0.1", "10.0"})
    EXPECT_TRUE(RxRing::can_use(release)) << release;
}

}  // namespace
}  // namespace loom::af_packet
