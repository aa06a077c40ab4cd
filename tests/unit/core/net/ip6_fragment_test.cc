// This host's own IPv6 packets that are larger than the path's MTU.
#include <set>

#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char *kPeer = "2001:db8::1", *kOwn = "2001:db8::2";

class Ip6FragmentTest : public ::testing::Test {
 protected:
  Ip6FragmentTest() : wire(host.add_device({"2001:db8::2/64"})) {
    host.know(wire, kPeer);
    must(host.net->add_ip_protocol(17, true, "test-sink"));
  }
  static Bytes udp(std::size_t payload) {
    return make_udp(ip6(kOwn), ip6(kPeer), 1000, 2000, counting(payload));
  }
  static Bytes packet(const Bytes& l4, uint8_t next = 17) {
    return make_ip6({.src = kOwn, .dst = kPeer, .next_header = next}, l4);
  }
  Buffer* own(const Bytes& bytes, uint8_t protocol = 17) {
    Buffer* b = host.make(bytes);
    b->flags |= kBufferLocallyOriginated | kBufferIsIp6;
    b->l4_protocol = protocol;
    return b;
  }
  // As a transport that knows the path sends it.
  void split(Buffer* b, uint32_t mtu) {
    std::memcpy(b->opaque, &mtu, sizeof mtu);
    host.enqueue("ip6-fragment", b);
  }
  uint64_t count(const std::string& name) { return host.counter("ip6-fragment/" + name); }
  // The payload that fragments carry, each checked; their identification.
  static Bytes join(const std::vector<SentFrame>& frames, uint32_t mtu, uint32_t* id = nullptr) {
    Bytes whole;
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const Bytes p = part(frames[i].bytes, 14);
      EXPECT_LE(p.size(), mtu);
      EXPECT_EQ(get16(p, 4), p.size() - 40);
      EXPECT_EQ(p[6], 44);
      EXPECT_EQ(p[40], 17);
      const bool is_last = i + 1 == frames.size();
      EXPECT_EQ(get16(p, 42), whole.size() | !is_last);
      if (!is_last) {
        EXPECT_EQ((p.size() - 48) % 8, 0u);
      }
      if (id) *id = get32(p, 44);
      whole = whole + part(p, 48);
    }
    return whole;
  }

  NetHost host;
  FakeDevice& wire;
};

TEST_F(Ip6FragmentTest, WhatIsTooBigForTheLinkIsSplit) {  // RFC 8200 section 4.5
  host.enqueue("ip6-lookup", own(packet(udp(1452))));     // 1500 bytes
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  host.enqueue("ip6-lookup", own(packet(udp(1453))));
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(join(sent, 1280), udp(1453));                // what every path takes
  host.enqueue("ip6-lookup", own(packet(udp(65'527))));  // the longest
  sent = wire.take_sent();
  EXPECT_EQ(join(sent, 1280), udp(65'527));
  EXPECT_EQ(count("fragmented"), 2u);
}

TEST_F(Ip6FragmentTest, ATransportSaysWhatThePathTakes) {
  split(own(packet(udp(3000))), 1400);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(3));
  EXPECT_EQ(join(sent, 1400), udp(3000));
}

TEST_F(Ip6FragmentTest, ChecksumIsComputedBeforehand) {
  Bytes l4 = udp(3000);
  put16(l4, 6, plain_sum(pseudo(ip6(kOwn), ip6(kPeer), 17, l4.size())));
  Buffer* b = own(packet(l4));
  b->flags |= kBufferTxUdpChecksum;
  b->l3_offset = b->offset_of_data();
  b->l4_offset = static_cast<int16_t>(b->l3_offset + 40);
  split(b, 1500);
  EXPECT_EQ(join(wire.take_sent(), 1500), udp(3000));
}

TEST_F(Ip6FragmentTest, IdentificationsDoNotFollowEachOther) {  // RFC 7739
  std::set<uint32_t> ids, steps;
  uint32_t last = 0;
  for (int i = 0; i < 64; ++i) {
    uint32_t id = 0;
    split(own(packet(udp(1500))), 1500);
    (void)join(wire.take_sent(), 1500, &id);
    ids.insert(id);
    steps.insert(id - last);
    last = id;
  }
  EXPECT_GT(ids.size(), 60u);
  EXPECT_GT(steps.size(), 60u);
}

TEST_F(Ip6FragmentTest, TcpSegmentsAreNotSplit) {
  host.enqueue("ip6-lookup", own(packet(counting(3000), 6), 6));
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("ip6-rewrite/too-big"), 1u);
}

TEST_F(Ip6FragmentTest, WhatCannotBeSplitIsCounted) {
  const auto expect_dropped = [&](Buffer* b, uint32_t mtu, const std::string& counter) {
    const uint64_t before = count(counter);
    split(b, mtu);
    EXPECT_EQ(count(counter), before + 1);
    EXPECT_THAT(wire.take_sent(), IsEmpty());
  };
  expect_dropped(own(part(packet(udp(100)), 0, 39)), 1500, "bad-header");
  expect_dropped(own(packet({})), 1500, "bad-header");
  expect_dropped(own(packet(udp(3000))), 1279, "bad-mtu");
  expect_dropped(host.make(packet(udp(3000))), 1500, "bad-mtu");  // somebody else's
  for (const uint8_t header : {0, 43, 44, 60})
    expect_dropped(own(packet(Bytes{17, 0, 1, 4, 0, 0, 0, 0} + udp(3000), header)), 1500,
                   "extension-headers");
  expect_dropped(own(packet(counting(65'536))), 1500, "too-long");
  Buffer* b = own(packet(udp(3000)));
  b->flags |= kBufferTxUdpChecksum;
  b->l3_offset = b->offset_of_data();
  b->l4_offset = static_cast<int16_t>(b->l3_offset + 4000);
  expect_dropped(b, 1500, "bad-l4-offset");
}

TEST_F(Ip6FragmentTest, NoBuffersForTheFragments) {
  Buffer* b = own(packet(udp(4000)));
  const auto taken = host.take_buffers(2);
  split(b, 1500);
  EXPECT_EQ(count("no-buffer"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  host.worker().free(taken);
}

TEST_F(Ip6FragmentTest, EchoRequestInFragmentsIsAnsweredInFragments) {
  const Bytes request = make_icmp6(kPeer, kOwn, 128, 0, 0x00010002, counting(3000));
  for (std::size_t at = 0; at < request.size(); at += 1400) {
    Bytes header = {58, 0, 0, 0, 0, 0, 0, 7};
    put16(header, 2, static_cast<uint32_t>(at) | (at + 1400 < request.size()));
    const Bytes p =
        make_ip6({.src = kPeer, .dst = kOwn, .next_header = 44}, header + part(request, at, 1400));
    host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x86dd, p));
  }
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(3));
  Bytes reply;
  for (const auto& f : sent) reply = reply + part(f.bytes, 14 + 48);
  EXPECT_EQ(reply, make_icmp6(kOwn, kPeer, 129, 0, 0x00010002, counting(3000)));
}

}  // namespace
}  // namespace loom
