// Ports that sockets have which ask for none: nobody else's, on whatever address and with whatever
// peer, or the answers of one would be the other's.
#include <gtest/gtest.h>

#include <set>

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

// Who names one has it, as a server that connects the socket of a client and binds the next.
TEST_P(ChosenPort, OneThatIsAskedForIsGiven) {
  (void)bed.connect(7, GetParam());
  EXPECT_EQ(port_of(bed.bind(40'000, GetParam())), 40'000);
}

INSTANTIATE_TEST_SUITE_P(Both, ChosenPort, testing::Bool());

}  // namespace
}  // namespace loom::test
