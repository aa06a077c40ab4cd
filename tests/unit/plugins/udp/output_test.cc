// Sending: headers, checksums, where each datagram goes, and what cannot be sent. RFC 768.
#include "udp_bed.h"

namespace loom::test {
namespace {

struct UdpOutput : testing::TestWithParam<bool> {
  UdpBed bed;
  UdpOutput() { bed.fake.route.source = UdpBed::local(ip6()); }
  bool ip6() const { return GetParam(); }
  bool may_lack_checksum = false;
  std::string name() const { return ip6() ? "udp6-output" : "udp4-output"; }
  uint64_t count(const char* counter) { return bed.count(name() + "/" + counter); }
  ~UdpOutput() override { EXPECT_EQ(bed.fake.node_total(name()), bed.fake.packets_into(name())); }

  struct Sent {
    IpAddress src, dst;
    uint16_t src_port = 0, dst_port = 0;
    uint8_t tos = 0, ttl = 0;
    bool dont_fragment = false;
    uint16_t checksum = 0;
    std::string payload, node;
    uint32_t flags = 0, adjacency = 0;
  };
  // The oldest packet that has left, checked: lengths, offsets, checksums.
  Sent next() {
    Sent s;
    if (bed.fake.captured.empty()) {
      ADD_FAILURE() << "nothing was sent";
      return s;
    }
    const auto captured = bed.fake.captured.front();
    bed.fake.captured.pop_front();
    Buffer& b = *captured.packet;
    const std::string bytes = UdpBed::bytes_of(b);
    s.node = captured.node;
    s.flags = b.flags;
    s.adjacency = b.adjacency;
    EXPECT_EQ(b.l3_offset, b.offset_of_data());
    EXPECT_TRUE(b.flags & kBufferLocallyOriginated);
    std::size_t ip_bytes;
    ChecksumSum pseudo;
    const auto l4 = [&] { return static_cast<uint32_t>(bytes.size() - ip_bytes); };
    if (ip6()) {
      const auto& ip = *b.peek<Ip6Header>();
      ip_bytes = sizeof ip;
      EXPECT_EQ(ip.payload_length, l4());
      EXPECT_EQ(ip.next_header, kProtoUdp);
      s.src = ip.src;
      s.dst = ip.dst;
      s.tos = ip.traffic_class();
      s.ttl = ip.hop_limit;
      pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoUdp, l4());
    } else {
      const auto& ip = *b.peek<Ip4Header>();
      ip_bytes = sizeof ip;
      EXPECT_EQ(ip.total_length, bytes.size());
      EXPECT_EQ(ip.protocol, kProtoUdp);
      EXPECT_TRUE(ip4_header_checksum_ok(ip));
      s.src = ip.src;
      s.dst = ip.dst;
      s.tos = ip.tos;
      s.ttl = ip.ttl;
      s.dont_fragment = ip.flags_fragment == kIp4DontFragment;
      pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoUdp, l4());
    }
    EXPECT_EQ(b.l4_offset, b.l3_offset + static_cast<int>(ip_bytes));
    UdpHeader h;
    std::memcpy(&h, bytes.data() + ip_bytes, sizeof h);
    EXPECT_EQ(h.length, l4());
    s.src_port = h.src_port;
    s.dst_port = h.dst_port;
    s.checksum = h.checksum;
    if (b.flags & kBufferTxUdpChecksum) {
      EXPECT_EQ(h.checksum, checksum_fold(pseudo));
    } else if (h.checksum != 0 || !ip6() || !may_lack_checksum) {
      EXPECT_EQ(checksum_fold(checksum_add(pseudo, bytes.data() + ip_bytes, l4())), 0xffff);
    }
    s.payload = bytes.substr(ip_bytes + sizeof h);
    bed.fake.free_chain(&b);
    return s;
  }
};
INSTANTIATE_TEST_SUITE_P(Ip, UdpOutput, testing::Bool(),
                         [](const auto& i) { return i.param ? "v6" : "v4"; });

TEST_P(UdpOutput, ToThePeerFromTheConnectionsOwnEnd) {
  const ConnId c = bed.connect(7, ip6());
  bed.send(c, "hello");
  const Sent s = next();
  EXPECT_EQ(s.payload, "hello");
  EXPECT_EQ(s.src, bed.local(ip6()));
  EXPECT_EQ(s.dst, bed.remote(ip6()));
  EXPECT_EQ(s.src_port, 40'000);
  EXPECT_EQ(s.dst_port, 7);
  EXPECT_EQ(s.ttl, 64);
  EXPECT_EQ(s.tos, 0);
  EXPECT_EQ(s.dont_fragment, !ip6());
  EXPECT_EQ(s.node, ip6() ? "ip6-rewrite" : "ip4-rewrite");
  EXPECT_EQ(s.adjacency, 7u);
  EXPECT_TRUE(s.flags & kBufferTxUdpChecksum);
  EXPECT_EQ(count("sent"), 1u);
}

TEST_P(UdpOutput, ToWhereTheDatagramSaysFromTheRoutesAddress) {
  const ConnId c = bed.bind(53, ip6());
  const IpAddress other = *IpAddress::parse(ip6() ? "2001:db8::9" : "192.0.2.9");
  Datagram d = bed.to(other, 99);
  d.flags |= kDatagramTos | kDatagramTtl;
  d.tos = 0x28;
  d.ttl = 3;
  bed.send(c, "", d);
  const Sent s = next();
  EXPECT_EQ(s.payload, "");
  EXPECT_EQ(s.src, bed.local(ip6()));
  EXPECT_EQ(s.dst, other);
  EXPECT_EQ(s.src_port, 53);
  EXPECT_EQ(s.dst_port, 99);
  EXPECT_EQ(s.tos, 0x28);
  EXPECT_EQ(s.ttl, 3);
  // A source that is named comes before the route's.
  d.flags |= kDatagramLocal;
  d.ends.local = *IpAddress::parse(ip6() ? "2001:db8::77" : "10.0.0.77");
  bed.send(c, "x", d);
  EXPECT_EQ(next().src, d.ends.local);
}

TEST_P(UdpOutput, TheAddressThatWasBoundIsTheSource) {
  Endpoints e;
  e.local = *IpAddress::parse(ip6() ? "2001:db8::5" : "10.0.0.5");
  e.remote.is_ip4 = !ip6();
  e.local_port = 53;
  const ConnId c = bed.open(e);
  bed.send(c, "x", bed.to(bed.remote(ip6()), 7));
  EXPECT_EQ(next().src, e.local);
}

TEST_P(UdpOutput, ToThisHostGoesByLookup) {
  bed.fake.route.is_local = true;
  bed.send(bed.connect(7, ip6()), "x");
  EXPECT_EQ(next().node, ip6() ? "ip6-lookup" : "ip4-lookup");
}

TEST_P(UdpOutput, WithoutOffloadTheChecksumIsWholeAndNeverZero) {
  udp::shared().config.csum_offload = false;
  const ConnId c = bed.connect(7, ip6());
  bool was_ones = false;
  for (int i = 0; i < 65536 && !was_ones; ++i) {  // some two bytes make the sum zero
    std::string payload(2, 0);
    payload[0] = static_cast<char>(i >> 8);
    payload[1] = static_cast<char>(i);
    bed.send(c, payload);
    const Sent s = next();
    ASSERT_NE(s.checksum, 0);
    ASSERT_FALSE(s.flags & kBufferTxUdpChecksum);
    was_ones = s.checksum == 0xffff;
  }
  EXPECT_TRUE(was_ones);
}

TEST_P(UdpOutput, WithoutAChecksumOverIp6Alone) {  // RFC 6935; UDP_NO_CHECK6_TX
  const ConnId c = bed.connect(7, ip6());
  Datagram unchecked;
  unchecked.flags = kDatagramNoChecksum;
  may_lack_checksum = true;
  for (const bool offload : {true, false}) {
    udp::shared().config.csum_offload = offload;
    bed.send(c, "hello", unchecked);
    const Sent s = next();
    EXPECT_EQ(s.checksum == 0, ip6());
    if (ip6()) {
      EXPECT_FALSE(s.flags & kBufferTxUdpChecksum);  // nobody computes one later
    }
    bed.send(c, "hello");  // each says so for itself
    EXPECT_NE(next().checksum, 0);
  }
}

TEST_P(UdpOutput, WhatIsBiggerThanTheMtuIsFragmented) {
  const ConnId c = bed.connect(7, ip6());
  const uint32_t headers = ip6() ? 48 : 28;
  bed.send(c, std::string(1500 - headers, 'a'));
  EXPECT_EQ(next().dont_fragment, !ip6());
  bed.send(c, std::string(1501 - headers, 'a'));
  if (ip6()) {
    EXPECT_EQ(next().node, "ip6-rewrite");  // which does it
  } else {                                  // ip4-rewrite does it
    EXPECT_FALSE(next().dont_fragment);
  }
  EXPECT_EQ(count("sent"), 2u);
}

// man 7 ip, 7 ipv6: IP_MTU_DISCOVER.
TEST_P(UdpOutput, WhatIsBiggerThanTheMtuBecomesWhatTheSocketWants) {
  const uint32_t headers = ip6() ? 48 : 28;
  const auto with = [&](PathMtu mode) {
    bed.options = {};
    (ip6() ? bed.options.ip6_path_mtu : bed.options.ip4_path_mtu) = mode;
  };
  const std::string fits(1500 - headers, 'a'), big(1501 - headers, 'a');
  with(PathMtu::kDo);
  const ConnId c = bed.connect(7, ip6());
  bed.send(c, fits);
  EXPECT_EQ(next().dont_fragment, !ip6());
  bed.send(c, big);
  EXPECT_EQ(count("too-big"), 1u);
  EXPECT_EQ(bed.errors.back(), std::pair(SessionId{100}, ResetReason::kMessageSize));
  EXPECT_EQ(bed.ops().path_mtu(bed.fake.worker, c, bed.remote(ip6()), 0), 1500u);
  // Of an open one, too.
  with(PathMtu::kProbe);
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.send(c, big);
  EXPECT_EQ(count("too-big"), 2u);
  with(PathMtu::kDont);
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.send(c, fits);
  EXPECT_FALSE(next().dont_fragment);
  bed.send(c, big);
  EXPECT_FALSE(next().dont_fragment);
  with(PathMtu::kWant);
  bed.options.dont_fragment6 = true;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.send(c, big);
  EXPECT_EQ(count("too-big"), ip6() ? 3u : 2u);
  EXPECT_EQ(bed.errors.size(), ip6() ? 3u : 2u);
  with(PathMtu::kInterface);
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.send(c, big);
  EXPECT_EQ(count("too-big"), ip6() ? 4u : 3u);
  while (!bed.fake.captured.empty()) (void)next();
  bed.send(c, fits);
  EXPECT_FALSE(next().dont_fragment);  // routers may
  with(PathMtu::kOmit);
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  for (const std::string& payload : {fits, big}) {
    bed.send(c, payload);
    EXPECT_FALSE(next().dont_fragment);
  }
  EXPECT_EQ(count("too-big"), ip6() ? 4u : 3u);
}

TEST_P(UdpOutput, ADatagramOfIp6MaySayThatItIsNotToBeSplit) {  // IPV6_DONTFRAG
  const uint32_t headers = ip6() ? 48 : 28;
  const ConnId c = bed.bind(53, ip6());
  Datagram d = bed.to(bed.remote(ip6()), 9);
  bed.send(c, std::string(1501 - headers, 'x'), d);
  d.flags |= kDatagramWhole;
  bed.send(c, std::string(1501 - headers, 'x'), d);
  bed.send(c, std::string(1500 - headers, 'x'), d);
  EXPECT_EQ(count("too-big"), ip6() ? 1u : 0u);
}

TEST_P(UdpOutput, ADatagramMayNameItsInterface) {  // IP_PKTINFO, sin6_scope_id
  const ConnId c = bed.bind(53, ip6());
  Datagram d = bed.to(bed.remote(ip6()), 9);
  bed.send(c, "x", d);
  EXPECT_NE(bed.fake.captured.back().packet->tx_if, 5u);
  d.flags |= kDatagramInterface;
  d.interface = 5;
  bed.send(c, "y", d);
  EXPECT_EQ(bed.fake.group_asked.to, bed.remote(ip6()));
  EXPECT_EQ(bed.fake.group_asked.interface, 5u);
  const Buffer& b = *bed.fake.captured.back().packet;
  EXPECT_EQ(b.tx_if, 5u);
  // It is no group for that: time to live, and no copy for this host.
  (void)next();
  EXPECT_EQ(next().ttl, 64);
  EXPECT_TRUE(bed.received.empty());
  // A group's, too, whatever the socket has chosen.
  (ip6() ? bed.options.ip6_group_if : bed.options.ip4_group_if) = 9;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  Datagram to_group = bed.to(*IpAddress::parse(ip6() ? "ff05::1" : "239.1.1.1"), 9);
  to_group.flags |= kDatagramInterface;
  to_group.interface = 5;
  bed.send(c, "z", to_group);
  EXPECT_EQ(bed.fake.captured.back().packet->tx_if, 5u);
  bed.fake.has_route = false;
  bed.send(c, "lost", d);
  EXPECT_EQ(count("no-route"), 1u);
}

TEST_P(UdpOutput, ASocketMayHaveOneInterfaceAlone) {  // sin6_scope_id of connect and bind
  bed.options.interface = 5;
  bed.fake.route.source = *IpAddress::parse(ip6() ? "fe80::5" : "169.254.0.5");
  const ConnId c = bed.connect(7, ip6());
  EXPECT_EQ(bed.fake.group_asked.interface, 5u);
  EXPECT_EQ(bed.connection(c).ends.local, bed.fake.route.source);
  bed.send(c, "to the peer");
  EXPECT_EQ(bed.fake.captured.back().packet->tx_if, 5u);
  EXPECT_EQ(next().src, bed.fake.route.source);
  const ConnId any = bed.bind(53, ip6());
  bed.send(any, "named", bed.to(bed.remote(ip6()), 9));
  EXPECT_EQ(bed.fake.captured.back().packet->tx_if, 5u);
  (void)next();
  Datagram d = bed.to(bed.remote(ip6()), 9);
  d.flags |= kDatagramInterface;
  d.interface = 6;  // comes first
  bed.send(any, "by another", d);
  EXPECT_EQ(bed.fake.captured.back().packet->tx_if, 6u);
  (void)next();
  bed.options.interface = 8;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.send(c, "moved");
  EXPECT_EQ(bed.fake.captured.back().packet->tx_if, 8u);
  (void)next();
  // One that leads nowhere.
  bed.fake.has_route = false;
  Endpoints e;
  e.remote = bed.remote(ip6());
  e.remote_port = 99;
  EXPECT_EQ(bed.ops().set_peer(bed.fake.worker, c, e), Status::kUnreachable);
}

TEST_P(UdpOutput, ManyDestinationsHaveTheirOwnWays) {
  const ConnId c = bed.bind(53, ip6());
  for (int round = 0; round < 2; ++round)
    for (int i = 0; i < 5000; ++i) {
      IpAddress to = bed.remote(ip6());
      to.bits.bytes[ip6() ? 15 : 3] = static_cast<uint8_t>(i);
      to.bits.bytes[ip6() ? 14 : 2] = static_cast<uint8_t>(i >> 8);
      bed.fake.route.adjacency = 1000 + static_cast<uint32_t>(i);
      bed.send(c, "x", bed.to(to, 7));
      const Sent s = next();
      ASSERT_EQ(s.dst, to);
      ASSERT_EQ(s.adjacency, 1000u + static_cast<uint32_t>(i));
    }
}

TEST_P(UdpOutput, LongerThanAPacketCanBeIsRefused) {
  bed.fake.route.mtu = 65'535;
  const ConnId c = bed.connect(7, ip6());
  bed.send(c, std::string(65'528, 'a'));
  EXPECT_EQ(count("too-long"), 1u);
  ASSERT_EQ(bed.errors.size(), 1u);
  EXPECT_EQ(bed.errors[0].second, ResetReason::kMessageSize);
}

TEST_P(UdpOutput, WithoutDestinationOrWayItIsCounted) {
  const ConnId c = bed.bind(53, ip6());
  const ConnId p = bed.connect(7, ip6());
  bed.send(c, "where to?");
  EXPECT_EQ(count("no-destination"), 1u);
  bed.fake.has_route = false;
  bed.send(c, "no way", bed.to(bed.remote(ip6()), 7));
  EXPECT_EQ(count("no-route"), 1u);
  EXPECT_TRUE(bed.errors.empty());  // it would fail a call that concerns somebody else
  EXPECT_EQ(bed.unreachable, std::vector<SessionId>{100});
  bed.send(p, "no way");
  EXPECT_EQ(bed.unreachable.size(), 1u);  // the peer's way nobody asks about
  EXPECT_EQ(count("no-route"), 2u);
  ASSERT_EQ(bed.errors.size(), 1u);
  EXPECT_EQ(bed.errors[0].second, ResetReason::kUnreachable);
  EXPECT_EQ(bed.fake.packets_into("drop"), 3u);
}

TEST_P(UdpOutput, TheOtherFamilyIsRefusedUnlessTheSocketIsForBoth) {
  const ConnId c = bed.bind(53, ip6());
  bed.send(c, "x", bed.to(bed.remote(!ip6()), 7));
  if (ip6()) {  // on ::, for both
    EXPECT_EQ(bed.count("udp4-output/sent"), 1u);
  } else {
    EXPECT_EQ(bed.count("udp6-output/other-family"), 1u);
  }
}

TEST_P(UdpOutput, ARouteThatChangesIsLookedUpAgain) {
  const ConnId c = bed.connect(7, ip6());
  bed.send(c, "x");
  EXPECT_EQ(next().adjacency, 7u);
  bed.fake.route.adjacency = 8;
  bed.send(c, "x");
  EXPECT_EQ(next().adjacency, 7u);
  ++bed.fake.route_generation;
  bed.send(c, "x");
  EXPECT_EQ(next().adjacency, 8u);
  // The same without a peer.
  const ConnId b = bed.bind(53, ip6());
  for (const uint32_t expected : {8u, 8u, 9u}) {
    if (expected == 9) ++bed.fake.route_generation;
    bed.send(b, "x", bed.to(bed.remote(ip6()), 7));
    EXPECT_EQ(next().adjacency, expected);
    bed.fake.route.adjacency = 9;
  }
}

TEST_P(UdpOutput, APeerComesChangesAndGoes) {
  const ConnId c = bed.bind(53, ip6());
  Endpoints e;
  e.remote = bed.remote(ip6());
  e.remote_port = 7;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, e), Status::kOk);
  EXPECT_EQ(e.local, bed.local(ip6()));
  EXPECT_EQ(e.local_port, 53);
  bed.send(c, "x");
  EXPECT_EQ(next().dst_port, 7);
  // The port stays its own.
  Endpoints other;
  other.local = other.remote = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  other.local_port = 53;
  bed.open(other, Status::kInUse);
  e.remote = bed.remote(ip6());
  e.remote_port = 8;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, e), Status::kOk);
  bed.send(c, "x");
  EXPECT_EQ(next().dst_port, 8);
  e.remote_port = 0;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, e), Status::kOk);
  EXPECT_TRUE(e.local.is_zero());
  EXPECT_EQ(bed.flows.size(), ip6() ? 2u : 1u);
  bed.receive({.src_port = 9}, ip6());
  EXPECT_EQ(bed.received.size(), 1u);
}

TEST_P(UdpOutput, PeersThatCannotBeAreRefused) {
  const ConnId c = bed.bind(53, ip6());
  Endpoints e;
  e.remote = bed.remote(ip6());
  e.remote_port = 7;
  EXPECT_EQ(bed.ops().set_peer(bed.fake.worker, c + 1, e), Status::kNotConnected);
  e.remote = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  EXPECT_EQ(bed.ops().set_peer(bed.fake.worker, c, e), Status::kInvalid);
  e.remote = bed.remote(ip6());
  e.local = *IpAddress::parse(ip6() ? "2001:db8::66" : "10.0.0.66");
  bed.fake.own.insert(bed.local(ip6()));
  bed.open(e, Status::kNotFound);
  EXPECT_EQ(bed.flows.size(), ip6() ? 2u : 1u);
}

// man 2 connect: AF_UNSPEC. Linux lets go of a port that it has chosen.
TEST_P(UdpOutput, APortThatWasChosenIsGivenUpWithThePeer) {
  const ConnId c = bed.connect(7, ip6());
  bed.first_chosen = bed.last_chosen = 50'000;
  Endpoints e;
  e.remote = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, e), Status::kOk);
  EXPECT_EQ(e.local_port, 50'000);
  bed.bind(40'000, ip6());
  const ConnId b = bed.bind(53, ip6());
  e.remote = bed.remote(ip6());
  e.remote_port = 7;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, b, e), Status::kOk);
  e.remote_port = 0;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, b, e), Status::kOk);
  EXPECT_EQ(e.local_port, 53);
}

TEST(UdpOutputBothFamilies, AnIp4PeerDoesNotMakeAnIp6SocketOneOfIp4) {
  UdpBed bed;
  Endpoints e;
  e.local = IpAddress(Ip6Address{});
  e.remote = bed.remote(false);
  e.remote_port = 7;
  const ConnId c = bed.open(e);
  bed.send(c, "x");
  EXPECT_EQ(bed.count("udp4-output/sent"), 1u);
  bed.fake.route.source = bed.local(true);
  bed.send(c, "x", bed.to(bed.remote(true), 7));
  EXPECT_EQ(bed.count("udp6-output/sent"), 1u);
  e.remote = bed.remote(true);
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, e), Status::kOk);
  bed.send(c, "x");
  EXPECT_EQ(bed.count("udp6-output/sent"), 2u);
  // With a name of its own it has one family.
  e.local = bed.local(true);
  e.remote = bed.remote(false);
  bed.open(e, Status::kInvalid);
}

TEST_P(UdpOutput, InfoSaysWhatListingsShow) {
  const ConnId c = bed.connect(7, ip6());
  ConnectionInfo info;
  bed.ops().info(bed.fake.worker, c, info);
  EXPECT_EQ(info.state, 1);
  EXPECT_EQ(info.endpoints.remote_port, 7);
  bed.ops().info(bed.fake.worker, bed.bind(53, ip6()), info);
  EXPECT_EQ(info.state, 7);
  bed.ops().info(bed.fake.worker, 12345, info);
  EXPECT_EQ(info.state, 0);
}

}  // namespace
}  // namespace loom::test
