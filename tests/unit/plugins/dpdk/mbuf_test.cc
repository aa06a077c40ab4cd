// Offloads of an mbuf and of a Buffer, in both directions. Sums are checked against DPDK's own.
#include <gtest/gtest.h>
#include <rte_ip.h>

#include <cstring>

#include "harness.h"
#include "mbuf.h"

namespace loom::dpdk {
namespace {

struct alignas(64) Packet {
  rte_mbuf m{};
  Buffer b;
  std::byte room[kHeadroom + 2048];
  explicit Packet(const std::string& bytes) {
    b.data_size = 2048;
    b.reset();
    std::memcpy(b.append(static_cast<uint32_t>(bytes.size())), bytes.data(), bytes.size());
    b.l3_offset = static_cast<int16_t>(b.offset_of_data() + 14);
    b.l4_offset = static_cast<int16_t>(b.l3_offset + 20);
  }
  TcpHeader& tcp() { return *reinterpret_cast<TcpHeader*>(b.data + 34); }
  rte_ipv4_hdr* ip() { return reinterpret_cast<rte_ipv4_hdr*>(b.data + 14); }
};

TEST(DpdkMbuf, APacketThatWantsNothingSaysNothing) {
  Packet p(tcp_frame(10));
  p.m.ol_flags = RTE_MBUF_F_TX_TCP_SEG;
  EXPECT_TRUE(describe_to_send(p.b, p.m));
  EXPECT_EQ(p.m.ol_flags, 0u);
}

TEST(DpdkMbuf, ChecksumsThatAreLeftToTheDevice) {
  Packet p(tcp_frame(10));
  p.b.flags |= kBufferTxTcpChecksum | kBufferTxIp4Checksum;
  p.tcp().checksum = rte_ipv4_phdr_cksum(p.ip(), 0);
  EXPECT_TRUE(describe_to_send(p.b, p.m));
  EXPECT_EQ(p.m.ol_flags, RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM);
  EXPECT_EQ(p.m.l2_len, 14u);
  EXPECT_EQ(p.m.l3_len, 20u);
  EXPECT_EQ(p.tcp().checksum, rte_ipv4_phdr_cksum(p.ip(), p.m.ol_flags));
  EXPECT_EQ(p.ip()->hdr_checksum, 0);
}

TEST(DpdkMbuf, SegmentsHaveASumWithoutALength) {
  Packet p(tcp_frame(1900));
  p.b.flags |= kBufferTxTcpChecksum;
  p.b.gso_size = 500;
  p.tcp().checksum = rte_ipv4_phdr_cksum(p.ip(), 0);
  EXPECT_TRUE(describe_to_send(p.b, p.m));
  EXPECT_EQ(p.m.ol_flags, RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM |
                              RTE_MBUF_F_TX_TCP_SEG);
  EXPECT_EQ(p.m.l4_len, 20u);
  EXPECT_EQ(p.m.tso_segsz, 500);
  EXPECT_EQ(p.tcp().checksum, rte_ipv4_phdr_cksum(p.ip(), RTE_MBUF_F_TX_TCP_SEG));
}

TEST(DpdkMbuf, OneSegmentAfterAllIsNotCut) {
  Packet p(tcp_frame(500));
  p.b.flags |= kBufferTxTcpChecksum;
  p.b.gso_size = 500;
  EXPECT_TRUE(describe_to_send(p.b, p.m));
  EXPECT_EQ(p.m.ol_flags, RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM);
}

TEST(DpdkMbuf, OffsetsOutsideThePacketAreRefused) {
  const auto refuses = [](auto&& change) {
    Packet p(tcp_frame(1900));
    p.b.flags |= kBufferTxTcpChecksum;
    change(p);
    return !describe_to_send(p.b, p.m);
  };
  EXPECT_FALSE(refuses([](Packet&) {}));
  EXPECT_TRUE(refuses([](Packet& p) { p.b.l3_offset = 0; }));
  EXPECT_TRUE(refuses([](Packet& p) { p.b.l3_offset += 120; }));
  EXPECT_TRUE(refuses([](Packet& p) { p.b.l4_offset = p.b.l3_offset; }));
  EXPECT_TRUE(refuses([](Packet& p) { p.b.l4_offset += 600; }));
  EXPECT_TRUE(refuses([](Packet& p) { p.b.len = 50; }));
  EXPECT_TRUE(refuses([](Packet& p) { p.tcp().data_offset = 0x40; }));
  EXPECT_TRUE(refuses([](Packet& p) {
    p.b.flags = kBufferTxUdpChecksum;
    p.b.gso_size = 500;
  }));
}

TEST(DpdkMbuf, WhatADeviceHasVerified) {
  Packet p(tcp_frame(10));
  p.m.ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  EXPECT_TRUE(apply_received(p.m, p.b));
  EXPECT_EQ(p.b.flags, kBufferIp4ChecksumOk | kBufferL4ChecksumOk);
  Packet bad(tcp_frame(10));
  bad.m.ol_flags = RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_BAD;
  EXPECT_TRUE(apply_received(bad.m, bad.b));
  EXPECT_EQ(bad.b.flags, 0u);  // the stack looks, and counts
}

TEST(DpdkMbuf, AnUnfinishedChecksumIsFinishedIfThePacketGoesOn) {
  Packet p(tcp_frame(10));
  p.m.ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
  p.b.l4_offset = 0;
  EXPECT_TRUE(apply_received(p.m, p.b));
  EXPECT_EQ(p.b.flags, kBufferL4ChecksumOk | kBufferTxTcpChecksum);
  EXPECT_EQ(p.b.l4_offset, p.b.offset_of_data() + 34);
  Packet neither(std::string(60, 'x'));
  neither.m.ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
  EXPECT_FALSE(apply_received(neither.m, neither.b));
}

TEST(DpdkMbuf, MergedSegments) {
  Packet p(tcp_frame(1900));
  p.m.ol_flags = RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  p.m.tso_segsz = 500;
  p.b.l4_offset = 0;
  p.tcp().checksum = 0x1234;  // one segment's
  EXPECT_TRUE(apply_received(p.m, p.b));
  EXPECT_EQ(p.b.flags, kBufferL4ChecksumOk | kBufferTxTcpChecksum);
  EXPECT_EQ(p.b.l4_offset, p.b.offset_of_data() + 34);
  EXPECT_EQ(p.tcp().checksum, rte_ipv4_phdr_cksum(p.ip(), 0));
  EXPECT_TRUE(describe_to_send(p.b, p.m));  // as it goes on by another interface
  EXPECT_TRUE(p.m.ol_flags & RTE_MBUF_F_TX_TCP_SEG);
  EXPECT_EQ(p.tcp().checksum, rte_ipv4_phdr_cksum(p.ip(), RTE_MBUF_F_TX_TCP_SEG));
  EXPECT_EQ(p.b.gso_size, 500);
  Packet one(tcp_frame(400));
  one.m.ol_flags = RTE_MBUF_F_RX_LRO;
  one.m.tso_segsz = 500;
  EXPECT_TRUE(apply_received(one.m, one.b));
  EXPECT_EQ(one.b.gso_size, 0);
  Packet bad(tcp_frame(1900));
  bad.m.ol_flags = RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_BAD;
  bad.m.tso_segsz = 500;
  EXPECT_FALSE(apply_received(bad.m, bad.b));
  Packet lies(tcp_frame(1900));
  lies.tcp().data_offset = 0x10;
  lies.m.ol_flags = RTE_MBUF_F_RX_LRO;
  lies.m.tso_segsz = 500;
  EXPECT_FALSE(apply_received(lies.m, lies.b));
}

}  // namespace
}  // namespace loom::dpdk
