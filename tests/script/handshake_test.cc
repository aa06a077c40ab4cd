// Opening connections: RFC 9293 sections 3.5 and 3.10.7, RFC 7323, RFC 2018, RFC 6528.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(Handshake, ActiveOpenOffersEveryOptionAndAcknowledgesTheAnswer) {  // RFC 9293 figure 6
  TcpScript s;
  s.app_connects().expect(syn().mss(1460).sackok().wscale(0).win(65535));
  s.at(20ms).inject(syn_ack().mss(1000).sackok()).expect(ack(1).at(1));
  EXPECT_EQ(s.session().connected, Status::kOk);
  EXPECT_EQ(s.conn().state, tcp::State::kEstablished);
  EXPECT_EQ(s.conn().cc.mss, 1000u);
  EXPECT_EQ(s.conn().rtt.srtt, 20 * kMillisecond);
  EXPECT_EQ(s.counter("tcp4-output/syn"), 1u);
  EXPECT_EQ(s.counter("tcp4-syn-sent/handshake"), 1u);
}

TEST(Handshake, PassiveOpenAnswersAndAccepts) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000).sackok()).expect(syn_ack().mss(1460).sackok().win(65535));
  EXPECT_EQ(s.waiting(), 0u);
  EXPECT_EQ(s.worker().connections.size(), 0u) << "no connection before the handshake ends";
  s.at(20ms).inject(ack(1)).expect_silence();
  EXPECT_EQ(s.waiting(), 1u);
  s.app_accepts();
  EXPECT_EQ(s.conn().rtt.srtt, 20 * kMillisecond);
  s.app_writes(10).expect(seg(1, 11).ack(1));
}

}  // namespace
}  // namespace loom::script
