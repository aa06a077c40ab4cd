// What a socket's options put into IP headers: TTL and TOS, hop limit and traffic class (man 7 ip,
// man 7 ipv6), each family's its own.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

struct IpMarks : testing::TestWithParam<bool> {
  static ScriptOptions with(uint8_t ip4_ttl, uint8_t ip6_hop_limit) {
    ScriptOptions o{.ip6 = GetParam()};
    o.socket.ip4_ttl = ip4_ttl;
    o.socket.ip6_hop_limit = ip6_hop_limit;
    o.socket.tos = 0x48;
    o.socket.ip6_class = 0x88;
    return o;
  }
  static void expect(TcpScript& s, uint8_t hops, uint8_t tos) {
    const auto sent = s.take_sent();
    ASSERT_FALSE(sent.empty());
    for (const Packet& p : sent) {
      EXPECT_EQ(p.hops, hops) << p.str();
      EXPECT_EQ(p.tos, tos) << p.str();
    }
  }
  static uint8_t own_hops() { return GetParam() ? 255 : 1; }
  static uint8_t own_tos() { return GetParam() ? 0x88 : 0x48; }
};
INSTANTIATE_TEST_SUITE_P(Ip, IpMarks, testing::Bool(),
                         [](const auto& i) { return i.param ? "v6" : "v4"; });

TEST_P(IpMarks, AreTheSocketsFromTheFirstSegmentOn) {
  TcpScript s(with(1, 255));
  s.app_connects();
  expect(s, own_hops(), own_tos());
  s.inject(syn_ack().mss(1000));
  expect(s, own_hops(), own_tos());
  s.app_writes(1000);
  expect(s, own_hops(), own_tos());
}

TEST_P(IpMarks, OfAListenerAreInItsAnswersAndItsConnections) {
  TcpScript s = TcpScript::listening(with(1, 255));
  s.inject(syn().mss(1000));
  expect(s, own_hops(), own_tos());
  s.inject(ack(1)).app_accepts();
  s.app_writes(1000);
  expect(s, own_hops(), own_tos());
}

TEST_P(IpMarks, ChangeWithTheOptions) {
  TcpScript s = TcpScript::established({.ip6 = GetParam()});
  s.app_writes(1000);
  expect(s, 64, 0);
  s.app_sets(with(1, 255).socket);
  s.app_writes(1000);
  expect(s, own_hops(), own_tos());
  s.app_sets({.nodelay = true});
  s.app_writes(1000);
  expect(s, 64, 0);
}

}  // namespace
}  // namespace loom::script
