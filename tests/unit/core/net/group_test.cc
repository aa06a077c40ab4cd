// Groups: what is taken in, how packets to them leave, and what routers are told. RFC 1112, RFC
// 2236, RFC 3376, RFC 2710, RFC 3810.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

const IpAddress kGroup4 = *IpAddress::parse("239.1.2.3"), kGroup6 = *IpAddress::parse("ff05::1:3");
const IpAddress kSource4 = *IpAddress::parse("192.0.2.9"), kOther4 = *IpAddress::parse("192.0.2.8");
constexpr const char* kRouterLocal = "fe80::99";
enum : uint8_t { kIsIn = 1, kIsEx, kToIn, kToEx, kAllow, kBlock };

class GroupTest : public ::testing::Test {
 protected:
  GroupTest() : wire(host.add_device({"10.0.0.2/24", "2001:db8::2/64"})) {
    host.pass(10 * kSecond);  // duplicate address detection
    wire.take_sent();
  }
  const NetOps& ops() { return *host.worker().net; }
  Status listen(uint64_t socket, const IpAddress& group, bool is_exclude,
                std::vector<IpAddress> sources = {}) {
    const Status s =
        ops().listen_group(host.worker(), socket, wire.index, group, {is_exclude, sources});
    host.run();
    return s;
  }
  void want(uint64_t socket, const IpAddress& group, bool is_exclude,
            std::vector<IpAddress> sources = {}) {
    EXPECT_EQ(listen(socket, group, is_exclude, std::move(sources)), Status::kOk);
  }
  // What was sent, without the Ethernet header, of that family.
  std::vector<Bytes> sent(bool is_ip4 = true) {
    std::vector<Bytes> all;
    for (const auto& f : wire.take_sent())
      if (get16(f.bytes, 12) == (is_ip4 ? 0x0800u : 0x86ddu)) all.push_back(part(f.bytes, 14));
    return all;
  }
  // Of MLD about that group: addresses have groups of their own (solicited_node_test.cc).
  std::vector<Bytes> sent_of(const char* group) {
    std::vector<Bytes> all = sent(false);
    std::erase_if(all, [&](const Bytes& p) { return part(p, p.size() - 16) != ip6(group); });
    return all;
  }
  // An IGMPv3 report of one record.
  static Bytes report(uint8_t type, const Bytes& group, const std::vector<Bytes>& sources = {}) {
    Bytes b{0x22, 0, 0, 0, 0, 0, 0, 1, type, 0, 0, static_cast<uint8_t>(sources.size())};
    b = b + group;
    for (const Bytes& s : sources) b = b + s;
    put16(b, 2, plain_checksum(b));
    return b;
  }
  void expect_report(const Bytes& packet, const Bytes& body, const char* to = "224.0.0.22") {
    EXPECT_EQ(part(packet, 0, 2), Bytes({0x46, 0xc0}));
    EXPECT_EQ(packet.at(8), 1);  // TTL
    EXPECT_EQ(packet.at(9), 2);
    EXPECT_EQ(part(packet, 12, 12), ip4("10.0.0.2") + ip4(to) + Bytes({0x94, 4, 0, 0}));
    EXPECT_EQ(plain_sum(part(packet, 0, 24)), 0xffff);
    EXPECT_EQ(part(packet, 24), body);
  }
  void igmp(Bytes body, const char* to = "224.0.0.1", const char* from = "10.0.0.1",
            uint8_t ttl = 1) {
    put16(body, 2, 0);
    put16(body, 2, plain_checksum(body));
    host.receive(wire,
                 ethernet("01:00:5e:00:00:01", NetHost::kPeerMac, 0x0800,
                          make_ip4({.src = from, .dst = to, .protocol = 2, .ttl = ttl}, body)));
  }
  static Bytes query4(const Bytes& group, uint8_t code, bool is_v3 = true) {
    Bytes b = Bytes{0x11, code, 0, 0} + group;
    return is_v3 ? b + Bytes{2, 125, 0, 0} : b;
  }
  void mld(uint16_t code, const Bytes& group, bool is_v2 = true, const char* from = kRouterLocal,
           const Bytes& options = {5, 2, 0, 0, 1, 0}, uint8_t hops = 1) {
    Bytes rest = group;
    if (is_v2) rest = rest + Bytes{2, 125, 0, 0};
    const Bytes icmp = make_icmp6(from, "ff02::1", 130, 0, uint32_t{code} << 16, rest);
    host.receive(
        wire,
        ethernet("33:33:00:00:00:01", NetHost::kPeerMac, 0x86dd,
                 make_ip6({.src = from, .dst = "ff02::1", .next_header = 0, .hop_limit = hops},
                          Bytes{58, 0} + options + icmp)));
  }

  NetHost host;
  FakeDevice& wire;
};

TEST_F(GroupTest, PacketsToAGroupComeInWhileSomebodyListens) {
  must(host.net->add_ip_protocol(99, false, "test-sink"));
  must(host.net->add_ip_protocol(99, true, "test-sink"));
  const auto both = [&] {
    host.sink.packets.clear();
    host.receive(wire, ethernet("01:00:5e:01:02:03", NetHost::kPeerMac, 0x0800,
                                make_ip4({.src = "192.0.2.1", .dst = "239.1.2.3", .protocol = 99},
                                         counting(9))));
    host.receive(wire,
                 ethernet("33:33:00:01:00:03", NetHost::kPeerMac, 0x86dd,
                          make_ip6({.src = "2001:db8::1", .dst = "ff05::1:3", .next_header = 99},
                                   counting(9))));
    return host.sink.packets.size();
  };
  EXPECT_EQ(both(), 0u);
  EXPECT_EQ(listen(1, kGroup4, true), Status::kOk);
  EXPECT_EQ(listen(1, kGroup6, true), Status::kOk);
  EXPECT_TRUE(ops().hears_group(host.worker(), wire.index, kGroup4));
  EXPECT_FALSE(ops().hears_group(host.worker(), wire.index + 1, kGroup4));
  EXPECT_EQ(both(), 2u);
  for (const auto& p : host.sink.packets) EXPECT_TRUE(p.flags & kBufferNetGroup);
  want(2, kGroup4, false, {kSource4});
  want(1, kGroup4, false);
  EXPECT_EQ(both(), 2u);  // another still does
  want(2, kGroup4, false);
  want(1, kGroup6, false);
  EXPECT_EQ(both(), 0u);
}

TEST_F(GroupTest, RequestsAreBoundedAndChecked) {
  EXPECT_EQ(ops().listen_group(host.worker(), 1, 77, kGroup4, {true, {}}), Status::kNotFound);
  EXPECT_EQ(listen(1, kSource4, true), Status::kInvalid);
  EXPECT_EQ(listen(1, kGroup4, false, std::vector(65, kSource4)), Status::kNoMemory);
  std::size_t n = 0;
  for (uint32_t i = 0; i < 5000; ++i)
    n += ops().listen_group(host.worker(), 1, wire.index, Ip4Address::from_host(0xef000000 + i),
                            {true, {}}) == Status::kOk;
  EXPECT_EQ(n, GroupTable::kMaxGroups);
}

TEST_F(GroupTest, WhatIsSentToAGroupHasItsLinkLayerGroup) {
  for (const bool is_ip4 : {true, false}) {
    RouteInfo r;
    GroupDestination d;
    d.to = is_ip4 ? kGroup4 : kGroup6;
    d.source = is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
    ASSERT_EQ(ops().route_group(host.worker(), d, &r), Status::kOk);
    EXPECT_EQ(r.tx_if, wire.index);
    EXPECT_EQ(r.mtu, 1500u);
    EXPECT_FALSE(r.is_broadcast);
    EXPECT_EQ(r.source.str(), is_ip4 ? "10.0.0.2" : "2001:db8::2");
    Buffer* b =
        host.make(is_ip4 ? make_ip4({.src = "10.0.0.2", .dst = "239.129.2.3"}, counting(9))
                         : make_ip6({.src = "2001:db8::2", .dst = "ff05::1:3"}, counting(9)));
    b->flags |= kBufferLocallyOriginated;
    b->adjacency = r.adjacency;
    host.enqueue(is_ip4 ? "ip4-rewrite" : "ip6-rewrite", b);
    const auto sent = wire.take_sent();
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(part(sent[0].bytes, 0, 12),
              mac(is_ip4 ? "01:00:5e:01:02:03" : "33:33:00:01:00:03") + mac(NetHost::kOwnMac));
  }
}

TEST_F(GroupTest, GroupsLeaveByTheInterfaceThatIsMeant) {
  FakeDevice& second = host.add_device({"10.1.0.2/24"});
  const auto by = [&](const char* to, const char* source, IfIndex interface) {
    RouteInfo r;
    GroupDestination d;
    d.to = *IpAddress::parse(to);
    d.source = *IpAddress::parse(source);
    d.interface = interface;
    return ops().route_group(host.worker(), d, &r) == Status::kOk ? r.tx_if : kNoIndex;
  };
  EXPECT_EQ(by("239.1.2.3", "0.0.0.0", kNoIndex), wire.index);
  EXPECT_EQ(by("239.1.2.3", "10.1.0.2", kNoIndex), second.index);
  EXPECT_EQ(by("239.1.2.3", "0.0.0.0", second.index), second.index);
  EXPECT_EQ(by("239.1.2.3", "0.0.0.0", 77), kNoIndex);
  EXPECT_EQ(by("239.1.2.3", "10.9.9.9", kNoIndex), kNoIndex);
  EXPECT_EQ(by("255.255.255.255", "10.1.0.2", kNoIndex), second.index);
  EXPECT_EQ(by("10.1.0.255", "0.0.0.0", kNoIndex), second.index);
  EXPECT_EQ(by("10.1.0.9", "0.0.0.0", kNoIndex), kNoIndex);
}

// --- IGMP

TEST_F(GroupTest, JoiningAndLeavingAreToldTwice) {  // RFC 3376 section 5.1
  want(1, kGroup4, true);
  auto now = sent();
  ASSERT_THAT(now, SizeIs(1));
  expect_report(now[0], report(kToEx, ip4("239.1.2.3")));
  host.pass(kSecond);
  now = sent();
  ASSERT_THAT(now, SizeIs(1));
  expect_report(now[0], report(kToEx, ip4("239.1.2.3")));
  host.pass(100 * kSecond);
  EXPECT_THAT(sent(), IsEmpty());
  want(2, kGroup4, true);  // nothing new
  want(2, kGroup4, false);
  EXPECT_THAT(sent(), IsEmpty());
  want(1, kGroup4, false);
  host.pass(10 * kSecond);
  now = sent();
  ASSERT_THAT(now, SizeIs(2));
  expect_report(now[1], report(kToIn, ip4("239.1.2.3")));
  host.pass(1000 * kSecond);
  EXPECT_THAT(sent(), IsEmpty());
}

TEST_F(GroupTest, AChangeThatIsToBeToldAgainIsToldWithTheNext) {  // RFC 3376 section 5.1
  want(1, kGroup4, true);
  want(2, kGroup4, true, {kOther4});
  want(1, kGroup4, false);
  auto now = sent();
  ASSERT_THAT(now, SizeIs(2));
  expect_report(now[1], report(kToEx, ip4("239.1.2.3"), {ip4("192.0.2.8")}));
  host.pass(10 * kSecond);
  EXPECT_THAT(sent(), SizeIs(1));
  want(3, kGroup4, true);
  want(3, kGroup4, false);
  now = sent();
  ASSERT_THAT(now, SizeIs(2));
  expect_report(now[1], report(kBlock, ip4("239.1.2.3"), {ip4("192.0.2.8")}));
}

TEST_F(GroupTest, AnInterfaceThatComesUpTellsOfItsGroups) {
  want(1, kGroup4, true);
  host.pass(10 * kSecond);
  (void)sent();
  must(host.net->set_admin(wire.index, false));
  want(1, kGroup4, false);
  want(1, *IpAddress::parse("239.9.9.9"), true);
  host.pass(10 * kSecond);
  EXPECT_THAT(sent(), IsEmpty());
  must(host.net->set_admin(wire.index, true));
  host.pass(10 * kSecond);
  std::vector<Bytes> reports;
  for (const Bytes& p : sent())
    if (p.at(9) == 2) reports.push_back(p);
  ASSERT_THAT(reports, SizeIs(2));
  for (const Bytes& p : reports) expect_report(p, report(kToEx, ip4("239.9.9.9")));
}

TEST_F(GroupTest, QueriesFromBeyondTheLinkAreNotBelieved) {
  want(1, kGroup4, true);
  want(1, kGroup6, true);
  host.pass(2 * kSecond);
  (void)sent();
  igmp(query4(ip4("0.0.0.0"), 0, false), "224.0.0.1", "192.0.2.7", 64);  // would make it version 1
  igmp(query4(ip4("0.0.0.0"), 100), "239.1.2.3");
  EXPECT_EQ(host.counter("igmp-input/not-of-link"), 2u);
  mld(1000, ip6("::"), false, kRouterLocal, {5, 2, 0, 0, 1, 0}, 64);
  EXPECT_EQ(host.counter("mld-input/not-of-link"), 1u);
  mld(1000, ip6("::"), false, kRouterLocal, {1, 4, 0, 0, 0, 0});
  mld(1000, ip6("::"), false, kRouterLocal, {0, 0, 0, 0, 1, 0});
  EXPECT_EQ(host.counter("mld-input/no-router-alert"), 2u);
  host.pass(20 * kSecond);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  igmp(query4(ip4("0.0.0.0"), 10), "224.0.0.1", "0.0.0.0");  // a switch's, RFC 4541
  host.pass(2 * kSecond);
  EXPECT_THAT(sent(), SizeIs(1));
}

TEST_F(GroupTest, SourcesOfAllSocketsAreMerged) {  // RFC 3376 section 3.2
  const auto last = [&] {
    const auto all = sent();
    return all.empty() ? Bytes{} : part(all.back(), 24);
  };
  const Bytes g = ip4("239.1.2.3"), a = ip4("192.0.2.8"), b = ip4("192.0.2.9");
  want(1, kGroup4, false, {kOther4});
  EXPECT_EQ(last(), report(kAllow, g, {a}));
  want(2, kGroup4, false, {kSource4});
  EXPECT_EQ(last(), report(kAllow, g, {a, b}));  // the first is to be said once more, too
  want(2, kGroup4, false);
  EXPECT_EQ(last(), report(kBlock, g, {b}));
  want(3, kGroup4, true, {kOther4, kSource4});
  EXPECT_EQ(last(), report(kToEx, g, {b}));  // the first one wants the other source
  want(4, kGroup4, true, {kOther4});
  EXPECT_EQ(last(), report(kToEx, g));  // so is the change of mode
  host.pass(2 * kSecond);
  (void)sent();
  want(5, kGroup4, true, {kSource4});
  want(4, kGroup4, false);
  EXPECT_EQ(last(), report(kBlock, g, {b}));  // nothing is left of what was told
}

TEST_F(GroupTest, QueriesAreAnsweredWithinTheTimeTheyAllow) {  // RFC 3376 section 5.2
  want(1, kGroup4, true);
  want(1, *IpAddress::parse("239.9.9.9"), false, {kSource4});
  want(1, *IpAddress::parse("224.0.0.1"), true);  // of that nobody is told
  host.pass(2 * kSecond);
  EXPECT_THAT(sent(), SizeIs(4));
  igmp(query4(ip4("0.0.0.0"), 100));
  EXPECT_THAT(sent(), IsEmpty());
  host.pass(10 * kSecond);
  auto answers = sent();
  ASSERT_THAT(answers, SizeIs(2));
  expect_report(answers[0], report(kIsEx, ip4("239.1.2.3")));
  expect_report(answers[1], report(kIsIn, ip4("239.9.9.9"), {ip4("192.0.2.9")}));
  igmp(query4(ip4("239.1.2.3"), 0x90), "239.1.2.3");  // (16 | 0) << 4 = 256 tenths
  host.pass(26 * kSecond);
  answers = sent();
  ASSERT_THAT(answers, SizeIs(1));
  expect_report(answers[0], report(kIsEx, ip4("239.1.2.3")));
  igmp(query4(ip4("239.7.7.7"), 10));
  host.pass(10 * kSecond);
  EXPECT_THAT(sent(), IsEmpty());
  EXPECT_EQ(host.counter("igmp-input/query"), 3u);
}

TEST_F(GroupTest, OlderRoutersAreAnsweredInTheirOwnWords) {  // RFC 3376 section 7.2
  const auto old = [](uint8_t type) {
    Bytes b = Bytes{type, 0, 0, 0} + ip4("239.1.2.3");
    put16(b, 2, plain_checksum(b));
    return b;
  };
  want(1, kGroup4, true);
  host.pass(2 * kSecond);
  sent();
  igmp(query4(ip4("0.0.0.0"), 100, false));
  host.pass(10 * kSecond);
  auto now = sent();
  ASSERT_THAT(now, SizeIs(1));
  expect_report(now[0], old(0x16), "239.1.2.3");
  want(1, kGroup4, false);
  now = sent();
  ASSERT_THAT(now, SizeIs(1));
  expect_report(now[0], old(0x17), "224.0.0.2");
  host.pass(2 * kSecond);
  igmp(query4(ip4("0.0.0.0"), 0, false));  // version 1
  sent();
  want(1, kGroup4, true);
  now = sent();
  ASSERT_THAT(now, SizeIs(1));
  expect_report(now[0], old(0x12), "239.1.2.3");
  host.pass(400 * kSecond);  // it has gone
  sent();
  want(1, kGroup4, false);
  now = sent();
  ASSERT_THAT(now, SizeIs(1));
  expect_report(now[0], report(kToIn, ip4("239.1.2.3")));
}

TEST_F(GroupTest, WhatIsNoQueryIsCounted) {
  igmp(Bytes{0x16, 0, 0, 0, 239, 1, 2, 3});
  EXPECT_EQ(host.counter("igmp-input/not-for-hosts"), 1u);
  igmp(Bytes{0x11, 0, 0, 0, 0, 0, 0});
  igmp(Bytes{0x11, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3});
  EXPECT_EQ(host.counter("igmp-input/too-short"), 2u);
  igmp(query4(ip4("10.0.0.1"), 10));
  EXPECT_EQ(host.counter("igmp-input/bad-group"), 1u);
  host.receive(wire, ethernet("01:00:5e:00:00:01", NetHost::kPeerMac, 0x0800,
                              make_ip4({.src = "10.0.0.1", .dst = "224.0.0.1", .protocol = 2},
                                       query4(ip4("0.0.0.0"), 10))));
  EXPECT_EQ(host.counter("igmp-input/bad-checksum"), 1u);
  mld(1000, ip6("::"), true, "2001:db8::1");
  EXPECT_EQ(host.counter("mld-input/bad-source"), 1u);
  mld(1000, ip6("2001:db8::1"));
  EXPECT_EQ(host.counter("mld-input/bad-group"), 1u);
  mld(1000, part(ip6("::"), 0, 9), false);
  mld(1000, ip6("::") + Bytes{1, 2, 3}, false);
  EXPECT_EQ(host.counter("mld-input/too-short"), 2u);
}

// --- MLD

TEST_F(GroupTest, MldReportsGoToItsRoutersBehindARouterAlert) {  // RFC 3810 section 5.2
  const auto expect = [&](const Bytes& p, uint8_t type, const char* to, const Bytes& body) {
    EXPECT_EQ(p.at(6), 0);  // hop-by-hop
    EXPECT_EQ(p.at(7), 1);  // hop limit
    EXPECT_EQ(part(p, 8, 2), Bytes({0xfe, 0x80}));
    EXPECT_EQ(part(p, 24, 16), ip6(to));
    EXPECT_EQ(part(p, 40, 8), Bytes({58, 0, 5, 2, 0, 0, 1, 0}));
    EXPECT_EQ(p.at(48), type);
    EXPECT_EQ(plain_sum(pseudo(part(p, 8, 16), part(p, 24, 16), 58, p.size() - 48) + part(p, 48)),
              0xffff);
    EXPECT_EQ(part(p, 52), body);
  };
  const auto v2 = [](uint8_t type) { return Bytes{0, 0, 0, 1, type, 0, 0, 0} + ip6("ff05::1:3"); };
  want(1, kGroup6, true);
  auto now = sent(false);
  ASSERT_THAT(now, SizeIs(1));
  expect(now[0], 143, "ff02::16", v2(kToEx));
  host.pass(2 * kSecond);
  sent(false);
  mld(10'000, ip6("::"));
  host.pass(10 * kSecond);
  now = sent_of("ff05::1:3");
  ASSERT_THAT(now, SizeIs(1));
  expect(now[0], 143, "ff02::16", v2(kIsEx));
  mld(1000, ip6("ff05::1:3"), false);  // of version 1
  host.pass(kSecond);
  now = sent(false);
  ASSERT_THAT(now, SizeIs(1));
  expect(now[0], 131, "ff05::1:3", Bytes{0, 0, 0, 0} + ip6("ff05::1:3"));
  want(1, kGroup6, false);
  now = sent(false);
  ASSERT_THAT(now, SizeIs(1));
  expect(now[0], 132, "ff02::2", Bytes{0, 0, 0, 0} + ip6("ff05::1:3"));
}

TEST_F(GroupTest, AnInterfaceThatGoesTakesItsGroupsWithIt) {
  want(1, kGroup4, true);
  const IfIndex was = wire.index;
  EXPECT_EQ(host.net->remove_interface(was), Status::kOk);
  host.pass(10 * kSecond);
  EXPECT_FALSE(ops().hears_group(host.worker(), was, kGroup4));
  EXPECT_EQ(ops().listen_group(host.worker(), 1, was, kGroup4, {}), Status::kOk);
}

TEST(GroupWorkers, OtherWorkersLeaveItToTheFirst) {
  NetHost host({}, 2);
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
  Worker& second = host.engine->worker(1);
  for (const char* node : {"igmp-input", "mld-input"}) {
    Buffer* b = host.make(Bytes(4));
    second.enqueue_to_node(host.engine->find_node(node), b);
    host.run();
    EXPECT_EQ(host.counter(std::string(node) + "/handed-off"), 1u);
    EXPECT_EQ(host.counter(std::string(node) + "/too-short"), 1u);
  }
  (void)wire;
}

}  // namespace
}  // namespace loom
