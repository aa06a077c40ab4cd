// Opening connections: RFC 9293 sections 3.5 and 3.10.7, RFC 7323, RFC 2018, RFC 6528.
#include <gtest/gtest.h>

#include "tcp/isn.h"
#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(Handshake, ActiveOpenOffersEveryOptionAndAcknowledgesTheAnswer) {  // RFC 9293 figure 6
  TcpScript s;
  s.app_connects().expect(syn().mss(1460).sackok().wscale(0).win(65535));
  s.at(20ms).inject(syn_ack().mss(1000).sackok()).expect(ack(1).at(1));
  EXPECT_EQ(s.session().connected, Status::kOk);
  EXPECT_EQ(s.conn().state, tcp::State::kEstablished);
  EXPECT_EQ(s.conn().cc->mss, 1000u);
  EXPECT_EQ(s.conn().rtt.srtt(), 20 * kMillisecond);
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
  EXPECT_EQ(s.conn().rtt.srtt(), 20 * kMillisecond);
  s.app_writes(10).expect(seg(1, 11).ack(1));
}

TEST(Handshake, OverIp6) {
  TcpScript s({.ip6 = true});
  s.app_connects().expect(syn().mss(1440).sackok());
  s.at(20ms).inject(syn_ack().mss(1000)).expect(ack(1).at(1));
  s.app_writes(3000).expect(segs(1, 3001));
  s.at(40ms).inject(ack(3001)).expect_silence();
  TcpScript passive = TcpScript::accepted({.ip6 = true});
  passive.at(0ms).app_writes(10).expect(seg(1, 11));
}

TEST(Handshake, WithoutOptionsDefaultsApply) {  // RFC 9293 section 3.7.1: 536 bytes
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(20ms).inject(syn_ack()).expect(ack(1));
  EXPECT_EQ(s.conn().cc->mss, 536u);
  EXPECT_FALSE(s.conn().has(tcp::kUseSack | tcp::kUseTimestamps | tcp::kUseWscale));
  EXPECT_EQ(s.conn().rcv_wscale, 0);
}

TEST(Handshake, TimestampsLeaveLessRoomForPayload) {  // RFC 7323 section 3.2, RFC 6691
  TcpScript s;
  const auto sent = s.app_connects().take_sent();
  ASSERT_TRUE(sent[0].tsval);
  EXPECT_EQ(sent[0].tsecr, 0u);
  s.at(20ms).inject(syn_ack().mss(1012).ts(77, *sent[0].tsval));
  s.expect(ack(1).ts(*sent[0].tsval + 20, 77));
  EXPECT_EQ(s.conn().cc->mss, 1000u);
}

TEST(Handshake, WindowScalesApplyBothWays) {  // RFC 7323 section 2
  TcpScript s({.rx_fifo = 1 << 20});
  s.app_connects().expect(syn().wscale(5).win(65535));  // 65535 << 5 covers 1 MB
  s.at(20ms).inject(syn_ack().mss(1000).wscale(7).win(100)).expect(ack(1).win((1 << 20) >> 5));
  EXPECT_EQ(s.conn().snd_wnd, 100u) << "the SYN's window is never scaled";
  s.at(30ms).inject(ack(1).win(100)).expect_silence();
  EXPECT_EQ(s.conn().snd_wnd, 12'800u);
}

TEST(Handshake, ScaleNotAnsweredIsNotUsed) {
  TcpScript s({.rx_fifo = 1 << 20});
  s.app_connects().expect(syn().wscale(5));
  s.at(20ms).inject(syn_ack().mss(1000).win(100)).expect(ack(1).win(65535));
  s.at(30ms).inject(ack(1).win(100)).expect_silence();
  EXPECT_EQ(s.conn().snd_wnd, 100u);
}

TEST(Handshake, OptionsSwitchedOffAreNeitherOfferedNorAccepted) {
  TcpScript s({.config = "no-sack no-timestamps no-window-scaling"});
  const auto sent = s.app_connects().take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_FALSE(sent[0].sack_permitted || sent[0].tsval || sent[0].wscale_option);
  EXPECT_EQ(sent[0].mss_option, 1460u);
  s.at(20ms).inject(syn_ack().mss(1000).sackok().wscale(7).ts(1, 1)).expect(ack(1));
  EXPECT_FALSE(s.conn().has(tcp::kUseSack | tcp::kUseTimestamps | tcp::kUseWscale));
}

TEST(Handshake, PassiveOpenAnswersOnlyWhatWasOffered) {
  TcpScript s = TcpScript::listening();
  s.inject(syn().mss(1000)).expect(syn_ack());
  s.from(5001).inject(syn().mss(1000).wscale(3)).expect(syn_ack().wscale(10));
  s.from(5002).inject(syn().mss(1000).ts(5, 0));
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].tsecr, 5u);
  EXPECT_FALSE(sent[0].sack_permitted || sent[0].wscale_option);
}

TEST(Handshake, UserMssBoundsBothDirections) {  // TCP_MAXSEG
  TcpScript s({.socket = {.user_mss = 600}});
  s.app_connects().expect(syn().mss(600));
  s.at(20ms).inject(syn_ack().mss(1000)).expect(ack(1));
  EXPECT_EQ(s.conn().cc->mss, 600u);
}

TEST(Handshake, SynIsRetransmittedWithBackOffAndGivesUp) {  // RFC 6298 sections 2.1 and 5.5
  TcpScript s({.config = "max-syn-retransmits 3"});
  s.app_connects().expect(syn());
  s.at(1s).expect(syn());
  s.at(3s).expect(syn());
  s.at(7s).expect(syn());
  s.at(15s).expect_silence();
  EXPECT_EQ(s.session().connected, Status::kTimedOut);
  s.expect_all_gone();
}

TEST(Handshake, LostSynMeansAnInitialWindowOfOneSegment) {  // RFC 5681 section 3.1
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(1s).expect(syn());
  s.at(1020ms).inject(syn_ack().mss(1000)).expect(ack(1));
  EXPECT_EQ(s.conn().cc->cwnd, 1000u);
  EXPECT_EQ(s.conn().rtt.srtt(), 0) << "Karn: which SYN was answered?";
  EXPECT_EQ(s.conn().rtt.rto(), 3 * kSecond);  // RFC 6298 section 5.7
}

TEST(Handshake, InitialWindowIsTenSegments) {  // RFC 6928
  TcpScript s = TcpScript::established();
  EXPECT_EQ(s.conn().cc->cwnd, 10'000u);
  s.at(0ms).app_writes(12'000).expect(segs(1, 10'001));
  s.at(20ms).inject(ack(10'001)).expect(segs(10'001, 12'001));
}

TEST(Handshake, SynAckIsRetransmittedAndExpires) {
  TcpScript s = TcpScript::listening({.config = "max-syn-retransmits 2"});
  s.at(0s).inject(syn().mss(1000)).expect(syn_ack());
  s.at(1s).expect(syn_ack());
  s.at(3s).expect(syn_ack());
  s.at(7s).expect_silence();
  EXPECT_EQ(s.worker().stats.half_open_expired, 1u);
  EXPECT_EQ(s.worker().half_open.size(), 0u);
}

TEST(Handshake, RefusedByReset) {  // RFC 9293 section 3.10.7.3
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(20ms).inject(rst_ack(0).ack(1)).expect_silence();
  EXPECT_EQ(s.session().connected, Status::kRefused);
  s.expect_all_gone();
}

TEST(Handshake, ResetThatAcknowledgesNothingIsIgnored) {
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(20ms).inject(rst(0)).expect_silence();
  s.at(21ms).inject(rst_ack(0).ack(77)).expect_silence();
  EXPECT_FALSE(s.session().connected);
  EXPECT_EQ(s.counter("tcp4-syn-sent/blind-rst"), 1u);
  EXPECT_EQ(s.counter("tcp4-syn-sent/bad-ack"), 1u);
}

TEST(Handshake, WrongAcknowledgementInSynSentIsReset) {  // <SEQ=SEG.ACK><CTL=RST>
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(20ms).inject(syn_ack().ack(5)).expect(rst(5));
  s.at(21ms).inject(syn_ack().mss(1000)).expect(ack(1));
}

TEST(Handshake, SimultaneousOpen) {  // RFC 9293 figure 7
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(10ms).inject(syn().mss(1000).sackok()).expect(syn_ack().sackok());
  EXPECT_EQ(s.conn().state, tcp::State::kSynReceived);
  EXPECT_FALSE(s.session().connected);
  s.at(20ms).inject(syn_ack()).expect_silence();
  EXPECT_EQ(s.conn().state, tcp::State::kEstablished);
  EXPECT_EQ(s.session().connected, Status::kOk);
  s.app_writes(10).expect(seg(1, 11).ack(1));
}

TEST(Handshake, SimultaneousOpenEndsWithAPlainAckToo) {
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(10ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(1010ms).expect(syn_ack());
  s.at(1020ms).inject(ack(1)).expect_silence();
  EXPECT_EQ(s.session().connected, Status::kOk);
}

TEST(Handshake, ResetInSynReceivedOfASimultaneousOpenIsRefusal) {
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(10ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(20ms).inject(rst(1)).expect_silence();
  EXPECT_EQ(s.session().connected, Status::kRefused);
  s.expect_all_gone();
}

TEST(Handshake, RepeatedSynIsAnsweredAgain) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(500ms).inject(syn().mss(1000)).expect(syn_ack());
  EXPECT_EQ(s.worker().half_open.size(), 1u);
}

TEST(Handshake, OtherSynForAHalfOpenConnectionIsChallenged) {  // RFC 5961 section 4
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(10ms).inject(syn().at(5000)).expect(ack(1).at(1));
  EXPECT_EQ(s.counter("tcp4-rcv-process/challenge-syn"), 1u);
}

TEST(Handshake, ResetOfAHalfOpenConnectionMustBeExact) {  // RFC 5961 section 3
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(10ms).inject(rst(2)).expect(ack(1));
  s.at(11ms).inject(rst(70'000)).expect_silence();
  EXPECT_EQ(s.worker().half_open.size(), 1u);
  s.at(12ms).inject(rst(1)).expect_silence();
  EXPECT_EQ(s.worker().half_open.size(), 0u);
  EXPECT_EQ(s.counter("tcp4-rcv-process/reset"), 1u);
}

TEST(Handshake, WrongAcknowledgementOfASynAckIsReset) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(10ms).inject(ack(500)).expect(rst(500));
  s.at(20ms).inject(ack(1)).expect_silence();
  EXPECT_EQ(s.waiting(), 1u);
}

TEST(Handshake, DataWithTheLastAckIsDelivered) {
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  s.at(20ms).inject(seg(1, 101).ack(1)).expect(ack(101));
  s.app_accepts();
  s.app_reads(100);
}

TEST(Handshake, DataBehindALostAckIsKeptByTheHandshake) {  // any acceptable ACK ends it
  TcpScript s = TcpScript::listening();
  s.at(0ms).inject(syn().mss(1000).sackok()).expect(syn_ack());
  s.at(20ms).inject(seg(101, 201).ack(1)).expect(ack(1).sack(101, 201));
  s.at(21ms).inject(seg(1, 101).ack(1)).expect(ack(201));
  s.app_accepts();
  s.app_reads(200);
}

TEST(Handshake, SynsThatCannotBeAnsweredAreDropped) {
  TcpScript s = TcpScript::listening();
  s.sessions().refuses_flows = true;
  s.inject(syn().mss(1000)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-listen/no-memory"), 1u);
  s.sessions().refuses_flows = false;
  s.host().has_route = false;  // as to a subnet's broadcast address (RFC 9293 MUST-63)
  s.inject(syn().mss(1000)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-listen/no-route"), 1u);
  EXPECT_EQ(s.worker().half_open.size(), 0u);
  s.host().has_route = true;
  s.inject(syn().mss(1000)).expect(syn_ack());
}

TEST(Handshake, SynsBeyondTheBacklogAreDropped) {
  TcpScript s = TcpScript::listening({}, 2);
  s.from(5000).inject(syn().mss(1000)).expect(syn_ack());
  s.from(5001).inject(syn().mss(1000)).expect(syn_ack());
  s.from(5002).inject(syn().mss(1000)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-listen/backlog-full"), 1u);
  EXPECT_EQ(s.worker().half_open.size(), 2u);
  s.from(5000).inject(ack(1)).expect_silence();
  s.from(5001).inject(ack(1)).expect_silence();
  EXPECT_EQ(s.waiting(), 2u);
  s.from(5002).inject(syn().mss(1000)).expect_silence();
  s.app_accepts();
  s.from(5002).inject(syn().mss(1000)).expect(syn_ack());
}

TEST(Handshake, FullAcceptQueueLeavesTheConnectionHalfOpen) {
  TcpScript s = TcpScript::listening({}, 2);
  s.from(5000).inject(syn().mss(1000)).expect(syn_ack());
  s.from(5001).inject(syn().mss(1000)).expect(syn_ack());
  s.sessions().listener(1).backlog = 1;
  s.from(5000).inject(ack(1)).expect_silence();
  s.from(5001).at(10ms).inject(ack(1)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-rcv-process/accept-queue-full"), 1u);
  s.app_accepts();
  s.at(20ms).inject(ack(1)).expect_silence();
  EXPECT_EQ(s.waiting(), 1u);
}

TEST(Handshake, NoMemoryForASessionResetsThePeer) {
  TcpScript s = TcpScript::listening();
  s.inject(syn().mss(1000)).expect(syn_ack());
  s.sessions().refuses_memory = true;
  s.inject(ack(1)).expect(rst_ack(1));
  EXPECT_EQ(s.worker().connections.size(), 0u);
  EXPECT_EQ(s.worker().half_open.size(), 0u);
}

TEST(Handshake, ClosingTheListenerResetsItsHalfOpenConnections) {
  TcpScript s = TcpScript::listening();
  s.from(5000).inject(syn().mss(1000)).expect(syn_ack());
  s.from(5001).inject(syn().mss(1000)).expect(syn_ack());
  s.app_unlistens();
  s.from(5001).expect(rst_ack(1).ack(1));
  s.from(5000).expect(rst_ack(1).ack(1));
  s.expect_all_gone();
  s.inject(syn()).expect(rst_ack(0 - s.last_iss()).ack(1));
}

TEST(Handshake, NobodyListens) {  // RFC 9293 section 3.10.7.1
  TcpScript s;
  s.inject(syn()).expect(rst_ack(0).ack(1));
  s.inject(seg(1, 11).ack(500)).expect(rst(500));
  s.inject(rst(1)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-reset/answered"), 2u);
  EXPECT_EQ(s.counter("tcp4-reset/ignored-reset"), 1u);
}

TEST(Handshake, AcknowledgementForAListenerIsReset) {  // RFC 9293 section 3.10.7.2
  TcpScript s = TcpScript::listening();
  s.inject(ack(500).at(1)).expect(rst(500));
  s.inject(rst(1)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-listen/not-syn"), 1u);
  EXPECT_EQ(s.counter("tcp4-listen/ignored-reset"), 1u);
}

TEST(Handshake, NoRouteFailsAtOnce) {
  TcpScript s;
  s.host().has_route = false;
  s.app_connects().expect_silence();
  EXPECT_EQ(s.connect_status, Status::kUnreachable);
  EXPECT_FALSE(s.session().connected) << "no report follows";
  s.expect_all_gone();
}

TEST(Handshake, InitialNumbersGrowWithTimeAndDifferByPeer) {  // RFC 6528
  TcpScript s = TcpScript::listening({.config = "max-syn-retransmits 1"});
  s.from(5000).inject(syn()).expect(syn_ack());
  const uint32_t first = s.last_iss();
  s.inject(rst(1)).expect_silence();
  s.from(5001).inject(syn()).expect(syn_ack());
  EXPECT_NE(s.last_iss() - first, 0u);
  SipKey key{1, 2};
  Endpoints e;
  e.local_port = 80;
  const auto a = tcp::initial_numbers(key, e, 1 * kSecond);
  const auto b = tcp::initial_numbers(key, e, 2 * kSecond);
  EXPECT_EQ(b.iss - a.iss, 250'000) << "a 4 us clock";
  e.remote_port = 1;
  const auto c = tcp::initial_numbers(key, e, 1 * kSecond);
  EXPECT_NE(a.iss, c.iss);
  EXPECT_NE(a.ts_offset, c.ts_offset);
}

TEST(Handshake, WindowOfASynAckWithTextIsNotScaled) {  // RFC 7323 section 2.2
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(20ms)
      .inject(
          Packet{.flags = "S.", .seq = 0, .length = 10, .ack_number = 1}.mss(1000).wscale(7).win(
              1000))
      .expect(ack(11));
  EXPECT_EQ(s.conn().snd_wnd, 1000u);
}

TEST(Handshake, WindowOfASimultaneousSynAckIsNotScaled) {
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(10ms).inject(syn().mss(1000).wscale(7).win(1000)).expect(syn_ack());
  s.at(20ms).inject(syn_ack().mss(1000).wscale(7).win(1000)).expect_silence();
  EXPECT_EQ(s.conn().state, tcp::State::kEstablished);
  EXPECT_EQ(s.conn().snd_wnd, 1000u);
  s.at(30ms).inject(ack(1).win(10)).expect_silence();
  EXPECT_EQ(s.conn().snd_wnd, 1280u);
}

TEST(Handshake, InvalidPeersAreRefused) {  // RFC 9293 MUST-46, RFC 1122 section 4.2.3.10
  TcpScript s;
  for (const char* remote : {"224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"}) {
    FakeSessions::Session& session = s.sessions().add_session();
    Endpoints ends;
    ends.remote = *IpAddress::parse(remote);
    ends.remote_port = 80;
    EXPECT_EQ(s.transport().connect(s.host().worker, session.id, ends, {}, &session.conn),
              Status::kInvalid)
        << remote;
  }
  s.expect_silence().expect_all_gone();
}

TEST(Handshake, ShutdownBeforeItEndsIsNotForgotten) {  // RFC 9293 section 3.10.4
  TcpScript s;
  s.app_connects().expect(syn());
  s.app_shuts_down().expect_silence();
  s.at(20ms).inject(syn_ack().mss(1000)).expect(fin(1).ack(1));
  EXPECT_EQ(s.conn().state, tcp::State::kFinWait1);
}

TEST(Handshake, CloseInSynReceivedOfASimultaneousOpenEnds) {
  TcpScript s;
  s.app_connects().expect(syn());
  s.at(10ms).inject(syn().mss(1000)).expect(syn_ack());
  s.app_closes().expect(rst_ack(1).ack(1));
  s.expect_all_gone();
}

TEST(Handshake, TinyUserMssIsRaised) {  // TCP_MAXSEG of 1 with timestamps: room for less than 0
  TcpScript s = TcpScript::listening({.timestamps = true, .socket = {.user_mss = 1}});
  s.inject(syn().mss(1000).ts(1, 0)).expect(syn_ack().mss(88));
  s.inject(ack(1)).expect_silence();
  s.app_accepts();
  EXPECT_EQ(s.conn().cc->mss, 76u);
  TcpScript active({.socket = {.user_mss = 1}});
  active.app_connects().expect(syn().mss(88));
}

TEST(Handshake, SynAckIsNeverSentWithoutPause) {  // as often as it may be configured
  TcpScript s = TcpScript::listening({.config = "max-syn-retransmits 64"});
  s.at(0s).inject(syn().mss(1000)).take_sent();
  const auto sent = s.by(2h).take_sent();
  EXPECT_EQ(sent.size(), 64u);
  EXPECT_EQ(s.worker().half_open.size(), 1u - s.worker().stats.half_open_expired);
}

// An in-process application that takes one connection and listens no longer.
TEST(Handshake, ListenerClosedWhileItAccepts) {
  TcpScript s = TcpScript::listening();
  s.from(5001).inject(syn().mss(1000)).expect(syn_ack());
  s.from(5000).inject(syn().mss(1000)).expect(syn_ack());
  s.sessions().on_accepted = [](FakeSessions& all, SessionId l) { all.remove_listener(l); };
  s.inject(ack(1));
  s.from(5001).expect(rst_ack(1).ack(1));  // the other one, and only that
  s.from(5000).expect_silence();
  EXPECT_EQ(s.worker().connections.size(), 1u);
  EXPECT_EQ(s.worker().half_open.size(), 0u);
  s.inject(seg(1, 101).ack(1)).expect(ack(101));
}

TEST(Handshake, NoRoomInTheFlowTableLeavesNoTimerBehind) {
  TcpScript s = TcpScript::listening({.socket = {.keepalive = true}});
  s.inject(syn().mss(1000)).expect(syn_ack());
  s.sessions().refuses_flows = true;
  s.inject(ack(1)).expect_silence();
  EXPECT_EQ(s.worker().connections.size(), 0u);
  EXPECT_EQ(s.host().n_timers(), 1u) << "the half-open entry's alone";
  EXPECT_EQ(s.counter("tcp4-rcv-process/no-memory"), 1u);
  s.sessions().refuses_flows = false;
  s.inject(ack(1)).expect_silence();
  EXPECT_EQ(s.waiting(), 1u);
}

}  // namespace
}  // namespace loom::script
