// icmp4-input and icmp4-error.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class Icmp4Test : public ::testing::Test {
 protected:
  explicit Icmp4Test(NetConfig config = {}) : host(config), wire(host.add_device({"10.0.0.2/24"})) {
    host.know(wire, "10.0.0.1");
  }
  Bytes frame(const Bytes& packet, const char* to = NetHost::kOwnMac) const {
    return ethernet(to, NetHost::kPeerMac, 0x0800, packet);
  }
  Bytes echo(const Bytes& payload, Ip4 h = {}) const {
    h.src = h.src.empty() ? "10.0.0.1" : h.src;
    h.dst = h.dst.empty() ? "10.0.0.2" : h.dst;
    return make_ip4(h, make_icmp4(8, 0, 0x00070001, payload));
  }
  NetHost host;
  FakeDevice& wire;
};

TEST_F(Icmp4Test, EchoRequestComesBackByteForByte) {  // RFC 792, RFC 1122 section 3.2.2.6
  for (const std::size_t size : {0, 1, 56, 1399, 1472}) {
    host.receive(wire, frame(echo(counting(size), {.ttl = 7, .tos = 0x20})));
    const auto sent = wire.take_sent();
    ASSERT_THAT(sent, SizeIs(1)) << size;
    const Bytes& f = sent[0].bytes;
    EXPECT_EQ(part(f, 0, 14), mac(NetHost::kPeerMac) + mac(NetHost::kOwnMac) + Bytes({8, 0}));
    const Bytes p = part(f, 14);
    EXPECT_TRUE(checksums_hold(p));
    EXPECT_EQ(part(p, 12, 8), ip4("10.0.0.2") + ip4("10.0.0.1"));
    EXPECT_EQ(p[8], 64);
    EXPECT_EQ(p[1], 0x20);
    EXPECT_EQ(part(p, 20), make_icmp4(0, 0, 0x00070001, counting(size)));
  }
}

TEST_F(Icmp4Test, ReplyThatIsTooBigForTheLinkGoesInFragments) {
  const Bytes payload = counting(4000);
  host.receive(wire, frame(echo(payload)));
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(3));
  Bytes whole;
  for (const auto& f : sent) whole = whole + part(f.bytes, 34);
  EXPECT_EQ(whole, make_icmp4(0, 0, 0x00070001, payload));
}

TEST_F(Icmp4Test, OwnPacketThatMayNotBeSplitIsCounted) {
  Buffer* b = host.make(
      make_ip4({.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 17, .flags_fragment = 0x4000},
               counting(4000)));
  b->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", b);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("ip4-rewrite/fragmentation-needed"), 1u);
  EXPECT_EQ(host.counter("icmp4-error/own-packet"), 1u);
}

TEST_F(Icmp4Test, EchoWithOptionsIsAnsweredWithoutThem) {
  host.receive(wire, frame(echo(counting(10), {.options = {7, 7, 4, 0, 0, 0, 0, 0}})));
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes[14], 0x45);
  EXPECT_TRUE(checksums_hold(part(sent[0].bytes, 14)));
  EXPECT_EQ(part(sent[0].bytes, 34), make_icmp4(0, 0, 0x00070001, counting(10)));
}

TEST_F(Icmp4Test, BadMessagesHaveTheirCounters) {
  Bytes p = echo(counting(10));
  p.back() ^= 1;
  host.receive(wire, frame(p));
  EXPECT_EQ(host.counter("icmp4-input/bad-checksum"), 1u);
  host.receive(wire, frame(make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"}, Bytes(7))));
  EXPECT_EQ(host.counter("icmp4-input/too-short"), 1u);
  host.receive(wire, frame(echo(counting(10), {.dst = "10.0.0.255"}), "ff:ff:ff:ff:ff:ff"));
  EXPECT_EQ(host.counter("icmp4-input/echo-to-group"), 1u);
  for (const uint8_t type : {5, 13, 200})
    host.receive(wire, frame(make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"},
                                      make_icmp4(type, 0, 0, counting(8)))));
  EXPECT_EQ(host.counter("icmp4-input/ignored-type"), 3u);
  host.receive(wire, frame(make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"},
                                    make_icmp4(0, 0, 0x00070001, {}))));
  EXPECT_EQ(host.counter("icmp4-input/echo-reply-unasked"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(Icmp4Test, UnknownProtocolIsReportedWithTheQuotedPacket) {  // RFC 1122 section 3.2.2.1
  const Bytes offender =
      make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2", .protocol = 99}, counting(900));
  host.receive(wire, frame(offender));
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  const Bytes p = part(sent[0].bytes, 14);
  EXPECT_TRUE(checksums_hold(p));
  EXPECT_EQ(p.size(), 576u);  // RFC 1812 section 4.3.2.3
  EXPECT_EQ(part(p, 12, 8), ip4("10.0.0.2") + ip4("10.0.0.1"));
  EXPECT_EQ(part(p, 20, 2), Bytes({3, 2}));
  EXPECT_EQ(part(p, 28), part(offender, 0, 576 - 28));
}

TEST_F(Icmp4Test, NoErrorIsSentWhereRfc1122ForbidsIt) {  // section 3.2.2
  const auto offend = [&](Ip4 h, const Bytes& payload = counting(20),
                          const char* to = NetHost::kOwnMac) {
    h.src = h.src.empty() ? "10.0.0.1" : h.src;
    h.dst = h.dst.empty() ? "10.0.0.2" : h.dst;
    host.receive(wire, frame(make_ip4(h, payload), to));
  };
  offend({.dst = "10.0.0.255", .protocol = 99}, counting(20), "ff:ff:ff:ff:ff:ff");
  offend({.dst = "10.0.0.2", .protocol = 99}, counting(20), "ff:ff:ff:ff:ff:ff");
  EXPECT_EQ(host.counter("icmp4-error/about-group"), 2u);
  // An ICMP error that cannot be forwarded; a later fragment likewise.
  offend({.dst = "192.168.9.9"}, make_icmp4(3, 1, 0, counting(28)));
  EXPECT_EQ(host.counter("icmp4-error/about-error"), 1u);
  offend({.dst = "192.168.9.9", .protocol = 17, .flags_fragment = 0x0010});
  EXPECT_EQ(host.counter("icmp4-error/about-fragment"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  offend({.dst = "192.168.9.9"}, make_icmp4(8, 0, 0, counting(28)));  // an echo is no error
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
}

class Icmp4RateTest : public Icmp4Test {
 protected:
  Icmp4RateTest() : Icmp4Test({.icmp_errors_per_second = 10, .icmp_error_burst = 5}) {}
};
TEST_F(Icmp4RateTest, ErrorsAreLimitedByATokenBucket) {  // RFC 1812 section 4.3.2.8
  const Bytes offender =
      frame(make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2", .protocol = 99}, counting(20)));
  for (int i = 0; i < 12; ++i) host.receive(wire, offender);
  EXPECT_THAT(wire.take_sent(), SizeIs(5));
  EXPECT_EQ(host.counter("icmp4-error/rate-limited"), 7u);
  host.now += 200 * kMillisecond;
  for (int i = 0; i < 12; ++i) host.receive(wire, offender);
  EXPECT_THAT(wire.take_sent(), SizeIs(2));
  host.now += 100 * kSecond;
  for (int i = 0; i < 12; ++i) host.receive(wire, offender);
  EXPECT_THAT(wire.take_sent(), SizeIs(5));
}

TEST_F(Icmp4Test, ErrorAboutAPacketOfOursReachesItsProtocol) {
  must(host.net->add_icmp_error_handler(6, false, "test-sink"));
  const Bytes quoted =
      part(make_ip4({.src = "10.0.0.2", .dst = "10.9.9.9", .protocol = 6}, counting(40)), 0, 28);
  const auto error = [&](const Bytes& quote, uint32_t rest = 0, uint8_t code = 1) {
    host.receive(wire, frame(make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"},
                                      make_icmp4(3, code, rest, quote))));
  };
  error(quoted, 1400, 4);
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  const auto& p = host.sink.packets[0];
  EXPECT_EQ(p.data, counting(8));
  EXPECT_EQ(p.ip, part(quoted, 0, 20));
  EXPECT_EQ(p.note.type, 3);
  EXPECT_EQ(p.note.code, 4);
  EXPECT_EQ(p.note.mtu, 1400u);  // RFC 1191 section 4
  EXPECT_EQ(p.note.outer, (20 + 8) / 4);
  error(part(quoted, 0, 27));
  EXPECT_EQ(host.counter("icmp4-input/quote-cut-off"), 1u);
  Bytes bad = quoted;
  put16(bad, 6, 0x0004);  // not the first fragment
  error(bad);
  EXPECT_EQ(host.counter("icmp4-input/quote-fragment"), 1u);
  bad = quoted;
  bad[9] = 17;
  error(bad);
  EXPECT_EQ(host.counter("icmp4-input/error-ignored"), 1u);
  EXPECT_THAT(host.sink.packets, SizeIs(1));
}

TEST_F(Icmp4Test, PingSendsRequestsAndMatchesReplies) {
  std::vector<PingOutcome> over;
  const auto start = [&](const char* to, uint32_t count) {
    return host.net->start_ping(*IpAddress::parse(to), count, 0, 0,
                                [&](const PingOutcome& o) { over.push_back(o); });
  };
  must(start("10.0.0.1", 2));
  host.pass(kTimerTick);  // the second request is a timer's
  host.run();
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(2));
  host.now += 3 * kMillisecond;
  for (const auto& f : sent) {
    Bytes p = part(f.bytes, 14);
    EXPECT_TRUE(checksums_hold(p));
    EXPECT_EQ(p[20], 8);
    const Bytes reply = make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2", .ttl = 61},
                                 make_icmp4(0, 0, get32(p, 24), part(p, 28)));
    host.receive(wire, frame(reply));
    host.receive(wire, frame(reply));  // a duplicate counts once
  }
  host.run();
  ASSERT_THAT(over, SizeIs(1));
  EXPECT_EQ(over[0].n_sent, 2u);
  const auto& replies = over[0].replies;
  ASSERT_THAT(replies, SizeIs(2));
  EXPECT_EQ(replies[1].sequence, 1u);
  EXPECT_EQ(replies[1].rtt, 3 * kMillisecond);
  EXPECT_EQ(replies[1].bytes, 64u);
  EXPECT_EQ(replies[1].ttl, 61);
  EXPECT_EQ(host.counter("icmp4-input/echo-reply"), 2u);
  EXPECT_EQ(host.counter("icmp4-input/echo-reply-unasked"), 2u);
  must(start("172.16.0.1", 3));  // no route: over at once
  host.run();
  ASSERT_THAT(over, SizeIs(2));
  EXPECT_EQ(over[1].n_sent, 0u);
  EXPECT_EQ(over[1].failure, Status::kUnreachable);
}

TEST_F(Icmp4Test, SubnetBroadcastsAreNeitherAnsweredNorReported) {  // RFC 1122 section 3.2.2
  host.receive(wire, frame(echo(counting(8), {.src = "10.0.0.255"})));
  EXPECT_EQ(host.counter("icmp4-input/bad-source"), 1u);
  host.receive(wire, frame(make_ip4({.src = "10.0.0.255", .dst = "10.0.0.2", .protocol = 99},
                                    counting(20))));
  EXPECT_EQ(host.counter("icmp4-error/bad-source"), 1u);
  host.receive(wire, frame(make_ip4({.src = "10.0.0.1", .dst = "10.0.0.255", .protocol = 99},
                                    counting(20))));
  EXPECT_EQ(host.counter("icmp4-error/about-group"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(Icmp4Test, QuotedHeaderThatIsShortOrOfTheOtherVersion) {
  must(host.net->add_icmp_error_handler(17, false, "test-sink"));
  const Bytes good =
      part(make_ip4({.src = "10.0.0.2", .dst = "10.9.9.9", .protocol = 17}, counting(40)), 0, 28);
  const auto expect = [&](const Bytes& quoted, const std::string& counter) {
    const uint64_t before = host.counter(counter);
    host.receive(
        wire, frame(make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"}, make_icmp4(3, 3, 0, quoted))));
    EXPECT_EQ(host.counter(counter), before + 1) << counter;
  };
  const auto beginning_with = [&](uint8_t first) {
    Bytes quoted = good;
    quoted[0] = first;
    return quoted;
  };
  expect(beginning_with(0x65), "icmp4-input/quote-version");
  expect(beginning_with(0x05), "icmp4-input/quote-version");
  expect(beginning_with(0x40), "icmp4-input/quote-header-length");
  expect(beginning_with(0x44), "icmp4-input/quote-header-length");
  expect(beginning_with(0x4f), "icmp4-input/quote-cut-off");  // 60 bytes of 28
  expect(part(good, 0, 19), "icmp4-input/quote-too-short");
  expect({}, "icmp4-input/quote-too-short");
  EXPECT_THAT(host.sink.packets, IsEmpty());
}

}  // namespace
}  // namespace loom
