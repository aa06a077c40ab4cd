// Ports that sockets have which ask for none: nobody else's, on whatever address and with whatever
// peer, or the answers of one would be the other's.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>
#include <tuple>

#include "tests/unit/plugins/udp/udp_bed.h"

namespace loom::test {
namespace {

struct ChosenPort : testing::TestWithParam<bool> {
  // Of those that are bound to any address: one of first to last.
  uint16_t bind(uint16_t first, uint16_t last) {
    bed.first_chosen = first;
    bed.last_chosen = last;
    return port_of(latest = bed.bind(0, GetParam()));
  }
  ConnId connect_from(uint16_t port, uint32_t fib_index = 0) {
    Endpoints e;
    e.local = UdpBed::local(GetParam());
    e.remote = UdpBed::remote(GetParam());
    e.local_port = port;
    e.remote_port = 7;
    e.fib_index = fib_index;
    return bed.open(e);
  }
  uint16_t port_of(ConnId c) {
    ConnectionInfo info;
    bed.ops().info(bed.fake.worker, c, info);
    return info.endpoints.local_port;
  }
  void close(ConnId c) { bed.ops().close(bed.fake.worker, c, false); }

  UdpBed bed;
  ConnId latest = kNoConn;
};

TEST_P(ChosenPort, IsNotThatOfOneWithAPeer) {
  const ConnId c = bed.connect(7, GetParam());
  ASSERT_EQ(port_of(c), 40'000);
  EXPECT_EQ(bind(40'000, 40'001), 40'001);
  EXPECT_EQ(bed.n_binds, 1u) << "what is not taken is not entered either";
}

TEST_P(ChosenPort, IsFoundAmongManyThatAreTaken) {
  for (uint16_t port = 40'000; port < 41'000; ++port)
    if (port != 40'321) connect_from(port);
  EXPECT_EQ(bind(40'000, 40'999), 40'321);
  EXPECT_EQ(bed.n_binds, 1u);
}

TEST_P(ChosenPort, NorThatOfOneThatIsBoundToAnAddress) {
  Endpoints e;
  e.local = UdpBed::local(GetParam());
  e.remote = GetParam() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  e.local_port = 7001;
  (void)bed.open(e);
  EXPECT_EQ(bind(7001, 7002), 7002);
}

TEST_P(ChosenPort, NorIfItMayBeShared) {
  (void)bed.connect(7, GetParam());
  bed.options.reuseaddr = true;
  EXPECT_EQ(bind(40'000, 40'001), 40'001);
}

TEST_P(ChosenPort, IsNoneThatAPeerCouldTell) {
  std::set<uint16_t> ports;
  for (int i = 0; i < 20; ++i) {
    ports.insert(bind(1024, 65'535));
    close(latest);
  }
  EXPECT_GT(ports.size(), 15u);
}

TEST_P(ChosenPort, MayBeOneThatAnotherNamespaceHas) {
  connect_from(40'000, 1);
  EXPECT_EQ(bind(40'000, 40'000), 40'000);
  EXPECT_EQ(bed.n_unnamed, 0u) << "not as the last resort";
}

TEST_P(ChosenPort, IsPassedOverIfTheFlowTableRefusesIt) {
  Endpoints e;
  e.local = GetParam() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  e.local_port = 40'000;
  bed.flows[UdpBed::bound_id(e)] = {FlowKind::kBound, 77};
  for (int i = 0; i < 10; ++i) {  // some begin with the one, some with the other
    EXPECT_EQ(bind(40'000, 40'001), 40'001);
    close(latest);
  }
  EXPECT_GT(bed.n_binds, 10u);
  bed.flows.erase(UdpBed::bound_id(e));
  EXPECT_EQ(bind(40'000, 40'000), 40'000);
  EXPECT_EQ(bed.n_unnamed, 0u) << "it is nobody's still";
}

TEST_P(ChosenPort, MayBeOneThatSomebodyHad) {
  close(bed.connect(7, GetParam()));
  EXPECT_EQ(bind(40'000, 40'000), 40'000);
  // One that has had a peer meanwhile, and has none any more: another one, and then none.
  const ConnId c = latest;
  Endpoints peer;
  peer.remote = UdpBed::remote(GetParam());
  peer.remote_port = 7;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, peer), Status::kOk);
  EXPECT_EQ(bind(40'000, 40'001), 40'001);
  close(latest);
  Endpoints nobody;
  nobody.remote = GetParam() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  bed.first_chosen = bed.last_chosen = 42'000;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, nobody), Status::kOk);
  EXPECT_EQ(port_of(c), 42'000);
  EXPECT_EQ(bind(40'000, 40'000), 40'000);
  close(c);
  EXPECT_EQ(bind(42'000, 42'000), 42'000);
  // A bind by number that failed has left nothing.
  Endpoints taken;
  taken.local = taken.remote = nobody.remote;
  taken.local_port = 42'000;
  (void)bed.open(taken, Status::kInUse);
  close(latest);
  EXPECT_EQ(bind(42'000, 42'000), 42'000);
  EXPECT_EQ(bed.n_unnamed, 0u);
}

TEST_P(ChosenPort, IsSharedWhereThereIsNoOther) {
  (void)bed.connect(7, GetParam());
  EXPECT_EQ(bind(40'000, 40'000), 40'000);
  EXPECT_EQ(bed.n_unnamed, 1u);
  close(latest);
  EXPECT_EQ(bind(40'000, 40'001), 40'001) << "the one with a peer has it still";
}

// RFC 6056 section 3.3.1 for those with a peer, too: what such a socket turns to later, or what is
// bound meanwhile, meets nobody.
TEST_P(ChosenPort, OfOneWithAPeerIsNobodyElsesEither) {
  bed.first_chosen = 40'000;
  bed.last_chosen = 40'002;
  std::set<uint16_t> ports;
  for (uint16_t peer = 1; peer <= 3; ++peer) ports.insert(port_of(bed.connect(peer, GetParam())));
  EXPECT_EQ(ports.size(), 3u);
  // All are taken: one that another has with another peer.
  const ConnId c = bed.connect(4, GetParam());
  EXPECT_EQ(port_of(c), 40'000) << "as the flow table chooses";
  close(c);
  for (int i = 0; i < 3; ++i) {
    const ConnId again = bed.connect(4, GetParam());
    EXPECT_EQ(port_of(again), 40'000) << "and keeps nothing else";
    close(again);
  }
}

TEST_P(ChosenPort, OfOneWithAPeerIsPassedOverIfTheFlowTableRefusesIt) {
  Endpoints taken;
  taken.local = UdpBed::local(GetParam());
  taken.remote = UdpBed::remote(GetParam());
  taken.local_port = 40'000;
  taken.remote_port = 7;
  bed.flows[UdpBed::id_of(taken)] = {FlowKind::kEstablished, 77};
  bed.first_chosen = 40'000;
  bed.last_chosen = 40'001;
  for (int i = 0; i < 10; ++i) {  // some begin with the one, some with the other
    const ConnId c = bed.connect(7, GetParam());
    EXPECT_EQ(port_of(c), 40'001);
    close(c);
  }
  EXPECT_EQ(bind(40'000, 40'000), 40'000) << "it is nobody's still";
  EXPECT_EQ(bed.n_unnamed, 0u);
}

// Another worker's bind at the moment at which a connect enters its port.
TEST_P(ChosenPort, IsTakenBeforeTheConnectIsThere) {
  bed.first_chosen = 40'000;
  bed.last_chosen = 40'000;
  udp::LocalPorts::Table& ports = *udp::shared().local_ports->of(0);
  int opened = 0;
  bed.at_open = [&](const Endpoints& e) {
    ++opened;
    EXPECT_EQ(e.local_port, 40'000);
    udp::PortSearch search{.first = 40'000};
    udp::LocalEnd other{.address = e.local};
    EXPECT_EQ(ports.take_free(other, search), Status::kInUse);
    other.port = 40'000;
    EXPECT_EQ(ports.take(other), Status::kInUse) << "nor by number";
  };
  close(bed.connect(7, GetParam()));
  EXPECT_EQ(opened, 1);
  bed.at_open = {};
  EXPECT_EQ(bind(40'000, 40'000), 40'000);
  EXPECT_EQ(bed.n_unnamed, 0u);
}

INSTANTIATE_TEST_SUITE_P(Both, ChosenPort, testing::Bool());

// Ports that are asked for by number. What Linux 6.18 says of the same was found by running it.
struct NamedPort : testing::Test {
  enum Share : uint8_t { kAlone, kReuseAddr = 1, kReusePort = 2 };
  static inline const IpAddress kAny4 = Ip4Address{}, kAny6 = Ip6Address{};
  static inline const IpAddress kOwn4 = UdpBed::local(false), kOwn6 = UdpBed::local(true);
  static inline const IpAddress kOther4 = *IpAddress::parse("10.0.0.3");

  Status open(const IpAddress& local, uint8_t share = kAlone, bool v6only = false,
              const IpAddress* peer = nullptr) {
    Endpoints e;
    e.local = local;
    e.local_port = 5000;
    e.remote = local.is_ip4 ? kAny4 : kAny6;
    if (peer) {
      e.remote = *peer;
      e.remote_port = 9;
    }
    bed.options.reuseaddr = share & kReuseAddr;
    bed.options.reuseport = share & kReusePort;
    bed.options.v6only = v6only;
    return bed.ops().connect(bed.fake.worker, bed.next_session++, e, bed.options, &latest);
  }
  // A socket that is bound and then gets a peer, by route from kOwn4 or kOwn6.
  void connected(const IpAddress& local, uint8_t share = kAlone) {
    ASSERT_EQ(open(local, share), Status::kOk);
    Endpoints peer;
    peer.remote = UdpBed::remote(!local.is_ip4);
    peer.remote_port = 9;
    ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, latest, peer), Status::kOk);
  }
  Status probe(const IpAddress& local, uint8_t share = kAlone, bool v6only = false) {
    const ConnId first = latest;
    const Status s = open(local, share, v6only);
    if (s == Status::kOk) close();
    latest = first;
    return s;
  }
  void close() { bed.ops().close(bed.fake.worker, latest, false); }

  UdpBed bed;
  ConnId latest = kNoConn;
};

TEST_F(NamedPort, IsAnothersThatHasItWithAPeer) {
  for (const IpAddress& bound : {kAny4, kOwn4}) {
    connected(bound);
    const ConnId first = latest;
    EXPECT_EQ(probe(kAny4), Status::kInUse);
    EXPECT_EQ(probe(kOwn4), Status::kInUse);
    EXPECT_EQ(probe(kOwn4, kReuseAddr | kReusePort), Status::kInUse) << "both have to agree";
    EXPECT_EQ(probe(kAny6), Status::kInUse);
    EXPECT_EQ(probe(kAny6, kAlone, true), Status::kOk);
    EXPECT_EQ(probe(kOther4), Status::kOk);
    // And one that asks for a peer of its own at once.
    const IpAddress peer = *IpAddress::parse("192.0.2.77");
    EXPECT_EQ(open(kAny4, kAlone, false, &peer), Status::kInUse);
    EXPECT_EQ(open(kOther4, kAlone, false, &peer), Status::kOk);
    close();
    bed.ops().close(bed.fake.worker, first, false);
    EXPECT_EQ(probe(kAny4), Status::kOk);
  }
}

TEST_F(NamedPort, IsTakenOnAllAddressesAndOnOne) {
  ASSERT_EQ(open(kAny4), Status::kOk);
  EXPECT_EQ(probe(kOwn4), Status::kInUse);
  EXPECT_EQ(probe(kAny6), Status::kInUse);
  EXPECT_EQ(probe(kAny6, kAlone, true), Status::kOk);
  close();
  ASSERT_EQ(open(kOwn4), Status::kOk);
  EXPECT_EQ(probe(kAny4), Status::kInUse);
  EXPECT_EQ(probe(kAny6), Status::kInUse);
  EXPECT_EQ(probe(kAny6, kAlone, true), Status::kOk);
  EXPECT_EQ(probe(kOwn6), Status::kOk);
  close();
  ASSERT_EQ(open(kAny6), Status::kOk);
  EXPECT_EQ(probe(kOwn4), Status::kInUse);
  EXPECT_EQ(probe(kOwn6), Status::kInUse);
  close();
  ASSERT_EQ(open(kAny6, kAlone, true), Status::kOk);
  EXPECT_EQ(probe(kAny4), Status::kOk);
  EXPECT_EQ(probe(kOwn6), Status::kInUse);
}

TEST_F(NamedPort, IsSharedByThoseThatAgree) {
  for (const auto& [a, b, status] : {std::tuple{kReuseAddr, kReuseAddr, Status::kOk},
                                     {kReusePort, kReusePort, Status::kOk},
                                     {kReuseAddr, kReusePort, Status::kInUse},
                                     {kReuseAddr, kAlone, Status::kInUse},
                                     {kAlone, kReuseAddr, Status::kInUse}}) {
    for (const IpAddress& bound : {kAny4, kOwn4}) {
      connected(bound, a);
      const ConnId first = latest;
      EXPECT_EQ(probe(kAny4, b), status) << a << b;
      EXPECT_EQ(probe(kOwn4, b), status) << a << b;
      EXPECT_EQ(probe(kAny6, b), status) << a << b;
      bed.ops().close(bed.fake.worker, first, false);
    }
  }
  // By reuseport of one user, and either of one namespace.
  connected(kAny4, kReusePort);
  bed.owner = {.ns = 0, .uid = 1};
  EXPECT_EQ(probe(kOwn4, kReusePort), Status::kInUse);
  bed.owner = {.ns = 1, .uid = 0};
  EXPECT_EQ(probe(kOwn4, kReusePort), Status::kInUse);
  EXPECT_EQ(probe(kAny4), Status::kOk) << "of another namespace, which meets the same end alone";
}

// What the socket had before its peer it has again without asking, and others meet it.
TEST_F(NamedPort, IsKeptByOneThatGivesUpItsPeer) {
  connected(kAny4, kReuseAddr);
  const ConnId first = latest;
  ASSERT_EQ(open(kOwn4, kReuseAddr), Status::kOk);
  Endpoints nobody;
  nobody.remote = kAny4;
  EXPECT_EQ(bed.ops().set_peer(bed.fake.worker, first, nobody), Status::kOk);
  EXPECT_EQ(nobody.local_port, 5000);
  EXPECT_EQ(probe(kAny6), Status::kInUse);
  close();
  bed.ops().close(bed.fake.worker, first, false);
}

// Two workers at once: no port is two sockets', whichever is chosen or asked for.
TEST(LocalPortsOfWorkers, AreOneSocketsAlone) {
  udp::LocalPorts ports;
  udp::LocalPorts::Table& table = *ports.of(0);
  constexpr uint32_t kRange = 16, kTurns = 20'000;
  std::array<std::atomic<int>, kRange> owners{};
  std::atomic<int> shared = 0;
  const auto work = [&](uint32_t seed) {
    for (uint32_t i = 0; i < kTurns; ++i) {
      udp::LocalEnd end;
      udp::PortSearch search{.first = 1000, .n = kRange, .start = (i * 7 + seed) % kRange};
      if (i % 3 == 0) {
        end.port = static_cast<uint16_t>(1000 + search.start);
        if (table.take(end) != Status::kOk) continue;
      } else if (table.take_free(end, search) != Status::kOk) {
        continue;
      }
      shared += owners[end.port - 1000u].fetch_add(1) != 0;
      owners[end.port - 1000u].fetch_sub(1);
      table.remove(end);
    }
  };
  std::thread other(work, 3);
  work(0);
  other.join();
  EXPECT_EQ(shared, 0);
  for (uint16_t i = 0; i < kRange; ++i) EXPECT_EQ(table.count(1000 + i), 0u);
}

TEST(LocalPortsOfWorkers, ASearchThatFoundNoneIsNotMadeAgainBeforeOneIsGivenBack) {
  udp::LocalPorts ports;
  udp::LocalPorts::Table& table = *ports.of(0);
  udp::LocalEnd end;
  for (uint16_t i = 0; i < 3; ++i) {
    udp::PortSearch search{.first = 1000, .n = 3, .start = 1};
    EXPECT_EQ(table.take_free(end, search), Status::kOk);
  }
  udp::PortSearch search{.first = 1000, .n = 3};
  EXPECT_EQ(table.take_free(end, search), Status::kInUse);
  EXPECT_EQ(search.tried, 3u);
  search = {.first = 1000, .n = 3};
  EXPECT_EQ(table.take_free(end, search), Status::kInUse);
  EXPECT_EQ(search.tried, 0u);
  end.port = 1001;
  EXPECT_EQ(table.add(end), Status::kOk);
  table.remove(end);
  EXPECT_EQ(table.take_free(end, search), Status::kInUse) << "another has it still";
  end.port = 1001;
  table.remove(end);
  search = {.first = 1000, .n = 3};
  EXPECT_EQ(table.take_free(end, search), Status::kOk);
  EXPECT_EQ(end.port, 1001);
}

TEST(LocalPortsOfWorkers, ASearchInANearlyFullRangeFindsTheOneGivenBackLast) {
  udp::LocalPorts ports;
  udp::LocalPorts::Table& table = *ports.of(0);
  constexpr uint32_t kRange = 2000;  // more than are few
  udp::LocalEnd end;
  for (uint16_t i = 0; i < kRange; ++i) {
    end.port = static_cast<uint16_t>(1000 + i);
    ASSERT_EQ(table.take(end), Status::kOk);
  }
  end.port = 1500;
  table.remove(end);
  end.port = 2500;
  table.remove(end);
  udp::PortSearch search{.first = 1000, .n = kRange, .start = 600};
  ASSERT_EQ(table.take_free(end, search), Status::kOk);
  EXPECT_EQ(end.port, 2500);
  EXPECT_EQ(search.tried, udp::PortSearch::kPatience);
  table.remove(end);  // it was of no use to the flow table: the search goes on
  ASSERT_EQ(table.take_free(end, search), Status::kOk);
  EXPECT_EQ(end.port, 2500) << "in its turn";
  EXPECT_EQ(search.tried, 1500u - 600 + 1);
  ASSERT_EQ(table.take_free(end, search), Status::kOk);
  EXPECT_EQ(end.port, 1500);
  EXPECT_EQ(table.take_free(end, search), Status::kInUse);
  end.port = 900;  // of no other's range
  ASSERT_EQ(table.take(end), Status::kOk);
  table.remove(end);
  search = {.first = 1000, .n = kRange};
  EXPECT_EQ(table.take_free(end, search), Status::kInUse);
}

// As Linux 6.18: who connects last gets what comes, and leaves it to the one before.
struct SharedPeer : testing::TestWithParam<bool> {
  Status set_peer(ConnId c, uint16_t port) {
    Endpoints e;
    e.remote = UdpBed::remote(GetParam());
    e.remote_port = port;
    return bed.ops().set_peer(bed.fake.worker, c, e);
  }
  // Whom a datagram of the peer's leads to.
  ConnId latest(uint16_t port = 9) {
    const auto found = bed.flows.find(
        UdpBed::FlowId{UdpBed::local(GetParam()), 5000, UdpBed::remote(GetParam()), port});
    return found == bed.flows.end() ? kNoConn : found->second.conn;
  }
  void close(ConnId c) { bed.ops().close(bed.fake.worker, c, false); }
  UdpBed bed;
};

TEST_P(SharedPeer, IsThatOfTheLatestOfThoseThatShareThePort) {
  for (const bool by_port : {false, true}) {
    bed.options.reuseport = by_port;
    bed.options.reuseaddr = !by_port;
    const ConnId a = bed.bind(5000, GetParam()), b = bed.bind(5000, GetParam()),
                 c = bed.bind(5000, GetParam());
    for (const ConnId each : {b, a, c}) {
      EXPECT_EQ(set_peer(each, 9), Status::kOk);
      EXPECT_EQ(latest(), each);
    }
    EXPECT_EQ(set_peer(c, 10), Status::kOk);
    EXPECT_EQ(latest(), a);
    EXPECT_EQ(latest(10), c);
    EXPECT_EQ(set_peer(c, 9), Status::kOk);
    EXPECT_EQ(latest(), c);
    close(b);
    EXPECT_EQ(latest(), c);
    close(c);
    EXPECT_EQ(latest(), a);
    close(a);
    EXPECT_EQ(latest(), kNoConn);
    EXPECT_TRUE(bed.flows.empty());
  }
}

TEST_P(SharedPeer, IsNobodyElsesWhoDoesNotShare) {
  const ConnId alone = bed.bind(5000, GetParam());
  ASSERT_EQ(set_peer(alone, 9), Status::kOk);
  bed.options.reuseport = true;
  Endpoints e;
  e.local = UdpBed::local(GetParam());
  e.local_port = 5000;
  e.remote = UdpBed::remote(GetParam());
  e.remote_port = 9;
  (void)bed.open(e, Status::kInUse);
  EXPECT_EQ(latest(), alone);
}

INSTANTIATE_TEST_SUITE_P(Ip4AndIp6, SharedPeer, testing::Bool());

}  // namespace
}  // namespace loom::test
