// ip4-input, ip4-lookup and ip4-local: what is accepted, and the counter of everything that is not.
#include "net_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class Ip4Test : public ::testing::Test {
 protected:
  Ip4Test() : wire(host.add_device({"10.0.0.2/24"})) {
    host.know(wire, "10.0.0.1");
    must(host.net->add_ip_protocol(17, false, "test-sink"));
    must(host.net->add_ip_protocol(6, false, "test-sink"));
  }
  Bytes frame(const Bytes& packet) const {
    return ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800, packet);
  }
  Bytes udp(const Bytes& payload = counting(20)) const {
    return make_udp(ip4("10.0.0.1"), ip4("10.0.0.2"), 1000, 2000, payload);
  }
  Bytes packet(Ip4 h = {}) const {
    h.src = h.src.empty() ? "10.0.0.1" : h.src;
    h.dst = h.dst.empty() ? "10.0.0.2" : h.dst;
    h.protocol = 17;
    return make_ip4(h, make_udp(ip4(h.src), ip4(h.dst), 1000, 2000, counting(20)));
  }
  // The frame ends in that counter, and nothing is sent or delivered.
  void expect_dropped(const Bytes& bytes, const std::string& counter, uint32_t flags = 0) {
    const uint64_t before = host.counter(counter);
    host.receive(wire, bytes, flags);
    EXPECT_EQ(host.counter(counter), before + 1) << counter;
    EXPECT_THAT(host.sink.packets, IsEmpty()) << counter;
    EXPECT_THAT(wire.take_sent(), IsEmpty()) << counter;
  }
  static Bytes with_checksum(Bytes p) {
    put16(p, 10, 0);
    put16(p, 10, plain_checksum(part(p, 0, (p[0] & 15u) * 4u)));
    return p;
  }

  NetHost host;
  FakeDevice& wire;
};

TEST_F(Ip4Test, DatagramReachesItsProtocolAtTheL4Header) {
  host.receive(wire, frame(packet()));
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  const auto& p = host.sink.packets[0];
  EXPECT_EQ(p.data, udp());
  EXPECT_EQ(p.l4_protocol, 17);
  EXPECT_TRUE(p.flags & kBufferL4ChecksumOk);
  EXPECT_EQ(p.ip, part(packet(), 0, 20));
}

TEST_F(Ip4Test, EthernetPaddingIsCutOffAlsoAcrossSegments) {
  host.receive(wire, frame(packet() + Bytes(18, 0xee)));
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.sink.packets[0].data, udp());
  // A packet of one buffer's size followed by padding that fills two more.
  const Bytes big = make_udp(ip4("10.0.0.1"), ip4("10.0.0.2"), 1, 2, counting(1900));
  host.receive(wire, frame(make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2", .protocol = 17}, big) +
                           Bytes(4000, 0xee)));
  ASSERT_THAT(host.sink.packets, SizeIs(2));
  EXPECT_EQ(host.sink.packets[1].data, big);
}

TEST_F(Ip4Test, OptionsAreSkipped) {
  host.receive(wire, frame(packet({.options = {1, 1, 7, 7, 4, 0, 0, 0, 0, 0, 0, 0}})));
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.sink.packets[0].data, udp());
}

TEST_F(Ip4Test, EachKindOfBadHeaderHasItsCounter) {
  expect_dropped(frame(part(packet(), 0, 19)), "ip4-input/too-short");
  Bytes p = packet();
  p[0] = 0x55;
  expect_dropped(frame(with_checksum(p)), "ip4-input/bad-version");
  p[0] = 0x44;  // ihl 4: 16 bytes
  expect_dropped(frame(p), "ip4-input/header-length-short");
  p = make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2", .protocol = 17}, {});
  p[0] = 0x4f;  // 60 bytes of 20
  expect_dropped(frame(p), "ip4-input/header-length-overrun");
  p = packet();
  put16(p, 2, 19);
  expect_dropped(frame(with_checksum(p)), "ip4-input/total-length-short");
  p = packet();
  put16(p, 2, static_cast<uint32_t>(p.size() + 1));
  expect_dropped(frame(with_checksum(p)), "ip4-input/total-length-overrun");
  p = packet();
  p[10] ^= 0x40;
  expect_dropped(frame(p), "ip4-input/bad-checksum");
  expect_dropped(frame(packet({.ttl = 0})), "ip4-input/ttl-zero");
  EXPECT_EQ(host.counter("ip4-input/ok"), 0u);
}

TEST_F(Ip4Test, DeviceThatVerifiedTheHeaderIsBelieved) {
  Bytes p = packet();
  put16(p, 10, 0);
  host.receive(wire, frame(p), kBufferIp4ChecksumOk);
  EXPECT_THAT(host.sink.packets, SizeIs(1));
}

TEST_F(Ip4Test, MartiansAreDropped) {  // RFC 1122 section 3.2.1.3
  for (const char* src : {"224.0.0.5", "255.255.255.255", "127.0.0.1", "0.0.0.0"})
    expect_dropped(frame(packet({.src = src})), "ip4-input/martian-source");
  for (const char* dst : {"127.0.0.1", "0.0.0.0"})
    expect_dropped(frame(packet({.dst = dst})), "ip4-input/martian-destination");
}

TEST_F(Ip4Test, SourceRoutesAndBrokenOptionsAreRefused) {
  expect_dropped(frame(packet({.options = {131, 7, 4, 10, 0, 0, 9, 0}})), "ip4-input/source-route");
  expect_dropped(frame(packet({.options = {137, 7, 4, 10, 0, 0, 9, 0}})), "ip4-input/source-route");
  expect_dropped(frame(packet({.options = {7, 0, 0, 0}})), "ip4-input/option-length");
  expect_dropped(frame(packet({.options = {0x44, 1, 0, 0}})), "ip4-input/option-length");
  expect_dropped(frame(packet({.options = {1, 1, 7, 9}})), "ip4-input/option-overrun");
  expect_dropped(frame(packet({.options = {1, 1, 1, 7}})), "ip4-input/option-overrun");
}

TEST_F(Ip4Test, TransportChecksumsAndLengthsAreVerified) {
  const Ip4 h{.src = "10.0.0.1", .dst = "10.0.0.2", .protocol = 17};
  Bytes u = udp();
  u[9] ^= 1;
  expect_dropped(frame(make_ip4(h, u)), "ip4-local/udp-checksum");
  u = udp();
  put16(u, 4, 7);
  expect_dropped(frame(make_ip4(h, u)), "ip4-local/udp-length-short");
  u = udp();
  put16(u, 4, static_cast<uint32_t>(u.size() + 1));
  expect_dropped(frame(make_ip4(h, u)), "ip4-local/udp-length-overrun");
  expect_dropped(frame(make_ip4(h, counting(7))), "ip4-local/udp-too-short");
  Ip4 tcp = h;
  tcp.protocol = 6;
  expect_dropped(frame(make_ip4(tcp, counting(19))), "ip4-local/tcp-too-short");
  expect_dropped(frame(make_ip4(tcp, counting(40))), "ip4-local/tcp-checksum");
  u = udp();
  put16(u, 6, 0);  // no checksum (RFC 768)
  host.receive(wire, frame(make_ip4(h, u)));
  EXPECT_THAT(host.sink.packets, SizeIs(1));
}

TEST_F(Ip4Test, ChecksumIsVerifiedOverChainsWithOddSegments) {
  const Bytes u = make_udp(ip4("10.0.0.1"), ip4("10.0.0.2"), 1, 2, counting(5001));
  const Ip4 h{.src = "10.0.0.1", .dst = "10.0.0.2", .protocol = 17};
  host.receive(wire, frame(make_ip4(h, u)));
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_EQ(host.sink.packets[0].data, u);
}

TEST_F(Ip4Test, GroupsAreNotRouted) {  // nobody is asked by ARP where a group is
  for (const char* prefix : {"224.0.0.0/4", "239.1.0.0/16", "224.0.0.5/32", "255.255.255.255/32"}) {
    Route r;
    r.prefix = *IpPrefix::parse(prefix);
    r.tx_if = wire.index;
    EXPECT_FALSE(host.net->add_route(r)) << prefix;
    r.is_drop = true;
    EXPECT_FALSE(host.net->add_route(r)) << prefix;
  }
  for (const char* gateway : {"224.0.0.5", "255.255.255.255"}) {
    Route r;
    r.prefix = *IpPrefix::parse("192.0.2.0/24");
    r.gateway = *IpAddress::parse(gateway);
    r.tx_if = wire.index;
    EXPECT_FALSE(host.net->add_route(r)) << gateway;
  }
  // A route around the groups does not lead there, neither for others' packets nor for ours.
  Route around;
  around.prefix = *IpPrefix::parse("0.0.0.0/0");
  around.gateway = *IpAddress::parse("10.0.0.1");
  must(host.net->add_route(around));
  expect_dropped(frame(packet({.dst = "224.0.0.5"})), "ip4-lookup/multicast");
  Buffer* own = host.make(packet({.src = "10.0.0.2", .dst = "224.0.0.5"}));
  own->flags |= kBufferLocallyOriginated;
  host.enqueue("ip4-lookup", own);
  EXPECT_EQ(host.counter("ip4-lookup/multicast"), 2u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(Ip4Test, EverybodysAddressIsNoSubnets) {
  const IpPrefix last = *IpPrefix::parse("240.0.0.2/4");  // its broadcast address: 255.255.255.255
  FakeDevice& other = host.add_device({});
  const auto hear = [&] {
    host.sink.packets.clear();
    host.receive(wire, ethernet("ff:ff:ff:ff:ff:ff", NetHost::kPeerMac, 0x0800,
                                packet({.dst = "255.255.255.255"})));
    return host.sink.packets.size();
  };
  must(host.net->add_address(other.index, last));
  EXPECT_EQ(hear(), 1u);
  must(host.net->del_address(other.index, last));
  EXPECT_EQ(hear(), 1u);
}

TEST_F(Ip4Test, BroadcastsOfTheSubnetAreReceivedAndMulticastIsNot) {
  for (const char* dst : {"10.0.0.255", "255.255.255.255"})
    host.receive(wire,
                 ethernet("ff:ff:ff:ff:ff:ff", NetHost::kPeerMac, 0x0800, packet({.dst = dst})));
  ASSERT_THAT(host.sink.packets, SizeIs(2));
  // The transport can tell (RFC 1122 section 3.4), however the frame came.
  host.receive(wire, frame(packet({.dst = "10.0.0.255"})));
  ASSERT_THAT(host.sink.packets, SizeIs(3));
  for (const auto& p : host.sink.packets) EXPECT_TRUE(p.flags & kBufferNetGroup);
  EXPECT_FALSE(host.sink.packets[2].flags & kBufferLinkGroup);
  host.sink.packets.clear();
  host.receive(wire, frame(packet()));
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_FALSE(host.sink.packets[0].flags & kBufferGroup);
  host.sink.packets.clear();
  expect_dropped(
      ethernet("01:00:5e:00:00:05", NetHost::kPeerMac, 0x0800, packet({.dst = "224.0.0.5"})),
      "ip4-lookup/multicast");
}

TEST_F(Ip4Test, EthernetFrames) {
  expect_dropped(Bytes(13, 0), "ethernet-input/too-short");
  expect_dropped(ethernet("02:00:00:00:00:77", NetHost::kPeerMac, 0x0800, packet()),
                 "ethernet-input/not-for-us");
  expect_dropped(ethernet(NetHost::kOwnMac, "03:00:00:00:00:99", 0x0800, packet()),
                 "ethernet-input/bad-source");
  expect_dropped(ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x8100, packet()),
                 "ethernet-input/vlan");
  expect_dropped(ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x88cc, packet()),
                 "ethernet-input/unknown-type");
  expect_dropped(ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0100, packet()),
                 "ethernet-input/llc");
  must(host.net->set_admin(wire.index, false));
  wire.inject(frame(packet()));
  host.run();
  EXPECT_THAT(host.sink.packets, IsEmpty());  // not even read
  must(host.net->set_admin(wire.index, true));
  ASSERT_EQ(host.net->set_link(wire.index, false), Status::kOk);
  host.run();
  EXPECT_EQ(host.counter("ethernet-input/interface-down"), 1u);
}

TEST_F(Ip4Test, OwnPacketToOwnAddressIsDeliveredWithoutAWire) {
  must(host.net->create_loopback());
  Worker& w = host.worker();
  RouteInfo route;
  ASSERT_EQ(w.net->route(w, *IpAddress::parse("10.0.0.2"), 0, &route), Status::kOk);
  EXPECT_TRUE(route.is_local);
  Buffer* b = w.alloc();
  Bytes u = udp();
  put16(u, 6, 0x1111);  // the pseudo-header's sum only: never on a wire
  const Bytes p = make_ip4({.src = "10.0.0.2", .dst = "10.0.0.2", .protocol = 17}, u);
  ASSERT_TRUE(chain_append(w, *b, std::as_bytes(std::span(p))));
  b->flags |= kBufferLocallyOriginated | kBufferTxUdpChecksum;
  b->adjacency = route.adjacency;
  w.enqueue_to_node(host.engine->find_node("ip4-rewrite"), b);
  host.run();
  ASSERT_THAT(host.sink.packets, SizeIs(1));
  EXPECT_TRUE(host.sink.packets[0].flags & kBufferL4ChecksumOk);
  EXPECT_FALSE(host.sink.packets[0].flags & kBufferTxL4Checksum);
  EXPECT_EQ(host.counter("ip4-rewrite/local"), 1u);
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(Ip4Test, LengthsOfZeroAndEmptyPackets) {
  expect_dropped(frame({}), "ip4-input/too-short");
  Bytes p = packet();
  p[0] = 0x40;
  expect_dropped(frame(p), "ip4-input/header-length-short");
  p = packet();
  put16(p, 2, 0);
  expect_dropped(frame(with_checksum(p)), "ip4-input/total-length-short");
  expect_dropped(ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x88a8, packet()),
                 "ethernet-input/vlan");
  expect_dropped(ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0806, {}), "arp-input/too-short");
}

}  // namespace
}  // namespace loom
