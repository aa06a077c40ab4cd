// What a device does not do is done in software: segments, checksums and flat packets, compared
// with plainly written ones.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint8_t kFin = 1, kPsh = 8, kAck = 16, kCwr = 128;
constexpr uint32_t kScatterOnly = kCapScatter;

struct Tcp {
  uint32_t seq = 0x01020304;
  uint8_t flags = kAck;
  Bytes options = {1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9};
};
Bytes tcp_segment(const Bytes& src, const Bytes& dst, const Tcp& t, const Bytes& payload) {
  Bytes b(20);
  put16(b, 0, 4000);
  put16(b, 2, 80);
  put32(b, 4, t.seq);
  put32(b, 8, 77);
  b[12] = static_cast<uint8_t>((20 + t.options.size()) / 4 << 4);
  b[13] = t.flags;
  put16(b, 14, 1000);
  b = b + t.options + payload;
  put16(b, 16, plain_checksum(pseudo(src, dst, 6, b.size()) + b));
  return b;
}

class OffloadTest : public ::testing::Test {
 protected:
  explicit OffloadTest(uint32_t caps = kScatterOnly)
      : wire(host.add_device({"10.0.0.2/24", "2001:db8::2/64"}, caps)) {
    host.know(wire, "10.0.0.1");
    host.know(wire, "2001:db8::1");
    host.now += 2 * kSecond;
    host.run();
    wire.take_sent();
  }
  Bytes whole(bool is_ip6, const Tcp& t, const Bytes& payload, uint16_t id = 500) const {
    if (is_ip6)
      return make_ip6({.src = "2001:db8::2", .dst = "2001:db8::1", .next_header = 6},
                      tcp_segment(ip6("2001:db8::2"), ip6("2001:db8::1"), t, payload));
    return make_ip4(
        {.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 6, .id = id, .flags_fragment = 0x4000},
        tcp_segment(ip4("10.0.0.2"), ip4("10.0.0.1"), t, payload));
  }
  Bytes on_wire(bool is_ip6, const Bytes& packet) const {
    return ethernet(NetHost::kPeerMac, NetHost::kOwnMac, is_ip6 ? 0x86dd : 0x0800, packet);
  }
  // As a transport sends: headers in the first segment, checksum left to the device.
  void send(bool is_ip6, Bytes packet, uint16_t gso_size, uint32_t flags = kBufferTxTcpChecksum) {
    const std::size_t l4 = is_ip6 ? 40 : 20;
    const Bytes addresses = is_ip6 ? part(packet, 8, 32) : part(packet, 12, 8);
    const std::size_t half = addresses.size() / 2;
    put16(
        packet, l4 + 16,
        plain_sum(pseudo(part(addresses, 0, half), part(addresses, half), 6, packet.size() - l4)));
    Worker& w = host.worker();
    Buffer* b = w.alloc();
    ASSERT_TRUE(b);
    const std::size_t headers = std::min<std::size_t>(l4 + 32, packet.size());
    std::memcpy(b->append(static_cast<uint32_t>(headers)), packet.data(), headers);
    Buffer* last = b;
    for (std::size_t at = headers; at < packet.size();) {  // odd pieces, as fifo chunks are
      const auto n = static_cast<uint32_t>(std::min<std::size_t>(packet.size() - at, 1999));
      Buffer* more = w.alloc();
      ASSERT_TRUE(more);
      std::memcpy(more->append(n), packet.data() + at, n);
      last->next = more;
      last = more;
      b->rest_len += n;
      at += n;
    }
    b->l3_offset = b->offset_of_data();
    b->l4_offset = static_cast<int16_t>(b->l3_offset + static_cast<int16_t>(l4));
    b->gso_size = gso_size;
    b->l4_protocol = 6;
    b->flags |= kBufferLocallyOriginated | flags | (is_ip6 ? kBufferIsIp6 : 0u);
    w.enqueue_to_node(host.engine->find_node(is_ip6 ? "ip6-lookup" : "ip4-lookup"), b);
    host.run();
  }
  // Sends one large packet and compares every frame with the plain segments.
  void expect_segments(bool is_ip6, std::size_t size, uint16_t mss, uint8_t flags) {
    const Bytes payload = counting(size);
    send(is_ip6, whole(is_ip6, {.flags = flags}, payload), mss);
    const auto sent = wire.take_sent();
    const std::size_t n = (size + mss - 1) / mss;
    ASSERT_THAT(sent, SizeIs(n));
    for (std::size_t i = 0; i < n; ++i) {
      Tcp t{.seq = static_cast<uint32_t>(0x01020304 + i * mss), .flags = flags};
      if (i + 1 != n) t.flags &= static_cast<uint8_t>(~(kFin | kPsh));
      if (i != 0) t.flags &= static_cast<uint8_t>(~kCwr);
      const Bytes want =
          whole(is_ip6, t, part(payload, i * mss, mss), static_cast<uint16_t>(500 + i));
      ASSERT_EQ(sent[i].bytes, on_wire(is_ip6, want)) << "segment " << i;
      EXPECT_TRUE(checksums_hold(part(sent[i].bytes, 14)));
      EXPECT_EQ(sent[i].gso_size, 0);
      EXPECT_EQ(sent[i].flags & (kBufferTxL4Checksum | kBufferTxIp4Checksum), 0u);
    }
    EXPECT_EQ(host.counter("tx-offload/segmented"), 1u);
  }
  NetHost host;
  FakeDevice& wire;
};

TEST_F(OffloadTest, LargePacketBecomesSegments) {
  expect_segments(false, 10'000, 1448, kAck | kPsh | kFin | kCwr);
}
TEST_F(OffloadTest, LargeIp6PacketBecomesSegments) {
  expect_segments(true, 10'000, 1428, kAck | kPsh | kFin | kCwr);
}
TEST_F(OffloadTest, SegmentsThatFillExactly) {
  expect_segments(false, 4 * 1000, 1000, kAck | kPsh);
}
TEST_F(OffloadTest, LargestPacket) { expect_segments(false, 65'535 - 52, 1448, kAck | kPsh); }
TEST_F(OffloadTest, MoreSegmentsThanAnMssAllowsAreRefused) {
  send(false, whole(false, {}, counting(2000)), 10);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("tx-offload/bad-gso"), 1u);
}
TEST_F(OffloadTest, DatagramsThatWerePutTogetherAreNoTcp) {
  send(false, whole(false, {}, counting(3000)), 1000, kBufferTxUdpChecksum);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("tx-offload/bad-gso"), 1u);
}
TEST_F(OffloadTest, TruncatedTcpHeaderIsRefused) {
  Bytes p = whole(false, {.options = {}}, counting(3000));
  p[20 + 12] = 0xf0;  // 60 bytes of header, of which the first segment has 52 - 20
  send(false, p, 1000);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("tx-offload/bad-gso"), 1u);
}
TEST_F(OffloadTest, SmallPacketGetsItsChecksum) {
  const Bytes p = whole(false, {}, counting(333));
  send(false, p, 0);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, on_wire(false, p));
}
TEST_F(OffloadTest, BuffersThatRunOutLeaveNothingBehind) {
  Worker& w = host.worker();
  std::vector<Buffer*> taken;
  while (Buffer* b = w.alloc()) taken.push_back(b);
  for (int i = 0; i < 12; ++i) {  // the packet takes 7; segments find too few
    w.free(taken.back());
    taken.pop_back();
  }
  send(false, whole(false, {}, counting(10'000)), 1448);
  EXPECT_EQ(host.counter("tx-offload/no-buffer"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  w.free(taken);
}

TEST_F(OffloadTest, HeaderChecksumIsFilledIn) {
  Bytes p = whole(false, {}, counting(333));
  const Bytes want = p;
  put16(p, 10, 0);
  send(false, p, 0, kBufferTxTcpChecksum | kBufferTxIp4Checksum);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, on_wire(false, want));
}

class FlatTest : public OffloadTest {
 protected:
  FlatTest() : OffloadTest(0) {}
};
TEST_F(FlatTest, SegmentsForADeviceWithoutScatterAreFlat) {
  send(false, whole(false, {}, counting(10'000)), 1448);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(7));
  for (const auto& f : sent) {
    EXPECT_EQ(f.segments, 1u);
    EXPECT_TRUE(checksums_hold(part(f.bytes, 14)));
  }
}
TEST_F(FlatTest, SegmentsAreTheSameBytes) { expect_segments(true, 5000, 700, kAck); }
TEST_F(FlatTest, ChainIsFlattened) {
  const Bytes p = whole(false, {}, counting(1400));
  send(false, p, 0);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].segments, 1u);
  EXPECT_EQ(sent[0].bytes, on_wire(false, p));
}
TEST_F(FlatTest, WhatDoesNotFitIsCounted) {
  must(host.net->set_mtu(wire.index, 9000));
  send(false, whole(false, {}, counting(5000)), 0);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("tx-offload/too-long"), 1u);
}

class TsoTest : public OffloadTest {
 protected:
  TsoTest() : OffloadTest(NetHost::kAllCaps) {}
};
TEST_F(TsoTest, DeviceThatSegmentsGetsTheLargePacket) {
  send(false, whole(false, {}, counting(10'000)), 1448);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].gso_size, 1448);
  EXPECT_TRUE(sent[0].flags & kBufferTxTcpChecksum);
  EXPECT_EQ(sent[0].bytes.size(), 14u + 20 + 32 + 10'000);
}
TEST_F(TsoTest, SegmentThatExceedsTheMtuIsNotSent) {
  send(false, whole(false, {}, counting(10'000)), 1449);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("ip4-rewrite/fragmentation-needed"), 1u);
}
TEST_F(TsoTest, LargeReceivedPacketIsForwardedInSegments) {
  FakeDevice& plain = host.add_device({"10.0.1.2/24"}, kScatterOnly);
  host.know(plain, "10.0.1.1");
  const Bytes payload = counting(5000);
  const Bytes p =
      make_ip4({.src = "10.0.0.1", .dst = "10.0.1.1", .protocol = 6, .flags_fragment = 0x4000},
               tcp_segment(ip4("10.0.0.1"), ip4("10.0.1.1"), {}, payload));
  host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800, p), kBufferL4ChecksumOk,
               1448);
  const auto sent = plain.take_sent();
  ASSERT_THAT(sent, SizeIs(4));
  Bytes joined;
  for (const auto& f : sent) {
    EXPECT_TRUE(checksums_hold(part(f.bytes, 14)));
    joined = joined + part(f.bytes, 14 + 20 + 32);
  }
  EXPECT_EQ(joined, payload);
}

}  // namespace
}  // namespace loom
