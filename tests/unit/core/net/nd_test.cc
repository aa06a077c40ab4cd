// Neighbour discovery (RFC 4861) and duplicate address detection (RFC 4862), in virtual time.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kOwn = "2001:db8::2";
constexpr const char* kPeer = "2001:db8::1";
constexpr const char* kPeerMac = NetHost::kPeerMac;
constexpr uint32_t kSolicited = 1u << 30, kOverride = 1u << 29;

Bytes option(uint8_t type, const std::string& mac_text) { return Bytes{type, 1} + mac(mac_text); }

class NdTest : public ::testing::Test {
 protected:
  NdTest() : wire(host.add_device({"2001:db8::2/64"})) {
    host.pass(2 * kSecond);  // duplicate address detection is over
    wire.take_sent();
  }
  struct Message {
    uint8_t type = 135, code = 0, hop_limit = 255;
    std::string src = kPeer, dst = kOwn, target = kOwn;
    uint32_t flags = 0;
    Bytes options = option(1, kPeerMac);
  };
  void receive(const Message& m) {
    const Bytes icmp = make_icmp6(m.src, m.dst, m.type, m.code, m.flags, ip6(m.target) + m.options);
    host.receive(wire,
                 ethernet(NetHost::kOwnMac, kPeerMac, 0x86dd,
                          make_ip6({.src = m.src, .dst = m.dst, .hop_limit = m.hop_limit}, icmp)));
  }
  void advertise(uint32_t flags, const std::string& mac_text = kPeerMac) {
    receive({.type = 136, .target = kPeer, .flags = flags, .options = option(2, mac_text)});
  }
  void send(const std::string& dst) {
    Worker& w = host.worker();
    Buffer* b = w.alloc();
    const Bytes p = make_ip6({.src = kOwn, .dst = dst, .next_header = 17}, counting(8));
    ASSERT_TRUE(chain_append(w, *b, std::as_bytes(std::span(p))));
    b->flags |= kBufferLocallyOriginated;
    w.enqueue_to_node(host.engine->find_node("ip6-lookup"), b);
    host.run();
  }
  Bytes solicitation(const std::string& src, const std::string& dst, const std::string& target,
                     const std::string& to, bool has_option = true) {
    const Bytes o = has_option ? option(1, NetHost::kOwnMac) : Bytes{};
    return ethernet(to, NetHost::kOwnMac, 0x86dd,
                    make_ip6({.src = src, .dst = dst, .hop_limit = 255},
                             make_icmp6(src, dst, 135, 0, 0, ip6(target) + o)));
  }
  std::optional<NeighborListing> neighbor(const std::string& address) {
    for (const auto& n : host.net->neighbors())
      if (n.address == *IpAddress::parse(address)) return n;
    return std::nullopt;
  }
  NetHost host;
  FakeDevice& wire;
};

TEST_F(NdTest, SolicitationIsAnswered) {  // RFC 4861 section 7.2.4
  receive({.dst = "ff02::1:ff00:2"});
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, ethernet(kPeerMac, NetHost::kOwnMac, 0x86dd,
                                    make_ip6({.src = kOwn, .dst = kPeer, .hop_limit = 255},
                                             make_icmp6(kOwn, kPeer, 136, 0, kSolicited | kOverride,
                                                        ip6(kOwn) + option(2, NetHost::kOwnMac)))));
  ASSERT_TRUE(neighbor(kPeer));
  EXPECT_EQ(neighbor(kPeer)->state, NeighborState::kStale);
}

TEST_F(NdTest, PacketsWaitForTheAdvertisement) {
  send(kPeer);
  send(kPeer);
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, solicitation(kOwn, "ff02::1:ff00:1", kPeer, "33:33:ff:00:00:01"));
  advertise(kSolicited | kOverride);
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(part(sent[0].bytes, 0, 6), mac(kPeerMac));
  EXPECT_EQ(neighbor(kPeer)->state, NeighborState::kReachable);
}

TEST_F(NdTest, SolicitationIsRepeatedThreeTimes) {
  send(kPeer);
  host.pass(5 * kSecond);
  EXPECT_THAT(wire.take_sent(), SizeIs(3));
  EXPECT_EQ(host.counter("neighbor-table/unresolved"), 1u);
  EXPECT_FALSE(neighbor(kPeer));
}

TEST_F(NdTest, OverrideFlagDecidesWhetherAKnownAddressChanges) {  // RFC 4861 section 7.2.5
  send(kPeer);
  advertise(kSolicited | kOverride);
  advertise(0, "02:00:00:00:00:55");
  EXPECT_EQ(neighbor(kPeer)->mac.str(), kPeerMac);
  EXPECT_EQ(neighbor(kPeer)->state, NeighborState::kStale);
  EXPECT_EQ(host.counter("neighbor-table/not-overridden"), 1u);
  advertise(kOverride, "02:00:00:00:00:55");
  EXPECT_EQ(neighbor(kPeer)->mac.str(), "02:00:00:00:00:55");
}

TEST_F(NdTest, UsedNeighbourIsProbedByUnicast) {  // RFC 4861 section 7.3
  send(kPeer);
  advertise(kSolicited | kOverride);
  host.pass(NeighborTable::kReachableTime - kSecond);
  send(kPeer);
  wire.take_sent();
  host.pass(kSecond + kMillisecond);
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes, solicitation(kOwn, kPeer, kPeer, kPeerMac));
  receive({.type = 136, .target = kPeer, .flags = kSolicited, .options = {}});  // no option needed
  EXPECT_EQ(neighbor(kPeer)->state, NeighborState::kReachable);
}

TEST_F(NdTest, MalformedMessagesHaveTheirCounters) {  // RFC 4861 sections 7.1.1 and 7.1.2
  const auto expect = [&](const Message& m, const std::string& counter) {
    const uint64_t before = host.counter("icmp6-neighbor/" + counter);
    receive(m);
    EXPECT_EQ(host.counter("icmp6-neighbor/" + counter), before + 1) << counter;
    EXPECT_THAT(wire.take_sent(), IsEmpty()) << counter;
    EXPECT_THAT(host.net->neighbors(), IsEmpty()) << counter;
  };
  expect({.hop_limit = 254}, "bad-hop-limit");
  expect({.code = 1}, "bad-code");
  expect({.target = "ff02::1"}, "bad-target");
  expect({.target = "::"}, "bad-target");
  expect({.options = {1, 0, 0, 0, 0, 0, 0, 0}}, "option-length-zero");
  expect({.options = {1, 2, 0, 0, 0, 0, 0, 0}}, "option-overrun");
  expect({.options = {1}}, "option-overrun");
  expect({.src = "::", .dst = "ff02::1:ff00:2"}, "dad-option");
  expect({.src = "::", .dst = kOwn, .options = {}}, "dad-destination");
  expect({.src = "::", .dst = "ff02::1", .options = {}}, "dad-destination");
  expect({.options = option(1, "03:00:00:00:00:99")}, "bad-mac");
  expect({.options = option(1, "00:00:00:00:00:00")}, "bad-mac");
  expect({.type = 136, .target = kPeer, .options = option(2, "ff:ff:ff:ff:ff:ff")}, "bad-mac");
  expect({.type = 136, .src = "::", .target = kPeer, .options = {}}, "bad-source");
  expect({.options = {}}, "sender-unknown");
  // Link-layer addresses of 14 bytes are not Ethernet's.
  expect({.options = Bytes{1, 2} + Bytes(14)}, "link-layer-length");
  expect({.type = 136, .target = kPeer, .options = Bytes{2, 2} + Bytes(14)}, "link-layer-length");
  expect({.options = option(1, kPeerMac) + Bytes{14, 0, 0, 0, 0, 0, 0, 0}}, "option-length-zero");
  expect({.options = Bytes{14, 255} + Bytes(2038)}, "too-long");
  expect({.dst = "ff02::1:ff00:2", .target = "2001:db8::77"}, "solicitation-for-others");
  expect({.type = 136, .dst = "ff02::1", .target = kPeer, .flags = kSolicited}, "bad-flags");
  const Bytes cut = make_icmp6(kPeer, kOwn, 135, 0, 0, part(ip6(kOwn), 0, 15));
  host.receive(wire, ethernet(NetHost::kOwnMac, kPeerMac, 0x86dd,
                              make_ip6({.src = kPeer, .dst = kOwn, .hop_limit = 255}, cut)));
  EXPECT_EQ(host.counter("icmp6-neighbor/too-short"), 1u);
}

TEST_F(NdTest, UnaskedAdvertisementCreatesNothing) {
  advertise(kSolicited | kOverride);
  EXPECT_FALSE(neighbor(kPeer));
}

TEST_F(NdTest, NewAddressIsAskedForFirst) {  // RFC 4862 section 5.4.2
  must(host.net->add_address(wire.index, *IpPrefix::parse("2001:db8:5::5/64")));
  host.run();
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes,
            solicitation("::", "ff02::1:ff00:5", "2001:db8:5::5", "33:33:ff:00:00:05", false));
}

TEST_F(NdTest, DuplicateAddressIsGivenUpDuringDetection) {  // RFC 4862 section 5.4.5
  must(host.net->add_address(wire.index, *IpPrefix::parse("2001:db8:5::5/64")));
  host.run();
  EXPECT_TRUE(host.worker().net->is_local(host.worker(), *IpAddress::parse("2001:db8:5::5"), 0));
  receive({.type = 136,
           .src = "2001:db8:5::5",
           .dst = "ff02::1",
           .target = "2001:db8:5::5",
           .flags = kOverride,
           .options = option(2, kPeerMac)});
  EXPECT_EQ(host.counter("icmp6-neighbor/own-address"), 1u);
  EXPECT_FALSE(host.worker().net->is_local(host.worker(), *IpAddress::parse("2001:db8:5::5"), 0));
  EXPECT_TRUE(host.worker().net->is_local(host.worker(), *IpAddress::parse(kOwn), 0));
}

TEST_F(NdTest, LaterClaimsDoNotTakeTheAddressAway) {
  receive({.type = 136,
           .src = kOwn,
           .dst = "ff02::1",
           .target = kOwn,
           .flags = kOverride,
           .options = option(2, kPeerMac)});
  EXPECT_EQ(host.counter("neighbor-table/conflict"), 1u);
  EXPECT_TRUE(host.worker().net->is_local(host.worker(), *IpAddress::parse(kOwn), 0));
}

TEST_F(NdTest, DetectionByAnotherStationIsAnsweredToAllNodes) {
  receive({.src = "::", .dst = "ff02::1:ff00:2", .options = {}});
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 0, 6), mac("33:33:00:00:00:01"));
  EXPECT_EQ(part(sent[0].bytes, 14 + 24, 16), ip6("ff02::1"));
  EXPECT_EQ(get32(sent[0].bytes, 14 + 44), kOverride);
}

TEST_F(NdTest, FragmentsAreRefusedEvenWhole) {  // RFC 6980 section 5, RFC 6946
  const Bytes message = make_icmp6(kPeer, kOwn, 135, 0, 0, ip6(kOwn) + option(1, kPeerMac));
  const auto receive_behind = [&](uint8_t first, const Bytes& headers) {
    host.receive(
        wire, ethernet(NetHost::kOwnMac, kPeerMac, 0x86dd,
                       make_ip6({.src = kPeer, .dst = kOwn, .next_header = first, .hop_limit = 255},
                                headers + message)));
  };
  receive_behind(44, {58, 0, 0, 0, 0, 0, 0, 9});
  receive_behind(60, Bytes{44, 0, 1, 4, 0, 0, 0, 0} + Bytes{58, 0, 0, 0, 0, 0, 0, 9});
  EXPECT_EQ(host.counter("icmp6-neighbor/fragment-header"), 2u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  receive_behind(60, {58, 0, 1, 4, 0, 0, 0, 0});
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
}

TEST_F(NdTest, AddressThatIsBeingCheckedOverridesNobody) {  // RFC 4429 section 3.3
  must(host.net->add_address(wire.index, *IpPrefix::parse("2001:db8:5::5/64")));
  host.run();
  wire.take_sent();
  const Message ask{.dst = "2001:db8:5::5", .target = "2001:db8:5::5"};
  receive(ask);
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(get32(sent[0].bytes, 14 + 44), kSolicited);
  host.pass(2 * kSecond);
  receive(ask);
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(get32(sent[0].bytes, 14 + 44), kSolicited | kOverride);
}

TEST_F(NdTest, UnaskedAdvertisementsDoNotKeepASilentNeighbourAlive) {  // RFC 4861 section 7.3.1
  send(kPeer);
  advertise(kSolicited | kOverride);
  host.pass(NeighborTable::kReachableTime - kSecond);
  send(kPeer);
  host.pass(kSecond + kMillisecond);
  ASSERT_TRUE(neighbor(kPeer));
  EXPECT_EQ(neighbor(kPeer)->state, NeighborState::kProbe);
  for (int i = 0; i < 4; ++i) {
    advertise(kOverride);  // the address that is known, and not an answer
    host.pass(kSecond);
  }
  EXPECT_FALSE(neighbor(kPeer));
}

}  // namespace
}  // namespace loom
