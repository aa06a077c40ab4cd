// Sub-interfaces: frames with a VLAN's tag in and out, and what a sub-interface has of its own or
// of its parent.
#include <deque>

#include "cli/tree.h"
#include "net/cli/net_commands.h"
#include "net_host.h"

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kAnyMac = "00:00:00:00:00:00";
constexpr const char* kBroadcast = "ff:ff:ff:ff:ff:ff";
constexpr uint16_t kIp4Type = 0x0800, kArpType = 0x0806, kIp6Type = 0x86dd, kTagType = 0x8100;

Bytes tag(uint16_t tci, uint16_t type) {
  Bytes b(4);
  put16(b, 0, tci);
  put16(b, 2, type);
  return b;
}
Bytes tagged(uint16_t tci, uint16_t type, const Bytes& payload,
             const char* dst = NetHost::kOwnMac) {
  return ethernet(dst, NetHost::kPeerMac, kTagType, tag(tci, type) + payload);
}
Bytes echo(const std::string& src, const std::string& dst, std::size_t size = 40) {
  return make_ip4({.src = src, .dst = dst}, make_icmp4(8, 0, 1, counting(size)));
}

class SubInterface : public ::testing::Test {
 protected:
  explicit SubInterface(uint32_t caps = NetHost::kAllCaps)
      : wire(host.add_device({"10.0.0.2/24"}, caps)), vlan(make(10)) {
    must(host.net->add_address(vlan, *IpPrefix::parse("10.10.0.2/24")));
    must(host.net->add_neighbor(vlan, *IpAddress::parse("10.10.0.1"), peer()));
    host.know(wire, "10.0.0.1");
    host.run();
    wire.take_sent();
  }
  static MacAddress peer() { return {{2, 0, 0, 0, 0, 0x99}}; }
  IfIndex make(uint16_t id) {
    const IfIndex index = must(host.net->create_sub_interface(wire.index, id, id));
    must(host.net->set_admin(index, true));
    return index;
  }
  InterfaceListing listing(IfIndex index) { return must(host.net->interface(index)); }
  // The only frame that was sent, which has the tag of that VLAN; without the tag.
  Bytes untagged(uint16_t id) {
    const auto sent = wire.take_sent();
    EXPECT_THAT(sent, SizeIs(1));
    if (sent.size() != 1) return Bytes(64);
    const Bytes& f = sent[0].bytes;
    EXPECT_EQ(get16(f, 12), kTagType);
    EXPECT_EQ(get16(f, 14), id);  // priority 0
    return part(f, 0, 12) + part(f, 16);
  }
  void expect_dropped(Bytes frame, const std::string& counter) {
    const uint64_t before = host.counter(counter);
    host.receive(wire, std::move(frame));
    EXPECT_EQ(host.counter(counter), before + 1) << counter;
    EXPECT_THAT(wire.take_sent(), IsEmpty()) << counter;
  }
  std::vector<std::string> story;  // of events; they go on while the host ends
  std::vector<IfIndex> gone;
  NetHost host;
  FakeDevice& wire;
  IfIndex vlan;
};

TEST_F(SubInterface, AnswersInItsVlan) {
  host.receive(wire, tagged(10, kIp4Type, echo("10.10.0.1", "10.10.0.2")));
  const Bytes f = untagged(10);
  EXPECT_EQ(part(f, 0, 12), mac(NetHost::kPeerMac) + mac(NetHost::kOwnMac));
  EXPECT_EQ(get16(f, 12), kIp4Type);
  EXPECT_TRUE(checksums_hold(part(f, 14)));
  EXPECT_EQ(part(f, 42), counting(40));
  // The tag's priority and drop eligibility say nothing about the VLAN.
  host.receive(wire, tagged(0xf00a, kIp4Type, echo("10.10.0.1", "10.10.0.2")));
  EXPECT_EQ(part(untagged(10), 34), part(f, 34));  // but for the identification
}

TEST_F(SubInterface, ResolvesAddressesInItsVlan) {  // RFC 826
  const auto ask = [&](const char* who, const char* whom) {
    return make_arp(1, NetHost::kPeerMac, who, kAnyMac, whom);
  };
  host.receive(wire, tagged(10, kArpType, ask("10.10.0.7", "10.10.0.2"), kBroadcast));
  const Bytes reply = untagged(10);
  EXPECT_EQ(get16(reply, 12), kArpType);
  EXPECT_EQ(part(reply, 14),
            make_arp(2, NetHost::kOwnMac, "10.10.0.2", NetHost::kPeerMac, "10.10.0.7"));
  // Its address is not the parent's to tell, nor the parent's its.
  host.receive(wire,
               ethernet(kBroadcast, NetHost::kPeerMac, kArpType, ask("10.10.0.7", "10.10.0.2")));
  host.receive(wire, tagged(10, kArpType, ask("10.0.0.7", "10.0.0.2"), kBroadcast));
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  // Its own questions.
  Buffer* b = host.make(echo("10.10.0.2", "10.10.0.8"));
  b->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", b);
  const Bytes question = untagged(10);
  EXPECT_EQ(part(question, 14), make_arp(1, NetHost::kOwnMac, "10.10.0.2", kAnyMac, "10.10.0.8"));
  host.receive(wire,
               tagged(10, kArpType,
                      make_arp(2, NetHost::kPeerMac, "10.10.0.8", NetHost::kOwnMac, "10.10.0.2")));
  EXPECT_EQ(part(untagged(10), 14), echo("10.10.0.2", "10.10.0.8"));
}

TEST_F(SubInterface, DiscoversNeighboursInItsVlan) {  // RFC 4861
  must(host.net->add_address(vlan, *IpPrefix::parse("2001:db8:10::2/64")));
  host.run();
  for (const auto& f : wire.take_sent())
    EXPECT_EQ(get32(f.bytes, 12), 0x8100000au);  // for duplicates
  host.pass(2 * kSecond);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  const Bytes target = ip6("2001:db8:10::2");
  const Bytes option = Bytes{1, 1} + mac(NetHost::kPeerMac);
  host.receive(
      wire,
      tagged(10, kIp6Type,
             make_ip6({.src = "2001:db8:10::1", .dst = "2001:db8:10::2", .hop_limit = 255},
                      make_icmp6("2001:db8:10::1", "2001:db8:10::2", 135, 0, 0, target + option))));
  const Bytes f = untagged(10);
  EXPECT_EQ(get16(f, 12), kIp6Type);
  EXPECT_EQ(f.at(54), 136);  // an advertisement
  EXPECT_EQ(part(f, 62, 16), target);
  EXPECT_TRUE(checksums_hold(part(f, 14)));
}

TEST_F(SubInterface, CountsItsFramesAsTheyAreOnTheWire) {
  const Bytes frame = tagged(10, kIp4Type, echo("10.10.0.1", "10.10.0.2"));
  must(host.net->clear_counters(kNoIndex));
  for (int i = 0; i < 3; ++i) host.receive(wire, frame);
  const auto own = listing(vlan), parents = listing(wire.index);
  EXPECT_EQ(own.rx.packets, 3u);
  EXPECT_EQ(own.rx.bytes, 3 * frame.size());
  EXPECT_EQ(own.tx.packets, 3u);
  EXPECT_EQ(own.tx.bytes, 3 * frame.size());
  EXPECT_EQ(parents.tx.packets, 3u);
  EXPECT_EQ(parents.tx.bytes, 3 * frame.size());
  host.receive(
      wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, kIp4Type, echo("10.0.0.1", "10.0.0.2")));
  EXPECT_EQ(get16(wire.take_sent().back().bytes, 12), kIp4Type);
  EXPECT_EQ(listing(vlan).rx.packets, 3u);
  EXPECT_EQ(listing(vlan).tx.packets, 3u);
}

TEST_F(SubInterface, FramesOfNoVlanHereAreDropped) {
  const Bytes packet = echo("10.10.0.1", "10.10.0.2");
  expect_dropped(tagged(11, kIp4Type, packet), "ethernet-input/vlan");
  expect_dropped(tagged(4095, kIp4Type, packet), "ethernet-input/vlan");
  expect_dropped(ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x88a8, tag(10, kIp4Type) + packet),
                 "ethernet-input/vlan");
  expect_dropped(tagged(10, kTagType, tag(10, kIp4Type) + packet), "ethernet-input/nested-tag");
  expect_dropped(tagged(10, 0x88a8, tag(10, kIp4Type) + packet), "ethernet-input/nested-tag");
  expect_dropped(tagged(0, kTagType, tag(10, kIp4Type) + packet), "ethernet-input/nested-tag");
  expect_dropped(part(tagged(10, kIp4Type, packet), 0, 17), "ethernet-input/vlan-too-short");
  expect_dropped(part(tagged(10, kIp4Type, packet), 0, 14), "ethernet-input/vlan-too-short");
  expect_dropped(part(tagged(10, kIp4Type, packet), 0, 18), "ip4-input/too-short");
  expect_dropped(tagged(10, 100, packet), "ethernet-input/llc");
  expect_dropped(tagged(10, 0x1234, packet), "ethernet-input/unknown-type");
  expect_dropped(tagged(10, kIp4Type, packet, "02:00:00:00:00:77"), "ethernet-input/not-for-us");
}

TEST_F(SubInterface, ATagOfVlanZeroIsNoVlan) {  // a priority only
  host.receive(wire, tagged(0xe000, kIp4Type, echo("10.0.0.1", "10.0.0.2")));
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(get16(sent[0].bytes, 12), kIp4Type);
  EXPECT_EQ(listing(vlan).rx.packets, 0u);
}

TEST_F(SubInterface, CarriesPacketsWhileItAndItsParentAreUp) {
  host.net->on_interface_event([&](IfIndex i, bool admin, bool link, bool deleted) {
    story.push_back((i == vlan ? "vlan" : "wire") + std::string(admin ? " up" : " down") +
                    (link ? " link" : "") + (deleted ? " deleted" : ""));
  });
  const Bytes frame = tagged(10, kIp4Type, echo("10.10.0.1", "10.10.0.2"));
  must(host.net->set_admin(vlan, false));
  expect_dropped(frame, "ethernet-input/interface-down");
  EXPECT_EQ(listing(vlan).rx.drops, 1u);
  EXPECT_EQ(listing(vlan).rx.packets, 0u);
  must(host.net->set_admin(vlan, true));
  ASSERT_EQ(host.net->set_link(wire.index, false), Status::kOk);
  EXPECT_FALSE(listing(vlan).is_link_up);
  RouteInfo r;
  Worker& w = host.worker();
  EXPECT_EQ(w.net->route(w, *IpAddress::parse("10.10.0.1"), 0, &r), Status::kUnreachable);
  ASSERT_EQ(host.net->set_link(wire.index, true), Status::kOk);
  must(host.net->set_admin(wire.index, false));
  must(host.net->set_admin(wire.index, false));
  must(host.net->set_admin(wire.index, true));
  EXPECT_THAT(story, ElementsAre("vlan down link", "vlan up link", "wire up", "vlan up",
                                 "wire up link", "vlan up link", "wire down link", "vlan up",
                                 "wire up link", "vlan up link"));
  host.run();
  for (const auto& f : wire.take_sent())  // each says where its addresses are
    if (get16(f.bytes, 12) == kTagType) {
      EXPECT_EQ(get16(f.bytes, 14), 10u);
      EXPECT_EQ(part(f.bytes, 18),
                make_arp(1, NetHost::kOwnMac, "10.10.0.2", kAnyMac, "10.10.0.2"));
      story.clear();
    }
  EXPECT_THAT(story, IsEmpty());
  host.receive(wire, frame);
  untagged(10);
  EXPECT_EQ(host.net->set_link(vlan, false), Status::kUnsupported);
}

TEST_F(SubInterface, ItsPacketsFitIntoItsParent) {
  const auto mtu_to = [&](const char* to) {
    RouteInfo r;
    Worker& w = host.worker();
    EXPECT_EQ(w.net->route(w, *IpAddress::parse(to), 0, &r), Status::kOk);
    return r.mtu;
  };
  must(host.net->set_mtu(vlan, 1400));
  EXPECT_EQ(mtu_to("10.10.0.1"), 1400u);
  EXPECT_EQ(mtu_to("10.0.0.1"), 1500u);
  Buffer* b = host.make(echo("10.10.0.2", "10.10.0.1", 1401 - 28));
  b->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", b);
  EXPECT_THAT(wire.take_sent(), SizeIs(2));  // fragments
  must(host.net->set_mtu(wire.index, 1300));
  EXPECT_EQ(mtu_to("10.10.0.1"), 1300u);
  EXPECT_EQ(listing(vlan).mtu, 1300u);
  b = host.make(echo("10.10.0.2", "10.10.0.1", 1301 - 28));
  b->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", b);
  EXPECT_THAT(wire.take_sent(), SizeIs(2));
  must(host.net->set_mtu(wire.index, 1500));
  EXPECT_EQ(mtu_to("10.10.0.1"), 1400u);
  EXPECT_THAT(host.net->set_mtu(vlan, 1501).error().message, HasSubstr("1501"));
  must(host.net->set_mtu(vlan, 1500));
}

TEST_F(SubInterface, HasItsParentsAddressOnTheLink) {
  const MacAddress other{{2, 0, 0, 0, 0, 0x55}};
  EXPECT_EQ(host.net->set_mac(vlan, other).error().code, Status::kUnsupported);
  must(host.net->set_mac(wire.index, other));
  host.run();
  EXPECT_EQ(listing(vlan).mac, other);
  EXPECT_THAT(wire.take_sent(), SizeIs(2));  // both tell
  host.receive(wire, tagged(10, kIp4Type, echo("10.10.0.1", "10.10.0.2"), "02:00:00:00:00:55"));
  EXPECT_EQ(part(untagged(10), 6, 6), mac("02:00:00:00:00:55"));
}

TEST_F(SubInterface, GoesAloneOrWithItsParent) {
  const IfIndex second = make(20);
  must(host.net->add_address(second, *IpPrefix::parse("10.20.0.2/24")));
  must(host.net->add_route(
      {.prefix = *IpPrefix::parse("192.0.2.0/24"), .gateway = *IpAddress::parse("10.10.0.1")}));
  const std::size_t had = host.net->routes(0, false).size();
  must(host.net->delete_sub_interface(vlan));
  EXPECT_EQ(host.net->find_interface("fake0.10"), kNoIndex);
  EXPECT_EQ(host.net->routes(0, false).size(),
            had - 4);                             // local, subnet, broadcast, the configured
  EXPECT_THAT(host.net->neighbors(), SizeIs(1));  // the parent's
  host.run();
  wire.take_sent();
  expect_dropped(tagged(10, kIp4Type, echo("10.10.0.1", "10.10.0.2")), "ethernet-input/vlan");
  vlan = make(10);  // VLAN and name are free
  EXPECT_THAT(host.net->delete_sub_interface(wire.index).error().message, HasSubstr("fake0"));
  EXPECT_EQ(host.net->delete_sub_interface(77).error().code, Status::kNotFound);
  host.net->on_interface_event([&](IfIndex i, bool, bool, bool deleted) {
    if (deleted) gone.push_back(i);
  });
  ASSERT_EQ(host.net->remove_interface(wire.index), Status::kOk);
  EXPECT_THAT(gone, ElementsAre(vlan, second, wire.index));
  EXPECT_THAT(host.net->interfaces(), IsEmpty());
  EXPECT_THAT(host.net->routes(0, false), IsEmpty());
}

TEST_F(SubInterface, WhatCannotBeIsRefused) {
  const auto refused = [&](IfIndex parent, uint32_t sub_id, uint16_t id) {
    const auto r = host.net->create_sub_interface(parent, sub_id, id);
    EXPECT_FALSE(r.has_value());
    return r ? Error{} : r.error();
  };
  const IfIndex loop = must(host.net->create_loopback());
  EXPECT_EQ(refused(77, 5, 5).code, Status::kNotFound);
  EXPECT_EQ(refused(loop, 5, 5).code, Status::kUnsupported);
  EXPECT_EQ(refused(vlan, 5, 5).code, Status::kUnsupported);
  EXPECT_THAT(refused(wire.index, 5, 0).message, HasSubstr("VLAN id 0"));
  EXPECT_THAT(refused(wire.index, 5, 4095).message, HasSubstr("4095"));
  EXPECT_EQ(refused(wire.index, 10, 11).code, Status::kExists);
  EXPECT_THAT(refused(wire.index, 11, 10).message, HasSubstr("fake0.10"));
  must(host.net->create_sub_interface(wire.index, ~0u, 4094));
  EXPECT_EQ(host.net->find_interface("fake0.4294967295"), loop + 1);
  must(host.net->delete_loopback(loop));
}

TEST_F(SubInterface, PacketsThatNoTagFitsOn) {
  const auto by_vlan = [&](Bytes frame, uint32_t headroom) {
    Buffer* b = host.make(frame, headroom);
    b->tx_if = vlan;
    return b;
  };
  const Bytes frame =
      ethernet(NetHost::kPeerMac, NetHost::kOwnMac, kIp4Type, echo("10.10.0.2", "10.10.0.1"));
  host.enqueue("interface-output", by_vlan(frame, 3));
  EXPECT_EQ(host.counter("interface-output/no-headroom"), 1u);
  host.enqueue("interface-output", by_vlan(part(frame, 0, 13), kHeadroom));
  EXPECT_EQ(host.counter("interface-output/too-short"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  host.enqueue("interface-tx", by_vlan(frame, kHeadroom));  // there is no wire
  EXPECT_EQ(host.counter("interface-tx/queue-full"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  host.enqueue("interface-output", by_vlan(frame, 4));
  EXPECT_EQ(untagged(10), frame);
}

// Features of the sub-interface first, then those of the device.
TEST(SubInterfaceFeatures, OfBothSeeTheTaggedFrame) {
  NetHost host;
  static int seen = 0;
  static IfIndex leaves_by = kNoIndex;
  seen = 0;
  static const NodeInfo kProbe{
      .name = "test-probe",
      .run =
          [](Worker&, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
            for (Buffer* b : in) {
              const auto* eth = b->peek<EthernetHeader>();
              if (eth && eth->type == kTagType) ++seen;
              leaves_by = b->tx_if;
            }
            rt.enqueue_all(in, kNextFeature);
          },
      .counters = {},
      .next = {},
      .trace_format = nullptr};
  FakeDevice& wire = host.add_device({});
  const IfIndex vlan = must(host.net->create_sub_interface(wire.index, 10, 10));
  must(host.net->set_admin(vlan, true));
  must(host.engine->add_node(kProbe));
  must(host.engine->features().add({.arc = "interface-output", .node = "test-probe"}));
  const auto send = [&] {
    Buffer* b = host.make(
        ethernet(NetHost::kPeerMac, NetHost::kOwnMac, kIp4Type, echo("10.10.0.2", "10.10.0.1")));
    b->tx_if = vlan;
    host.enqueue("interface-output", b);
    EXPECT_THAT(wire.take_sent(), SizeIs(1));
    return std::exchange(seen, 0);
  };
  EXPECT_EQ(send(), 0);
  must(host.engine->features().enable("interface-output", "test-probe", vlan, true));
  EXPECT_EQ(send(), 1);
  EXPECT_EQ(leaves_by, wire.index);
  EXPECT_EQ(host.counter("interface-output/to-parent"), 1u);
  must(host.engine->features().enable("interface-output", "test-probe", wire.index, true));
  EXPECT_EQ(send(), 2);
  must(host.engine->features().enable("interface-output", "test-probe", vlan, false));
  EXPECT_EQ(send(), 1);
}

// --- Offloads: what refers to headers stays right with a tag in front.

class TaggedOffload : public SubInterface, public ::testing::WithParamInterface<uint32_t> {
 protected:
  TaggedOffload() : SubInterface(GetParam()) {}
};

Bytes tcp(uint32_t seq, uint8_t flags, const Bytes& payload) {
  Bytes b(20);
  put16(b, 0, 4000);
  put16(b, 2, 80);
  put32(b, 4, seq);
  b[12] = 0x50;
  b[13] = flags;
  return b + payload;
}

TEST_P(TaggedOffload, LargePacketsAreCutAndSummedRight) {
  constexpr std::size_t kSize = 5000, kMss = 1400;
  const Bytes payload = counting(kSize);
  const Bytes segment = tcp(1000, 16, payload);
  Bytes packet = make_ip4({.src = "10.10.0.2", .dst = "10.10.0.1", .protocol = 6}, segment);
  put16(packet, 36, plain_sum(pseudo(ip4("10.10.0.2"), ip4("10.10.0.1"), 6, segment.size())));
  Buffer* b = host.make(packet);
  b->l3_offset = b->offset_of_data();
  b->l4_offset = static_cast<int16_t>(b->l3_offset + 20);
  b->gso_size = kMss;
  b->flags |= kBufferLocallyOriginated | kBufferTxTcpChecksum | kBufferTxIp4Checksum;
  b->l4_protocol = 6;
  host.enqueue("ip4-lookup", b);
  const auto sent = wire.take_sent();
  if (GetParam() & kCapTso4) {
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_EQ(sent[0].gso_size, kMss);
    EXPECT_EQ(get32(sent[0].bytes, 12), 0x8100000au);
    EXPECT_EQ(part(sent[0].bytes, 58), payload);
    return;
  }
  ASSERT_THAT(sent, SizeIs(4));
  for (std::size_t i = 0; i < sent.size(); ++i) {
    const Bytes& f = sent[i].bytes;
    EXPECT_EQ(get32(f, 12), 0x8100000au);
    EXPECT_EQ(get16(f, 16), kIp4Type);
    const Bytes ip = part(f, 18);
    EXPECT_EQ(get32(ip, 24), 1000 + i * kMss);
    EXPECT_EQ(part(ip, 40), part(payload, i * kMss, kMss));
    if (!(GetParam() & kCapTxL4Checksum)) {
      EXPECT_TRUE(checksums_hold(ip)) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, TaggedOffload,
                         ::testing::Values(0u, uint32_t{kCapScatter}, uint32_t{kCapTxL4Checksum},
                                           NetHost::kAllCaps));

// --- The commands.

class SubInterfaceCommands : public SubInterface {
 protected:
  SubInterfaceCommands() {
    for (const auto group : {sub_interface_commands(), interface_commands()})
      for (CliCommand c : group) {
        c.context = host.net.get();
        commands.push_back(c);
        must(cli.add(commands.back()));
      }
  }
  CliOutcome run(std::string_view line) { return cli.run(nobody, line); }
  void expect_error(std::string_view line, const char* needle) {
    const auto outcome = run(line);
    EXPECT_NE(outcome.status, Status::kOk) << line;
    EXPECT_THAT(outcome.text, HasSubstr(needle)) << line;
  }
  CliTree cli;
  std::deque<CliCommand> commands;
  Host nobody;
};

TEST_F(SubInterfaceCommands, MakeAndRemoveThem) {
  EXPECT_THAT(run("create sub-interfaces fake0 20").text, HasSubstr("fake0.20"));
  EXPECT_THAT(run("create sub-interfaces fake0 7 dot1q 300 exact-match").text,
              HasSubstr("fake0.7"));
  EXPECT_EQ(listing(host.net->find_interface("fake0.20")).vlan_id, 20);
  EXPECT_EQ(listing(host.net->find_interface("fake0.7")).vlan_id, 300);
  EXPECT_THAT(run("show hardware-interfaces").text, HasSubstr("VLAN 300 of fake0"));
  EXPECT_EQ(run("delete sub-interface fake0.20").status, Status::kOk);
  EXPECT_EQ(run("delete sub-interface sw_if_index 3").status, Status::kOk);
  EXPECT_THAT(host.net->interfaces(), SizeIs(2));
}

TEST_F(SubInterfaceCommands, RefuseOtherKindsByName) {
  expect_error("create sub-interfaces fake0 20 dot1q any", "'dot1q any' is not supported");
  expect_error("create sub-interfaces fake0 20 dot1ad 20", "'dot1ad'");
  expect_error("create sub-interfaces fake0 20 dot1q 20 inner-dot1q 30 exact-match",
               "'inner-dot1q'");
  expect_error("create sub-interfaces fake0 20 untagged", "'untagged'");
  expect_error("create sub-interfaces fake0 20 default", "'default'");
  expect_error("create sub-interfaces fake0 20 sideways", "sideways");
  expect_error("create sub-interfaces fake0 20 dot1q 4095", "4095");
  expect_error("create sub-interfaces fake0 20 dot1q 0", "0");
  expect_error("create sub-interfaces fake0 4095", "4095");
  expect_error("create sub-interfaces fake0 70000", "VLAN id");
  expect_error("create sub-interfaces fake0 4294967296", "4294967296");
  expect_error("create sub-interfaces fake0", "missing");
  expect_error("create sub-interfaces fake9 20", "fake9");
  expect_error("create sub-interfaces fake0 10", "exists");
  expect_error("create sub-interfaces fake0 11 dot1q 10", "fake0.10");
  expect_error("delete sub-interface fake0", "not a sub-interface");
  expect_error("delete sub-interface fake0.10 now", "now");
  EXPECT_THAT(host.net->interfaces(), SizeIs(2));
}

}  // namespace
}  // namespace loom
