// Multicast and broadcast: who gets it, what is sent, memberships. man 7 ip, RFC 1112, RFC 3678.
#include "udp_bed.h"

namespace loom::test {
namespace {

struct UdpGroups : testing::TestWithParam<bool> {
  UdpBed bed;
  UdpGroups() { bed.fake.route.source = UdpBed::local(ip6()); }
  bool ip6() const { return GetParam(); }
  ~UdpGroups() override {
    for (const char* name : {"udp4-input", "udp6-input", "udp-group", "udp4-output", "udp6-output"})
      EXPECT_EQ(bed.fake.node_total(name), bed.fake.packets_into(name)) << name;
  }
  std::string input() const { return ip6() ? "udp6-input/" : "udp4-input/"; }
  std::string output() const { return ip6() ? "udp6-output/" : "udp4-output/"; }
  IpAddress group(int last = 1) const {
    return *IpAddress::parse((ip6() ? "ff05::" : "239.1.1.") + std::to_string(last));
  }
  Status ask(ConnId c, GroupOp op, IfIndex interface = 3, std::optional<IpAddress> source = {}) {
    GroupRequest r;
    r.op = op;
    r.group = group();
    r.interface = interface;
    r.source = source ? *source : IpAddress{};
    r.address = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
    return bed.ops().group(bed.fake.worker, c, r);
  }
  ConnId bind_to(const IpAddress& a, uint16_t port = 53) {
    Endpoints e;
    e.local = a;
    e.remote.is_ip4 = a.is_ip4;
    e.local_port = port;
    return bed.open(e);
  }
  void come(const IpAddress& to, uint16_t port = 53) {
    bed.receive({.payload = "x", .dst_port = port, .flags = kBufferNetGroup}, ip6(), to);
  }
  // The sessions that have got something since the last call.
  std::vector<SessionId> takers() {
    std::vector<SessionId> all;
    for (const auto& r : bed.received) all.push_back(r.session);
    std::ranges::sort(all);
    bed.received.clear();
    return all;
  }
  using Ids = std::vector<SessionId>;
};
INSTANTIATE_TEST_SUITE_P(Ip, UdpGroups, testing::Bool(),
                         [](const auto& i) { return i.param ? "v6" : "v4"; });

// Its peer's address sends to the group by another link as well, which is somebody else.
TEST_P(UdpGroups, WhoHasAPeerByOneInterfaceHidesNoMember) {
  bed.options.reuseaddr = true;
  bed.options.interface = 4;
  Endpoints e;
  e.local = bed.local(ip6());
  e.local_port = 53;
  e.remote = bed.remote(ip6());
  e.remote_port = 7;
  bed.open(e);  // 100
  bed.options.interface = kNoIndex;
  for (int i = 0; i < 2; ++i)  // 101, 102
    EXPECT_EQ(ask(bed.bind(53, ip6()), GroupOp::kJoin), Status::kOk);
  for (auto& [id, flow] : std::map(bed.flows)) {  // what comes to the group from the peer
    if (flow.kind != FlowKind::kEstablished) continue;
    auto [local, port, remote, remote_port] = id;
    bed.flows[{group(), port, remote, remote_port}] = flow;
  }
  come(group());
  EXPECT_EQ(takers(), Ids({101, 102}));
}

TEST_P(UdpGroups, AllMembersOfThePortGetTheirOwnCopy) {
  bed.options.reuseaddr = true;
  (ip6() ? bed.options.ip6_group_all : bed.options.ip4_group_all) = false;
  const ConnId any = bed.bind(53, ip6());  // 100
  const ConnId named = bind_to(group());   // 101
  bed.bind(53, ip6());                     // 102: no member
  const ConnId other = bind_to(group(2));  // 103: another group's
  bed.bind(54, ip6());                     // 104: another port
  for (const ConnId c : {any, named, other}) EXPECT_EQ(ask(c, GroupOp::kJoin), Status::kOk);
  come(group());
  EXPECT_EQ(takers(), (Ids{100, 101}));
  EXPECT_EQ(bed.count(input() + "delivered"), 1u);
  // Who has not said that it wants only its own groups gets all that come.
  bed.options = {};
  bed.options.reuseaddr = true;
  bed.bind(53, ip6());  // 105
  come(group());
  EXPECT_EQ(takers(), (Ids{100, 101, 105}));
  come(group(9), 55);
  EXPECT_EQ(bed.count(input() + "no-port-group"), 1u);
  bed.rx_answer = Status::kAgain;
  come(group());
  EXPECT_EQ(bed.count(input() + "rcvbuf-full"), 1u);
  EXPECT_FALSE(bed.fake.listening.empty());
  for (const ConnId c : {any, named, other}) bed.ops().abort(bed.fake.worker, c);
  EXPECT_TRUE(bed.fake.listening.empty());
}

TEST(UdpGroups6, AZeroChecksumIsForThoseMembersWhoTakeIt) {  // RFC 6935
  UdpBed bed;
  const IpAddress group = *IpAddress::parse("ff05::1");
  const auto come = [&] { bed.receive({.checksum = 0, .flags = kBufferNetGroup}, true, group); };
  bed.options.reuseaddr = true;
  bed.bind(53, true);
  come();
  EXPECT_EQ(bed.count("udp6-input/no-checksum"), 1u);
  bed.options.no_check6_rx = true;
  bed.bind(53, true);
  come();
  EXPECT_EQ(bed.count("udp6-input/delivered"), 1u);
  ASSERT_EQ(bed.received.size(), 1u);
  EXPECT_EQ(bed.received[0].session, 101u);
}

TEST_P(UdpGroups, WhoHasOneInterfaceAloneGetsWhatComesByIt) {  // packets come by 3
  bed.options.reuseaddr = true;
  bed.options.interface = 4;
  bed.bind(53, ip6());  // 100
  bed.options.interface = 3;
  bed.bind(53, ip6());  // 101
  come(group());
  EXPECT_EQ(takers(), Ids{101});
}

TEST_P(UdpGroups, SourcesAreLetThroughOrNot) {
  const IpAddress peer = bed.remote(ip6());
  IpAddress other = peer;
  other.bits.bytes[ip6() ? 15 : 3] = 77;
  const ConnId c = bed.bind(53, ip6());
  // Those that are named.
  EXPECT_EQ(ask(c, GroupOp::kJoinSource, 3, other), Status::kOk);
  EXPECT_EQ(ask(c, GroupOp::kJoinSource, 3, other), Status::kNotFound);
  EXPECT_EQ(ask(c, GroupOp::kBlockSource, 3, other), Status::kInvalid);
  come(group());
  EXPECT_EQ(takers(), Ids{});
  EXPECT_EQ(ask(c, GroupOp::kJoinSource, 3, peer), Status::kOk);
  EXPECT_EQ(bed.fake.listening.at({3, group()}).sources, (std::vector{other, peer}));
  come(group());
  EXPECT_EQ(takers(), Ids{100});
  EXPECT_EQ(ask(c, GroupOp::kLeaveSource, 3, other), Status::kOk);
  EXPECT_EQ(ask(c, GroupOp::kLeaveSource, 3, other), Status::kNotFound);
  EXPECT_EQ(ask(c, GroupOp::kLeaveSource, 3, peer), Status::kOk);
  EXPECT_TRUE(bed.fake.listening.empty());
  // All but those.
  EXPECT_EQ(ask(c, GroupOp::kJoin), Status::kOk);
  EXPECT_EQ(ask(c, GroupOp::kJoin), Status::kInUse);
  EXPECT_EQ(ask(c, GroupOp::kBlockSource, 3, peer), Status::kOk);
  come(group());
  EXPECT_EQ(takers(), Ids{});
  EXPECT_EQ(ask(c, GroupOp::kUnblockSource, 3, peer), Status::kOk);
  EXPECT_EQ(ask(c, GroupOp::kJoinSource, 3, peer), Status::kInvalid);  // as Linux: too late
  come(group());
  EXPECT_EQ(takers(), Ids{100});
  EXPECT_EQ(ask(c, GroupOp::kLeave, kNoIndex), Status::kOk);  // of whatever interface
  EXPECT_EQ(ask(c, GroupOp::kLeave, kNoIndex), Status::kNotFound);
  EXPECT_TRUE(bed.fake.listening.empty());
  // Who has said nothing of sources may still name some.
  EXPECT_EQ(ask(c, GroupOp::kJoin), Status::kOk);
  EXPECT_EQ(ask(c, GroupOp::kJoinSource, 3, other), Status::kOk);
  EXPECT_FALSE(bed.fake.listening.at({3, group()}).is_exclude);
}

TEST_P(UdpGroups, RequestsThatMakeNoSenseChangeNothing) {
  const ConnId c = bed.bind(53, ip6());
  EXPECT_EQ(ask(c + 1, GroupOp::kJoin), Status::kNotConnected);
  EXPECT_EQ(ask(c, GroupOp::kJoin, 66), Status::kNotFound);
  EXPECT_EQ(ask(c, GroupOp::kJoinSource), Status::kInvalid);
  GroupRequest r;
  r.group = bed.remote(ip6());
  EXPECT_EQ(bed.ops().group(bed.fake.worker, c, r), Status::kInvalid);
  bed.fake.has_route = false;
  EXPECT_EQ(ask(c, GroupOp::kJoin, kNoIndex), Status::kUnreachable);
  bed.fake.has_route = true;
  for (std::size_t i = 0; i < 100; ++i) {
    r.group = group();
    r.group.bits.bytes[ip6() ? 15 : 3] = static_cast<uint8_t>(i);
    r.interface = 3;
    EXPECT_EQ(bed.ops().group(bed.fake.worker, c, r),
              i < (ip6() ? 64 : 20) ? Status::kOk : Status::kNoMemory);
  }
  r.op = GroupOp::kLeave;  // and one may come for one that goes
  EXPECT_EQ(bed.ops().group(bed.fake.worker, c, r), Status::kNotFound);
  r.group.bits.bytes[ip6() ? 15 : 3] = 1;
  EXPECT_EQ(bed.ops().group(bed.fake.worker, c, r), Status::kOk);
  r.op = GroupOp::kJoin;
  EXPECT_EQ(bed.ops().group(bed.fake.worker, c, r), Status::kOk);
}

TEST_P(UdpGroups, EachMembershipIsChargedToTheApplicationAsLongAsItLasts) {
  const IpAddress peer = bed.remote(ip6());
  bed.options.reuseaddr = true;
  const ConnId a = bed.bind(53, ip6()), b = bed.bind(53, ip6());  // sessions 100, 101
  bed.most_members = 2;
  EXPECT_EQ(ask(a, GroupOp::kJoin), Status::kOk);
  EXPECT_EQ(ask(a, GroupOp::kJoin), Status::kInUse);
  EXPECT_EQ(ask(a, GroupOp::kBlockSource, 3, peer), Status::kOk);  // of one that is there
  EXPECT_EQ(ask(b, GroupOp::kJoinSource, 3, peer), Status::kOk);
  EXPECT_EQ(bed.members, (std::map<SessionId, uint32_t>{{100, 1}, {101, 1}}));
  bed.options.reuseaddr = false;
  const ConnId c = bed.bind(54, ip6());
  EXPECT_EQ(ask(c, GroupOp::kJoin), Status::kNoMemory);
  EXPECT_EQ(bed.fake.listening.size(), 1u);
  EXPECT_EQ(ask(b, GroupOp::kLeaveSource, 3, peer), Status::kOk);  // its last one
  EXPECT_EQ(ask(c, GroupOp::kJoin), Status::kOk);
  EXPECT_EQ(ask(a, GroupOp::kLeave), Status::kOk);
  EXPECT_EQ(bed.members, (std::map<SessionId, uint32_t>{{102, 1}}));
  // What the network refuses costs nothing.
  EXPECT_EQ(ask(a, GroupOp::kJoin, 66), Status::kNotFound);
  EXPECT_EQ(bed.members, (std::map<SessionId, uint32_t>{{102, 1}}));
  bed.ops().abort(bed.fake.worker, c);
  EXPECT_TRUE(bed.members.empty());
}

TEST_P(UdpGroups, WhatTheDevicePutTogetherIsTakenApartForEachMember) {
  bed.options.reuseaddr = true;
  bed.bind(53, ip6());  // 100
  bed.options.gro = true;
  const ConnId taker = bed.bind(53, ip6());  // 101
  udp::shared().n_bound[2] = 1;
  const auto got = [&] {
    std::vector<std::tuple<SessionId, std::string, int>> all;
    for (const auto& r : bed.received) all.emplace_back(r.session, r.payload, r.d.segment);
    std::ranges::sort(all);
    bed.received.clear();
    return all;
  };
  const decltype(got()) expected{
      {100, "aaaa", 0}, {100, "bbbb", 0}, {100, "cc", 0}, {101, "aaaabbbbcc", 4}};
  const auto come_together = [&] {
    bed.receive(
        {.payload = "aaaabbbbcc", .flags = kBufferNetGroup | kBufferL4ChecksumOk, .gso_size = 4},
        ip6(), group());
  };
  come_together();
  EXPECT_EQ(got(), expected);
  EXPECT_EQ(bed.connection(taker).received, 3u);
  // The copy that another worker gets, too.
  ASSERT_EQ(bed.fake.handed_off.size(), 1u);
  Buffer* b = bed.fake.handed_off[0].second.packet;
  bed.fake.handed_off.clear();
  bed.fake.deliver("udp-group", {b});
  EXPECT_EQ(got(), expected);
  udp::shared().n_bound[2] = 0;
  bed.rx_answer = Status::kAgain;
  come_together();
  EXPECT_EQ(bed.connection(taker).overflowed, 3u);
}

TEST_P(UdpGroups, OtherWorkersWithSocketsGetACopy) {
  bed.bind(53, ip6());
  udp::shared().n_bound[2] = 1;
  come(group());
  EXPECT_EQ(takers(), Ids{100});
  ASSERT_EQ(bed.fake.handed_off.size(), 1u);
  EXPECT_EQ(bed.fake.handed_off[0].first, 2u);
  EXPECT_EQ(bed.fake.handed_off[0].second.node, "udp-group");
  // What comes from another worker goes no further.
  Buffer* b = bed.fake.handed_off[0].second.packet;
  bed.fake.handed_off.clear();
  bed.fake.deliver("udp-group", {b});
  EXPECT_EQ(takers(), Ids{100});
  EXPECT_TRUE(bed.fake.handed_off.empty());
  udp::shared().n_bound[2] = 0;
}

TEST_P(UdpGroups, WhatIsSentToAGroupStaysOnTheLinkAndComesBack) {
  const ConnId c = bed.bind(53, ip6());
  bed.send(c, "hello", bed.to(group(), 53));
  ASSERT_EQ(bed.fake.captured.size(), 1u);
  EXPECT_EQ(bed.fake.captured[0].node, ip6() ? "ip6-rewrite" : "ip4-rewrite");
  Buffer& b = *bed.fake.captured[0].packet;
  EXPECT_EQ(ip6() ? b.peek<Ip6Header>()->hop_limit : b.peek<Ip4Header>()->ttl, 1);
  EXPECT_EQ(takers(), Ids{});  // nobody here listens
  EXPECT_EQ(ask(c, GroupOp::kJoin, 1), Status::kOk);
  bed.send(c, std::string(4000, 'y'), bed.to(group(), 53));
  ASSERT_EQ(bed.received.size(), 1u);
  EXPECT_EQ(bed.received[0].payload, std::string(4000, 'y'));
  EXPECT_EQ(bed.received[0].d.ends.remote, bed.local(ip6()));
  EXPECT_EQ(bed.received[0].d.ends.remote_port, 53);
  EXPECT_EQ(bed.received[0].d.interface, 1u);
  bed.received.clear();
  // With a time to live of 0 it is only here.
  const auto n_sent = bed.fake.captured.size();
  Datagram d = bed.to(group(), 53);
  d.flags |= kDatagramTtl;
  d.ttl = 0;
  bed.send(c, "here", d);
  EXPECT_EQ(takers(), Ids{100});
  EXPECT_EQ(bed.fake.captured.size(), n_sent);
  EXPECT_EQ(bed.count(output() + "looped-only"), 1u);
  // IP_MULTICAST_LOOP, IP_MULTICAST_IF
  (ip6() ? bed.options.ip6_group_loop : bed.options.ip4_group_loop) = false;
  (ip6() ? bed.options.ip6_group_if : bed.options.ip4_group_if) = 9;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  bed.send(c, "out", bed.to(group(), 53));
  EXPECT_EQ(takers(), Ids{});
  EXPECT_EQ(bed.fake.captured.back().packet->tx_if, 9u);
  EXPECT_EQ(bed.fake.group_asked.interface, 9u);
}

TEST_P(UdpGroups, AGroupMayBeThePeer) {
  Endpoints e;
  e.local = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  e.remote = group();
  e.remote_port = 7;
  const ConnId c = bed.open(e);
  bed.send(c, "x");
  ASSERT_EQ(bed.fake.captured.size(), 1u);
  Buffer& b = *bed.fake.captured[0].packet;
  EXPECT_EQ(ip6() ? IpAddress(b.peek<Ip6Header>()->dst) : IpAddress(b.peek<Ip4Header>()->dst),
            group());
  EXPECT_EQ(ip6() ? IpAddress(b.peek<Ip6Header>()->src) : IpAddress(b.peek<Ip4Header>()->src),
            bed.local(ip6()));
}

TEST_P(UdpGroups, WhoIsBoundToAGroupSendsFromTheInterfacesAddress) {
  const ConnId c = bind_to(group());
  bed.send(c, "x", bed.to(bed.remote(ip6()), 7));
  ASSERT_EQ(bed.fake.captured.size(), 1u);
  Buffer& b = *bed.fake.captured[0].packet;
  EXPECT_EQ(ip6() ? IpAddress(b.peek<Ip6Header>()->src) : IpAddress(b.peek<Ip4Header>()->src),
            bed.local(ip6()));
}

// IP_MULTICAST_IF by address, of a socket that is bound to another.
TEST_P(UdpGroups, AnAddressMaySayTheInterfaceAndTheBoundOneStaysTheSource) {
  const IpAddress bound = *IpAddress::parse(ip6() ? "2001:db8::77" : "10.0.0.77");
  const IpAddress other = *IpAddress::parse(ip6() ? "2001:db8::88" : "10.0.0.88");
  const auto source_of_last = [&] {
    Buffer& b = *bed.fake.captured.back().packet;
    return ip6() ? IpAddress(b.peek<Ip6Header>()->src) : IpAddress(b.peek<Ip4Header>()->src);
  };
  const ConnId c = bind_to(bound);
  Datagram d = bed.to(group(), 7);
  bed.send(c, "x", d);
  EXPECT_EQ(bed.fake.group_asked.source, bound);
  EXPECT_EQ(source_of_last(), bound);
  d.flags |= kDatagramLocal | kDatagramLocalInterface;
  d.ends.local = other;
  bed.send(c, "x", d);
  EXPECT_EQ(bed.fake.group_asked.source, other);
  EXPECT_EQ(source_of_last(), bound);
  // Without one it is the source as well.
  bed.send(bed.bind(54, ip6()), "x", d);
  EXPECT_EQ(source_of_last(), other);
}

// IP_MULTICAST_IF, IPV6_MULTICAST_IF by index.
TEST_P(UdpGroups, AnIndexSaysTheInterfaceAndItsAddressIsTheSource) {
  (ip6() ? bed.options.ip6_group_if : bed.options.ip4_group_if) = 9;
  bed.fake.route.source = *IpAddress::parse(ip6() ? "2001:db8::99" : "10.0.0.99");
  const auto source_of_last = [&] {
    Buffer& b = *bed.fake.captured.back().packet;
    return ip6() ? IpAddress(b.peek<Ip6Header>()->src) : IpAddress(b.peek<Ip4Header>()->src);
  };
  bed.send(bed.bind(53, ip6()), "x", bed.to(group(), 7));
  EXPECT_EQ(bed.fake.group_asked.interface, 9u);
  EXPECT_EQ(bed.fake.captured.back().packet->tx_if, 9u);
  EXPECT_EQ(source_of_last(), bed.fake.route.source);
  const IpAddress bound = *IpAddress::parse(ip6() ? "2001:db8::77" : "10.0.0.77");
  bed.send(bind_to(bound, 54), "x", bed.to(group(), 7));
  EXPECT_EQ(bed.fake.captured.back().packet->tx_if, 9u);
  EXPECT_EQ(source_of_last(), bound);
  // Of a group that is the peer, getsockname() says it.
  Endpoints e;
  e.local = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  e.remote = group();
  e.remote_port = 7;
  const ConnId c = bed.open(e);
  EXPECT_EQ(bed.connection(c).ends.local, bed.fake.route.source);
}

// IP_MULTICAST_IF by address, of one that has a group as its peer then (Linux 6.18).
TEST(UdpGroups4, AnAddressMaySayTheLocalEndOfWhoConnectsToAGroup) {
  UdpBed bed;
  const IpAddress group = *IpAddress::parse("239.1.1.1"), other = *IpAddress::parse("10.0.0.88");
  bed.fake.route.source = UdpBed::local(false);
  bed.options.ip4_group_source = other.ip4();
  Endpoints e;
  e.remote = group;
  e.remote_port = 7;
  EXPECT_EQ(bed.connection(bed.open(e)).ends.local, other);
  EXPECT_EQ(bed.fake.group_asked.source, other);
  const ConnId c = bed.bind(53);
  Endpoints later = e;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, later), Status::kOk);
  EXPECT_EQ(later.local, other);
  // The option may change; what it has now stays, until it has no peer.
  bed.options.ip4_group_source = {};
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  EXPECT_EQ(bed.connection(c).ends.local, other);
  Datagram d = bed.to(group, 7);
  d.flags |= kDatagramLocal | kDatagramLocalInterface;
  d.ends.local = *IpAddress::parse("10.0.0.66");
  bed.send(c, "x", d);
  EXPECT_EQ(bed.fake.group_asked.source, d.ends.local);
  EXPECT_EQ(IpAddress(bed.fake.captured.back().packet->peek<Ip4Header>()->src), other);
  later = {};
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, later), Status::kOk);
  EXPECT_TRUE(bed.connection(c).ends.local.is_zero());
  later = e;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, later), Status::kOk);
  EXPECT_EQ(later.local, UdpBed::local(false));
  // Whoever is bound has his address, and other peers than groups are reached by route.
  bed.options.ip4_group_source = other.ip4();
  e.local = *IpAddress::parse("10.0.0.77");
  EXPECT_EQ(bed.connection(bed.open(e)).ends.local, e.local);
  EXPECT_EQ(bed.connection(bed.connect(9)).ends.local, UdpBed::local(false));
  // One that has gone is nobody's.
  bed.fake.own = {UdpBed::local(false)};
  e.local = Ip4Address{};
  bed.open(e, Status::kUnreachable);
}

// RFC 1122 section 3.2.1.3, whenever the peer is named.
TEST_P(UdpGroups, WithAPeerNeitherDoesIt) {
  const auto source_of_last = [&] {
    Buffer& b = *bed.fake.captured.back().packet;
    return ip6() ? IpAddress(b.peek<Ip6Header>()->src) : IpAddress(b.peek<Ip4Header>()->src);
  };
  std::vector<IpAddress> bound{group()};
  if (!ip6()) {
    bound.push_back(*IpAddress::parse("10.0.0.255"));
    bed.fake.subnet_broadcasts.insert(bound.back());
  }
  for (const IpAddress& a : bound) {
    Endpoints e;
    e.remote = bed.remote(ip6());
    e.remote_port = 7;
    const ConnId c = bind_to(a);
    bed.send(c, "x", bed.to(e.remote, 7));
    EXPECT_EQ(source_of_last(), bed.local(ip6()));
    Endpoints later = e;
    ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, later), Status::kOk);
    EXPECT_EQ(later.local, bed.local(ip6()));
    bed.send(c, "x");
    EXPECT_EQ(source_of_last(), bed.local(ip6()));
    bed.ops().abort(bed.fake.worker, c);
    e.local = a;
    e.local_port = 54;
    const ConnId at_once = bed.open(e);
    bed.send(at_once, "x");
    EXPECT_EQ(source_of_last(), bed.local(ip6()));
    bed.ops().abort(bed.fake.worker, at_once);
  }
}

TEST_P(UdpGroups, AnInterfaceIsAskedForInTheSocketsTable) {
  const ConnId c = bed.bind(53, ip6());
  ASSERT_EQ(ask(c, GroupOp::kJoin, 9), Status::kOk);
  EXPECT_EQ(bed.fake.group_asked.interface, 9u);
  bed.fake.has_route = false;
  EXPECT_EQ(ask(c, GroupOp::kJoin, 8), Status::kUnreachable);
  EXPECT_EQ(ask(c, GroupOp::kLeave, 9), Status::kOk);
}

TEST(UdpBroadcast, IsForThoseWhoSaidThatTheyWantIt) {  // man 7 socket: SO_BROADCAST
  UdpBed bed;
  bed.fake.route.source = UdpBed::local(false);
  const IpAddress all = *IpAddress::parse("255.255.255.255"),
                  subnet = *IpAddress::parse("10.0.0.255");
  bed.fake.subnet_broadcasts.insert(subnet);
  const ConnId c = bed.bind(53);
  for (const IpAddress& to : {all, subnet}) {
    bed.send(c, "x", bed.to(to, 53));
    ASSERT_FALSE(bed.queued.empty());
    EXPECT_EQ(bed.queued.back().e.error, EACCES);
    Endpoints e;
    e.local = Ip4Address{};
    e.remote = to;
    e.remote_port = 7;
    bed.open(e, Status::kPermission);
  }
  EXPECT_EQ(bed.count("udp4-output/not-broadcast"), 2u);
  bed.options.broadcast = true;
  ASSERT_EQ(bed.ops().set_options(bed.fake.worker, c, bed.options), Status::kOk);
  for (const IpAddress& to : {all, subnet}) {
    bed.received.clear();
    bed.send(c, "x", bed.to(to, 53));
    EXPECT_EQ(bed.fake.captured.back().packet->peek<Ip4Header>()->ttl, 64);
    ASSERT_EQ(bed.received.size(), 1u);  // its own, too
    EXPECT_EQ(bed.received[0].d.ends.local, to);
    Endpoints e;
    e.local = Ip4Address{};
    e.remote = to;
    e.remote_port = 7;
    const ConnId p = bed.open(e);
    bed.send(p, "x");
    EXPECT_EQ(IpAddress(bed.fake.captured.back().packet->peek<Ip4Header>()->dst), to);
    bed.ops().abort(bed.fake.worker, p);
  }
  EXPECT_EQ(bed.count("udp4-output/sent"), 4u);
}

}  // namespace
}  // namespace loom::test
