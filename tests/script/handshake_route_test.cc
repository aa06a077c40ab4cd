// Whom connections ask for their way, and how often: once, while no route changes.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(Handshake, ARouteThatDoesNotChangeIsAskedForOnce) {
  TcpScript active;
  active.app_connects().expect(syn());
  active.at(20ms).inject(syn_ack().mss(1000)).expect(ack(1));
  active.app_writes(10).expect(seg(1, 11));
  EXPECT_EQ(active.host().routes_asked, 1u);
  TcpScript passive = TcpScript::listening();
  passive.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  passive.at(20ms).inject(ack(1)).expect_silence();
  passive.app_accepts().app_writes(10).expect(seg(1, 11));
  EXPECT_EQ(passive.host().routes_asked, 1u);
  for (TcpScript* s : {&active, &passive}) {
    EXPECT_EQ(s->conn().cc->mss, 1000u);
    EXPECT_EQ(s->host().packets_into("ip4-lookup"), 0u);
  }
}

TEST(Handshake, ARouteThatChangesMeanwhileIsFollowed) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1460)).expect(syn_ack());
  s.host().route.mtu = 1040;
  ++s.host().route_generation;
  s.at(1s).expect(syn_ack());
  EXPECT_EQ(s.host().packets_into("ip4-rewrite"), 1u);
  EXPECT_EQ(s.host().packets_into("ip4-lookup"), 1u) << "the old adjacency may be another's";
  s.at(1020ms).inject(ack(1)).expect_silence();
  s.app_accepts().app_writes(1460).expect(seg(1, 1001));
  EXPECT_EQ(s.host().packets_into("ip4-rewrite"), 2u);
  TcpScript active;
  active.app_connects().expect(syn());
  active.host().route.mtu = 1040;
  ++active.host().route_generation;
  active.at(20ms).inject(syn_ack().mss(1460)).expect(ack(1));
  active.app_writes(1460).expect(seg(1, 1001)).expect(seg(1001, 1461));
}

TEST(Handshake, ARouteToThisHostIsLookedUpByEachPacket) {
  TcpScript s({.mss = 1000});
  s.host().route.is_local = true;
  s.app_listens(16);
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(20ms).inject(ack(1)).expect_silence();
  s.app_accepts().app_writes(10).expect(seg(1, 11));
  EXPECT_EQ(s.host().packets_into("ip4-lookup"), 2u);
}

}  // namespace
}  // namespace loom::script
