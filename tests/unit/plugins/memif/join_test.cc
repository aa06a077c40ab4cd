// What is done in the pass that copies when something is received: checksums are verified, and
// segments joined. Compared with plainly written packets.
#include "segments.h"

namespace loom::memif {
namespace {

using ::testing::ElementsAreArray;
using ::testing::SizeIs;

using Join = Segments;

TEST_F(Join, SegmentsThatFollowOneAnotherBecomeOnePacket) {
  for (const bool is_ip6 : {false, true})
    for (const uint16_t vlan : {0, 7})
      for (const std::size_t size : {2000u, 10'000u, 60'001u}) {
        join();
        counts = {};
        const Tcp t{.flags = kAck | kPsh | kFin, .is_ip6 = is_ip6, .vlan = vlan};
        const auto all = segments(t, counting(size), 1448);
        send_plain(all);
        const auto packets = gets();
        ASSERT_THAT(packets, SizeIs(1));
        EXPECT_EQ(count(kReceived), 1u);
        EXPECT_EQ(count(kJoined), all.size() - 1);
        Buffer& b = *packets[0];
        EXPECT_EQ(b.gso_size, 1448);
        EXPECT_TRUE(b.flags & kBufferL4ChecksumOk);
        EXPECT_TRUE(b.flags & kBufferTxTcpChecksum);
        EXPECT_EQ(!!(b.flags & kBufferIsIp6), is_ip6);
        EXPECT_GE(b.len, 128u);
        Bytes want = frame(t, counting(size));
        const std::size_t l4 = l4_of(t);
        EXPECT_EQ(b.l4_offset - b.offset_of_data(), static_cast<int>(l4));
        Bytes found = bytes_of(b);
        found[l4 + 16] = want[l4 + 16], found[l4 + 17] = want[l4 + 17];
        EXPECT_EQ(found, want) << is_ip6 << " " << size;
      }
}

TEST_F(Join, WhatWasJoinedIsCutAgainAsItWas) {
  join();
  const Tcp t{.flags = kAck | kPsh};
  const auto all = segments(t, counting(50'000), 1448);
  send_plain(all);
  const auto packets = gets();
  ASSERT_THAT(packets, SizeIs(1));
  EXPECT_THAT(sent_on(packets), ElementsAreArray(all));
}

TEST_F(Join, OnlyWhatFollowsIsJoined) {
  const Bytes one = counting(1000);
  const auto joins = [&](Tcp second, Tcp first = {}, std::size_t size = 1000) {
    join();
    counts = {};
    second.at += 1000;
    send_plain({frame(first, one), frame(second, part(counting(2000), 0, size))});
    const auto n = gets().size();
    EXPECT_EQ(count(kReceived) + count(kJoined), 2u);
    return n == 1;
  };
  EXPECT_TRUE(joins({.id = 501}));
  EXPECT_TRUE(joins({.flags = kAck | kPsh}));
  EXPECT_TRUE(joins({.flags = kAck | kFin}));
  EXPECT_TRUE(joins({}, {}, 999));
  EXPECT_TRUE(joins({.id = 900})) << "must not be fragmented: the identification says nothing";
  EXPECT_TRUE(joins({.options = {}}, {.options = {}}));
  EXPECT_TRUE(joins({.vlan = 3}, {.vlan = 3}));
  EXPECT_TRUE(joins({.reserved = 1}, {.reserved = 1}));
  EXPECT_FALSE(joins({.id = 501, .df = 0}, {.df = 0})) << "a router may have to fragment them";
  EXPECT_FALSE(joins({.df = 0}));
  EXPECT_FALSE(joins({}, {}, 1001)) << "longer than the first";
  EXPECT_FALSE(joins({}, {}, 0));
  EXPECT_FALSE(joins({.at = 1}));
  EXPECT_FALSE(joins({.ack = 78}));
  EXPECT_FALSE(joins({.port = 4001}));
  EXPECT_FALSE(joins({.window = 1001}));
  EXPECT_FALSE(joins({.ttl = 63}));
  EXPECT_FALSE(joins({.tos = 3}));
  EXPECT_FALSE(joins({.vlan = 3}));
  for (const uint8_t bit : {1, 2, 4, 8}) {
    EXPECT_FALSE(joins({.reserved = bit})) << int{bit};
    EXPECT_FALSE(joins({}, {.reserved = bit})) << int{bit};
  }
  EXPECT_FALSE(joins({.options = {}}));
  EXPECT_FALSE(joins({.options = {1, 1, 8, 10, 0, 0, 0, 8, 0, 0, 0, 9}}));
  EXPECT_FALSE(joins({.is_ip6 = true}));
  EXPECT_FALSE(joins({.ttl = 63, .is_ip6 = true}, {.is_ip6 = true}));
  EXPECT_FALSE(joins({.tos = 3, .is_ip6 = true}, {.is_ip6 = true}));
  for (const uint8_t flag : {kUrg, kEce, kCwr, uint8_t{2}, uint8_t{4}}) {
    EXPECT_FALSE(joins({.flags = static_cast<uint8_t>(kAck | flag)})) << int{flag};
    EXPECT_FALSE(joins({}, {.flags = static_cast<uint8_t>(kAck | flag)})) << int{flag};
  }
  EXPECT_FALSE(joins({}, {.flags = kAck | kPsh})) << "the first ends there";
  EXPECT_FALSE(joins({.flags = 0}));
}

TEST_F(Join, AShortOneIsTheLast) {
  join();
  send_plain({frame({}, counting(1000)), frame({.at = 1000}, counting(999)),
              frame({.at = 1999}, counting(1000)), frame({.at = 2999}, counting(1000))});
  const auto packets = gets();
  ASSERT_THAT(packets, SizeIs(2));
  EXPECT_EQ(packets[0]->length(), 66 + 1999u);
  EXPECT_EQ(packets[1]->length(), 66 + 2000u);
}

TEST_F(Join, AnotherPacketInBetweenEndsIt) {
  join();
  send_plain({frame({}, counting(1000)), packet(60), frame({.at = 1000}, counting(1000))});
  EXPECT_THAT(gets(), SizeIs(3));
}

TEST_F(Join, AWrongChecksumIsNotJoinedAndNotVerified) {
  join();
  Bytes wrong = frame({.at = 1000}, counting(1000));
  wrong[500] ^= 1;
  Bytes wrong_ip = frame({.at = 1000}, counting(1000));
  wrong_ip[14 + 10] ^= 1;
  const Bytes right = frame({}, counting(1000)), next = frame({.at = 1000}, counting(1000));
  send_plain({right, wrong, right, next, right, wrong_ip});
  const auto packets = gets();
  ASSERT_THAT(packets, SizeIs(5));
  const auto verified = [](const Buffer* b) {
    return (b->flags & (kBufferL4ChecksumOk | kBufferIp4ChecksumOk)) ==
           (kBufferL4ChecksumOk | kBufferIp4ChecksumOk);
  };
  EXPECT_TRUE(verified(packets[0]));
  EXPECT_EQ(bytes_of(*packets[0]), right);
  EXPECT_FALSE(packets[1]->flags & kBufferL4ChecksumOk);
  EXPECT_EQ(bytes_of(*packets[1]), wrong);
  EXPECT_TRUE(verified(packets[2]));
  EXPECT_EQ(packets[2]->gso_size, 1000);
  EXPECT_EQ(packets[3]->gso_size, 0);
  EXPECT_EQ(packets[4]->flags & (kBufferL4ChecksumOk | kBufferIp4ChecksumOk), 0u);
}

TEST_F(Join, APacketIsNoLongerThanIpAllowsAndNotOfTooMany) {
  join();
  send_plain(segments({}, counting(80'000), 1448));
  auto packets = gets();
  ASSERT_THAT(packets, SizeIs(2));
  EXPECT_EQ(packets[0]->length(), 14 + 52 + 45 * 1448u);
  const auto small = segments({}, counting(200 * 10), 10);
  send_plain(small);
  packets = gets();
  ASSERT_THAT(packets, SizeIs(2));
  EXPECT_EQ(packets[0]->length(), 14 + 52 + 128 * 10u);
}

TEST_F(Join, WithoutBuffersWhatIsJoinedIsWholeAndTheRestStays) {
  join();
  send_plain(segments({}, counting(6 * 1448), 1448));
  const auto taken = host.take_buffers(2);
  const auto packets = gets();
  ASSERT_THAT(packets, SizeIs(1));
  EXPECT_EQ(count(kNoBuffers), 1u);
  EXPECT_EQ(packets[0]->length(), 66 + 2 * 1448u) << "two buffers";
  EXPECT_EQ(packets[0]->next->next, nullptr);
  EXPECT_EQ(packets[0]->next->len, packets[0]->rest_len);
  EXPECT_EQ(host.take_buffers(0).size(), 0u) << "the buffers that were in the way are back or used";
  host.worker().free(taken);
  const auto rest = gets();
  ASSERT_THAT(rest, SizeIs(1));
  EXPECT_EQ(rest[0]->length(), 66 + 4 * 1448u);
}

TEST_F(Join, DatagramsAreVerified) {
  join();
  Bytes u(8 + 100, 7);
  put16(u, 4, 108);
  put16(u, 6, 0);
  const auto with = [&](uint16_t sum) {
    Bytes d = u;
    put16(d, 6, sum);
    return ethernet(kDst, kSrc, 0x0800,
                    make_ip4({.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 17}, d));
  };
  const uint16_t right = plain_checksum(pseudo(ip4("10.0.0.2"), ip4("10.0.0.1"), 17, 108) + u);
  send_plain({with(right), with(static_cast<uint16_t>(right + 1)), with(0)});
  const auto packets = gets();
  ASSERT_THAT(packets, SizeIs(3));
  EXPECT_TRUE(packets[0]->flags & kBufferL4ChecksumOk);
  EXPECT_FALSE(packets[1]->flags & kBufferL4ChecksumOk);
  EXPECT_FALSE(packets[2]->flags & kBufferL4ChecksumOk) << "for udp-input to say";
}

}  // namespace
}  // namespace loom::memif
