// udp4-input and udp6-input: every packet ends in exactly one counter, and what is delivered is
// what was sent.
#include "udp_bed.h"

namespace loom::test {
namespace {

struct UdpInput : testing::TestWithParam<bool> {
  UdpBed bed;
  bool ip6() const { return GetParam(); }
  std::string node() const { return ip6() ? "udp6-input/" : "udp4-input/"; }
  uint64_t count(const char* counter) { return bed.count(node() + counter); }
  ~UdpInput() override {
    const std::string name = node().substr(0, 10);
    EXPECT_EQ(bed.fake.node_total(name), bed.fake.packets_into(name));
  }
};
INSTANTIATE_TEST_SUITE_P(Ip, UdpInput, testing::Bool(),
                         [](const auto& i) { return i.param ? "v6" : "v4"; });

TEST_P(UdpInput, ADatagramReachesTheBoundSessionWithAllThatIsKnownOfIt) {
  bed.bind(53, ip6());
  bed.receive({.payload = "question"}, ip6());
  ASSERT_EQ(bed.received.size(), 1u);
  const auto& r = bed.received[0];
  EXPECT_EQ(r.session, 100u);
  EXPECT_EQ(r.payload, "question");
  EXPECT_EQ(r.d.ends.local, bed.local(ip6()));
  EXPECT_EQ(r.d.ends.remote, bed.remote(ip6()));
  EXPECT_EQ(r.d.ends.local_port, 53);
  EXPECT_EQ(r.d.ends.remote_port, 7);
  EXPECT_EQ(r.d.tos, 0xb8);
  EXPECT_EQ(r.d.ttl, 61);
  EXPECT_EQ(r.d.interface, 3u);
  EXPECT_EQ(count("delivered"), 1u);
}

TEST_P(UdpInput, AnEmptyDatagramIsOne) {
  bed.bind(53, ip6());
  bed.receive({.payload = ""}, ip6());
  ASSERT_EQ(bed.received.size(), 1u);
  EXPECT_EQ(bed.received[0].payload, "");
}

TEST_P(UdpInput, PaddingIsNotPayload) {  // RFC 894
  bed.bind(53, ip6());
  bed.receive({.payload = "x", .padding = 17}, ip6());
  ASSERT_EQ(bed.received.size(), 1u);
  EXPECT_EQ(bed.received[0].payload, "x");
}

TEST_P(UdpInput, TheLengthFieldMayBeLessThanIpsAndTheRestIsIgnored) {
  bed.bind(53, ip6());
  bed.receive({.payload = "short and the rest", .length = 8 + 5}, ip6());
  ASSERT_EQ(bed.received.size(), 1u);
  EXPECT_EQ(bed.received[0].payload, "short");
}

TEST_P(UdpInput, MalformedOnesAreCountedByKind) {
  bed.bind(53, ip6());
  bed.receive({.payload = "", .cut = 1}, ip6());
  EXPECT_EQ(count("too-short"), 1u);
  bed.receive({.length = 7}, ip6());
  bed.receive({.length = 0}, ip6());
  EXPECT_EQ(count("length-short"), 2u);
  bed.receive({.length = 14}, ip6());
  bed.receive({.cut = 1}, ip6());
  EXPECT_EQ(count("length-overrun"), 2u);
  bed.receive({.checksum = 0x1234}, ip6());
  EXPECT_EQ(count("bad-checksum"), 1u);
  EXPECT_TRUE(bed.received.empty());
  EXPECT_EQ(bed.fake.packets_into("drop"), 6u);
}

TEST_P(UdpInput, ZeroChecksumMeansNoneOverIp4Only) {  // RFC 768; RFC 8200 section 8.1
  bed.bind(53, ip6());
  bed.receive({.checksum = 0}, ip6());
  EXPECT_EQ(count("no-checksum"), ip6() ? 1u : 0u);
  EXPECT_EQ(count("delivered"), ip6() ? 0u : 1u);
}

TEST(UdpInput6, AZeroChecksumIsTakenByWhoHasSaidSo) {  // RFC 6935; UDP_NO_CHECK6_RX
  UdpBed bed;
  const auto count = [&](const char* name) { return bed.count(std::string("udp6-input/") + name); };
  bed.receive({.dst_port = 52, .checksum = 0}, true);  // nobody is there: not answered
  EXPECT_EQ(count("no-checksum"), 1u);
  EXPECT_EQ(count("no-port"), 0u);
  const ConnId c = bed.bind(53, true);
  bed.receive({.checksum = 0}, true);
  EXPECT_EQ(count("no-checksum"), 2u);
  bed.options.no_check6_rx = true;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.receive({.checksum = 0}, true);
  bed.receive({}, true);
  bed.receive({.checksum = 0x1234}, true);  // one that is there must be right
  EXPECT_EQ(count("no-checksum"), 2u);
  EXPECT_EQ(count("bad-checksum"), 1u);
  EXPECT_EQ(count("delivered"), 2u);
  EXPECT_EQ(bed.received.size(), 2u);
  bed.options.no_check6_rx = false;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.receive({.checksum = 0}, true);
  EXPECT_EQ(count("no-checksum"), 3u);
}

TEST(UdpInput6, OfSeveralOfAFlowThoseWithoutAChecksumGoAlone) {  // UDP_GRO
  UdpBed bed;
  bed.options.gro = true;
  bed.bind(53, true);
  bed.receive_all({{.payload = "one"}, {.payload = "two", .checksum = 0}, {.payload = "six"}},
                  true);
  EXPECT_EQ(bed.count("udp6-input/no-checksum"), 1u);
  ASSERT_EQ(bed.received.size(), 2u);
  EXPECT_EQ(bed.received[0].payload, "one");
  EXPECT_EQ(bed.received[1].payload, "six");
}

TEST_P(UdpInput, AChecksumThatTheDeviceHasVerifiedIsNotComputed) {
  bed.bind(53, ip6());
  bed.receive({.checksum = 0x1234, .flags = kBufferL4ChecksumOk}, ip6());
  EXPECT_EQ(count("delivered"), 1u);
}

TEST_P(UdpInput, NobodyOnThePortIsToldToTheSender) {  // RFC 1122 section 4.1.3.1
  bed.receive({}, ip6());
  EXPECT_EQ(count("no-port"), 1u);
  ASSERT_EQ(bed.fake.captured.size(), 1u);
  EXPECT_EQ(bed.fake.captured[0].node, ip6() ? "icmp6-error" : "icmp4-error");
  IcmpErrorRequest request;
  std::memcpy(&request, bed.fake.captured[0].packet->opaque, sizeof request);
  EXPECT_EQ(request.type, ip6() ? 1 : 3);
  EXPECT_EQ(request.code, ip6() ? 4 : 3);
}

TEST_P(UdpInput, NobodyIsToldOfWhatWasSentToAGroup) {  // RFC 1122 section 3.2.2
  bed.receive({.flags = kBufferNetGroup}, ip6());
  bed.receive({.flags = kBufferLinkGroup}, ip6());
  EXPECT_EQ(count("no-port-group"), 2u);
  EXPECT_EQ(bed.fake.packets_into("drop"), 2u);
}

TEST_P(UdpInput, TheConnectedGetTheirPeersAndTheBoundTheRest) {
  bed.options.reuseaddr = true;
  const ConnId c = bed.connect(7, ip6());
  bed.bind(40'000, ip6());
  bed.receive({.src_port = 7, .dst_port = 40'000}, ip6());
  bed.receive({.src_port = 8, .dst_port = 40'000}, ip6());
  ASSERT_EQ(bed.received.size(), 2u);
  EXPECT_EQ(bed.received[0].session, 100u);
  EXPECT_EQ(bed.received[1].session, 101u);
  bed.ops().abort(bed.fake.worker, c);
  bed.receive({.src_port = 7, .dst_port = 40'000}, ip6());
  EXPECT_EQ(bed.received.back().session, 101u);
}

TEST_P(UdpInput, WhatTheSessionDoesNotTakeIsCountedByReason) {
  const ConnId c = bed.bind(53, ip6());
  bed.rx_answer = Status::kAgain;
  bed.receive({}, ip6());
  EXPECT_EQ(count("rcvbuf-full"), 1u);
  bed.rx_answer = Status::kNoMemory;
  bed.receive({}, ip6());
  EXPECT_EQ(count("no-memory"), 1u);
  bed.rx_answer = Status::kClosed;
  bed.receive({}, ip6());
  EXPECT_EQ(count("closed"), 1u);
  std::string text;
  bed.ops().describe(bed.fake.worker, c, text);
  EXPECT_NE(text.find("rcvbuf-full 1"), std::string::npos) << text;
}

TEST_P(UdpInput, DeniedOnesGetNoAnswer) {
  bed.force = FlowKind::kDenied;
  bed.receive({}, ip6());
  EXPECT_EQ(count("denied"), 1u);
  EXPECT_EQ(bed.fake.packets_into("drop"), 1u);
}

TEST_P(UdpInput, AnotherWorkersAreHandedOver) {
  bed.bind(53, ip6());
  for (auto& [id, flow] : bed.flows) flow.worker = 1;
  bed.receive({}, ip6());
  EXPECT_EQ(count("handed-off"), 1u);
  ASSERT_EQ(bed.fake.handed_off.size(), 1u);
  EXPECT_EQ(bed.fake.handed_off[0].first, 1u);
  EXPECT_EQ(bed.fake.handed_off[0].second.node + "/", node());
}

TEST_P(UdpInput, WhoHasOneInterfaceAloneHearsNothingByOthers) {  // packets come by 3
  for (const bool gro : {false, true}) {
    bed.options.gro = gro;
    bed.options.interface = 4;
    const ConnId c = bed.bind(53, ip6());
    bed.receive_all({{}, {}}, ip6());
    EXPECT_TRUE(bed.received.empty());
    EXPECT_EQ(count("no-port"), gro ? 4u : 2u);
    bed.options.interface = 3;
    ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
    bed.receive_all({{}, {}}, ip6());
    EXPECT_EQ(bed.received.size(), gro ? 1u : 2u);
    bed.received.clear();
    bed.ops().abort(bed.fake.worker, c);
  }
}

// ipN-local leaves of it that no interface has received it, and by which it was sent.
TEST_P(UdpInput, WhatThisHostSendsItselfIsHeardUnlessItWasSentByAnotherInterface) {
  bed.options.interface = 4;
  bed.bind(53, ip6());
  bed.receive({.rx_if = kNoIndex}, ip6());
  EXPECT_EQ(bed.received.size(), 1u);
  bed.receive({.rx_if = kNoIndex, .tx_if = 4}, ip6());
  EXPECT_EQ(bed.received.size(), 2u);
  EXPECT_EQ(count("no-port"), 0u);
  bed.receive({.rx_if = kNoIndex, .tx_if = 3}, ip6());
  EXPECT_EQ(bed.received.size(), 2u);
  EXPECT_EQ(count("no-port"), 1u);
}

TEST_P(UdpInput, OfThoseThatShareAPortEachHearsItsOwnLink) {
  bed.options.reuseport = true;
  bed.options.interface = 3;
  bed.bind(53, ip6());  // 100
  bed.options.interface = 4;
  bed.bind(53, ip6());  // 101, which the flow table leads to
  bed.receive({}, ip6());
  ASSERT_EQ(bed.received.size(), 1u);
  EXPECT_EQ(bed.received[0].session, 100u);
  bed.receive({.rx_if = 4}, ip6());
  ASSERT_EQ(bed.received.size(), 2u);
  EXPECT_EQ(bed.received[1].session, 101u);
  bed.receive({.rx_if = 5}, ip6());
  EXPECT_EQ(count("no-port"), 1u);
  bed.options.interface = 3;
  bed.bind(53, ip6());  // 102
  bed.options.interface = 4;
  bed.bind(53, ip6());  // 103
  bed.received.clear();
  for (uint16_t port = 1; port <= 32; ++port) bed.receive({.src_port = port}, ip6());
  std::map<SessionId, int> n;
  for (const auto& r : bed.received) ++n[r.session];
  EXPECT_EQ(n[100] + n[102], 32);
  EXPECT_GT(n[100], 0);
  EXPECT_GT(n[102], 0);
}

TEST_P(UdpInput, WhoHasOneInterfaceAloneHidesNobody) {
  bed.options.reuseaddr = true;
  bed.options.interface = 4;
  const ConnId c = bed.connect(7, ip6());  // 100
  const ConnId own = bed.open([&] {        // 101
    Endpoints e;
    e.local = bed.local(ip6());
    e.remote = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
    e.local_port = 40'000;
    return e;
  }());
  bed.options.interface = kNoIndex;
  bed.bind(40'000, ip6());  // 102
  const auto comes_to = [&](IfIndex by) {
    bed.receive({.dst_port = 40'000, .rx_if = by}, ip6());
    return bed.received.empty() ? kNoSession : bed.received.back().session;
  };
  EXPECT_EQ(comes_to(3), 102u);
  EXPECT_EQ(comes_to(4), 100u);
  bed.ops().abort(bed.fake.worker, c);
  EXPECT_EQ(comes_to(3), 102u);
  EXPECT_EQ(comes_to(4), 101u);
  // Whoever has asked for more comes first.
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, own, bed.options), Status::kOk);
  bed.options.interface = 4;
  for (const uint16_t peer : {7, 8}) bed.connect(peer, ip6());
  for (const uint16_t peer : {7, 8}) {
    bed.receive({.src_port = peer, .dst_port = 40'000}, ip6());
    EXPECT_EQ(bed.received.back().session, 101u);
  }
  EXPECT_EQ(count("no-port"), 0u);
}

TEST_P(UdpInput, AFlowWhoseSessionHasGoneIsCounted) {
  const ConnId c = bed.bind(53, ip6());
  const auto kept = bed.flows;
  bed.ops().abort(bed.fake.worker, c);
  bed.flows = kept;
  bed.receive({}, ip6());
  EXPECT_EQ(count("vanished"), 1u);
}

TEST_P(UdpInput, WhatTheDevicePutTogetherIsTakenApart) {
  bed.bind(53, ip6());
  bed.receive({.payload = "aaaabbbbcc", .flags = kBufferL4ChecksumOk, .gso_size = 4}, ip6());
  ASSERT_EQ(bed.received.size(), 3u);
  EXPECT_EQ(bed.received[0].payload, "aaaa");
  EXPECT_EQ(bed.received[1].payload, "bbbb");
  EXPECT_EQ(bed.received[2].payload, "cc");
  EXPECT_EQ(count("delivered"), 1u);
}

TEST_P(UdpInput, OfWhatTheDevicePutTogetherAllThatIsLostCounts) {
  for (const bool gro : {false, true}) {
    bed.options.gro = gro;
    const ConnId c = bed.bind(gro ? 54 : 53, ip6());
    const UdpBed::Packet p{.payload = "aaaabbbbcc",
                           .dst_port = static_cast<uint16_t>(gro ? 54 : 53),
                           .flags = kBufferL4ChecksumOk,
                           .gso_size = 4};
    bed.rx_room = bed.received.size() + 1;
    bed.receive(p, ip6());
    EXPECT_EQ(bed.connection(c).received, gro ? 3u : 1u);
    EXPECT_EQ(bed.connection(c).overflowed, gro ? 0u : 2u);
    bed.receive(p, ip6());
    EXPECT_EQ(bed.connection(c).received, gro ? 3u : 1u);
    EXPECT_EQ(bed.connection(c).overflowed, gro ? 3u : 5u);
  }
  EXPECT_EQ(count("rcvbuf-full"), 3u);  // packets
}

TEST_P(UdpInput, SocketsThatAgreeShareAPort) {  // SO_REUSEPORT
  bed.options.reuseport = true;
  const ConnId first = bed.bind(53, ip6());
  const ConnId second = bed.bind(53, ip6());
  bed.receive({}, ip6());
  EXPECT_EQ(bed.received.back().session, 101u);
  // With a peer it is found by that, and its end is one's again when the peer has gone.
  Endpoints e;
  e.remote = bed.remote(ip6());
  e.remote_port = 7;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, second, e), Status::kOk);
  bed.receive({.src_port = 8}, ip6());
  EXPECT_EQ(bed.received.back().session, 100u);
  bed.receive({.src_port = 7}, ip6());
  EXPECT_EQ(bed.received.back().session, 101u);
  e.remote_port = 0;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, second, e), Status::kOk);
  bed.receive({.src_port = 8}, ip6());
  EXPECT_EQ(bed.received.back().session, 101u);
  // One that is opened with a peer has to agree as well, and is not among those without.
  e = {};
  e.local = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  e.local_port = 53;
  e.remote = bed.remote(ip6());
  e.remote_port = 9;
  const ConnId third = bed.open(e);
  bed.receive({.src_port = 10}, ip6());
  EXPECT_EQ(bed.received.back().session, 101u);
  bed.options.reuseport = false;
  bed.options.reuseaddr = true;
  e.remote_port = 11;
  bed.open(e, Status::kInUse);
  for (const ConnId c : {first, second, third}) bed.ops().abort(bed.fake.worker, c);
  EXPECT_TRUE(bed.flows.empty());
}

// --- UDP_GRO

TEST_P(UdpInput, WhoTakesSeveralAtOnceGetsWhatTheDeviceHasPutTogether) {
  bed.options.gro = true;
  bed.bind(53, ip6());
  bed.receive({.payload = "aaaabbbbcc", .flags = kBufferL4ChecksumOk, .gso_size = 4}, ip6());
  bed.receive({.payload = "dd", .flags = kBufferL4ChecksumOk, .gso_size = 4}, ip6());
  ASSERT_EQ(bed.received.size(), 2u);
  EXPECT_EQ(bed.received[0].payload, "aaaabbbbcc");
  EXPECT_EQ(bed.received[0].d.segment, 4);
  EXPECT_EQ(bed.received[1].payload, "dd");
  EXPECT_EQ(bed.received[1].d.segment, 0);
}

TEST_P(UdpInput, DatagramsOfOneFlowAreGivenTogetherToWhoTakesThemSo) {
  bed.options.gro = true;
  const ConnId c = bed.bind(53, ip6());
  using P = UdpBed::Packet;
  bed.receive_all(
      {P{.payload = "aaaa", .padding = 10}, P{.payload = "bbbb", .padding = 3},
       P{.payload = "cc"},                                           // a shorter one is the last
       P{.payload = "dddd"}, P{.payload = "eeeee"},                  // a longer one is the next
       P{.payload = "fffff"}, P{.payload = "ggggg", .src_port = 8},  // another flow
       P{.payload = ""}, P{.payload = ""}, P{.payload = "hh", .flags = kBufferLinkGroup},
       P{.payload = "ii"}, P{.payload = "jj", .length = 10}, P{.payload = "kk", .length = 7},
       P{.payload = "ll"}},
      ip6());
  std::vector<std::pair<std::string, int>> got;
  for (const auto& r : bed.received) got.emplace_back(r.payload, r.d.segment);
  const std::vector<std::pair<std::string, int>> expected{
      {"aaaabbbbcc", 4}, {"dddd", 0}, {"eeeeefffff", 5}, {"ggggg", 0},
      {"", 0},           {"", 0},     {"hh", 0},         {"iijjll", 2}};
  EXPECT_EQ(got, expected);
  EXPECT_EQ(count("delivered"), 13u);
  EXPECT_EQ(count("length-short"), 1u);
  // When there is no room for all of them none is taken, and each is counted.
  bed.rx_answer = Status::kAgain;
  bed.receive_all({P{}, P{}, P{}}, ip6());
  EXPECT_EQ(count("rcvbuf-full"), 3u);
  ConnectionInfo info;
  bed.ops().info(bed.fake.worker, c, info);
  EXPECT_EQ(info.segs_in, 13u);
  // And no more than Linux would.
  bed.rx_answer = Status::kOk;
  bed.received.clear();
  bed.receive_all(std::vector<P>(100, P{.payload = "x"}), ip6());
  ASSERT_EQ(bed.received.size(), 2u);
  EXPECT_EQ(bed.received[0].payload.size(), 64u);
  // Who does not take them so any more has them one by one.
  bed.options.gro = false;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.received.clear();
  bed.receive_all({P{}, P{}}, ip6());
  EXPECT_EQ(bed.received.size(), 2u);
}

// What is told beside them is told once.
TEST_P(UdpInput, OnlyDatagramsThatCameAlikeAreGivenTogether) {
  bed.options.gro = true;
  bed.bind(53, ip6());
  using P = UdpBed::Packet;
  bed.receive_all({P{.payload = "aa"}, P{.payload = "bb", .tos = 0}, P{.payload = "cc", .tos = 0},
                   P{.payload = "dd", .tos = 0, .ttl = 3}},
                  ip6());
  ASSERT_EQ(bed.received.size(), 3u);
  EXPECT_EQ(bed.received[0].payload, "aa");
  EXPECT_EQ(bed.received[0].d.tos, 0xb8);
  EXPECT_EQ(bed.received[1].payload, "bbcc");
  EXPECT_EQ(bed.received[1].d.ttl, 61);
  EXPECT_EQ(bed.received[2].payload, "dd");
  EXPECT_EQ(bed.received[2].d.ttl, 3);
}

TEST(UdpInputBothFamilies, ASocketOnAnyIp6AddressTakesIp4sUnlessItSaysNo) {
  UdpBed bed;
  const ConnId both = bed.bind(53, true);
  bed.receive({}, false);
  ASSERT_EQ(bed.received.size(), 1u);
  EXPECT_TRUE(bed.received[0].d.ends.remote.is_ip4);
  bed.ops().close(bed.fake.worker, both, false);
  EXPECT_EQ(bed.closed.size(), 1u);
  EXPECT_TRUE(bed.flows.empty());
  Endpoints e;
  e.local = e.remote = IpAddress(Ip6Address{});
  e.local_port = 53;
  bed.open(e, Status::kOk, true);
  bed.receive({}, false);
  EXPECT_EQ(bed.count("udp4-input/no-port"), 1u);
}

}  // namespace
}  // namespace loom::test
