// What interfaces are told to be, and what packets then look like: sizes of a family, link-layer
// addresses, tables of a family, receive modes, counters, loopback instances.
#include "net_host.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace loom {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kNewMac = "02:00:00:00:00:55";
const MacAddress kNewAddress{{2, 0, 0, 0, 0, 0x55}};

Bytes echo(const std::string& to_mac, const std::string& dst = "10.0.0.2") {
  return ethernet(to_mac, NetHost::kPeerMac, 0x0800,
                  make_ip4({.src = "10.0.0.1", .dst = dst}, make_icmp4(8, 0, 1, counting(8))));
}

class Settings : public ::testing::Test {
 protected:
  Settings() : wire(host.add_device({"10.0.0.2/24", "2001:db8::2/64"})) {
    host.know(wire, "10.0.0.1");
    host.know(wire, "2001:db8::1");
    host.pass(2 * kSecond);  // duplicate address detection is over
    wire.take_sent();
  }
  // A packet of this host's own, of that many bytes. What the wire saw of it.
  std::vector<SentFrame> send(bool is_ip4, std::size_t bytes) {
    Worker& w = host.worker();
    const Bytes p =
        is_ip4
            ? make_ip4({.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 17}, counting(bytes - 20))
            : make_ip6({.src = "2001:db8::2", .dst = "2001:db8::1", .next_header = 17},
                       counting(bytes - 40));
    Buffer* b = w.alloc();
    EXPECT_TRUE(chain_append(w, *b, std::as_bytes(std::span(p))));
    b->flags |= kBufferLocallyOriginated;
    w.enqueue_to_node(host.engine->find_node(is_ip4 ? "ip4-lookup" : "ip6-lookup"), b);
    host.run();
    return wire.take_sent();
  }
  uint32_t route_mtu(const char* to) {
    RouteInfo r;
    Worker& w = host.worker();
    EXPECT_EQ(w.net->route(w, *IpAddress::parse(to), 0, &r), Status::kOk);
    return r.mtu;
  }
  NetHost host;
  FakeDevice& wire;
};

TEST_F(Settings, IPv6HasNoLinksBelow1280Bytes) {  // RFC 8200 section 5
  const auto refusal = host.net->set_mtu(wire.index, 1279);
  ASSERT_FALSE(refusal);
  EXPECT_EQ(refusal.error().code, Status::kInUse);
  EXPECT_THAT(refusal.error().message, HasSubstr("2001:db8::2/64"));
  EXPECT_EQ(route_mtu("10.0.0.1"), 1500u);
  must(host.net->set_mtu(wire.index, 1280));
  must(host.net->del_address(wire.index, *IpPrefix::parse("2001:db8::2/64")));
  // The link-local one is not the operator's, and goes.
  must(host.net->set_mtu(wire.index, 1000));
  EXPECT_THAT(host.net->state().interfaces.find(wire.index)->address_view().ip6, IsEmpty());
  host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x86dd,
                              make_ip6({.src = "fe80::1", .dst = "ff02::1"}, counting(8))));
  EXPECT_EQ(host.counter("ip6-input/not-enabled"), 1u);
  for (const auto& no : {host.net->add_address(wire.index, *IpPrefix::parse("2001:db8::2/64")),
                         host.net->set_ip6_enabled(wire.index, true)})
    EXPECT_THAT(no.error().message, HasSubstr("1000"));
  // And comes back.
  must(host.net->set_mtu(wire.index, 1500));
  EXPECT_EQ(host.net->state().interfaces.find(wire.index)->address_view().ip6.size(), 1u);
  host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x86dd,
                              make_ip6({.src = "fe80::1", .dst = "ff02::1"}, counting(8))));
  EXPECT_EQ(host.counter("ip6-input/not-enabled"), 1u);
  must(host.net->add_address(wire.index, *IpPrefix::parse("2001:db8::2/64")));
  EXPECT_EQ(route_mtu("2001:db8::1"), 1500u);
  // One that never was larger.
  FakeDevice& small = host.add_device({"10.1.0.2/24"}, NetHost::kAllCaps, 600);
  EXPECT_FALSE(host.net->add_address(small.index, *IpPrefix::parse("2001:db8:1::2/64")));
  must(host.net->set_mtu(small.index, 500));
  // One that borrows loses what it could use of IPv6, if that is not the operator's.
  FakeDevice& borrower = host.add_device({}, NetHost::kAllCaps, 1500);
  must(host.net->set_unnumbered(borrower.index, small.index));
  must(host.net->set_mtu(borrower.index, 1000));
  must(host.net->clear_unnumbered(borrower.index));
  must(host.net->set_mtu(borrower.index, 1500));
  must(host.net->set_unnumbered(borrower.index, wire.index));
  EXPECT_THAT(host.net->set_mtu(borrower.index, 1000).error().message, HasSubstr("2001:db8::2/64"));
}

TEST_F(Settings, AFamilysMtuIsOfItsPacketsOnly) {
  must(host.net->set_ip_mtu(wire.index, true, 576));
  EXPECT_THAT(send(true, 577), SizeIs(2));  // fragments
  EXPECT_THAT(send(true, 576), SizeIs(1));
  EXPECT_THAT(send(false, 1500), SizeIs(1));
  EXPECT_EQ(route_mtu("10.0.0.1"), 576u);
  EXPECT_EQ(route_mtu("2001:db8::1"), 1500u);
  must(host.net->set_ip_mtu(wire.index, false, 1280));
  EXPECT_THAT(send(false, 1281), SizeIs(2));
  must(host.net->set_ip_mtu(wire.index, true, 0));
  EXPECT_THAT(send(true, 1500), SizeIs(1));
  // The smaller counts, in whatever order they were said.
  must(host.net->set_ip_mtu(wire.index, true, 2000));
  EXPECT_EQ(route_mtu("10.0.0.1"), 1500u);
  must(host.net->set_mtu(wire.index, 9000));
  EXPECT_EQ(route_mtu("10.0.0.1"), 2000u);
  EXPECT_EQ(route_mtu("2001:db8::1"), 1280u);
}

TEST_F(Settings, SizesThatCannotBeAreRefused) {
  EXPECT_THAT(host.net->set_ip_mtu(wire.index, true, 67).error().message, HasSubstr("67"));
  EXPECT_THAT(host.net->set_ip_mtu(wire.index, false, 1279).error().message, HasSubstr("1279"));
  EXPECT_FALSE(host.net->set_ip_mtu(wire.index, true, 9217));
  EXPECT_EQ(host.net->set_ip_mtu(99, true, 1000).error().code, Status::kNotFound);
  InterfaceConfig c;
  c.name = "huge";
  c.max_mtu = 65'536;
  c.ops = &kFakeDriver;
  EXPECT_THAT(host.net->add_interface(c).error().message, HasSubstr("65536"));
}

TEST_F(Settings, ANewLinkLayerAddressIsUsedHeardAndAnnounced) {
  must(host.net->set_mac(wire.index, kNewAddress));
  host.run();
  EXPECT_EQ(wire.told_mac, kNewAddress);
  auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(3));  // of 10.0.0.2, the link-local address and 2001:db8::2
  for (const auto& f : sent) EXPECT_EQ(part(f.bytes, 6, 6), mac(kNewMac));
  EXPECT_EQ(get16(sent[0].bytes, 12), 0x0806u);
  EXPECT_EQ(part(sent[0].bytes, 22, 6), mac(kNewMac));
  EXPECT_EQ(part(sent[2].bytes, 0, 6), mac("33:33:00:00:00:01"));
  EXPECT_TRUE(checksums_hold(part(sent[2].bytes, 14)));
  EXPECT_EQ(sent[2].bytes.at(54), 136);                 // neighbour advertisement
  EXPECT_EQ(get32(sent[2].bytes, 58), 1u << 29);        // override, not solicited
  EXPECT_EQ(part(sent[2].bytes, 80, 6), mac(kNewMac));  // target link-layer address
  host.receive(wire, echo(kNewMac));
  sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 6, 6), mac(kNewMac));
  host.receive(wire, echo(NetHost::kOwnMac));
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(Settings, WhoCannotHaveAnotherLinkLayerAddressSaysSo) {
  for (const MacAddress& bad : {MacAddress{}, MacAddress{{1, 0, 0, 0, 0, 1}}, kBroadcastMac})
    EXPECT_EQ(host.net->set_mac(wire.index, bad).error().code, Status::kInvalid);
  wire.refuses_mac = true;
  EXPECT_EQ(host.net->set_mac(wire.index, kNewAddress).error().code, Status::kIo);
  const IfIndex loop = must(host.net->create_loopback());
  EXPECT_EQ(host.net->set_mac(loop, kNewAddress).error().code, Status::kUnsupported);
  // A driver of an older contract: its table ends before set_mac, whatever is behind it.
  DriverOps old = kFakeDriver;
  old.struct_size = offsetof(DriverOps, set_mac);
  FakeDevice d;
  InterfaceConfig c;
  c.name = "old0";
  c.ops = &old;
  c.device = &d;
  d.index = must(host.net->add_interface(c));
  EXPECT_EQ(host.net->set_mac(d.index, kNewAddress).error().code, Status::kUnsupported);
  EXPECT_EQ(host.net->device(d.index, &old), &d);
  ASSERT_EQ(host.net->remove_interface(d.index), Status::kOk);
  old.struct_size = 3;
  EXPECT_THAT(host.net->add_interface(c).error().message, HasSubstr("3 bytes"));
  host.receive(wire, echo(NetHost::kOwnMac));
  EXPECT_THAT(wire.take_sent(), SizeIs(1));  // nothing has changed
}

TEST_F(Settings, CountersBeginAgain) {
  FakeDevice& other = host.add_device({"10.0.1.2/24"});
  host.receive(wire, echo(NetHost::kOwnMac));
  wire.take_sent();
  const auto sent = [&](const FakeDevice& d) {
    return must(host.net->interface(d.index)).tx.packets;
  };
  EXPECT_GT(sent(wire), 0u);
  EXPECT_GT(sent(other), 0u);  // its announcement
  must(host.net->clear_counters(wire.index));
  EXPECT_EQ(sent(wire), 0u);
  EXPECT_GT(sent(other), 0u);
  host.receive(wire, echo(NetHost::kOwnMac));
  EXPECT_EQ(sent(wire), 1u);
  must(host.net->clear_counters(kNoIndex));
  EXPECT_EQ(sent(wire), 0u);
  EXPECT_EQ(sent(other), 0u);
  EXPECT_EQ(host.net->clear_counters(99).error().code, Status::kNotFound);
}

TEST_F(Settings, TablesAreOfOneFamily) {
  must(host.net->add_table(7, true, "customers"));
  EXPECT_FALSE(host.net->set_table(wire.index, 7, false));  // there is no IPv4 table 7
  EXPECT_EQ(host.net->set_table(wire.index, 7, true).error().code, Status::kInUse);
  must(host.net->set_table(wire.index, 0, true));  // where it is
  FakeDevice& other = host.add_device({});
  must(host.net->set_table(other.index, 7, true));
  must(host.net->add_address(other.index, *IpPrefix::parse("2001:db8::2/64")));  // again, there
  must(host.net->add_address(other.index, *IpPrefix::parse("10.0.2.2/24")));     // in table 0
  const uint32_t fib = must(host.net->fib_index(7, true));
  EXPECT_FALSE(host.net->fib_index(7, false));
  Worker& w = host.worker();
  EXPECT_TRUE(w.net->is_local(w, *IpAddress::parse("2001:db8::2"), fib));
  EXPECT_FALSE(w.net->is_local(w, *IpAddress::parse("10.0.2.2"), fib));
  EXPECT_TRUE(w.net->is_local(w, *IpAddress::parse("10.0.2.2"), 0));
  EXPECT_THAT(host.net->tables(true), ElementsAre(0, 7));
  EXPECT_THAT(host.net->tables(false), ElementsAre(0));
  EXPECT_EQ(host.net->del_table(7, true).error().code, Status::kInUse);
  ASSERT_EQ(host.net->remove_interface(other.index), Status::kOk);
  must(host.net->add_table(7, false));
  EXPECT_EQ(must(host.net->fib_index(7, false)), fib);  // tables of a number share the index
  must(host.net->del_table(7, true));
  EXPECT_EQ(must(host.net->fib_index(7, false)), fib);
  must(host.net->del_table(7, false));
  EXPECT_FALSE(host.net->add_table(~0u, false));
}

TEST_F(Settings, AGatewayMayBeInAnotherTable) {
  must(host.net->add_table(7, false));
  Route r;
  r.prefix = *IpPrefix::parse("192.0.2.0/24");
  r.table = 7;
  r.gateway = *IpAddress::parse("10.0.0.1");
  EXPECT_EQ(host.net->add_route(r).error().code, Status::kUnreachable);
  r.gateway_table = 0;
  must(host.net->add_route(r));
  RouteInfo info;
  Worker& w = host.worker();
  ASSERT_EQ(
      w.net->route(w, *IpAddress::parse("192.0.2.1"), must(host.net->fib_index(7, false)), &info),
      Status::kOk);
  EXPECT_EQ(info.tx_if, wire.index);
}

TEST(ReceiveMode, IsOfAQueue) {
  NetHost host;
  const int fd = eventfd(0, EFD_NONBLOCK);
  FakeDevice d;
  InterfaceConfig c;
  c.name = "two0";
  c.ops = &kFakeDriver;
  c.device = &d;
  c.rx_queues = {{.event_fd = fd}, {}};  // the second can only be polled
  d.index = must(host.net->add_interface(c));
  must(host.net->set_rx_mode(d.index, RxMode::kInterrupt, 0));
  EXPECT_THAT(must(host.net->interface(d.index)).rx_modes,
              ElementsAre(RxMode::kInterrupt, RxMode::kAdaptive));
  EXPECT_EQ(host.net->set_rx_mode(d.index, RxMode::kInterrupt).error().code, Status::kUnsupported);
  EXPECT_EQ(host.net->set_rx_mode(d.index, RxMode::kPolling, 2).error().code, Status::kNotFound);
  must(host.net->set_rx_mode(d.index, RxMode::kPolling));
  EXPECT_THAT(must(host.net->interface(d.index)).rx_modes, Each(RxMode::kPolling));
  ASSERT_EQ(host.net->remove_interface(d.index), Status::kOk);
  close(fd);
}

TEST(Loopback, HasTheNumberAndTheAddressItWasGiven) {
  NetHost host;
  const IfIndex five = must(host.net->create_loopback(kNewAddress, 5));
  EXPECT_EQ(must(host.net->interface(five)).name, "loop5");
  must(host.net->add_address(five, *IpPrefix::parse("2001:db8::5/64")));
  EXPECT_EQ(must(host.net->interface(five)).addresses[0].str(), "fe80::ff:fe00:55/64");
  EXPECT_EQ(must(host.net->interface(must(host.net->create_loopback()))).name, "loop0");
  EXPECT_EQ(host.net->create_loopback({}, 5).error().code, Status::kInUse);
  EXPECT_THAT(host.net->create_loopback({}, 16'384).error().message, HasSubstr("16384"));
  EXPECT_FALSE(host.net->create_loopback(kBroadcastMac));
}

TEST_F(Settings, TagsAreTheOperatorsWords) {
  must(host.net->set_tag(wire.index, "to the lab"));
  EXPECT_EQ(must(host.net->interface(wire.index)).tag, "to the lab");
  EXPECT_FALSE(host.net->set_tag(wire.index, std::string(64, 'x')));
  must(host.net->set_tag(wire.index, ""));
  EXPECT_EQ(must(host.net->interface(wire.index)).tag, "");
}

}  // namespace
}  // namespace loom
