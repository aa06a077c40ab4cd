// Packets between a real TAP and the kernel's own UDP and TCP: checksums and segmentation are left
// to the other side in both directions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include <hostloom/checksum.h>

#include "harness.h"

namespace loom::tap {
namespace {

const Ip4Address kHost{{10, 88, 0, 1}}, kUs{{10, 88, 0, 2}};
const MacAddress kOurMac{{2, 0xfe, 0, 0, 0, 2}};

struct Headers {
  EthernetHeader eth;
  Ip4Header ip;
  TcpHeader tcp;
};
static_assert(sizeof(Headers) == 54);

class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = enter_private_network(); !why.empty()) GTEST_SKIP() << why;
    ASSERT_EQ(harness_.cli("create tap host-ip4-addr 10.88.0.1/24"), "tap0");
    ASSERT_EQ(set_admin(harness_.device(), true), Status::kOk);
    // No neighbour discovery here: the kernel is told our address.
    arpreq a{};
    auto* in = reinterpret_cast<sockaddr_in*>(&a.arp_pa);
    in->sin_family = AF_INET;
    std::memcpy(&in->sin_addr, kUs.bytes.data(), 4);
    a.arp_ha.sa_family = ARPHRD_ETHER;
    std::memcpy(a.arp_ha.sa_data, kOurMac.bytes.data(), 6);
    a.arp_flags = ATF_COM | ATF_PERM;
    std::strcpy(a.arp_dev, "tap0");
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(ioctl(fd, SIOCSARP, &a), 0) << strerror(errno);
    close(fd);
  }
  void TearDown() override {
    for (const int fd : fds_) close(fd);
  }

  int kernel_socket(int type, uint16_t port) {
    const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    fds_.push_back(fd);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    std::memcpy(&at.sin_addr, kHost.bytes.data(), 4);
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at), 0) << strerror(errno);
    return fd;
  }

  // The next packet from the kernel with that IP protocol, or null. Others are dropped (IPv6
  // neighbour discovery, IGMP), and segments of an earlier test's connection, which the kernel
  // repeats by this TAP.
  Buffer* next(uint8_t protocol) {
    for (int tries = 0; tries < 20; ++tries) {
      for (; at_ < harness_.sink.size(); ++at_) {
        Buffer* b = harness_.sink[at_];
        const auto* eth = b->peek<EthernetHeader>();
        if (eth->type != kEtherTypeIp4 ||
            reinterpret_cast<const Ip4Header*>(b->data + 14)->protocol != protocol)
          continue;
        if (protocol == kProtoTcp &&
            reinterpret_cast<const TcpHeader*>(b->data + 34)->src_port != port_)
          continue;
        return harness_.sink[at_++];
      }
      if (!harness_.rx_wait(*harness_.device())) return nullptr;
    }
    return nullptr;
  }

  // A TCP segment from us to the kernel's port_. The checksum is left to the TAP.
  void send_tcp(uint8_t flags, uint32_t seq, uint32_t ack, const std::string& payload,
                uint16_t gso_size = 0) {
    Headers h{};
    h.eth = {harness_.device()->host_mac, kOurMac, kEtherTypeIp4};
    h.ip.version_ihl = 0x45;
    h.ip.total_length = static_cast<uint16_t>(40 + payload.size());
    h.ip.ttl = 64;
    h.ip.protocol = kProtoTcp;
    h.ip.src = kUs;
    h.ip.dst = kHost;
    h.ip.checksum = static_cast<uint16_t>(~checksum_fold(checksum_add(0, &h.ip, 20)));
    h.tcp.src_port = 9000;
    h.tcp.dst_port = port_;
    h.tcp.seq = seq;
    h.tcp.ack = ack;
    h.tcp.data_offset = 0x50;
    h.tcp.flags = flags;
    h.tcp.window = 65535;
    h.tcp.checksum = checksum_fold(
        pseudo_header_sum(kUs, kHost, kProtoTcp, static_cast<uint32_t>(20 + payload.size())));
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    Buffer* b = make_packet(harness_.worker(), bytes + payload);
    b->flags |= kBufferTxTcpChecksum;
    b->l4_offset = static_cast<int16_t>(b->offset_of_data() + 34);
    b->gso_size = gso_size;
    ASSERT_EQ(tx(harness_.worker(), harness_.device(), 0, {&b, 1}), 1u);
  }

  // We connect to a listening socket of the kernel; returns its end.
  int connected() {
    static uint16_t next_port = 7000;  // the kernel remembers the last test's connection
    port_ = next_port++;
    const int listener = kernel_socket(SOCK_STREAM, port_);
    EXPECT_EQ(listen(listener, 1), 0);
    send_tcp(0x02, 1000, 0, "");
    Buffer* syn_ack = next(kProtoTcp);
    if (!syn_ack) return -1;
    const auto* tcp = reinterpret_cast<const TcpHeader*>(syn_ack->data + 34);
    EXPECT_EQ(tcp->flags, 0x12);
    kernel_seq_ = tcp->seq + 1;
    send_tcp(0x10, 1001, kernel_seq_, "");
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    fds_.push_back(fd);
    return fd;
  }

  Harness harness_;
  std::vector<int> fds_;
  std::size_t at_ = 0;
  uint32_t kernel_seq_ = 0;
  uint16_t port_ = 0;
};

TEST_F(KernelTest, ADatagramArrivesWithItsChecksumUnfinished) {
  const int fd = kernel_socket(SOCK_DGRAM, 5000);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(6000);
  std::memcpy(&to.sin_addr, kUs.bytes.data(), 4);
  ASSERT_EQ(sendto(fd, "hello, loom", 11, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 11);
  Buffer* b = next(kProtoUdp);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(bytes_of(*b).substr(42), "hello, loom");
  EXPECT_EQ(b->flags, kBufferL4ChecksumOk | kBufferTxUdpChecksum);
  EXPECT_EQ(b->at<UdpHeader>(b->l4_offset)->dst_port, 6000);
  EXPECT_EQ(b->gso_size, 0);
}

TEST_F(KernelTest, TheKernelFinishesTheChecksumsThatWeLeave) {
  const int fd = connected();  // it would not have answered a SYN with a wrong checksum
  ASSERT_GE(fd, 0);
  send_tcp(0x18, 1001, kernel_seq_, "over the wall");
  char text[64];
  ASSERT_EQ(recv(fd, text, sizeof text, 0), 13);
  EXPECT_EQ(std::string(text, 13), "over the wall");
}

TEST_F(KernelTest, TheKernelsTcpSendsLargePackets) {
  const int fd = connected();
  ASSERT_GE(fd, 0);
  std::string data(5000, 0);  // within the initial window of 10 segments of 536 bytes
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + i / 255);
  ASSERT_EQ(send(fd, data.data(), data.size(), 0), 5000);
  std::string received;
  uint32_t largest = 0;
  while (received.size() < data.size()) {
    Buffer* b = next(kProtoTcp);
    ASSERT_NE(b, nullptr);
    received += bytes_of(*b).substr(54);
    if (b->length() - 54 <= largest) continue;
    largest = b->length() - 54;
    EXPECT_EQ(b->gso_size, 536);  // we offered no MSS option: RFC 9293 section 3.7.1
    EXPECT_TRUE(b->flags & kBufferL4ChecksumOk);
  }
  EXPECT_EQ(received, data);
  EXPECT_GT(largest, 2 * 536u);
}

TEST_F(KernelTest, TheKernelTakesLargePacketsFromUs) {
  const int fd = connected();
  ASSERT_GE(fd, 0);
  std::string data(40000, 0);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 13 + i / 253);
  send_tcp(0x18, 1001, kernel_seq_, data, 1460);
  std::string received(50000, 0);
  std::size_t n = 0;
  while (n < data.size()) {
    const ssize_t got = recv(fd, received.data() + n, received.size() - n, 0);
    ASSERT_GT(got, 0) << "after " << n << " bytes: " << strerror(errno);
    n += static_cast<std::size_t>(got);
  }
  received.resize(n);
  EXPECT_EQ(received, data);
  const TxErrors& e = harness_.device()->tx_errors;
  EXPECT_EQ(e.bad_offsets + e.refused + e.host_down + e.no_memory + e.too_many_segments, 0u);
}

TEST_F(KernelTest, EveryPacketIsCountedOnce) {
  const int fd = kernel_socket(SOCK_DGRAM, 5001);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(6000);
  std::memcpy(&to.sin_addr, kUs.bytes.data(), 4);
  for (int i = 0; i < 50; ++i)
    ASSERT_EQ(sendto(fd, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 1);
  for (int i = 0; i < 50; ++i) ASSERT_NE(next(kProtoUdp), nullptr) << i;
  EXPECT_EQ(harness_.counter(kReceived), harness_.sink.size());
  EXPECT_EQ(harness_.counters.packets, harness_.sink.size());
  uint64_t bytes = 0;
  for (const Buffer* b : harness_.sink) bytes += b->length();
  EXPECT_EQ(harness_.counters.bytes, bytes);
}

}  // namespace
}  // namespace loom::tap
