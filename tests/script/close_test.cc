// Closing connections: RFC 9293 sections 3.6 and 3.10.4.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(Close, ActiveCloseEndsInTimeWait) {  // RFC 9293 figure 12
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1).ack(1));
  EXPECT_EQ(s.conn().state, tcp::State::kFinWait1);
  s.at(20ms).inject(ack(2)).expect_silence();
  s.at(30ms).inject(fin(1).ack(2)).expect(ack(2).at(2));
  EXPECT_TRUE(s.session().is_closed);
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
  s.at(30ms + 61s).expect_silence();
  s.expect_all_gone();
}

TEST(Close, PassiveCloseEndsWithTheLastAck) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(fin(1).ack(1)).expect(ack(2));
  EXPECT_EQ(s.conn().state, tcp::State::kCloseWait);
  EXPECT_TRUE(s.session().is_peer_closed);
  s.at(10ms).app_closes().expect(fin(1).ack(2));
  EXPECT_EQ(s.conn().state, tcp::State::kLastAck);
  s.at(30ms).inject(ack(2)).expect_silence();
  EXPECT_TRUE(s.session().is_closed);
  s.expect_all_gone();
}

}  // namespace
}  // namespace loom::script
