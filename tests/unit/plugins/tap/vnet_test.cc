// The virtio-net header against packets that fit it and packets that do not.
#include <gtest/gtest.h>

#include <cstring>

#include <hostloom/virtio_net.h>

#include "harness.h"

namespace loom::tap {
namespace {

constexpr uint32_t kHeaders4 = 14 + 20 + 20;

std::string tcp_frame(bool is_ip6, std::size_t payload, bool vlan = false) {
  std::string s(12, '\x02');
  if (vlan) s += std::string("\x81\x00\x00\x05", 4);
  s += is_ip6 ? std::string("\x86\xdd", 2) : std::string("\x08\x00", 2);
  if (is_ip6) {
    std::string ip(40, '\0');
    ip[0] = 0x60;
    ip[6] = kProtoTcp;
    s += ip;
  } else {
    std::string ip(20, '\0');
    ip[0] = 0x45;
    ip[9] = kProtoTcp;
    s += ip;
  }
  std::string tcp(20, '\0');
  tcp[12] = 0x50;
  return s + tcp + std::string(payload, 'x');
}

bool apply(const VnetHeader& h, Buffer& b) {
  return vnet_apply_received(h, b) == VnetVerdict::kGood;
}

class VnetTest : public ::testing::Test {
 protected:
  Buffer* packet(const std::string& bytes) {
    harness_.clear();
    harness_.sink.push_back(make_packet(harness_.worker(), bytes));
    return harness_.sink.back();
  }
  static VnetHeader gso4(uint16_t size) {
    return {.flags = kVnetNeedsChecksum,
            .gso_type = kVnetGsoTcp4,
            .hdr_len = kHeaders4,
            .gso_size = size,
            .csum_start = 34,
            .csum_offset = 16};
  }
  Harness harness_{1024};
};

TEST_F(VnetTest, APlainHeaderSaysNothing) {
  Buffer* b = packet(tcp_frame(false, 10));
  EXPECT_TRUE(apply({}, *b));
  EXPECT_EQ(b->flags, 0u);
  EXPECT_EQ(b->gso_size, 0);
}

TEST_F(VnetTest, DataValidMeansVerified) {
  Buffer* b = packet(tcp_frame(false, 10));
  EXPECT_TRUE(apply({.flags = kVnetDataValid}, *b));
  EXPECT_EQ(b->flags, kBufferL4ChecksumOk);
}

TEST_F(VnetTest, AnUnfinishedChecksumIsGoodHereAndStillToDoElsewhere) {
  Buffer* b = packet(tcp_frame(false, 10));
  EXPECT_TRUE(apply({.flags = kVnetNeedsChecksum, .csum_start = 34, .csum_offset = 16}, *b));
  EXPECT_EQ(b->flags, kBufferL4ChecksumOk | kBufferTxTcpChecksum);
  EXPECT_EQ(b->l4_offset, b->offset_of_data() + 34);
  b = packet(tcp_frame(true, 10));
  EXPECT_TRUE(apply({.flags = kVnetNeedsChecksum, .csum_start = 54, .csum_offset = 6}, *b));
  EXPECT_EQ(b->flags, kBufferL4ChecksumOk | kBufferTxUdpChecksum | kBufferIsIp6);
}

TEST_F(VnetTest, ChecksumOffsetsOutsideThePacketAreRefused) {
  const std::string frame = tcp_frame(false, 10);  // 64 bytes
  const auto refused = [&](uint16_t start, uint16_t offset) {
    return !apply({.flags = kVnetNeedsChecksum, .csum_start = start, .csum_offset = offset},
                  *packet(frame));
  };
  EXPECT_TRUE(refused(64, 0));
  EXPECT_TRUE(refused(48, 16));  // one past the last byte
  EXPECT_FALSE(refused(46, 16));
  EXPECT_TRUE(refused(0xffff, 0xffff));
  EXPECT_TRUE(refused(34, 0xffff));
  EXPECT_TRUE(refused(0, 16));   // inside the Ethernet header
  EXPECT_TRUE(refused(35, 16));  // no header begins at an odd byte
}

TEST_F(VnetTest, ALargePacketCarriesItsSegmentSize) {
  Buffer* b = packet(tcp_frame(false, 5000));
  EXPECT_TRUE(apply(gso4(1460), *b));
  EXPECT_EQ(b->gso_size, 1460);
  VnetHeader ecn = gso4(1460);
  ecn.gso_type |= kVnetGsoEcn;
  b = packet(tcp_frame(false, 5000));
  EXPECT_TRUE(apply(ecn, *b));
  EXPECT_EQ(b->gso_size, 1460);
  b = packet(tcp_frame(false, 5000, /*vlan=*/true));
  VnetHeader vlan = gso4(1460);
  vlan.csum_start = 38;
  EXPECT_TRUE(apply(vlan, *b));
  EXPECT_EQ(b->gso_size, 1460);
  VnetHeader six = gso4(1440);
  six.gso_type = kVnetGsoTcp6;
  six.csum_start = 54;
  b = packet(tcp_frame(true, 5000));
  EXPECT_TRUE(apply(six, *b));
  EXPECT_EQ(b->gso_size, 1440);
}

TEST_F(VnetTest, ALargePacketOfOneSegmentIsAPlainOne) {
  Buffer* b = packet(tcp_frame(false, 1000));
  EXPECT_TRUE(apply(gso4(1460), *b));
  EXPECT_EQ(b->gso_size, 0);
}

TEST_F(VnetTest, SegmentationThatContradictsThePacketIsRefused) {
  const std::string frame = tcp_frame(false, 5000);
  const auto refused = [&](VnetHeader h, const std::string& bytes) {
    return !apply(h, *packet(bytes));
  };
  EXPECT_TRUE(refused(gso4(0), frame));
  VnetHeader h = gso4(1460);
  h.flags = 0;  // segmenting needs the checksum offload
  EXPECT_TRUE(refused(h, frame));
  h = gso4(1460);
  h.gso_type = kVnetGsoTcp6;
  EXPECT_TRUE(refused(h, frame));
  h.gso_type = 3;  // UFO: never offered
  EXPECT_TRUE(refused(h, frame));
  h.gso_type = 5;  // USO: never offered
  EXPECT_TRUE(refused(h, frame));
  h.gso_type = kVnetGsoEcn;
  EXPECT_TRUE(refused(h, frame));
  EXPECT_TRUE(refused(gso4(1460), frame.substr(0, kHeaders4 - 1)));  // no whole TCP header
  std::string odd = frame;
  odd[14] = 0x41;  // IHL of 4 bytes
  EXPECT_TRUE(refused(gso4(1460), odd));
  odd = frame;
  odd[14 + 9] = kProtoUdp;
  EXPECT_TRUE(refused(gso4(1460), odd));
  odd = frame;
  odd[14 + 20 + 12] = 0x10;  // TCP header of 4 bytes
  EXPECT_TRUE(refused(gso4(1460), odd));
  h = gso4(1460);
  for (const uint16_t start : {16, 32, 36, 54}) {  // no header begins there
    h.csum_start = start;
    EXPECT_EQ(vnet_apply_received(h, *packet(frame)), VnetVerdict::kMalformed) << start;
  }
}

// A large frame inside a datagram to port 4789 (RFC 7348), whose checksum is left out.
std::string vxlan_frame(bool is_outer_ip6, const std::string& inner) {
  std::string s = tcp_frame(is_outer_ip6, 0);
  s.resize(s.size() - 20);  // its TCP header
  s[14 + (is_outer_ip6 ? 6 : 9)] = static_cast<char>(kProtoUdp);
  std::string udp(8, '\0'), vxlan(8, '\0');
  udp[2] = 0x12;
  udp[3] = static_cast<char>(0xb5);
  vxlan[0] = 8;
  return s + udp + vxlan + inner;
}

TEST_F(VnetTest, ALargePacketInATunnelIsUnsupported) {
  for (const bool is_outer_ip6 : {false, true}) {
    for (const bool is_ip6 : {false, true}) {
      const std::string frame = vxlan_frame(is_outer_ip6, tcp_frame(is_ip6, 5000));
      VnetHeader h = gso4(1400);
      h.gso_type = is_ip6 ? kVnetGsoTcp6 : kVnetGsoTcp4;
      h.csum_start =
          static_cast<uint16_t>(14 + (is_outer_ip6 ? 40 : 20) + 16 + 14 + (is_ip6 ? 40 : 20));
      EXPECT_EQ(vnet_apply_received(h, *packet(frame)), VnetVerdict::kUnsupported);
      h.gso_type = kVnetGsoUdp;  // datagrams in datagrams: not the outer ones are to be cut
      h.csum_offset = 6;
      EXPECT_EQ(vnet_apply_received(h, *packet(frame), true), VnetVerdict::kUnsupported);
      h.gso_type = is_ip6 ? kVnetGsoTcp6 : kVnetGsoTcp4;
      h.csum_offset = 16;
      h.flags = kVnetDataValid;
      h.csum_start = h.csum_offset = 0;
      EXPECT_EQ(vnet_apply_received(h, *packet(frame)), VnetVerdict::kUnsupported);
      // Newer kernels say so, if they are asked to.
      h.gso_type |= is_outer_ip6 ? 0x40 : 0x20;
      EXPECT_EQ(vnet_apply_received(h, *packet(frame)), VnetVerdict::kUnsupported);
    }
  }
  std::string ipip = tcp_frame(false, 0).substr(0, 34) + tcp_frame(false, 5000).substr(14);
  ipip[14 + 9] = 4;
  VnetHeader h = gso4(1400);
  h.csum_start = 54;
  EXPECT_EQ(vnet_apply_received(h, *packet(ipip)), VnetVerdict::kUnsupported);
  h.csum_start = 34;  // where no TCP is
  EXPECT_EQ(vnet_apply_received(h, *packet(ipip)), VnetVerdict::kMalformed);
  std::string mpls = tcp_frame(false, 5000);
  mpls.replace(12, 2, std::string("\x88\x47\x00\x01\x01\x40", 6));
  h.csum_start = 38;
  EXPECT_EQ(vnet_apply_received(h, *packet(mpls)), VnetVerdict::kUnsupported);
}

TEST_F(VnetTest, ALargePacketThatIsVerifiedIsGoodAndCanLeaveAgain) {  // LRO
  for (const bool is_ip6 : {false, true}) {
    for (const bool vlan : {false, true}) {
      std::string frame = tcp_frame(is_ip6, 5000, vlan);
      const uint32_t l3 = vlan ? 18 : 14, l4 = l3 + (is_ip6 ? 40 : 20);
      for (uint32_t i = is_ip6 ? 8 : 12; i < (is_ip6 ? 40u : 20u); ++i)  // addresses
        frame[l3 + i] = static_cast<char>(i * 5);
      const VnetHeader h{.flags = kVnetDataValid,
                         .gso_type = is_ip6 ? kVnetGsoTcp6 : kVnetGsoTcp4,
                         .gso_size = 1400};
      Buffer* b = packet(frame);
      ASSERT_EQ(vnet_apply_received(h, *b), VnetVerdict::kGood);
      EXPECT_EQ(b->gso_size, 1400);
      EXPECT_EQ(b->flags, kBufferL4ChecksumOk | kBufferTxTcpChecksum |
                              (is_ip6 ? kBufferIsIp6 : BufferFlags{}));
      // RFC 9293 section 3.1, RFC 8200 section 8.1: addresses, protocol, 5,020 bytes.
      uint32_t sum = kProtoTcp + 5020;
      for (uint32_t i = is_ip6 ? 8 : 12; i < (is_ip6 ? 40u : 20u); i += 2)
        sum += static_cast<uint32_t>(static_cast<uint8_t>(frame[l3 + i]) << 8 |
                                     static_cast<uint8_t>(frame[l3 + i + 1]));
      while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
      EXPECT_EQ(bytes_of(*b).substr(l4 + 16, 2),
                (std::string{static_cast<char>(sum >> 8), static_cast<char>(sum)}));
      VnetHeader out;
      ASSERT_TRUE(vnet_make_to_send(*b, out));
      EXPECT_EQ(out.csum_start, l4);
      EXPECT_EQ(out.gso_type, h.gso_type);
      EXPECT_EQ(out.gso_size, 1400);
      // One segment keeps the checksum that it has.
      const std::string small = tcp_frame(is_ip6, 1400, vlan);
      b = packet(small);
      ASSERT_EQ(vnet_apply_received(h, *b), VnetVerdict::kGood);
      EXPECT_EQ(b->flags, kBufferL4ChecksumOk);
      EXPECT_EQ(bytes_of(*b), small);
    }
  }
}

TEST_F(VnetTest, EveryHeaderIsSurvived) {  // hostile values; the sanitizers watch
  uint32_t seed = 1;
  const auto next = [&] { return seed = seed * 1664525 + 1013904223, seed >> 8; };
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = tcp_frame(i & 1, next() % 100, i & 2);
    for (int k = 0; k < 3; ++k) bytes[next() % bytes.size()] = static_cast<char>(next());
    bytes.resize(14 + next() % (bytes.size() - 13));
    const VnetHeader h{.flags = static_cast<uint8_t>(next() & 7),
                       .gso_type = static_cast<uint8_t>(next() & 0x87),
                       .hdr_len = static_cast<uint16_t>(next()),
                       .gso_size = static_cast<uint16_t>(next() % 200),
                       .csum_start = static_cast<uint16_t>(next() % 100),
                       .csum_offset = static_cast<uint16_t>(next() % 40)};
    Buffer* b = packet(bytes);
    VnetHeader out;
    if (apply(h, *b)) {
      EXPECT_LE(b->gso_size, b->length());
    }
    (void)vnet_make_to_send(*b, out);
  }
}

TEST_F(VnetTest, WhatIsToBeSentSaysWhatTheKernelMustFinish) {
  Buffer* b = packet(tcp_frame(false, 3000));
  VnetHeader h;
  ASSERT_TRUE(vnet_make_to_send(*b, h));
  EXPECT_EQ(h.flags | h.gso_type | h.gso_size, 0);
  b->flags = kBufferTxTcpChecksum;
  b->l4_offset = static_cast<int16_t>(b->offset_of_data() + 34);
  ASSERT_TRUE(vnet_make_to_send(*b, h));
  EXPECT_EQ(h.flags, kVnetNeedsChecksum);
  EXPECT_EQ(h.csum_start, 34);
  EXPECT_EQ(h.csum_offset, 16);
  EXPECT_EQ(h.gso_type, kVnetGsoNone);
  b->gso_size = 1460;
  ASSERT_TRUE(vnet_make_to_send(*b, h));
  EXPECT_EQ(h.gso_type, kVnetGsoTcp4);
  EXPECT_EQ(h.gso_size, 1460);
  EXPECT_EQ(h.hdr_len, kHeaders4);
  b->flags |= kBufferIsIp6;
  ASSERT_TRUE(vnet_make_to_send(*b, h));
  EXPECT_EQ(h.gso_type, kVnetGsoTcp6);
  b->flags = kBufferTxUdpChecksum;
  b->gso_size = 0;
  ASSERT_TRUE(vnet_make_to_send(*b, h));
  EXPECT_EQ(h.csum_offset, 6);
}

TEST_F(VnetTest, OffsetsOutsideThePacketAreNotSent) {
  Buffer* b = packet(tcp_frame(false, 0));
  VnetHeader h;
  b->flags = kBufferTxTcpChecksum;
  for (const int l4 : {-200, 0, 13, 35, 1000}) {
    b->l4_offset = static_cast<int16_t>(b->offset_of_data() + l4);
    EXPECT_FALSE(vnet_make_to_send(*b, h)) << l4;
  }
}

}  // namespace
}  // namespace loom::tap
