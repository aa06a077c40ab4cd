// Packets from one interface to another: routes, time to live, MTU, fragments.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kSecondMac = "02:00:00:00:00:02";
constexpr const char* kRouterMac = "02:00:00:00:00:77";

class ForwardTest : public ::testing::Test {
 protected:
  ForwardTest()
      : left(host.add_device({"10.0.0.2/24", "2001:db8::2/64"})),
        right(host.add_device({"10.0.1.2/24", "2001:db8:1::2/64"}, NetHost::kAllCaps, 1400)) {
    host.know(left, "10.0.0.1");
    host.know(left, "2001:db8::1");
    host.know(right, "10.0.1.1");
    host.know(right, "10.0.1.7", kRouterMac);
    host.know(right, "2001:db8:1::1");
  }
  void receive4(const Bytes& packet) {
    host.receive(left, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800, packet));
  }
  void receive6(const Bytes& packet) {
    host.receive(left, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x86dd, packet));
  }
  Bytes packet(const std::string& dst, Ip4 h = {}, std::size_t size = 100) {
    h.src = "10.0.0.1";
    h.dst = dst;
    h.protocol = 17;
    return make_ip4(h, make_udp(ip4(h.src), ip4(dst), 1, 2, counting(size)));
  }
  void route(const std::string& prefix, const std::string& via, uint32_t table = 0) {
    Route r;
    r.prefix = *IpPrefix::parse(prefix);
    r.table = table;
    if (via == "drop")
      r.is_drop = true;
    else
      r.gateway = *IpAddress::parse(via);
    must(host.net->add_route(r));
  }
  void unroute(const std::string& prefix) {
    Route r;
    r.prefix = *IpPrefix::parse(prefix);
    must(host.net->del_route(r));
  }
  // Where a packet to `dst` goes: the MAC address on the right wire, or "".
  std::string next_hop(const std::string& dst) {
    receive4(packet(dst));
    left.take_sent();
    const auto sent = right.take_sent();
    if (sent.empty()) return "";
    MacAddress m;
    std::copy_n(sent[0].bytes.begin(), 6, m.bytes.begin());
    return m.str();
  }
  NetHost host;
  FakeDevice &left, &right;
};

TEST_F(ForwardTest, PacketLeavesWithOneHopLessAndAValidChecksum) {
  for (const uint8_t ttl : {2, 64, 128, 255}) {  // some of them carry in the checksum
    const Bytes p = packet("10.0.1.1", {.ttl = ttl, .id = static_cast<uint16_t>(ttl * 257)});
    receive4(p);
    const auto sent = right.take_sent();
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(part(sent[0].bytes, 0, 14), mac(NetHost::kPeerMac) + mac(kSecondMac) + Bytes({8, 0}));
    Bytes want = p;
    want[8] = static_cast<uint8_t>(ttl - 1);
    put16(want, 10, 0);
    put16(want, 10, plain_checksum(part(want, 0, 20)));
    EXPECT_EQ(part(sent[0].bytes, 14), want);
  }
}

TEST_F(ForwardTest, IncrementalChecksumIsRightForEveryHeader) {
  for (uint32_t id = 0; id < 65'536; id += 251) {
    receive4(packet("10.0.1.1", {.id = static_cast<uint16_t>(id)}, 0));
    const auto sent = right.take_sent();
    ASSERT_THAT(sent, SizeIs(1));
    ASSERT_EQ(plain_sum(part(sent[0].bytes, 14, 20)), 0xffff) << id;
  }
}

TEST_F(ForwardTest, ExpiredPacketIsReportedFromTheInterfaceItCameBy) {  // RFC 792, RFC 1812 5.3.1
  const Bytes p = packet("10.0.1.1", {.ttl = 1});
  receive4(p);
  EXPECT_THAT(right.take_sent(), IsEmpty());
  const auto sent = left.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  const Bytes e = part(sent[0].bytes, 14);
  EXPECT_TRUE(checksums_hold(e));
  EXPECT_EQ(part(e, 12, 8), ip4("10.0.0.2") + ip4("10.0.0.1"));
  EXPECT_EQ(part(e, 20, 2), Bytes({11, 0}));
  EXPECT_EQ(part(e, 28), p);  // quoted as it arrived
  EXPECT_EQ(host.counter("ip4-rewrite/ttl-expired"), 1u);
}

TEST_F(ForwardTest, PacketWithoutARouteIsReported) {
  receive4(packet("192.168.5.5"));
  const auto sent = left.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 34, 2), Bytes({3, 0}));
  EXPECT_EQ(host.counter("ip4-lookup/no-route"), 1u);
}

TEST_F(ForwardTest, UnansweredNeighbourIsReportedAsUnreachable) {  // RFC 1812 section 5.2.7.1
  receive4(packet("10.0.1.66"));
  right.take_sent();
  host.pass(4 * kSecond);
  const auto sent = left.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 34, 2), Bytes({3, 1}));
}

TEST_F(ForwardTest, TooBigPacketWithDfIsReportedWithTheMtu) {  // RFC 1191 section 4
  receive4(packet("10.0.1.1", {.flags_fragment = 0x4000}, 1373));
  EXPECT_THAT(right.take_sent(), IsEmpty());
  const auto sent = left.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 34, 2), Bytes({3, 4}));
  EXPECT_EQ(get32(sent[0].bytes, 38), 1400u);
  receive4(packet("10.0.1.1", {.flags_fragment = 0x4000}, 1372));  // 1400 bytes: fits
  EXPECT_THAT(right.take_sent(), SizeIs(1));
}

TEST_F(ForwardTest, TooBigPacketWithoutDfIsFragmented) {  // RFC 791 section 2.3
  const Bytes p = packet("10.0.1.1", {.ttl = 9}, 1460);
  receive4(p);
  const auto sent = right.take_sent();
  ASSERT_THAT(sent, SizeIs(2));
  Bytes joined;
  for (std::size_t i = 0; i < 2; ++i) {
    const Bytes f = part(sent[i].bytes, 14);
    EXPECT_LE(f.size(), 1400u);
    EXPECT_EQ(plain_sum(part(f, 0, 20)), 0xffff);
    EXPECT_EQ(get16(f, 2), f.size());
    EXPECT_EQ(get16(f, 4), 0x1234u);
    EXPECT_EQ(f[8], 8);  // once less, not twice
    EXPECT_EQ(get16(f, 6), (i == 0 ? 0x2000u : 0u) + joined.size() / 8);
    joined = joined + part(f, 20);
  }
  EXPECT_EQ(joined, part(p, 20));
}

TEST_F(ForwardTest, FragmentOfAFragmentKeepsOffsetAndMoreFlag) {
  receive4(packet("10.0.1.1", {.flags_fragment = 0x2000 | 100}, 1460));
  const auto sent = right.take_sent();
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(get16(sent[0].bytes, 14 + 6), 0x2000u + 100);
  EXPECT_EQ(get16(sent[1].bytes, 14 + 6), 0x2000u + 100 + 1376 / 8);
}

TEST_F(ForwardTest, LongestPrefixWins) {
  EXPECT_EQ(next_hop("172.16.1.1"), "");
  route("0.0.0.0/0", "10.0.1.1");
  EXPECT_EQ(next_hop("172.16.1.1"), NetHost::kPeerMac);
  route("172.16.0.0/12", "10.0.1.7");
  EXPECT_EQ(next_hop("172.16.1.1"), kRouterMac);
  route("172.16.1.0/24", "10.0.1.1");
  EXPECT_EQ(next_hop("172.16.1.1"), NetHost::kPeerMac);
  EXPECT_EQ(next_hop("172.16.2.1"), kRouterMac);
  route("172.16.1.1/32", "drop");
  EXPECT_EQ(next_hop("172.16.1.1"), "");
  EXPECT_EQ(host.counter("ip4-lookup/blackhole"), 1u);
  unroute("172.16.1.1/32");
  unroute("172.16.1.0/24");
  EXPECT_EQ(next_hop("172.16.1.1"), kRouterMac);
  unroute("172.16.0.0/12");
  EXPECT_EQ(next_hop("172.16.1.1"), NetHost::kPeerMac);
  unroute("0.0.0.0/0");
  EXPECT_EQ(next_hop("172.16.1.1"), "");
}

TEST_F(ForwardTest, RouteIsReplacedAndRefusedWithReasons) {
  route("172.16.0.0/12", "10.0.1.1");
  route("172.16.0.0/12", "10.0.1.7");
  EXPECT_EQ(next_hop("172.16.1.1"), kRouterMac);
  Route r;
  r.prefix = *IpPrefix::parse("172.16.0.0/12");
  r.gateway = *IpAddress::parse("10.99.0.1");
  EXPECT_EQ(host.net->add_route(r).error().code, Status::kUnreachable);
  r.gateway = *IpAddress::parse("10.0.1.2");
  EXPECT_EQ(host.net->add_route(r).error().code, Status::kInvalid);  // this host itself
  r.gateway = *IpAddress::parse("2001:db8::1");
  EXPECT_EQ(host.net->add_route(r).error().code, Status::kInvalid);
  r = {.prefix = *IpPrefix::parse("10.5.0.0/16"), .table = 7, .gateway = {}, .is_drop = true};
  EXPECT_EQ(host.net->add_route(r).error().code, Status::kNotFound);
  EXPECT_EQ(
      host.net->del_route({.prefix = *IpPrefix::parse("1.2.3.0/24"), .gateway = {}}).error().code,
      Status::kNotFound);
}

TEST_F(ForwardTest, GatewayIsResolvedOnDemandAndSurvivesSilence) {
  route("0.0.0.0/0", "10.0.1.50");
  EXPECT_THAT(right.take_sent(), IsEmpty());
  receive4(packet("172.16.1.1"));
  auto sent = right.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(get16(sent[0].bytes, 12), 0x0806u);
  host.pass(10 * kSecond);
  right.take_sent();
  receive4(packet("172.16.1.1"));
  ASSERT_THAT(right.take_sent(), SizeIs(1));  // asked again
  host.receive(right, ethernet(kSecondMac, kRouterMac, 0x0806,
                               make_arp(2, kRouterMac, "10.0.1.50", kSecondMac, "10.0.1.2")));
  sent = right.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 0, 6), mac(kRouterMac));
}

TEST_F(ForwardTest, TablesAreSeparate) {
  must(host.net->add_table(5, false));
  FakeDevice& other = host.add_device({});
  must(host.net->set_table(other.index, 5, false));
  must(host.net->add_address(other.index, *IpPrefix::parse("10.0.0.2/24")));  // the same address
  host.run();
  other.take_sent();
  host.know(other, "10.0.0.1");
  host.receive(other,
               ethernet("02:00:00:00:00:03", NetHost::kPeerMac, 0x0800,
                        make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"}, make_icmp4(8, 0, 1, {}))));
  EXPECT_THAT(other.take_sent(), SizeIs(1));
  EXPECT_THAT(left.take_sent(), IsEmpty());
  host.receive(other, ethernet("02:00:00:00:00:03", NetHost::kPeerMac, 0x0800,
                               packet("10.0.1.1")));  // only in table 0
  EXPECT_THAT(right.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("ip4-lookup/no-route"), 1u);
  EXPECT_EQ(host.net->del_table(5, false).error().code, Status::kInUse);
  ASSERT_EQ(host.net->remove_interface(other.index), Status::kOk);
  must(host.net->del_table(5, false));
}

TEST_F(ForwardTest, DirectedBroadcastIsNotForwarded) {  // RFC 2644
  receive4(packet("10.0.1.255"));
  EXPECT_THAT(right.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("ip4-lookup/directed-broadcast"), 1u);
}

TEST_F(ForwardTest, Ip6PacketsHopsAndSizes) {
  const auto p = [&](uint8_t hops, std::size_t size) {
    return make_ip6(
        {.src = "2001:db8::1", .dst = "2001:db8:1::1", .next_header = 17, .hop_limit = hops},
        counting(size));
  };
  receive6(p(9, 100));
  auto sent = right.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 14), p(8, 100));
  receive6(p(1, 100));
  sent = left.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 54, 2), Bytes({3, 0}));
  EXPECT_TRUE(checksums_hold(part(sent[0].bytes, 14)));
  receive6(p(9, 1361));
  sent = left.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 54, 2), Bytes({2, 0}));
  EXPECT_EQ(get32(sent[0].bytes, 58), 1400u);
  EXPECT_THAT(right.take_sent(), IsEmpty());
  // Link-local addresses stay on their link (RFC 4291 section 2.5.6).
  receive6(make_ip6({.src = "fe80::99", .dst = "2001:db8:1::1", .next_header = 17}, counting(8)));
  EXPECT_EQ(host.counter("ip6-lookup/beyond-scope"), 1u);
}

TEST_F(ForwardTest, RouteInfoSaysHowPacketsLeave) {
  route("0.0.0.0/0", "10.0.1.7");
  Worker& w = host.worker();
  RouteInfo r;
  const auto ask = [&](const char* dst) { return w.net->route(w, *IpAddress::parse(dst), 0, &r); };
  ASSERT_EQ(ask("10.0.0.1"), Status::kOk);
  EXPECT_EQ(r.tx_if, left.index);
  EXPECT_EQ(r.source.str(), "10.0.0.2");
  EXPECT_EQ(r.mtu, 1500u);
  ASSERT_EQ(ask("8.8.8.8"), Status::kOk);
  EXPECT_EQ(r.tx_if, right.index);
  EXPECT_EQ(r.source.str(), "10.0.1.2");
  EXPECT_EQ(r.mtu, 1400u);
  ASSERT_EQ(ask("2001:db8:1::77"), Status::kOk);
  EXPECT_EQ(r.source.str(), "2001:db8:1::2");
  EXPECT_EQ(ask("2001:db8:2::77"), Status::kUnreachable);
  ASSERT_EQ(ask("10.0.0.2"), Status::kOk);
  EXPECT_TRUE(r.is_local);
  const uint32_t generation = *w.net->generation;
  must(host.net->set_mtu(right.index, 1300));
  EXPECT_NE(*w.net->generation, generation);
  ASSERT_EQ(ask("8.8.8.8"), Status::kOk);
  EXPECT_EQ(r.mtu, 1300u);
  must(host.net->set_admin(right.index, false));
  EXPECT_EQ(ask("8.8.8.8"), Status::kUnreachable);
}

TEST_F(ForwardTest, LinkLayerBroadcastsAreNotForwarded) {  // RFC 1812 section 5.3.4
  const Bytes p6 =
      make_ip6({.src = "2001:db8::1", .dst = "2001:db8:1::1", .next_header = 17}, counting(20));
  for (const char* to : {"ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"}) {
    host.receive(left, ethernet(to, NetHost::kPeerMac, 0x0800, packet("10.0.1.1")));
    host.receive(left, ethernet(to, NetHost::kPeerMac, 0x0800, packet("192.168.5.5")));
    host.receive(left, ethernet(to, NetHost::kPeerMac, 0x86dd, p6));
  }
  EXPECT_THAT(right.take_sent(), IsEmpty());
  EXPECT_THAT(left.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("ip4-lookup/link-broadcast"), 6u);
  EXPECT_EQ(host.counter("ip6-lookup/link-broadcast"), 3u);
  receive4(packet("10.0.1.1"));
  EXPECT_THAT(right.take_sent(), SizeIs(1));
}

TEST_F(ForwardTest, OptionsAreCopiedIntoFragmentsThatSayTheyWantIt) {  // RFC 791 section 3.1
  // No-operation, record route (not copied), stream identifier (copied), end.
  const Bytes record_route = {7, 7, 4, 0, 0, 0, 0}, stream = {0x88, 4, 0x12, 0x34};
  const Bytes p =
      packet("10.0.1.1", {.options = Bytes{1} + record_route + stream + Bytes(4)}, 1440);
  receive4(p);
  const auto sent = right.take_sent();
  ASSERT_THAT(sent, SizeIs(2));
  const Bytes first = part(sent[0].bytes, 14), second = part(sent[1].bytes, 14);
  EXPECT_EQ(first[0], 0x49);
  EXPECT_EQ(part(first, 20, 16), part(p, 20, 16));
  EXPECT_EQ(second[0], 0x46);
  EXPECT_EQ(part(second, 20, 4), stream);
  EXPECT_EQ(plain_sum(part(first, 0, 36)), 0xffff);
  EXPECT_EQ(plain_sum(part(second, 0, 24)), 0xffff);
  EXPECT_EQ(get16(second, 2), second.size());
  EXPECT_EQ(get16(second, 6) * 8u, first.size() - 36);
  EXPECT_EQ(part(first, 36) + part(second, 24), part(p, 36));
}

TEST_F(ForwardTest, FragmentBeyondTheLongestDatagramIsNotSplit) {  // RFC 791 section 3.1
  receive4(packet("10.0.1.1", {.flags_fragment = 0x1fff}, 1460));
  EXPECT_THAT(right.take_sent(), IsEmpty());
  EXPECT_EQ(host.counter("ip4-fragment/bad-offset"), 1u);
  receive4(packet("10.0.1.1", {.flags_fragment = 0x1fff - 183}, 1452));  // ends at 65524
  EXPECT_THAT(right.take_sent(), SizeIs(2));
}

}  // namespace
}  // namespace loom
