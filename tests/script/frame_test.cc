// Segments that come in one frame are treated as if each had come alone, also when one of them
// changes what the next belongs to. The frame is the driver's business, not the protocol's.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(Frame, RequestBehindTheLastAckOfTheHandshake) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(20ms).inject({ack(1), seg(1, 101).ack(1)}).expect(ack(101));
  s.app_accepts();
  s.app_reads(100);
  EXPECT_EQ(s.counter("tcp4-rcv-process/data"), 1u);
  EXPECT_EQ(s.counter("tcp4-rcv-process/stale"), 0u);
}

TEST(Frame, RequestAndFinBehindTheLastAckOfTheHandshake) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(20ms).inject({ack(1), seg(1, 101).ack(1), fin(101).ack(1)}).expect(ack(102));
  s.app_accepts();
  s.app_reads(100);
  EXPECT_TRUE(s.session().is_peer_closed);
}

TEST(Frame, DataBehindTheSynAck) {
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(20ms).inject({syn_ack().mss(1000), seg(1, 101).ack(1)}).expect(ack(101).at(1));
  s.app_reads(100);
  EXPECT_EQ(s.counter("tcp4-syn-sent/data"), 1u);
}

TEST(Frame, AckBehindTheSynOfASimultaneousOpen) {  // RFC 9293 figure 7
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(10ms).inject({syn().mss(1000), syn_ack().mss(1000)}).expect(syn_ack());
  EXPECT_EQ(s.conn().state, tcp::State::kEstablished);
}

TEST(Frame, RepeatedSynIsAnsweredAgain) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject({syn().mss(1000), syn().mss(1000)}).expect({syn_ack(), syn_ack()});
  EXPECT_EQ(s.worker().half_open.size(), 1u);
  EXPECT_EQ(s.counter("tcp4-listen/repeated"), 1u);
}

TEST(Frame, RepeatedFinBehindTheFinMeetsTimeWait) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject({fin(1).ack(2), fin(1).ack(2)}).expect({ack(2), ack(2)});
  EXPECT_EQ(s.counter("tcp4-rcv-process/time-wait"), 1u);
}

// By the time the second segment has its turn the connection is another worker's.
TEST(Frame, SegmentBehindTheEndFollowsTheConnectionToItsNewWorker) {
  TcpScript s = TcpScript::established();
  s.sessions().after_flow_del = [&] {
    s.sessions().every_match = FlowMatch{7, 1, FlowKind::kHalfOpen};
  };
  s.at(0ms).inject({rst(1), seg(1, 101).ack(1)}).expect_silence();
  EXPECT_EQ(s.counter("tcp4-established/handed-off"), 1u);
  ASSERT_EQ(s.host().handed_off.size(), 1u);
  EXPECT_EQ(s.host().handed_off[0].first, 1u);
}

TEST(Frame, SynThatAnotherWorkerHasAnsweredFollowsIt) {
  TcpScript s = TcpScript::listening();
  s.sessions().before_flow_add = [&] {
    s.sessions().every_match = FlowMatch{7, 1, FlowKind::kHalfOpen};
    return Status::kExists;
  };
  s.at(0ms).inject(syn().mss(1000)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-listen/handed-off"), 1u);
  ASSERT_EQ(s.host().handed_off.size(), 1u);
}

TEST(Frame, NewSynBehindTheLastFinBeginsAgain) {  // RFC 6191
  TcpScript s = TcpScript::accepted();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject({fin(1).ack(2), Packet{.flags = "S"}.at(5000).mss(1000)});
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[1].flags, "S.");
  EXPECT_EQ(sent[1].ack_number, 5001u);
}

TEST(Frame, NewSynBehindTheAckOfOurLastFinOpens) {
  TcpScript s = TcpScript::accepted();
  s.at(0ms).inject(fin(1).ack(1)).expect(ack(2));
  s.at(10ms).app_closes().expect(fin(1));
  s.at(30ms).inject({ack(2), Packet{.flags = "S"}.at(5000).mss(1000)});
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].flags, "S.");
}

TEST(Frame, NobodyIsLeftToAnswerButWithAReset) {  // RFC 9293 section 3.10.7.1
  TcpScript s = TcpScript::established();
  s.at(0ms).inject({rst(1), seg(1, 101).ack(1)}).expect(rst(1));
  EXPECT_EQ(s.counter("tcp4-established/stale"), 1u);
}

TEST(Frame, OverIp6) {
  TcpScript s = TcpScript::listening({.ip6 = true});
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(20ms).inject({ack(1), seg(1, 101).ack(1)}).expect(ack(101));
}

TEST(Frame, SynForAFullBacklogIsDroppedAsAlone) {
  TcpScript s = TcpScript::accepted();
  s.at(0ms).inject(fin(1).ack(1)).expect(ack(2));
  s.at(10ms).app_closes().expect(fin(1));
  s.sessions().listener(1).backlog = 0;
  s.at(30ms).inject({ack(2), Packet{.flags = "S"}.at(5000).mss(1000)}).expect_silence();
  EXPECT_EQ(s.counter("tcp4-rcv-process/syn-dropped"), 1u);
  EXPECT_EQ(s.counter("tcp4-rcv-process/stale"), 0u);
}

TEST(Frame, ResetBehindTheSynEndsTheHalfOpenConnection) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject({syn().mss(1000), rst(1)}).expect(syn_ack());
  EXPECT_EQ(s.worker().half_open.size(), 0u);
  EXPECT_EQ(s.counter("tcp4-listen/repeated"), 1u);
}

}  // namespace
}  // namespace loom::script
