// Interfaces that borrow the addresses of another; whether an interface has IPv6; names; and which
// worker polls a queue.
#include "net_host.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kAnyMac = "00:00:00:00:00:00";
constexpr const char* kBroadcast = "ff:ff:ff:ff:ff:ff";

Bytes arp(uint16_t operation, const char* sender, const char* target) {
  return ethernet(kBroadcast, NetHost::kPeerMac, 0x0806,
                  make_arp(operation, NetHost::kPeerMac, sender, kAnyMac, target));
}
Bytes echo(const char* src, const char* dst) {
  return ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                  make_ip4({.src = src, .dst = dst}, make_icmp4(8, 0, 1, counting(8))));
}
Bytes echo6(const char* src, const char* dst) {
  return ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x86dd,
                  make_ip6({.src = src, .dst = dst}, make_icmp6(src, dst, 128, 0, 1, counting(8))));
}

class Unnumbered : public ::testing::Test {
 protected:
  Unnumbered() : wire(host.add_device({})), loop(must(host.net->create_loopback())) {
    must(host.net->add_address(loop, *IpPrefix::parse("192.0.2.1/32")));
    must(host.net->set_admin(loop, true));
  }
  void borrow() {
    must(host.net->set_unnumbered(wire.index, loop));
    must(host.net->add_route(
        {.prefix = *IpPrefix::parse("10.0.0.5/32"), .gateway = {}, .tx_if = wire.index}));
    host.pass(2 * kSecond);
    wire.take_sent();
  }
  NetHost host;
  FakeDevice& wire;
  IfIndex loop;
};

TEST_F(Unnumbered, SpeaksWithBorrowedAddresses) {
  borrow();
  host.receive(wire, arp(1, "10.0.0.5", "192.0.2.1"));
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 14),
            make_arp(2, NetHost::kOwnMac, "192.0.2.1", NetHost::kPeerMac, "10.0.0.5"));
  host.receive(wire, echo("10.0.0.5", "192.0.2.1"));
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 26, 8), ip4("192.0.2.1") + ip4("10.0.0.5"));
  // Who is asked for is known, and whoever else says that it is there is not.
  must(host.net->add_route({.prefix = *IpPrefix::parse("0.0.0.0/0"),
                            .gateway = *IpAddress::parse("10.0.0.9"),
                            .tx_if = wire.index}));
  host.receive(wire, echo("10.0.0.77", "192.0.2.1"));
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 14),
            make_arp(1, NetHost::kOwnMac, "192.0.2.1", kAnyMac, "10.0.0.9"));
  host.receive(wire, arp(2, "10.0.0.9", "192.0.2.1"));
  EXPECT_THAT(wire.take_sent(), SizeIs(1));  // the answer that waited
  const uint64_t ignored = host.counter("arp-input/not-on-link");
  host.receive(wire, arp(1, "10.0.0.77", "192.0.2.1"));
  EXPECT_EQ(host.counter("arp-input/not-on-link"), ignored + 1);
}

TEST_F(Unnumbered, FollowsItsLender) {
  borrow();
  EXPECT_EQ(must(host.net->interface(wire.index)).lender, loop);
  must(host.net->add_address(loop, *IpPrefix::parse("192.0.2.7/32")));
  host.run();
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));  // told to the link
  EXPECT_EQ(part(sent[0].bytes, 14),
            make_arp(1, NetHost::kOwnMac, "192.0.2.7", kAnyMac, "192.0.2.7"));
  host.receive(wire, arp(1, "10.0.0.5", "192.0.2.7"));
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  must(host.net->del_address(loop, *IpPrefix::parse("192.0.2.7/32")));
  host.receive(wire, arp(1, "10.0.0.5", "192.0.2.7"));
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  must(host.net->clear_unnumbered(wire.index));
  host.receive(wire, arp(1, "10.0.0.5", "192.0.2.1"));
  EXPECT_THAT(wire.take_sent(), IsEmpty());
  EXPECT_FALSE(host.net->clear_unnumbered(wire.index));
  must(host.net->set_unnumbered(wire.index, loop));
  must(host.net->delete_loopback(loop));
  EXPECT_EQ(must(host.net->interface(wire.index)).lender, kNoIndex);
  host.run();
  wire.take_sent();
  host.receive(wire, arp(1, "10.0.0.5", "192.0.2.1"));
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(Unnumbered, BorrowsGlobalIp6AddressesBesideItsOwnLinkLocal) {
  must(host.net->add_address(loop, *IpPrefix::parse("2001:db8::1/128")));
  borrow();
  must(host.net->add_neighbor(wire.index, *IpAddress::parse("2001:db8:5::5"),
                              {{2, 0, 0, 0, 0, 0x99}}));
  must(host.net->add_route(
      {.prefix = *IpPrefix::parse("2001:db8:5::/64"), .gateway = {}, .tx_if = wire.index}));
  host.receive(wire, echo6("2001:db8:5::5", "2001:db8::1"));
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  EXPECT_THAT(must(host.net->interface(wire.index)).addresses,
              ElementsAre(*IpPrefix::parse("fe80::ff:fe00:1/64")));
}

// Neighbour-discovery messages of the interface: "type target", in order.
std::vector<std::string> discovery(const std::vector<SentFrame>& sent) {
  std::vector<std::string> all;
  for (const auto& f : sent)
    if (f.bytes.size() >= 78 && get16(f.bytes, 12) == 0x86dd && f.bytes[20] == 58) {
      Ip6Address target;
      std::copy_n(f.bytes.begin() + 62, 16, target.bytes.begin());
      all.push_back(std::to_string(f.bytes[54]) + " " + target.str());
    }
  return all;
}

TEST_F(Unnumbered, BorrowsNoIp6AddressesWhileIp6IsOff) {
  must(host.net->set_ip6_enabled(wire.index, true));
  must(host.net->set_ip6_enabled(wire.index, false));
  must(host.net->add_address(loop, *IpPrefix::parse("2001:db8::1/128")));
  host.pass(2 * kSecond);
  wire.take_sent();
  must(host.net->set_unnumbered(wire.index, loop));
  must(host.net->add_address(loop, *IpPrefix::parse("2001:db8::7/128")));
  host.run();
  EXPECT_THAT(discovery(wire.take_sent()), IsEmpty());
  const auto has = [&](const char* address) {
    return host.net->state()
        .interfaces.find(wire.index)
        ->address_view()
        .has(*IpAddress::parse(address));
  };
  EXPECT_TRUE(has("192.0.2.1"));
  EXPECT_FALSE(has("2001:db8::1"));
  EXPECT_FALSE(has("2001:db8::7"));
  must(host.net->set_ip6_enabled(wire.index, true));
  host.run();
  EXPECT_TRUE(has("2001:db8::1"));
  EXPECT_TRUE(has("2001:db8::7"));
  EXPECT_THAT(discovery(wire.take_sent()),
              ElementsAre("136 2001:db8::1", "136 2001:db8::7", "135 fe80::ff:fe00:1"));
}

// RFC 4862 section 5.4: they have been checked, if anywhere, on their lender's link.
TEST_F(Unnumbered, BorrowedIp6AddressesAreAnnouncedAndNotAskedFor) {
  must(host.net->add_address(loop, *IpPrefix::parse("2001:db8::1/128")));
  must(host.net->set_unnumbered(wire.index, loop));
  host.run();
  EXPECT_THAT(discovery(wire.take_sent()),
              ::testing::UnorderedElementsAre("135 fe80::ff:fe00:1", "135 fe80::ff:fe00:1",
                                              "136 2001:db8::1"));
  must(host.net->add_address(loop, *IpPrefix::parse("2001:db8::7/128")));
  host.run();
  auto sent = wire.take_sent();
  EXPECT_THAT(discovery(sent), ElementsAre("136 2001:db8::7"));
  EXPECT_EQ(get32(sent.at(0).bytes, 14 + 44), 1u << 29);  // it overrides
  must(host.net->set_admin(wire.index, false));
  must(host.net->set_admin(wire.index, true));
  host.run();
  EXPECT_THAT(discovery(wire.take_sent()),
              ElementsAre("135 fe80::ff:fe00:1", "136 2001:db8::1", "136 2001:db8::7"));
}

TEST_F(Unnumbered, BorrowedIp6AddressesOverrideNobodyWhileTheLenderChecksThem) {
  FakeDevice& lender = host.add_device({"2001:db8::2/64"});
  must(host.net->set_unnumbered(wire.index, lender.index));
  host.run();
  const auto flags = [&] {
    for (const auto& f : wire.take_sent())
      if (discovery({f}) == std::vector<std::string>{"136 2001:db8::2"})
        return get32(f.bytes, 14 + 44);
    return ~0u;
  };
  EXPECT_EQ(flags(), 0u);  // RFC 4429 section 3.3
  host.pass(2 * kSecond);
  must(host.net->set_admin(wire.index, false));
  must(host.net->set_admin(wire.index, true));
  host.run();
  EXPECT_EQ(flags(), 1u << 29);
}

TEST_F(Unnumbered, WhatCannotBeIsRefused) {
  FakeDevice& other = host.add_device({"10.0.1.2/24"});
  EXPECT_EQ(host.net->set_unnumbered(77, loop).error().code, Status::kNotFound);
  EXPECT_EQ(host.net->set_unnumbered(wire.index, 77).error().code, Status::kNotFound);
  EXPECT_EQ(host.net->set_unnumbered(wire.index, wire.index).error().code, Status::kInvalid);
  EXPECT_EQ(host.net->set_unnumbered(other.index, loop).error().code, Status::kExists);
  must(host.net->set_unnumbered(wire.index, loop));
  must(host.net->set_unnumbered(wire.index, loop));
  const IfIndex third = must(host.net->create_loopback());
  EXPECT_EQ(host.net->set_unnumbered(third, wire.index).error().code, Status::kInvalid);
  EXPECT_EQ(host.net->set_unnumbered(loop, third).error().code, Status::kInUse);
  EXPECT_THAT(host.net->add_address(wire.index, *IpPrefix::parse("10.0.5.2/24")).error().message,
              HasSubstr("loop0"));
  must(host.net->add_table(5, false));
  EXPECT_EQ(host.net->set_table(wire.index, 5, false).error().code, Status::kInUse);
  must(host.net->set_table(third, 5, false));
  EXPECT_EQ(host.net->set_unnumbered(third, loop).error().code, Status::kInUse);
  must(host.net->delete_loopback(third));
  must(host.net->delete_loopback(loop));
}

TEST(Ip6Enable, GivesALinkLocalAddressAndTakesIt) {
  NetHost host;
  FakeDevice& d = host.add_device({});
  const auto addresses = [&] { return must(host.net->interface(d.index)).addresses; };
  must(host.net->set_ip6_enabled(d.index, true));
  EXPECT_THAT(addresses(), ElementsAre(*IpPrefix::parse("fe80::ff:fe00:1/64")));
  must(host.net->set_ip6_enabled(d.index, true));
  must(host.net->add_address(d.index, *IpPrefix::parse("2001:db8::2/64")));
  EXPECT_THAT(host.net->set_ip6_enabled(d.index, false).error().message, HasSubstr("2001:db8::2"));
  must(host.net->del_address(d.index, *IpPrefix::parse("2001:db8::2/64")));
  host.pass(2 * kSecond);
  d.take_sent();
  must(host.net->set_ip6_enabled(d.index, false));
  EXPECT_THAT(addresses(), IsEmpty());
  host.receive(d, echo6("fe80::1", "fe80::ff:fe00:1"));
  EXPECT_EQ(host.counter("ip6-input/not-enabled"), 1u);
  EXPECT_EQ(host.net->set_ip6_enabled(d.index, false).error().code, Status::kNotFound);
  EXPECT_EQ(host.net->set_ip6_enabled(77, true).error().code, Status::kNotFound);
  must(host.net->add_address(d.index, *IpPrefix::parse("2001:db8::2/64")));  // enables it
  must(host.net->add_neighbor(d.index, *IpAddress::parse("2001:db8::1"), {{2, 0, 0, 0, 0, 0x99}}));
  host.pass(2 * kSecond);
  d.take_sent();
  host.receive(d, echo6("2001:db8::1", "2001:db8::2"));
  EXPECT_THAT(d.take_sent(), SizeIs(1));
}

TEST(InterfaceName, IsTheOperatorsAndThatOfSubInterfacesFollows) {
  NetHost host;
  FakeDevice& d = host.add_device({});
  const IfIndex vlan = must(host.net->create_sub_interface(d.index, 10, 10));
  must(host.net->rename_interface(d.index, "uplink"));
  must(host.net->rename_interface(d.index, "uplink"));
  EXPECT_EQ(host.net->find_interface("uplink"), d.index);
  EXPECT_EQ(host.net->find_interface("uplink.10"), vlan);
  EXPECT_EQ(host.net->find_interface("fake0"), kNoIndex);
  const auto refused = [&](IfIndex i, const std::string& name) {
    const auto done = host.net->rename_interface(i, name);
    return done ? Status::kOk : done.error().code;
  };
  EXPECT_EQ(refused(vlan, "other"), Status::kUnsupported);
  EXPECT_EQ(refused(77, "other"), Status::kNotFound);
  for (const char* bad : {"", "a b", "a\x1b[0m", "a\xc3\xa4"})
    EXPECT_EQ(refused(d.index, bad), Status::kInvalid) << bad;
  EXPECT_EQ(refused(d.index, std::string(64, 'x')), Status::kInvalid);
  EXPECT_EQ(refused(d.index, std::string(62, 'x')), Status::kInvalid);  // "xx...x.10" is too long
  must(host.net->create_loopback());
  EXPECT_EQ(refused(d.index, "loop0"), Status::kExists);
  EXPECT_EQ(host.net->find_interface("uplink.10"), vlan);
}

TEST(RxPlacement, MovesAQueueWithItsFd) {
  NetHost host({}, 2);
  const int fd = eventfd(0, EFD_NONBLOCK);
  FakeDevice d;
  InterfaceConfig c;
  c.name = "tap0";
  c.mac = {{2, 0, 0, 0, 0, 1}};
  c.caps = NetHost::kAllCaps;
  c.ops = &kFakeDriver;
  c.device = &d;
  c.input_node = "tap-input";
  c.rx_queues = {{.event_fd = fd}};
  d.index = must(host.net->add_interface(c));
  must(host.net->add_address(d.index, *IpPrefix::parse("10.0.0.2/24")));
  must(host.net->set_admin(d.index, true));
  host.run();
  const auto inputs = [&](uint32_t w) { return host.net->state().workers[w]->inputs.size(); };
  ASSERT_EQ(inputs(0), 1u);
  d.inject(arp(1, "10.0.0.1", "10.0.0.2"));  // nobody was told
  must(host.net->place_rx_queue(d.index, 0, 0));
  must(host.net->place_rx_queue(d.index, 0, 1));
  EXPECT_EQ(inputs(0), 0u);
  EXPECT_EQ(inputs(1), 1u);
  EXPECT_THAT(must(host.net->interface(d.index)).rx_workers, ElementsAre(1u));
  host.run();
  EXPECT_THAT(d.to_receive, IsEmpty());  // it looked
  d.inject(arp(1, "10.0.0.1", "10.0.0.2"));
  host.run();
  EXPECT_THAT(d.to_receive, SizeIs(1));
  EXPECT_EQ(eventfd_write(fd, 1), 0);
  host.pass(kMillisecond);
  EXPECT_THAT(d.to_receive, IsEmpty());
  EXPECT_EQ(host.net->place_rx_queue(d.index, 1, 0).error().code, Status::kNotFound);
  EXPECT_THAT(host.net->place_rx_queue(d.index, 0, 2).error().message, HasSubstr("worker 2"));
  ASSERT_EQ(host.net->remove_interface(d.index), Status::kOk);
  close(fd);
}

}  // namespace
}  // namespace loom
