// Ports that sockets have which ask for none: nobody else's, on whatever address and with whatever
// peer, or the answers of one would be the other's.
#include <gtest/gtest.h>

#include "tests/unit/plugins/udp/udp_bed.h"

namespace loom::test {
namespace {

struct ChosenPort : testing::TestWithParam<bool> {
  // Of those that are bound to any address.
  uint16_t bind(std::deque<uint16_t> choices) {
    bed.choices = std::move(choices);
    return port_of(latest = bed.bind(0, GetParam()));
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
  EXPECT_EQ(bind({40'000, 40'000, 41'000}), 41'000);
  EXPECT_EQ(bed.flows.size(), GetParam() ? 3u : 2u) << "of what was not taken nothing stays";
}

TEST_P(ChosenPort, NorThatOfOneThatIsBoundToAnAddress) {
  Endpoints e;
  e.local = UdpBed::local(GetParam());
  e.remote = GetParam() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  e.local_port = 7001;
  (void)bed.open(e);
  EXPECT_EQ(bind({7001, 41'000}), 41'000);
}

TEST_P(ChosenPort, NorIfItMayBeShared) {
  (void)bed.connect(7, GetParam());
  bed.options.reuseaddr = true;
  EXPECT_EQ(bind({40'000, 41'000}), 41'000);
}

TEST_P(ChosenPort, MayBeOneThatSomebodyHad) {
  close(bed.connect(7, GetParam()));
  EXPECT_EQ(bind({40'000}), 40'000);
  // One that has had a peer meanwhile, and has none any more: another one, and then none.
  const ConnId c = latest;
  Endpoints peer;
  peer.remote = UdpBed::remote(GetParam());
  peer.remote_port = 7;
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, peer), Status::kOk);
  EXPECT_EQ(bind({40'000, 41'000}), 41'000);
  close(latest);
  Endpoints nobody;
  nobody.remote = GetParam() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
  bed.choices = {42'000};
  ASSERT_EQ(bed.ops().set_peer(bed.fake.worker, c, nobody), Status::kOk);
  EXPECT_EQ(port_of(c), 42'000);
  EXPECT_EQ(bind({40'000}), 40'000);
  close(c);
  EXPECT_EQ(bind({42'000}), 42'000);
}

TEST_P(ChosenPort, IsSharedWhereThereIsNoOther) {
  (void)bed.connect(7, GetParam());
  EXPECT_EQ(bind(std::deque<uint16_t>(1000, 40'000)), 40'000);
  EXPECT_GE(bed.choices.size(), 900u);
}

// Who names one has it, as a server that connects the socket of a client and binds the next.
TEST_P(ChosenPort, OneThatIsAskedForIsGiven) {
  (void)bed.connect(7, GetParam());
  EXPECT_EQ(port_of(bed.bind(40'000, GetParam())), 40'000);
}

INSTANTIATE_TEST_SUITE_P(Both, ChosenPort, testing::Bool());

}  // namespace
}  // namespace loom::test
