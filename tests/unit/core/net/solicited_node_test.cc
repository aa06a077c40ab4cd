// The solicited-node groups of this host's addresses: what routers, and switches that snoop, are
// told of them. RFC 3810 section 6, RFC 4862 section 5.4.2, RFC 2710.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kLinkLocalGroup = "ff02::1:ff00:1";  // of fe80::ff:fe00:1
constexpr const char* kGroup = "ff02::1:ff00:2";           // of 2001:db8::2
constexpr const char* kNewGroup = "ff02::1:ffbc:def3";     // of 2001:db8::abc:def3

class SolicitedNodeTest : public ::testing::Test {
 protected:
  SolicitedNodeTest() : wire(host.add_device({"2001:db8::2/64"})) { quiet(wire); }
  FakeDevice& another() {
    FakeDevice& d = host.add_device({});
    d.keeps_reports = true;
    return d;
  }
  void quiet(FakeDevice& d) {
    d.keeps_reports = true;
    host.pass(10 * kSecond);
    d.take_sent();
  }
  static std::string text(const Bytes& packet, std::size_t at) {
    Ip6Address a;
    std::copy_n(packet.begin() + static_cast<std::ptrdiff_t>(at), 16, a.bytes.begin());
    return IpAddress(a).str();
  }
  // What was sent: "report TYPE GROUP" (of MLDv2, or of MLDv1's kinds 131 and 132), "ask TARGET" of
  // duplicate address detection, and "tell TARGET". A report is one that a switch believes.
  std::vector<std::string> said(FakeDevice& d) {
    std::vector<std::string> all;
    for (const auto& f : d.take_sent()) {
      const Bytes p = part(f.bytes, 14);
      if (get16(f.bytes, 12) != 0x86dd) continue;
      if (p.at(6) == 58 && p.at(40) == 135) {
        EXPECT_EQ(text(p, 8), "::");
        all.push_back("ask " + text(p, 48));
        continue;
      }
      if (p.at(6) == 58 && p.at(40) == 136) {
        all.push_back("tell " + text(p, 48));
        continue;
      }
      EXPECT_EQ(part(p, 40, 8), Bytes({58, 0, 5, 2, 0, 0, 1, 0})) << "a router alert";
      EXPECT_EQ(p.at(7), 1);  // hop limit
      EXPECT_EQ(plain_sum(pseudo(part(p, 8, 16), part(p, 24, 16), 58, p.size() - 48) + part(p, 48)),
                0xffff);
      if (p.at(48) != 143) {
        all.push_back("report " + std::to_string(p.at(48)) + " " + text(p, 56));
        continue;
      }
      EXPECT_EQ(text(p, 24), "ff02::16");
      EXPECT_EQ(part(p, 52, 4), Bytes({0, 0, 0, 1}));
      EXPECT_EQ(part(p, 57, 3), Bytes(3)) << "no sources";
      all.push_back("report " + std::to_string(p.at(56)) + " " + text(p, 60));
    }
    return all;
  }
  std::vector<std::string> said() { return said(wire); }
  static std::string is_ex(const std::string& group) { return "report 2 " + group; }
  static std::string to_in(const std::string& group) { return "report 3 " + group; }
  static std::string to_ex(const std::string& group) { return "report 4 " + group; }
  void add(const char* address) {
    must(host.net->add_address(wire.index, *IpPrefix::parse(address)));
    host.run();
  }
  void del(const char* address) {
    must(host.net->del_address(wire.index, *IpPrefix::parse(address)));
    host.run();
  }
  void query(uint16_t ms, const char* group, bool is_v2 = true) {
    Bytes rest = ip6(group);
    if (is_v2) rest = rest + Bytes{2, 125, 0, 0};
    const std::string to = group == std::string("::") ? "ff02::1" : group;
    host.receive(
        wire, ethernet("33:33:00:00:00:01", NetHost::kPeerMac, 0x86dd,
                       make_ip6({.src = "fe80::99", .dst = to, .next_header = 0, .hop_limit = 1},
                                Bytes{58, 0, 5, 2, 0, 0, 1, 0} +
                                    make_icmp6("fe80::99", to, 130, 0, uint32_t{ms} << 16, rest))));
  }

  NetHost host;
  FakeDevice& wire;
};

TEST_F(SolicitedNodeTest, ANewAddressIsAskedForInAGroupThatIsJoined) {  // RFC 4862 section 5.4.2
  add("2001:db8::abc:def3/64");
  EXPECT_THAT(said(), ElementsAre(to_ex(kNewGroup), "ask 2001:db8::abc:def3"));
  host.pass(kSecond);
  EXPECT_THAT(said(), ElementsAre(to_ex(kNewGroup)));
  host.pass(100 * kSecond);
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(SolicitedNodeTest, TheFirstAddressComesWithALinkLocalOne) {
  FakeDevice& second = another();
  must(host.net->add_address(second.index, *IpPrefix::parse("2001:db8:1::2/64")));
  host.run();
  EXPECT_THAT(said(second), ElementsAre(to_ex(kGroup), "ask fe80::ff:fe00:2", "ask 2001:db8:1::2"))
      << "both addresses end alike";
}

TEST_F(SolicitedNodeTest, AddressesThatEndAlikeShareAGroup) {
  add("2001:db8::abc:def3/64");
  quiet(wire);
  add("2001:db8:1::abc:def3/64");
  EXPECT_THAT(said(), ElementsAre("ask 2001:db8:1::abc:def3"));
  del("2001:db8::abc:def3/64");
  EXPECT_THAT(said(), IsEmpty());
  del("2001:db8:1::abc:def3/64");
  EXPECT_THAT(said(), ElementsAre(to_in(kNewGroup)));
  host.pass(100 * kSecond);
  EXPECT_THAT(said(), ElementsAre(to_in(kNewGroup)));
}

TEST_F(SolicitedNodeTest, AnInterfaceThatComesUpTellsOfThemBeforeItAsks) {
  must(host.net->set_admin(wire.index, false));
  add("2001:db8::abc:def3/64");
  del("2001:db8::2/64");
  quiet(wire);
  must(host.net->set_admin(wire.index, true));
  host.run();
  EXPECT_THAT(said(), ElementsAre(to_ex(kLinkLocalGroup), to_ex(kNewGroup), "ask fe80::ff:fe00:1",
                                  "ask 2001:db8::abc:def3"));
  host.pass(kSecond);
  EXPECT_THAT(said(), ::testing::UnorderedElementsAre(to_ex(kLinkLocalGroup), to_ex(kNewGroup)));
}

TEST_F(SolicitedNodeTest, QueriesAreAnswered) {  // RFC 3810 section 6.2
  query(1000, "::");
  host.pass(kSecond);
  EXPECT_THAT(said(), ElementsAre(is_ex(kLinkLocalGroup), is_ex(kGroup)));
  query(1000, kGroup);
  host.pass(kSecond);
  EXPECT_THAT(said(), ElementsAre(is_ex(kGroup)));
  query(1000, kNewGroup);  // of nobody here: is not even heard
  host.pass(kSecond);
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(SolicitedNodeTest, OlderRoutersAreToldInTheirOwnWords) {  // RFC 2710
  query(1000, "::", false);
  host.pass(kSecond);
  EXPECT_THAT(said(), ::testing::UnorderedElementsAre(std::string("report 131 ") + kLinkLocalGroup,
                                                      std::string("report 131 ") + kGroup));
  add("2001:db8::abc:def3/64");
  EXPECT_THAT(said(),
              ElementsAre(std::string("report 131 ") + kNewGroup, "ask 2001:db8::abc:def3"));
  del("2001:db8::abc:def3/64");
  EXPECT_THAT(said(), ElementsAre(std::string("report 132 ") + kNewGroup));
}

TEST_F(SolicitedNodeTest, ASocketTakesNothingFromAnAddress) {
  const NetOps& ops = *host.worker().net;
  const IpAddress group = *IpAddress::parse(kGroup);
  const std::vector<IpAddress> sources{*IpAddress::parse("2001:db8::9")};
  ASSERT_EQ(ops.listen_group(host.worker(), 1, wire.index, group, {false, sources}), Status::kOk);
  ASSERT_EQ(ops.listen_group(host.worker(), 1, wire.index, group, {}), Status::kOk);
  host.pass(10 * kSecond);
  EXPECT_THAT(said(), IsEmpty());
  ASSERT_EQ(ops.listen_group(host.worker(), 1, wire.index, group, {true, {}}), Status::kOk);
  del("2001:db8::2/64");
  host.pass(10 * kSecond);
  EXPECT_THAT(said(), IsEmpty()) << "the socket still listens";
  ASSERT_EQ(ops.listen_group(host.worker(), 1, wire.index, group, {}), Status::kOk);
  host.run();
  EXPECT_THAT(said(), ElementsAre(to_in(kGroup)));
}

TEST_F(SolicitedNodeTest, ADuplicateAddressIsListenedForNoMore) {  // RFC 4862 section 5.4.5
  add("2001:db8::abc:def3/64");
  (void)said();
  const auto receive = [&](uint8_t type, const std::string& dst, uint32_t flags) {
    host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x86dd,
                                make_ip6({.src = "2001:db8::1", .dst = dst, .hop_limit = 255},
                                         make_icmp6("2001:db8::1", dst, type, 0, flags,
                                                    ip6("2001:db8::abc:def3")))));
  };
  receive(136, "ff02::1", 0);
  EXPECT_THAT(said(), ElementsAre(to_in(kNewGroup)));
  receive(135, kNewGroup, 0);
  EXPECT_EQ(host.counter("icmp6-neighbor/solicitation-for-others"), 0u);
  EXPECT_EQ(host.counter("ip6-lookup/not-joined"), 1u);
}

TEST_F(SolicitedNodeTest, WhoBorrowsAddressesListensForThemToo) {
  FakeDevice& borrower = another();
  must(host.net->set_unnumbered(borrower.index, wire.index));
  host.pass(10 * kSecond);
  EXPECT_THAT(said(borrower), ::testing::Contains(to_ex(kGroup)));
  add("2001:db8::abc:def3/64");
  EXPECT_THAT(said(borrower), ElementsAre(to_ex(kNewGroup), "tell 2001:db8::abc:def3"));
  del("2001:db8::abc:def3/64");
  EXPECT_THAT(said(borrower), ::testing::Contains(to_in(kNewGroup)));
  host.pass(10 * kSecond);
  (void)said(borrower);
  must(host.net->clear_unnumbered(borrower.index));
  host.run();
  EXPECT_THAT(said(borrower), IsEmpty()) << "its link-local address ends like the lent one";
}

TEST_F(SolicitedNodeTest, AnInterfaceThatGoesLeavesNothing) {
  EXPECT_EQ(host.net->remove_interface(wire.index), Status::kOk);
  FakeDevice& next = another();
  EXPECT_EQ(next.index, wire.index) << "it has the number of the first";
  query(1000, "::");
  host.pass(kSecond);
  EXPECT_THAT(said(next), IsEmpty());
}

}  // namespace
}  // namespace loom
