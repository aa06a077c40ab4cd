// Data: what is sent when (Nagle, cork, silly windows, persist, pacing), which window is offered,
// and what comes out of order. RFC 9293 sections 3.7 and 3.8, RFC 5681 section 4. When it is
// acknowledged is in delayed_ack_test.cc.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(Transfer, WritesLeaveInSegmentsOfTheMss) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(2500).expect(segs(1, 2001)).expect(seg(2001, 2501).psh());
  s.at(20ms).inject(ack(2501)).expect_silence();
  EXPECT_TRUE(s.session().tx.empty());
}

TEST(Transfer, OneChainASegmentWithoutTso) {
  TcpScript s = TcpScript::established({.config = "no-tso no-csum-offload"});
  s.at(0ms).app_writes(2500).expect(segs(1, 2501));
  EXPECT_EQ(s.counter("tcp4-output/data"), 3u);
}

TEST(Transfer, ChainsOfManySegmentsWithTso) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(9000).expect(segs(1, 9001));
  EXPECT_EQ(s.counter("tcp4-output/data"), 1u);
}

TEST(Transfer, SequenceNumbersWrap) {  // the peer's begin 4096 below 2^32
  TcpScript s = TcpScript::established({.quick_acks = true});
  for (uint32_t at = 1; at < 10'001; at += 1000) {
    s.inject(seg(at, at + 1000)).expect(ack(at + 1000));
    s.app_reads(1000);
  }
  EXPECT_EQ(s.conn().bytes_received, 10'000u);
}

TEST(Transfer, RouteChangesAreFollowed) {
  TcpScript s = TcpScript::established({.mss = 1460});
  s.at(0ms).app_writes(1460).expect(seg(1, 1461));
  s.host().route.mtu = 1040;
  ++s.host().route_generation;
  s.at(20ms).inject(ack(1461)).expect_silence();
  s.app_writes(1460).expect(seg(1461, 2461)).expect(seg(2461, 2921));
}

// --- Nagle, cork.

TEST(Nagle, SmallSegmentWaitsForASmallOne) {  // RFC 9293 section 3.7.4
  TcpScript s = TcpScript::established({.socket = {}});
  s.at(0ms).app_writes(10).expect(seg(1, 11));
  s.app_writes(10).expect_silence();
  s.app_writes(10).expect_silence();
  s.at(20ms).inject(ack(11)).expect(seg(11, 31));
}

TEST(Nagle, FullSegmentsGoAndTheTailWithThem) {  // Minshall: only small waits for small
  TcpScript s = TcpScript::established({.socket = {}});
  s.at(0ms).app_writes(1500).expect(segs(1, 1501));
  s.app_writes(2500).expect(segs(1501, 3501));
  s.at(20ms).inject(ack(1501)).expect(seg(3501, 4001));
}

TEST(Nagle, NodelaySendsAtOnce) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(10).expect(seg(1, 11));
  s.app_writes(10).expect(seg(11, 21));
}

TEST(Nagle, SettingNodelayReleasesWhatWaits) {
  TcpScript s = TcpScript::established({.socket = {}});
  s.at(0ms).app_writes(10).expect(seg(1, 11));
  s.app_writes(10).expect_silence();
  s.app_sets({.nodelay = true}).expect(seg(11, 21));
}

TEST(Cork, HoldsPartialSegmentsUntilPulled) {
  TcpScript s = TcpScript::established({.socket = {.cork = true}});
  s.at(0ms).app_writes(1500).expect(seg(1, 1001));
  s.at(50ms).app_sets({.cork = false}).expect(seg(1001, 1501));
}

TEST(Cork, HasACeilingOf200Milliseconds) {  // tcp(7)
  TcpScript s = TcpScript::established({.socket = {.cork = true}});
  s.at(0ms).app_writes(10).expect_silence();
  s.at(200ms).expect(seg(1, 11));
}

TEST(Cork, TheCeilingIsOfTheTailThatWaits) {
  TcpScript s = TcpScript::established({.socket = {.cork = true}});
  s.at(0ms).app_writes(10).expect_silence();
  s.at(150ms).app_writes(1500).expect(seg(1, 1001));  // 510 bytes of tail, as of now
  s.at(170ms).inject(ack(1001)).expect_silence();
  s.at(200ms).expect_silence();
  s.at(350ms).expect(seg(1001, 1511));
}

TEST(More, HoldsThePartialSegmentUntilAPlainWrite) {  // send(2): as TCP_CORK, for one call
  TcpScript s = TcpScript::established();             // with TCP_NODELAY
  s.at(0ms).app_writes(1500, true).expect(seg(1, 1001));
  s.at(20ms).inject(ack(1001)).expect_silence();
  s.at(50ms).app_writes(100, true).expect_silence();
  s.app_writes(10).expect(seg(1001, 1611));
  s.app_writes(10).expect(seg(1611, 1621));
}

TEST(More, HasTheCorksCeiling) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(10, true).expect_silence();
  s.at(200ms).expect(seg(1, 11));
  s.at(210ms).inject(ack(11)).app_writes(10, true).expect_silence();
  s.at(410ms).expect(seg(11, 21));
}

TEST(More, DoesNotHoldWhatAPlainWriteLeftUnsent) {
  TcpScript s = TcpScript::established({.window = 1000});
  s.at(0ms).app_writes(1000).expect(seg(1, 1001));
  s.app_writes(10).expect_silence();  // no window
  s.app_writes(10, true).expect_silence();
  s.at(20ms).inject(ack(1001)).expect(seg(1001, 1021));
}

TEST(More, ShutdownSendsTheTail) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(10, true).expect_silence();
  s.app_shuts_down().expect(seg(1, 11).fin());
}

// --- The peer's window.

TEST(Window, IsNotExceeded) {
  TcpScript s = TcpScript::established({.window = 3000});
  s.at(0ms).app_writes(5000).expect(segs(1, 3001));
  s.at(20ms).inject(ack(3001)).expect(segs(3001, 5001));
}

TEST(Window, ZeroWindowIsProbedWithBackOff) {  // RFC 9293 section 3.8.6.1
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(ack(1).win(0)).expect_silence();
  s.app_writes(2000).expect_silence();
  s.at(200ms).expect(seg(1, 2));
  s.at(220ms).inject(ack(1).win(0)).expect_silence();
  s.at(600ms).expect(seg(1, 2));
  s.at(620ms).inject(ack(1).win(0)).expect_silence();
  s.at(1400ms).expect(seg(1, 2));
  EXPECT_EQ(s.counter("tcp4-output/window-probe"), 3u);
  // The window opens: the byte that was refused, and the rest.
  s.at(1420ms).inject(ack(1).win(5000)).expect(seg(1, 2)).expect(segs(2, 2001));
  s.at(1440ms).inject(ack(2001)).expect_silence();
}

TEST(Window, ProbeThatIsTakenCounts) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(ack(1).win(0)).expect_silence();
  s.app_writes(2000).expect_silence();
  s.at(200ms).expect(seg(1, 2));
  s.at(220ms).inject(ack(2).win(5000)).expect(segs(2, 2001));
}

TEST(Window, MayStayShutForEverWhileThePeerAnswers) {  // RFC 9293 section 3.8.6.1
  TcpScript s = TcpScript::established({.config = "max-retransmits 3"});
  s.at(0ms).inject(ack(1).win(0)).expect_silence();
  s.app_writes(10).expect_silence();
  int probes = 0;
  for (int i = 1; i < 600; ++i) {
    for (const auto& p : s.by(std::chrono::seconds(i)).take_sent()) {
      EXPECT_EQ(p.length, 1u);
      ++probes;
    }
    s.inject(ack(1).win(0)).expect_silence();
  }
  EXPECT_GT(probes, 10);
  EXPECT_FALSE(s.session().reset);
}

TEST(Window, PeerThatAnswersNoProbeIsGivenUp) {
  TcpScript s = TcpScript::established({.config = "max-retransmits 3"});
  s.at(0ms).inject(ack(1).win(0)).expect_silence();
  s.app_writes(10).expect_silence();
  s.by(60s).take_sent();
  EXPECT_EQ(s.session().reset, ResetReason::kTimedOut);
}

TEST(Window, SillySegmentsAreAvoided) {  // RFC 9293 section 3.8.6.2.1
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(900).expect(seg(1, 901));
  s.at(20ms).inject(ack(901).win(100)).expect_silence();
  s.app_writes(2000).expect_silence();
  s.at(220ms).expect(seg(901, 1001));  // the override timeout
}

// --- The window we offer.

TEST(ReceiveWindow, ShrinksAsTheFifoFillsAndIsUpdatedWhenItDrains) {
  TcpScript s = TcpScript::established({.rx_fifo = 8000, .quick_acks = true});
  s.at(0ms).inject(segs(1, 4001)).expect(ack(4001).win(4000));
  s.inject(segs(4001, 8001)).expect(ack(8001).win(0));
  s.app_reads(1000).expect_silence();
  s.app_reads(3000).expect(ack(8001).win(4000));  // half of the fifo: worth a segment
}

// The window that a later segment offers takes the space that was asked for earlier: then there is
// another request, or nobody would ever hear that the fifo is empty.
TEST(ReceiveWindow, IsUpdatedWhenWhatWasReadIsFullAgain) {
  TcpScript s = TcpScript::established({.rx_fifo = 8000, .quick_acks = true});
  s.at(0ms).inject(segs(1, 7001)).expect(ack(7001).win(1000));
  s.app_reads(2500).expect_silence();  // it waits for 3000
  s.inject(seg(7001, 8001)).expect(ack(8001).win(2500));
  s.inject(segs(8001, 10001)).expect(ack(10001).win(500));
  s.inject(seg(10001, 10501)).expect(ack(10501).win(0));
  s.app_reads(500).expect_silence();
  s.app_reads(3500).expect(ack(10501).win(4000));
}

// Half of the fifo is free before that is worth a segment: 900 bytes of 1000.
TEST(ReceiveWindow, IsUpdatedWhenHalfOfASmallFifoIsLittle) {
  TcpScript s = TcpScript::established({.rx_fifo = 2000, .quick_acks = true});
  s.at(0ms).inject(seg(1, 1001)).expect(ack(1001).win(1000));
  s.inject(seg(1001, 1901)).expect(ack(1901).win(100));
  s.app_reads(900).expect_silence();
  s.app_reads(1000).expect(ack(1901).win(2000));
}

// The application runs on another core. What it reads after we have looked, and before it has been
// asked to tell us, it does not tell: both who builds an acknowledgement and who has been told of
// space look again.
TEST(ReceiveWindow, HasWhatTheApplicationReadsWhileItIsAsked) {
  TcpScript s = TcpScript::established({.rx_fifo = 8000, .quick_acks = true});
  s.session().reads_first = 4000;
  s.at(0ms).inject(segs(1, 7001)).expect(ack(7001).win(5000));
}

TEST(ReceiveWindow, HasWhatTheApplicationReadsWhileItIsAskedAgain) {
  TcpScript s = TcpScript::established({.rx_fifo = 8000, .quick_acks = true});
  s.at(0ms).inject(segs(1, 7001)).expect(ack(7001).win(1000));
  s.app_reads(2500).expect_silence();  // it waits for 3000
  s.inject(seg(7001, 8001)).expect(ack(8001).win(2500));
  s.inject(segs(8001, 10001)).expect(ack(10001).win(500));
  s.inject(seg(10001, 10501)).expect(ack(10501).win(0));
  s.session().reads_first = 3500;
  s.app_reads(500).expect(ack(10501).win(4000));
}

TEST(ReceiveWindow, IsNotMovedBySillySteps) {  // RFC 9293 section 3.8.6.2.2
  TcpScript s = TcpScript::established({.rx_fifo = 4000, .quick_acks = true});
  s.at(0ms).inject(segs(1, 4001)).expect(ack(4001).win(0));
  s.app_reads(500).expect_silence();
  s.inject(seg(4001, 4002)).expect(ack(4001).win(0));  // a probe: 500 bytes are not worth offering
  s.app_reads(600).expect_silence();
  s.inject(seg(4001, 4002)).expect(ack(4001).win(1100));
}

TEST(ReceiveWindow, ProbesOfAShutWindowAcknowledge) {  // their ACK counts, their text does not
  TcpScript s = TcpScript::established({.rx_fifo = 1000, .quick_acks = true});
  s.at(0ms).inject(seg(1, 1001)).expect(ack(1001).win(0));
  s.app_writes(100).expect(seg(1, 101));
  s.at(20ms).inject(seg(1001, 1002).ack(101)).expect(ack(1001).win(0));
  EXPECT_TRUE(s.session().tx.empty());
}

TEST(ReceiveWindow, TextBeyondItIsCutOff) {
  TcpScript s = TcpScript::established({.rx_fifo = 1500, .quick_acks = true});
  s.at(0ms).inject(seg(1, 2001)).expect(ack(1501).win(0));
  s.app_reads(1500).expect(ack(1501).win(1500));
}

TEST(ReceiveWindow, NeverMovesBackBySpaceAlone) {  // RFC 9293 section 3.8.6
  TcpScript s = TcpScript::established({.rx_fifo = 8000, .quick_acks = true});
  s.session().rx_limit = 2000;  // as if memory had become scarce
  s.at(0ms).inject(seg(1, 1001)).expect(ack(1001).win(7000));
}

// --- Out of order.

TEST(OutOfOrder, GapsAreReportedNewestFirst) {  // RFC 2018 section 4
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(seg(2001, 3001)).expect(ack(1).sack(2001, 3001));
  s.inject(seg(4001, 5001)).expect(ack(1).sack(4001, 5001).sack(2001, 3001));
  s.inject(seg(3001, 4001)).expect(ack(1).sack(2001, 5001));
  s.inject(seg(1, 2001)).expect(ack(5001));
  s.app_reads(5000);
}

TEST(OutOfOrder, WithTimestampsThreeBlocksFit) {
  TcpScript s = TcpScript::established({.timestamps = true});
  s.at(0ms);
  for (uint32_t i = 1; i <= 4; ++i) s.inject(seg(2000 * i, 2000 * i + 1000)).take_sent();
  s.inject(seg(10'000, 10'500))
      .expect(ack(1).sack(10'000, 10'500).sack(8000, 9000).sack(6000, 7000));
}

TEST(OutOfOrder, WithoutSackDuplicatesAreSent) {
  TcpScript s = TcpScript::established({.sack = false});
  s.at(0ms).inject(seg(1001, 2001)).expect(ack(1));
  s.inject(seg(2001, 3001)).expect(ack(1));
  s.inject(seg(1, 1001)).expect(ack(3001));
}

TEST(OutOfOrder, OverlapsAreCutFromTheLeft) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.at(0ms).inject(seg(1, 1001)).expect(ack(1001));
  s.inject(seg(501, 1501)).expect(ack(1501));
  s.inject(seg(1, 1001)).expect(ack(1501));
  EXPECT_EQ(s.counter("tcp4-established/old-data"), 1u);
  s.app_reads(1500);
}

TEST(Receive, NoMemoryIsNotAcknowledged) {
  TcpScript s = TcpScript::established({.quick_acks = true});
  s.sessions().refuses_memory = true;
  s.at(0ms).inject(seg(1, 1001)).expect(ack(1));
  EXPECT_EQ(s.counter("tcp4-established/no-memory"), 1u);
  s.sessions().refuses_memory = false;
  s.at(1ms).inject(seg(1, 1001)).expect(ack(1001));
}

// --- Idle, keepalive, pacing.

TEST(Idle, WindowRestarts) {  // RFC 5681 section 4.1
  TcpScript s = TcpScript::established({.cwnd = 50'000});
  s.at(0ms).app_writes(1000).expect(seg(1, 1001));
  s.at(20ms).inject(ack(1001)).expect_silence();
  s.at(5s).app_writes(20'000).expect(segs(1001, 11'001));
}

TEST(Idle, CwndDoesNotGrowUnused) {  // RFC 9438 section 5.8, RFC 5681 section 4.1
  TcpScript s = TcpScript::established();
  for (int i = 0; i < 20; ++i) {
    s.at(i * 50ms).app_writes(100).take_sent();
    s.at(i * 50ms + 20ms).inject(ack(static_cast<uint32_t>(i + 1) * 100 + 1)).expect_silence();
  }
  EXPECT_EQ(s.conn().cc->cwnd, 10'000u);
}

SocketOptionsView with_keepalive() {
  return {.nodelay = true,
          .keepalive = true,
          .keepidle = 10 * kSecond,
          .keepintvl = 2 * kSecond,
          .keepcnt = 3};
}

TEST(Keepalive, ProbesAnIdlePeerAndGoesOnWhenItAnswers) {  // RFC 9293 section 3.8.4
  TcpScript s = TcpScript::established({.socket = with_keepalive()});
  s.at(10s).expect(ack(1).at(0));  // SEG.SEQ = SND.NXT - 1
  s.at(10s + 20ms).inject(ack(1)).expect_silence();
  s.at(20s + 20ms).take_sent();
  EXPECT_EQ(s.counter("tcp4-output/keepalive"), 2u);
  EXPECT_FALSE(s.session().reset);
}

TEST(Keepalive, DeadPeerIsDropped) {
  TcpScript s = TcpScript::established({.socket = with_keepalive()});
  s.at(10s).expect(ack(1).at(0));
  s.at(12s).expect(ack(1).at(0));
  s.at(14s).expect(ack(1).at(0));
  s.at(16s).expect(rst_ack(1));
  EXPECT_EQ(s.session().reset, ResetReason::kTimedOut);
  s.expect_all_gone();
}

TEST(Keepalive, IsOffUnlessAskedFor) {
  TcpScript s = TcpScript::established();
  s.at(3h).expect_silence();
}

TEST(Keepalive, OfThePeerIsAnswered) {
  TcpScript s = TcpScript::established();
  s.at(0ms).inject(ack(1).at(0)).expect(ack(1));
}

TEST(Pacing, SpreadsTheWindow) {
  TcpScript s = TcpScript::established();
  s.conn().cc->pacing_rate = 1'000'000;  // bytes a second: 1000 in a millisecond
  s.at(0ms).app_writes(6000).expect(segs(1, 2001));
  uint32_t sent = 2000;
  for (int ms = 1; ms <= 10; ++ms)
    for (const auto& p : s.by(std::chrono::milliseconds(ms)).take_sent()) sent += p.length;
  EXPECT_EQ(sent, 6000u);
  s.inject(ack(6001));
}

TEST(Pacing, CanBeSwitchedOff) {
  TcpScript s = TcpScript::established({.config = "no-tx-pacing"});
  s.conn().cc->pacing_rate = 1'000'000;
  s.at(0ms).app_writes(6000).expect(segs(1, 6001));
}

TEST(Pacing, EndsWithTheControllerThatAskedForIt) {
  TcpScript s = TcpScript::established();
  s.conn().cc->pacing_rate = 1'000'000;
  s.app_sets({.nodelay = true, .congestion = "cubic"});
  s.at(0ms).app_writes(6000).expect(segs(1, 6001));
}

// The SYN-ACK offers 65535 bytes before it is known which fifo the session gets.
TEST(ReceiveWindow, OfAnAcceptedConnectionIsItsFifos) {
  TcpScript s = TcpScript::accepted({.rx_fifo = 8000, .quick_acks = true});
  s.at(0ms).inject(segs(1, 4001)).expect(ack(4001).win(4000));
  s.inject(segs(4001, 8001)).expect(ack(8001).win(0));
  s.app_reads(4000).expect(ack(8001).win(4000));
}

}  // namespace
}  // namespace loom::script
