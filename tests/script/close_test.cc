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

TEST(Close, SimultaneousClose) {  // RFC 9293 figure 13
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1).ack(1));
  s.at(10ms).inject(fin(1).ack(1)).expect(ack(2).at(2));
  EXPECT_EQ(s.conn().state, tcp::State::kClosing);
  s.at(20ms).inject(ack(2)).expect(ack(2));
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
  EXPECT_TRUE(s.session().is_closed);
}

TEST(Close, FinThatAlsoAcknowledgesOursSkipsFinWait2) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
}

TEST(Close, HalfCloseStillReceives) {  // RFC 9293 section 3.6
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).app_shuts_down().expect(fin(1));
  s.at(20ms).inject(ack(2)).expect_silence();
  EXPECT_EQ(s.conn().state, tcp::State::kFinWait2);
  s.at(10s).inject(seg(1, 101).ack(2)).expect(ack(101).at(2));
  s.app_reads(100);
  s.at(100s).inject(fin(101).ack(2)).expect(ack(102));
  EXPECT_TRUE(s.session().is_peer_closed);
  EXPECT_TRUE(s.session().is_closed);
}

TEST(Close, PeersHalfCloseStillSends) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(fin(1).ack(1)).expect(ack(2));
  s.at(10s).app_writes(2000).expect(segs(1, 2001));
  s.at(10s + 20ms).inject(ack(2001)).expect_silence();
  s.app_closes().expect(fin(2001).ack(2));
  s.at(10s + 40ms).inject(ack(2002)).expect_silence();
  s.expect_all_gone();
}

TEST(Close, QueuedDataIsSentBeforeTheFin) {  // RFC 9293 section 3.10.4
  TcpScript s = TcpScript::established({.cwnd = 2000});
  s.at(0ms).app_writes(3500).expect(segs(1, 2001));
  s.app_closes().expect_silence();
  EXPECT_EQ(s.conn().state, tcp::State::kEstablished) << "FIN has not been sent";
  s.at(20ms).inject(ack(2001)).expect(seg(2001, 3001)).expect(seg(3001, 3501).fin());
  s.at(40ms).inject(ack(3502)).expect_silence();
  EXPECT_EQ(s.conn().state, tcp::State::kFinWait2);
  EXPECT_TRUE(s.session().is_closed) << "everything is acknowledged: the session can go";
}

TEST(Close, NagleDoesNotHoldTheTailBack) {
  TcpScript s = TcpScript::established({.socket = {}});
  s.at(0ms).app_writes(10).expect(seg(1, 11));
  s.app_writes(10).expect_silence();
  s.app_closes().expect(seg(11, 21).fin());
}

TEST(Close, FinWithDataAndOutOfOrder) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(seg(101, 201).ack(1).fin()).expect(ack(1).sack(101, 201));
  EXPECT_FALSE(s.session().is_peer_closed);
  s.at(1ms).inject(seg(1, 101).ack(1)).expect(ack(202));
  EXPECT_TRUE(s.session().is_peer_closed);
  EXPECT_EQ(s.conn().state, tcp::State::kCloseWait);
  EXPECT_EQ(s.session().rx.size(), 200u);
}

TEST(Close, FinAheadOfLostDataWaits) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(fin(101).ack(1)).expect(ack(1));
  s.at(1ms).inject(seg(1, 101).ack(1)).expect(ack(102));
  EXPECT_EQ(s.conn().state, tcp::State::kCloseWait);
}

TEST(Close, DataAfterCloseIsReset) {  // RFC 9293 MUST-17 of section 3.6, RFC 1122 4.2.2.13
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(seg(1, 101).ack(2)).expect(rst_ack(2));
  EXPECT_EQ(s.counter("tcp4-rcv-process/data-after-close"), 1u);
  s.expect_all_gone();
}

TEST(Close, UnreadDataMakesItAReset) {  // RFC 2525 section 2.17
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(seg(1, 101)).expect(ack(101));
  s.app_closes(/*unread=*/true).expect(rst_ack(1).ack(101));
  s.expect_all_gone();
}

TEST(Close, AbortResetsAndReportsNothing) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(100).expect(seg(1, 101));
  s.app_aborts().expect(rst_ack(101).ack(1));
  EXPECT_FALSE(s.session().reset || s.session().is_closed);
  s.expect_all_gone();
}

TEST(Close, InSynSentNothingIsSent) {
  TcpScript s;
  s.app_connects().expect(syn());
  s.app_closes().expect_silence();
  s.expect_all_gone();
}

TEST(Close, FinWait2OfAClosedApplicationEnds) {
  TcpScript s = TcpScript::established({.config = "finwait2-time 5"});
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(ack(2)).expect_silence();
  EXPECT_TRUE(s.session().is_closed);
  s.at(5019ms).expect_silence();
  EXPECT_EQ(s.worker().connections.size(), 1u);
  s.at(5021ms).expect_silence();
  s.expect_all_gone();
}

TEST(Close, FinWait1WithoutProgressEnds) {
  TcpScript s = TcpScript::established({.config = "finwait1-time 2"});
  s.at(0ms).app_closes().expect(fin(1));
  s.by(10s).take_sent();
  EXPECT_EQ(s.session().reset, ResetReason::kTimedOut);
  s.expect_all_gone();
}

TEST(Close, CloseWaitLimitIsOptIn) {
  TcpScript s = TcpScript::established({.config = "closewait-time 3"});
  s.at(0ms).inject(fin(1).ack(1)).expect(ack(2));
  s.at(3s).expect(rst_ack(1));
  EXPECT_EQ(s.session().reset, ResetReason::kTimedOut);
}

TEST(TimeWait, RetransmittedFinIsAcknowledgedAndRestartsTheWait) {  // RFC 9293 section 3.10.7.4
  TcpScript s = TcpScript::established({.config = "timewait-time 2"});
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  s.at(1500ms).inject(fin(1).ack(2)).expect(ack(2).at(2));
  s.at(3400ms).expect_silence();
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
  s.at(3600ms).expect_silence();
  s.expect_all_gone();
}

TEST(TimeWait, IsNotAssassinated) {  // RFC 1337
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  s.at(30ms).inject(rst(2)).expect_silence();
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
}

TEST(TimeWait, NewerSynBeginsAgainOlderDoesNot) {  // RFC 6191, RFC 9293 section 3.6.1
  TcpScript s = TcpScript::accepted();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  const uint32_t old_iss = s.last_iss();
  s.at(30ms).inject(Packet{.flags = "S"}.at(1)).expect(ack(2).at(2));
  EXPECT_EQ(s.worker().half_open.size(), 0u);
  s.at(40ms).inject(Packet{.flags = "S"}.at(5000).mss(1000));
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].flags, "S.");
  EXPECT_EQ(sent[0].ack_number, 5001u);
  EXPECT_GT(static_cast<int32_t>(*sent[0].seq), 2) << "ISS beyond what the old one used";
  EXPECT_EQ(old_iss, s.last_iss());
  EXPECT_EQ(s.worker().time_waits.size(), 0u);
  EXPECT_EQ(s.counter("tcp4-rcv-process/time-wait-reuse"), 1u);
}

TEST(TimeWait, OfZeroLengthIsSkipped) {
  TcpScript s = TcpScript::established({.config = "timewait-time 0"});
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  s.expect_all_gone();
}

TEST(Close, ResetInEveryState) {
  using tcp::State;
  struct Case {
    State state;
    bool reports_reset;
  };
  for (const Case c : {Case{State::kEstablished, true}, Case{State::kFinWait1, true},
                       Case{State::kFinWait2, false}, Case{State::kCloseWait, true},
                       Case{State::kClosing, false}, Case{State::kLastAck, false}}) {
    TcpScript s = TcpScript::established();
    s.at(0ms);
    uint32_t next = 1;
    if (c.state == State::kFinWait1 || c.state == State::kFinWait2 || c.state == State::kClosing)
      s.app_closes().expect(fin(1));
    if (c.state == State::kFinWait2) s.inject(ack(2)).expect_silence();
    if (c.state == State::kCloseWait || c.state == State::kClosing || c.state == State::kLastAck)
      s.inject(fin(next++).ack(1)).take_sent();
    if (c.state == State::kLastAck) s.app_closes().expect(fin(1));
    EXPECT_EQ(s.conn().state, c.state);
    s.inject(rst(next)).expect_silence();
    EXPECT_EQ(s.session().reset.has_value(), c.reports_reset) << tcp::state_name(c.state);
    EXPECT_EQ(s.session().is_closed, !c.reports_reset) << tcp::state_name(c.state);
    s.expect_all_gone();
  }
}

// An in-process application that closes from within the callback that brings the data.
TEST(Close, FromWithinACallback) {
  for (const bool abort : {false, true}) {
    TcpScript s = TcpScript::established({.quick_acks = true});
    struct Context {
      TcpScript* script;
      bool abort;
    } context{&s, abort};
    s.sessions().on_readable_context = &context;
    s.sessions().on_readable = [](Worker& w, FakeSessions::Session& session, void* p) {
      auto& c = *static_cast<Context*>(p);
      c.script->sessions().on_readable = nullptr;
      if (c.abort)
        c.script->transport().abort(w, session.conn);
      else
        c.script->transport().close(w, session.conn, false);
    };
    s.at(0ms).inject({seg(1, 101).ack(1), seg(101, 201).ack(1)}).take_sent();
    s.expect_all_gone();
  }
}

// The peer sends what it knows to be unacknowledged once more, now with its FIN.
TEST(Close, OldTextWithANewFinIsNoDataAfterClose) {  // RFC 1122 section 4.2.2.13: new data
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(seg(1, 101)).expect(ack(101));
  s.app_reads(100).app_writes(10).expect(seg(1, 11));
  s.app_closes().expect(fin(11).ack(101));
  s.at(20ms).inject(seg(1, 101).ack(12).fin()).expect(ack(102));
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
  EXPECT_EQ(s.counter("tcp4-rcv-process/data-after-close"), 0u);
}

TEST(Close, CloseWaitLimitOutlivesTraffic) {
  for (const bool keepalive : {false, true}) {
    TcpScript s = TcpScript::established(
        {.socket = {.nodelay = true, .keepalive = keepalive}, .config = "closewait-time 3"});
    s.at(0ms).inject(fin(1).ack(1)).expect(ack(2));
    s.at(1s).app_writes(100).expect(seg(1, 101));
    s.at(1s + 20ms).inject(ack(101)).expect_silence();
    s.at(3s + 990ms).expect_silence();
    s.by(4s + 30ms).expect(rst_ack(101));
    EXPECT_EQ(s.session().reset, ResetReason::kTimedOut);
  }
}

TEST(TimeWait, TheFlowIsFoundAtEveryMoment) {  // a segment may come to another worker meanwhile
  TcpScript s = TcpScript::established();
  bool was_gone = false;
  s.sessions().after_flow_del = [&] { was_gone = true; };
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
  EXPECT_FALSE(was_gone);
  s.at(70s).expect_silence();
  EXPECT_TRUE(was_gone);
}

TEST(TimeWait, EmptySegmentsAreAnsweredSlowly) {  // two of them must not answer each other for ever
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  s.at(30ms).inject(ack(2).at(70'001)).expect(ack(2));
  for (int i = 0; i < 10; ++i) s.inject(ack(2).at(70'001)).expect_silence();
  s.inject(fin(1).ack(2)).expect(ack(2));
}

TEST(TimeWait, SynWithoutAListenerDoesNotEndIt) {  // RFC 1337's hazard, by a forged SYN
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  s.at(30ms).inject(Packet{.flags = "S"}.at(5000)).expect(ack(2).at(2));
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
  s.at(70s).expect_silence();
  s.expect_all_gone();
}

TEST(TimeWait, SynForAFullBacklogDoesNotEndIt) {
  TcpScript s = TcpScript::accepted();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(20ms).inject(fin(1).ack(2)).expect(ack(2));
  s.sessions().listener(1).backlog = 0;
  s.at(30ms).inject(Packet{.flags = "S"}.at(5000)).expect_silence();
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
}

}  // namespace
}  // namespace loom::script
