// Datagrams out of IPv6 fragments: headers in front and behind, who is told what, and that the
// rules of reassembly_test.cc hold.
#include "reassembly_bed.h"

namespace loom {
namespace {

using ::testing::SizeIs;

TEST_F(ReassemblyTest, Ip6DatagramLosesItsFragmentHeader) {
  const Bytes whole = udp6(3000);
  receive({piece6(whole, 2000, 1008), piece6(whole, 0, 1000)});
  expect_nothing();
  receive(piece6(whole, 1000, 1000));
  const auto p = take();
  EXPECT_EQ(p.data, whole);
  EXPECT_EQ(p.ip, part(make_ip6({.src = kPeer6, .dst = kOwn6, .next_header = 17}, whole), 0, 40));
  EXPECT_TRUE(p.flags & kBufferL4ChecksumOk);
  EXPECT_EQ(count6("reassembled"), 3u);
  expect_empty();
}

TEST_F(ReassemblyTest, Ip6HeadersInFrontAndBehindStay) {  // RFC 8200 section 4.5
  const Bytes hop_by_hop = {44, 0, 1, 4, 0, 0, 0, 0}, destination = {17, 0, 1, 4, 0, 0, 0, 0};
  const Bytes whole = destination + udp6(1000);
  // The next header of the first fragment counts, as its headers in front do.
  receive(raw6(part(whole, 504), 504, 6));
  receive(raw6(part(whole, 0, 504), 1, 60, 9, 0, hop_by_hop));
  const auto p = take();
  EXPECT_EQ(p.data, udp6(1000));
  EXPECT_EQ(p.ip, part(make_ip6({.src = kPeer6, .dst = kOwn6, .next_header = 0},
                                Bytes{60, 0, 1, 4, 0, 0, 0, 0} + whole),
                       0, 56));
}

TEST_F(ReassemblyTest, Ip6IdentificationsTellDatagramsApart) {
  const Bytes whole = udp6(1000);
  receive({piece6(whole, 0, 504, 1), piece6(whole, 504, 504, 0x10001)});
  expect_nothing();
  receive(piece6(whole, 504, 504, 1));
  EXPECT_EQ(take().data, whole);
}

TEST_F(ReassemblyTest, Ip6SenderIsToldWhatIsWrong) {  // RFC 8200 section 4.5, RFC 7112
  const auto expect_problem = [&](const Bytes& packet, uint8_t code, uint32_t pointer,
                                  const std::string& counter) {
    const uint64_t before = count6(counter);
    receive(packet);
    EXPECT_EQ(count6(counter), before + 1);
    const auto sent = wire.take_sent();
    ASSERT_THAT(sent, SizeIs(1)) << counter;
    const Bytes answer = part(sent[0].bytes, 14);
    EXPECT_TRUE(checksums_hold(answer));
    EXPECT_EQ(answer[40], 4);
    EXPECT_EQ(answer[41], code);
    EXPECT_EQ(get32(answer, 44), pointer);
  };
  const Bytes whole = udp6(1000);
  expect_problem(raw6(part(whole, 0, 501), 1), 0, 4, "bad-length");
  expect_problem(raw6(part(whole, 0, 504), 0xfff8), 0, 42, "too-long");
  expect_problem(raw6(Bytes{17, 0, 1, 4, 0, 0, 0, 0}, 1, 60), 3, 0, "headers-split");
  expect_problem(raw6(part(counting(100), 0, 16), 1, 6), 3, 0, "headers-split");  // TCP has 20
  receive(raw6({}, 1));
  EXPECT_EQ(count6("empty"), 1u);
  expect_nothing();
  expect_empty();
}

TEST_F(ReassemblyTest, Ip6SenderIsToldWhenTimeIsOver) {  // RFC 4443 section 3.3
  const Bytes first = piece6(udp6(3000), 0, 1000);
  receive(first);
  host.pass(61 * kSecond);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  const Bytes answer = part(sent[0].bytes, 14);
  EXPECT_TRUE(checksums_hold(answer));
  EXPECT_EQ(answer[40], 3);
  EXPECT_EQ(answer[41], 1);
  EXPECT_EQ(part(answer, 48), first);
}

TEST_F(ReassemblyTest, Ip6IsRefusedAsIp4Is) {
  const Bytes whole = udp6(3000), shorter = part(whole, 0, 1000);
  receive({piece6(whole, 0, 504), piece6(whole, 496, 16), piece6(whole, 504, 504)});
  EXPECT_EQ(count6("overlap"), 2u);
  EXPECT_EQ(count6("given-up"), 1u);
  receive({piece6(whole, 1008, 504, 1), piece6(shorter, 504, 496, 1)});
  EXPECT_EQ(count6("contradiction"), 2u);
  receive({piece6(whole, 504, 504, 2), piece6(whole, 504, 504, 2)});
  EXPECT_EQ(count6("duplicate"), 1u);
  for (std::size_t at = 0; at < 130 * 8; at += 8) receive(piece6(whole, at + 8, 8, 3));
  EXPECT_EQ(count6("too-many"), 129u);
  Bytes congested = piece6(whole, 0, 504, 4);
  congested[1] |= 0x30;
  receive({piece6(whole, 504, 504, 4), congested});
  EXPECT_EQ(count6("mixed-ecn"), 2u);
  for (uint32_t id = 10; id < 10 + 513; ++id) receive(piece6(whole, 504, 504, id));
  EXPECT_GT(count6("evicted"), 0u);
  expect_nothing();
  // In the traffic class, which is not in whole bytes.
  Bytes a = piece6(udp6(1000), 0, 504, 5), b = piece6(udp6(1000), 504, 504, 5);
  a[0] = b[0] = 0x6b;
  a[1] = b[1] = 0xa5;  // class 0xba, flow label 5...
  b[1] = 0xb5;
  receive({a, b});
  EXPECT_EQ(part(take().ip, 0, 2), (Bytes{0x6b, 0xb5}));
}

TEST_F(ReassemblyTest, Ip6RemembersWhatItGaveUp) {  // RFC 5722 section 4
  const Bytes whole = udp6(1500);
  const std::vector<Bytes> all = {piece6(whole, 0, 504), piece6(whole, 504, 504),
                                  piece6(whole, 1008, 500)};
  receive({all[1], piece6(whole, 496, 16), all[0], all[1], all[2]});
  expect_nothing();
  EXPECT_EQ(count6("overlap"), 2u);
  EXPECT_EQ(count6("given-up"), 3u);
  // Also when others need room.
  for (uint32_t id = 100; id < 100 + 250; ++id) receive(raw6(Bytes(10'000), 8 | 1, 17, id));
  EXPECT_GT(count6("evicted"), 0u);
  receive(all);
  expect_nothing();
  EXPECT_EQ(count6("given-up"), 6u);
  host.pass(61 * kSecond);
  receive(all);
  EXPECT_EQ(take().data, whole);
}

TEST_F(ReassemblyTest, NeighborDiscoveryInFragmentsIsIgnored) {  // RFC 6980 section 5
  Bytes advertisement =
      make_icmp6(kPeer6, kOwn6, 136, 0, 0x60000000, ip6(kPeer6) + Bytes{2, 1, 2, 0, 0, 0, 0, 0x66});
  receive({raw6(part(advertisement, 0, 24), 1, 58), raw6(part(advertisement, 24), 24, 58)});
  EXPECT_EQ(count6("neighbor-discovery"), 1u);
  EXPECT_EQ(count6("reassembled"), 0u);
}

TEST_F(ReassemblyTest, Ip6PacketsThatOnlyFitWithoutTheirFirstHeaders) {
  const Bytes whole = counting(65'528), destination = {44, 0, 1, 4, 0, 0, 0, 0};
  uint64_t n = 0;
  for (std::size_t at = 1520; at < whole.size(); at += 8000, ++n)
    receive(raw6(part(whole, at, 8000), static_cast<uint16_t>(at | (at + 8000 < whole.size()))));
  receive(raw6(part(whole, 0, 1520), 1, 17, 9, 60, destination));
  expect_nothing();
  EXPECT_EQ(count6("too-large"), n + 1);
}

}  // namespace
}  // namespace loom
