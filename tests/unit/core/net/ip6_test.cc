// ip6-input, ip6-lookup, ip6-local, icmp6-input and icmp6-error.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kOwn = "2001:db8::2";
constexpr const char* kPeer = "2001:db8::1";
constexpr const char* kOwnLinkLocal = "fe80::ff:fe00:1";  // of 02:00:00:00:00:01

class Ip6Test : public ::testing::Test {
 protected:
  Ip6Test() : wire(host.add_device({"2001:db8::2/64"})) {
    host.know(wire, kPeer);
    must(host.net->add_ip_protocol(17, true, "test-sink"));
  }
  Bytes frame(const Bytes& packet, const char* to = NetHost::kOwnMac) const {
    return ethernet(to, NetHost::kPeerMac, 0x86dd, packet);
  }
  static Bytes udp(const std::string& dst = kOwn) {
    return make_udp(ip6(kPeer), ip6(dst), 1000, 2000, counting(20));
  }
  // UDP behind the extension headers `chain`, the first of which is of kind `first`.
  static Bytes with_headers(uint8_t first, const Bytes& chain) {
    return make_ip6({.src = kPeer, .dst = kOwn, .next_header = first}, chain + udp());
  }
  void expect_dropped(const Bytes& packet, const std::string& counter) {
    const uint64_t before = host.counter(counter);
    host.receive(wire, frame(packet));
    EXPECT_EQ(host.counter(counter), before + 1) << counter;
    EXPECT_THAT(host.sink.packets, IsEmpty()) << counter;
    EXPECT_THAT(wire.take_sent(), IsEmpty()) << counter;
  }
  // The packet is refused with a parameter problem of that code about that byte.
  void expect_parameter_problem(const Bytes& packet, uint8_t code, uint32_t pointer,
                                const std::string& counter) {
    const uint64_t before = host.counter(counter);
    host.receive(wire, frame(packet));
    EXPECT_EQ(host.counter(counter), before + 1) << counter;
    const auto sent = wire.take_sent();
    ASSERT_THAT(sent, SizeIs(1)) << counter;
    const Bytes p = part(sent[0].bytes, 14);
    EXPECT_TRUE(checksums_hold(p));
    EXPECT_EQ(part(p, 40, 2), Bytes({4, code}));
    EXPECT_EQ(get32(p, 44), pointer);
    EXPECT_EQ(part(p, 48), packet);
    EXPECT_THAT(host.sink.packets, IsEmpty());
  }
  NetHost host;
  FakeDevice& wire;
};

TEST_F(Ip6Test, DatagramReachesItsProtocolAtTheL4Header) {
  const Bytes p = make_ip6({.src = kPeer, .dst = kOwn, .next_header = 17}, udp());
  host.receive(wire, frame(p + Bytes(9, 0xee)));  // with padding
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.sink.packets[0].data, udp());
  EXPECT_EQ(host.sink.packets[0].l4_protocol, 17);
  EXPECT_EQ(host.sink.packets[0].ip, part(p, 0, 40));
}

TEST_F(Ip6Test, EachKindOfBadHeaderHasItsCounter) {
  const Bytes good = make_ip6({.src = kPeer, .dst = kOwn, .next_header = 17}, udp());
  expect_dropped(part(good, 0, 39), "ip6-input/too-short");
  Bytes p = good;
  p[0] = 0x40;
  expect_dropped(p, "ip6-input/bad-version");
  p = good;
  put16(p, 4, static_cast<uint32_t>(good.size() - 40 + 1));
  expect_dropped(p, "ip6-input/payload-length-overrun");
  p = good;
  p[7] = 0;
  expect_dropped(p, "ip6-input/hop-limit-zero");
  for (const char* src : {"ff02::1", "::1", "::ffff:10.0.0.1"})
    expect_dropped(make_ip6({.src = src, .dst = kOwn, .next_header = 17}, udp()),
                   "ip6-input/martian-source");
  for (const char* dst : {"::", "::1", "::ffff:10.0.0.1", "ff01::1"})
    expect_dropped(make_ip6({.src = kPeer, .dst = dst, .next_header = 17}, udp()),
                   "ip6-input/martian-destination");
  expect_dropped(make_ip6({.src = kPeer, .dst = "ff02::fb", .next_header = 17}, udp()),
                 "ip6-lookup/not-joined");
}

TEST_F(Ip6Test, TransportChecksumIsVerified) {  // RFC 8200 section 8.1
  Bytes u = udp();
  u[10] ^= 1;
  expect_dropped(make_ip6({.src = kPeer, .dst = kOwn, .next_header = 17}, u),
                 "ip6-local/udp-checksum");
  u = udp();
  put16(u, 4, 7);
  expect_dropped(make_ip6({.src = kPeer, .dst = kOwn, .next_header = 17}, u),
                 "ip6-local/udp-length-short");
  u = udp();
  put16(u, 4, static_cast<uint32_t>(u.size() + 1));
  expect_dropped(make_ip6({.src = kPeer, .dst = kOwn, .next_header = 17}, u),
                 "ip6-local/udp-length-overrun");
}

// Whether it is taken is for UDP to say; nobody may think that it was verified.
TEST_F(Ip6Test, DatagramWithoutAChecksumReachesItsProtocolAsSuch) {  // RFC 6935 section 5
  Bytes u = udp();
  put16(u, 6, 0);
  host.receive(wire, frame(make_ip6({.src = kPeer, .dst = kOwn, .next_header = 17}, u)));
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.sink.packets[0].data, u);
  EXPECT_FALSE(host.sink.packets[0].flags & kBufferL4ChecksumOk);
}

TEST_F(Ip6Test, ExtensionHeadersAreSkipped) {          // RFC 8200 section 4
  const Bytes hop_by_hop = {60, 0, 1, 4, 0, 0, 0, 0};  // PadN; destination options follow
  const Bytes destination = {43, 1, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0};
  const Bytes routing = {44, 0, 4, 0, 0, 0, 0, 0};  // type 4, no segments left
  const Bytes atomic = {17, 0, 0, 0, 1, 2, 3, 4};   // RFC 6946
  host.receive(wire, frame(with_headers(0, hop_by_hop + destination + routing + atomic)));
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.sink.packets[0].data, udp());
  EXPECT_EQ(host.sink.packets[0].l4_protocol, 17);
}

TEST_F(Ip6Test, ExtensionHeaderChainIsBounded) {
  const Bytes padding = {60, 0, 1, 4, 0, 0, 0, 0};  // destination options, for ever
  Bytes chain;
  for (int i = 0; i < 8; ++i) chain = chain + padding;
  Bytes last = padding;
  last[0] = 17;
  expect_dropped(with_headers(60, chain + last), "ip6-local/too-many-headers");
  // Seven and the last are allowed.
  host.receive(wire, frame(with_headers(60, part(chain, 8) + last)));
  EXPECT_THAT(host.sink.packets, SizeIs(1));
}

TEST_F(Ip6Test, BrokenExtensionHeadersHaveTheirCounters) {
  expect_dropped(make_ip6({.src = kPeer, .dst = kOwn, .next_header = 60}, Bytes{17, 0, 1, 4, 0}),
                 "ip6-local/extension-too-short");
  expect_dropped(with_headers(60, {17, 255, 1, 4, 0, 0, 0, 0}), "ip6-local/extension-overrun");
  expect_dropped(with_headers(60, {17, 0, 1, 5, 0, 0, 0, 0}), "ip6-local/option-overrun");
  expect_dropped(with_headers(60, {17, 0, 1, 3, 0, 0, 0, 5}), "ip6-local/option-overrun");
  expect_dropped(with_headers(60, {17, 0, 0x40, 4, 0, 0, 0, 0}), "ip6-local/refused-option");
  expect_dropped(with_headers(60, {59, 0, 1, 4, 0, 0, 0, 0}), "ip6-local/no-next-header");
  host.receive(wire, frame(with_headers(60, {17, 0, 0x1e, 4, 0, 0, 0, 0})));  // unknown, skippable
  EXPECT_THAT(host.sink.packets, SizeIs(1));
}

TEST_F(Ip6Test,
       SenderIsToldAboutHeadersThatAreRefused) {  // RFC 8200 sections 4.2 and 4.4, RFC 5095
  expect_parameter_problem(with_headers(60, {17, 0, 0x80, 4, 0, 0, 0, 0}), 2, 42,
                           "ip6-local/refused-option");
  expect_parameter_problem(with_headers(43, {17, 0, 0, 1, 0, 0, 0, 0}), 0, 42,
                           "ip6-local/routing-header");
  expect_parameter_problem(with_headers(43, {17, 0, 9, 1, 0, 0, 0, 0}), 0, 42,
                           "ip6-local/routing-header");
  expect_parameter_problem(
      with_headers(60, Bytes{0, 0, 1, 4, 0, 0, 0, 0} + Bytes{17, 0, 1, 4, 0, 0, 0, 0}), 1, 40,
      "ip6-local/misplaced-hop-by-hop");
  expect_parameter_problem(make_ip6({.src = kPeer, .dst = kOwn, .next_header = 200}, counting(20)),
                           1, 6, "ip6-local/unknown-protocol");
}

TEST_F(Ip6Test, EchoRequestComesBackByteForByte) {  // RFC 4443 section 4.2
  for (const std::size_t size : {0, 1, 1400}) {
    const Bytes request = make_icmp6(kPeer, kOwn, 128, 0, 0x00070001, counting(size));
    host.receive(wire, frame(make_ip6({.src = kPeer, .dst = kOwn}, request)));
    const auto sent = wire.take_sent();
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(sent[0].bytes,
              ethernet(NetHost::kPeerMac, NetHost::kOwnMac, 0x86dd,
                       make_ip6({.src = kOwn, .dst = kPeer},
                                make_icmp6(kOwn, kPeer, 129, 0, 0x00070001, counting(size)))));
  }
}

TEST_F(Ip6Test, EchoFromALinkLocalAddressIsAnsweredOnItsLink) {
  host.add_device({"2001:db8:1::2/64"});  // another interface with a link-local subnet
  host.know(wire, "fe80::99");
  const Bytes request = make_icmp6("fe80::99", kOwnLinkLocal, 128, 0, 1, {});
  host.receive(wire, frame(make_ip6({.src = "fe80::99", .dst = kOwnLinkLocal}, request)));
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  EXPECT_EQ(host.counter("icmp6-input/echo-answered"), 1u);
}

TEST_F(Ip6Test, BadIcmpMessagesHaveTheirCounters) {
  Bytes m = make_icmp6(kPeer, kOwn, 128, 0, 1, counting(10));
  m.back() ^= 1;
  expect_dropped(make_ip6({.src = kPeer, .dst = kOwn}, m), "icmp6-input/bad-checksum");
  expect_dropped(make_ip6({.src = kPeer, .dst = kOwn}, Bytes(7)), "icmp6-input/too-short");
  expect_dropped(
      make_ip6({.src = kPeer, .dst = "ff02::1"}, make_icmp6(kPeer, "ff02::1", 128, 0, 1, {})),
      "icmp6-input/echo-to-group");
  for (const uint8_t type : {131, 133, 134, 137})
    expect_dropped(make_ip6({.src = kPeer, .dst = kOwn}, make_icmp6(kPeer, kOwn, type, 0, 1, {})),
                   "icmp6-input/ignored-type");
  expect_dropped(make_ip6({.src = kPeer, .dst = kOwn}, make_icmp6(kPeer, kOwn, 129, 0, 1, {})),
                 "icmp6-input/echo-reply-unasked");
}

TEST_F(Ip6Test, ErrorAboutAPacketOfOursReachesItsProtocol) {
  must(host.net->add_icmp_error_handler(6, true, "test-sink"));
  const Bytes quoted =
      part(make_ip6({.src = kOwn, .dst = "2001:db8:9::9", .next_header = 6}, counting(40)), 0, 48);
  const auto error = [&](const Bytes& quote) {
    host.receive(wire, frame(make_ip6({.src = kPeer, .dst = kOwn},
                                      make_icmp6(kPeer, kOwn, 2, 0, 1280, quote))));
  };
  error(quoted);
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.sink.packets[0].data, counting(8));
  EXPECT_EQ(host.sink.packets[0].note.type, 2);
  EXPECT_EQ(host.sink.packets[0].note.mtu, 1280u);
  EXPECT_EQ(host.sink.packets[0].note.is_ip6, 1);
  EXPECT_EQ(host.sink.packets[0].note.outer, (40 + 8) / 4);
  error(part(quoted, 0, 47));
  EXPECT_EQ(host.counter("icmp6-input/quote-cut-off"), 1u);
  // Of a packet that this host has split: its first fragment names the protocol.
  Bytes split = part(quoted, 0, 40) + Bytes{quoted[6], 0, 0, 1, 0, 0, 0, 9} + part(quoted, 40);
  split[6] = 44;
  const std::size_t before = host.sink.packets.size();
  error(split);
  ASSERT_EQ(host.sink.packets.size(), before + 1);
  EXPECT_EQ(host.sink.packets.back().l4_protocol, quoted[6]);
  EXPECT_EQ(host.sink.packets.back().data, part(quoted, 40));
  error(part(split, 0, 47));
  error(part(split, 0, 55));
  EXPECT_EQ(host.counter("icmp6-input/quote-cut-off"), 3u);
  split[43] = 9;
  error(split);
  EXPECT_EQ(host.counter("icmp6-input/quote-fragment"), 1u);
  Bytes other = quoted;
  other[6] = 17;
  error(other);
  EXPECT_EQ(host.counter("icmp6-input/error-ignored"), 1u);
}

TEST_F(Ip6Test, ErrorsOfUnknownTypesReachTheProtocol) {  // RFC 4443 section 2.4 b
  must(host.net->add_icmp_error_handler(6, true, "test-sink"));
  const Bytes quoted =
      part(make_ip6({.src = kOwn, .dst = "2001:db8:9::9", .next_header = 6}, counting(40)), 0, 48);
  for (const uint8_t type : {5, 100, 127}) {
    host.receive(wire, frame(make_ip6({.src = kPeer, .dst = kOwn},
                                      make_icmp6(kPeer, kOwn, type, 3, 77, quoted))));
    ASSERT_FALSE(host.sink.packets.empty());
    EXPECT_EQ(host.sink.packets.back().note.type, type);
    EXPECT_EQ(host.sink.packets.back().note.code, 3);
    EXPECT_EQ(host.sink.packets.back().rest, 77u);
    EXPECT_EQ(host.sink.packets.back().note.mtu, 0u);
  }
  EXPECT_THAT(host.sink.packets, SizeIs(3));
}

TEST_F(Ip6Test, ErrorsQuoteNoMoreThanTheMinimumMtuAllows) {  // RFC 4443 section 2.4 c
  const Bytes offender = make_ip6({.src = kPeer, .dst = kOwn, .next_header = 200}, counting(1400));
  host.receive(wire, frame(offender));
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes.size(), 14u + 1280u);
  EXPECT_TRUE(checksums_hold(part(sent[0].bytes, 14)));
}

TEST_F(Ip6Test, NoErrorIsSentWhereRfc4443ForbidsIt) {  // section 2.4 e
  const auto to = [&](const char* src, const char* dst, const Bytes& icmp) {
    host.receive(wire, frame(make_ip6({.src = src, .dst = dst}, icmp)));
  };
  const char* nowhere = "2001:db8:ffff::1";
  to(kPeer, nowhere, make_icmp6(kPeer, nowhere, 1, 0, 0, counting(48)));
  to(kPeer, nowhere, make_icmp6(kPeer, nowhere, 137, 0, 0, counting(48)));
  EXPECT_EQ(host.counter("icmp6-error/about-error"), 2u);
  host.receive(wire,
               frame(make_ip6({.src = kPeer, .dst = "ff02::1", .next_header = 200}, counting(20)),
                     "33:33:00:00:00:01"));
  EXPECT_EQ(host.counter("icmp6-error/about-group"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(Ip6Test, Type0RoutingHeaderWithoutSegmentsLeftIsSkipped) {  // RFC 5095 section 3
  host.receive(wire, frame(with_headers(43, Bytes{17, 2, 0, 0, 0, 0, 0, 0} + ip6(kPeer))));
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.sink.packets[0].data, udp());
}

TEST_F(Ip6Test, NoErrorIsSentAboutAnErrorBehindExtensionHeaders) {  // RFC 4443 section 2.4 e.1
  const char* nowhere = "2001:db8:ffff::1";
  const auto to_nowhere = [&](uint8_t first, const Bytes& payload) {
    host.receive(wire,
                 frame(make_ip6({.src = kPeer, .dst = nowhere, .next_header = first}, payload)));
  };
  const Bytes error = make_icmp6(kPeer, nowhere, 1, 0, 0, counting(48));
  const Bytes options = {58, 0, 1, 4, 0, 0, 0, 0};
  to_nowhere(60, options + error);
  to_nowhere(0, Bytes{60, 0, 1, 4, 0, 0, 0, 0} + options + error);
  to_nowhere(44, Bytes{58, 0, 0, 1, 0, 0, 0, 9} + error);  // the first fragment of one
  to_nowhere(44, Bytes{58, 0, 0, 8, 0, 0, 0, 9} + error);  // a later one: nobody knows
  to_nowhere(60, {58, 9, 1, 4, 0, 0, 0, 0});               // cut off in the options
  to_nowhere(60, {58, 0, 1, 4, 0, 0, 0, 0});               // cut off before the type
  EXPECT_EQ(host.counter("icmp6-error/about-error"), 6u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  to_nowhere(60, options + make_icmp6(kPeer, nowhere, 128, 0, 1, {}));
  to_nowhere(60, Bytes{17, 0, 1, 4, 0, 0, 0, 0} + udp(nowhere));
  EXPECT_THAT(wire.take_sent(), SizeIs(2));
}

TEST_F(Ip6Test, UnspecifiedSourceIsForNeighbourDiscoveryOnly) {  // RFC 4291 section 2.5.2
  must(host.net->add_route(
      {.prefix = *IpPrefix::parse("::/0"), .gateway = *IpAddress::parse(kPeer)}));
  expect_dropped(make_ip6({.src = "::", .dst = kOwn, .next_header = 17},
                          make_udp(ip6("::"), ip6(kOwn), 1, 2, counting(8))),
                 "ip6-local/bad-source");
  expect_dropped(make_ip6({.src = "::", .dst = kOwn}, make_icmp6("::", kOwn, 128, 0, 1, {})),
                 "icmp6-input/bad-source");
}

TEST_F(Ip6Test, TruncatedHeadersOfEveryKind) {
  must(host.net->add_ip_protocol(6, true, "test-sink"));
  const auto packet = [](uint8_t first, const Bytes& payload) {
    return make_ip6({.src = kPeer, .dst = kOwn, .next_header = first}, payload);
  };
  expect_dropped({}, "ip6-input/too-short");
  expect_dropped(packet(44, {17, 0, 0, 0, 0, 0, 0}), "ip6-local/extension-too-short");
  expect_dropped(packet(43, Bytes{17, 1, 4, 0, 0, 0, 0, 0} + Bytes(7)),
                 "ip6-local/extension-overrun");
  expect_dropped(packet(0, {17, 0, 1}), "ip6-local/extension-too-short");
  expect_dropped(packet(0, {}), "ip6-local/extension-too-short");
  expect_dropped(packet(17, counting(7)), "ip6-local/udp-too-short");
  expect_dropped(packet(6, counting(19)), "ip6-local/tcp-too-short");
  expect_dropped(packet(6, counting(40)), "ip6-local/tcp-checksum");
  expect_dropped(packet(59, counting(8)), "ip6-local/no-next-header");
  expect_dropped(packet(0, {17, 0, 5, 5, 0, 0, 0, 0}), "ip6-local/option-overrun");
}

TEST_F(Ip6Test, QuotedHeaderThatIsShortOrOfTheOtherVersion) {
  must(host.net->add_icmp_error_handler(17, true, "test-sink"));
  Bytes quoted =
      part(make_ip6({.src = kOwn, .dst = "2001:db8:9::9", .next_header = 17}, counting(40)), 0, 48);
  const auto expect = [&](const Bytes& quote, const std::string& counter) {
    expect_dropped(make_ip6({.src = kPeer, .dst = kOwn}, make_icmp6(kPeer, kOwn, 1, 4, 0, quote)),
                   counter);
  };
  expect(part(quoted, 0, 39), "icmp6-input/quote-too-short");
  expect({}, "icmp6-input/quote-too-short");
  quoted[0] = 0x45;
  expect(quoted, "icmp6-input/quote-version");
}

TEST_F(Ip6Test, PingMatchesItsReply) {
  std::size_t answers = 0;
  must(host.net->start_ping(*IpAddress::parse(kPeer), 1, 0, 0,
                            [&](const PingOutcome& o) { answers = o.replies.size(); }));
  host.run();
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  const Bytes p = part(sent[0].bytes, 14);
  EXPECT_TRUE(checksums_hold(p));
  host.receive(wire, frame(make_ip6({.src = kPeer, .dst = kOwn},
                                    make_icmp6(kPeer, kOwn, 129, 0, get32(p, 44), part(p, 48)))));
  host.run();
  EXPECT_EQ(answers, 1u);
  EXPECT_EQ(host.counter("icmp6-input/echo-reply"), 1u);
}

TEST_F(Ip6Test, RouteThatSaysDrop) {
  must(host.net->add_route(
      {.prefix = *IpPrefix::parse("2001:db8:dead::/48"), .gateway = {}, .is_drop = true}));
  const char* dst = "2001:db8:dead::1";
  expect_dropped(make_ip6({.src = kPeer, .dst = dst, .next_header = 17}, udp(dst)),
                 "ip6-lookup/blackhole");
}

TEST_F(Ip6Test, OwnPacketToOwnAddressIsDeliveredWithoutAWire) {
  RouteInfo route;
  Worker& w = host.worker();
  ASSERT_EQ(w.net->route(w, *IpAddress::parse(kOwn), 0, &route), Status::kOk);
  EXPECT_TRUE(route.is_local);
  Buffer* b = host.make(make_ip6({.src = kOwn, .dst = kOwn, .next_header = 17},
                                 make_udp(ip6(kOwn), ip6(kOwn), 1, 2, counting(20))));
  b->flags |= kBufferLocallyOriginated;
  b->adjacency = route.adjacency;
  host.enqueue("ip6-rewrite", b);
  EXPECT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.counter("ip6-rewrite/local"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST(Ip6Rate, ErrorsAreLimitedByATokenBucket) {  // RFC 4443 section 2.4 f
  NetHost host({.icmp_errors_per_second = 10, .icmp_error_burst = 5});
  FakeDevice& wire = host.add_device({"2001:db8::2/64"});
  host.know(wire, kPeer);
  const auto offend = [&] {
    for (int i = 0; i < 12; ++i)
      host.receive(
          wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x86dd,
                         make_ip6({.src = kPeer, .dst = kOwn, .next_header = 200}, counting(8))));
  };
  offend();
  EXPECT_THAT(wire.take_sent(), SizeIs(5));
  EXPECT_EQ(host.counter("icmp6-error/rate-limited"), 7u);
  host.now += 200 * kMillisecond;
  offend();
  EXPECT_THAT(wire.take_sent(), SizeIs(2));
}

TEST_F(Ip6Test, GroupsAreNotRouted) {  // what is not looked up in a table is not put there
  for (const char* prefix : {"ff00::/8", "ff02::/16", "ff05::1/128"}) {
    Route r;
    r.prefix = *IpPrefix::parse(prefix);
    r.is_drop = true;
    EXPECT_FALSE(host.net->add_route(r)) << prefix;
  }
  Route r;
  r.prefix = *IpPrefix::parse("2001:db8:1::/48");
  r.gateway = *IpAddress::parse("ff02::1");
  r.tx_if = wire.index;
  EXPECT_FALSE(host.net->add_route(r));
}

TEST_F(Ip6Test, TransportCanTellWhatWasSentToAGroup) {
  for (const char* dst : {"ff02::1", "ff02::1:ff00:2", kOwn})
    host.receive(wire, frame(make_ip6({.src = kPeer, .dst = dst, .next_header = 17}, udp(dst))));
  ASSERT_THAT(host.sink.packets, SizeIs(3));
  EXPECT_TRUE(host.sink.packets[0].flags & kBufferNetGroup);
  EXPECT_TRUE(host.sink.packets[1].flags & kBufferNetGroup);
  EXPECT_FALSE(host.sink.packets[2].flags & kBufferGroup);
}

}  // namespace
}  // namespace loom
