// Loss and its repair: RFC 5681, 6298, 6582, 6675, 6937, 3042, 2018, 7323.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

TEST(FastRetransmit, ThirdDuplicateAckResendsTheHole) {  // RFC 5681 section 3.2, RFC 6675 section 5
  TcpScript s = TcpScript::established({.mss = 1000, .cwnd = 10'000, .cc = "cubic"});
  s.at(0ms).app_writes(4000).expect(segs(1, 4001));  // four segments; the first is lost
  s.at(20ms).inject(ack(1).sack(1001, 2001)).expect_silence();
  s.at(21ms).inject(ack(1).sack(1001, 3001)).expect_silence();
  s.at(22ms).inject(ack(1).sack(1001, 4001)).expect(seg(1, 1001));
  s.at(42ms).inject(ack(4001)).expect_silence();
  EXPECT_EQ(s.conn().cc->ssthresh, 2800u);  // 0.7 x 4000 bytes in flight, RFC 9438 section 4.6
  EXPECT_EQ(s.conn().cc->cwnd, 2800u);
  EXPECT_EQ(s.counter("tcp4-output/fast-retransmit"), 1u);
}

TEST(FastRetransmit, WithoutSackCountsDuplicates) {  // RFC 5681 section 3.2
  TcpScript s = TcpScript::established({.sack = false, .cwnd = 10'000});
  s.at(0ms).app_writes(8000).expect(segs(1, 8001));
  for (int i = 0; i < 2; ++i) s.at(20ms + i * 1ms).inject(ack(1)).expect_silence();
  s.at(22ms).inject(ack(1)).expect(seg(1, 1001));
  EXPECT_EQ(s.conn().cc->ssthresh, 4000u);
  s.at(42ms).inject(ack(8001)).expect_silence();
  EXPECT_EQ(s.conn().cc->cwnd, 4000u);
  EXPECT_EQ(s.conn().recovery, tcp::Recovery::kOpen);
}

TEST(FastRetransmit, SegmentsWithTextAreNoDuplicates) {  // RFC 5681 section 2
  TcpScript s = TcpScript::established({.sack = false});
  s.at(0ms).app_writes(4000).expect(segs(1, 4001));
  for (uint32_t i = 0; i < 5; ++i)
    s.at(20ms + i * 1ms).inject(seg(1 + 10 * i, 11 + 10 * i).ack(1)).take_sent();
  EXPECT_EQ(s.conn().recovery, tcp::Recovery::kOpen);
}

TEST(FastRetransmit, WindowUpdatesAreNoDuplicates) {
  TcpScript s = TcpScript::established({.sack = false});
  s.at(0ms).app_writes(4000).expect(segs(1, 4001));
  for (uint32_t i = 1; i < 5; ++i)
    s.at(20ms + i * 1ms).inject(ack(1).win(60'000 + i)).expect_silence();
}

TEST(NewReno, PartialAcknowledgementUncoversTheNextHole) {  // RFC 6582 section 3.2
  TcpScript s = TcpScript::established({.sack = false, .cwnd = 10'000});
  s.at(0ms).app_writes(6000).expect(segs(1, 6001));  // 1 and 3001 are lost
  s.at(20ms).inject(ack(1)).expect_silence();
  s.at(21ms).inject(ack(1)).expect_silence();
  s.at(22ms).inject(ack(1)).expect(seg(1, 1001));
  s.at(23ms).inject(ack(1)).expect_silence();
  s.at(42ms).inject(ack(3001)).expect(seg(3001, 4001));
  EXPECT_EQ(s.conn().recovery, tcp::Recovery::kFast);
  s.at(62ms).inject(ack(6001)).expect_silence();
  EXPECT_EQ(s.conn().recovery, tcp::Recovery::kOpen);
  EXPECT_EQ(s.worker().stats.fast_recoveries, 1u);
}

TEST(LimitedTransmit, FirstTwoDuplicatesLetNewSegmentsOut) {  // RFC 3042
  for (const bool sack : {false, true}) {
    TcpScript s = TcpScript::established({.sack = sack, .cwnd = 4000});
    s.at(0ms).app_writes(9000).expect(segs(1, 4001));
    auto dup = [&](uint32_t to) { return sack ? ack(1).sack(1001, to) : ack(1); };
    s.at(20ms).inject(dup(2001)).expect(seg(4001, 5001));
    s.at(21ms).inject(dup(3001)).expect(seg(5001, 6001));
    s.at(22ms).inject(dup(4001)).expect(seg(1, 1001));
  }
}

TEST(Sack, EveryHoleIsFilledOnce) {  // RFC 6675 section 5
  TcpScript s = TcpScript::established({.cwnd = 10'000});
  s.at(0ms).app_writes(10'000).expect(segs(1, 10'001));  // 1, 3001 and 5001 are lost
  s.at(20ms).inject(ack(1).sack(1001, 3001)).expect_silence();
  s.at(21ms).inject(ack(1).sack(3001 + 1000, 5001).sack(1001, 3001)).expect(seg(1, 1001));
  s.at(22ms)
      .inject(ack(1).sack(6001, 8001).sack(4001, 5001).sack(1001, 3001))
      .expect(seg(3001, 4001));
  s.at(23ms)
      .inject(ack(1).sack(6001, 10'001).sack(4001, 5001).sack(1001, 3001))
      .expect(seg(5001, 6001));
  s.at(40ms).inject(ack(3001).sack(4001, 5001).sack(6001, 10'001)).expect_silence();
  s.at(41ms).inject(ack(5001).sack(6001, 10'001)).expect_silence();
  s.at(42ms).inject(ack(10'001)).expect_silence();
  EXPECT_EQ(s.counter("tcp4-output/fast-retransmit"), 3u);
  EXPECT_EQ(s.conn().cc->cwnd, 5000u);
  EXPECT_EQ(s.worker().scoreboards.size(), 0u) << "given back";
}

TEST(Sack, BlocksThatMakeNoSenseAreIgnored) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(4000).expect(segs(1, 4001));
  s.at(20ms).inject(ack(1).sack(2001, 1001)).expect_silence();       // ends before it begins
  s.at(21ms).inject(ack(1).sack(1001, 900'000)).expect_silence();    // never sent
  s.at(22ms).inject(ack(1).sack(0 - 5000u, 1)).expect_silence();     // old
  s.at(23ms).inject(ack(1).sack(0 - 5000u, 3001)).expect_silence();  // straddles snd_una
  EXPECT_EQ(s.worker().scoreboards.size(), s.conn().sack ? 1u : 0u);
  EXPECT_EQ(s.conn().recovery, tcp::Recovery::kOpen);
}

TEST(Sack, PeerThatRenegesGetsEverythingAgain) {  // RFC 2018 section 8
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(3000).expect(segs(1, 3001));
  s.at(20ms).inject(ack(1).sack(1001, 3001)).expect_silence();
  s.at(21ms).inject(ack(1001)).expect_silence();  // and what was SACKed behind it?
  s.at(221ms).expect(seg(1001, 2001));
  EXPECT_EQ(s.worker().stats.reneged, 1u);
  s.at(241ms).inject(ack(2001)).expect(seg(2001, 3001));
  s.at(261ms).inject(ack(3001)).expect_silence();
}

TEST(Recovery, ReductionIsProportional) {  // RFC 6937: half as many out as are delivered
  TcpScript s = TcpScript::established({.cwnd = 20'000});
  s.at(0ms).app_writes(40'000).expect(segs(1, 20'001));
  s.at(20ms).inject(ack(1).sack(1001, 4001)).take_sent();  // limited transmit, then recovery
  uint32_t out = 0;
  for (uint32_t to = 5001; to <= 20'001; to += 1000)
    for (const auto& p : s.at(20ms + std::chrono::milliseconds(to / 1000))
                             .inject(ack(1).sack(1001, to))
                             .take_sent())
      out += p.length;
  EXPECT_NEAR(out, 16'000 / 2, 2000);
  EXPECT_EQ(s.conn().cc->ssthresh, 10'000u);
}

TEST(Rto, BacksOffAndKeepsSsthresh) {  // RFC 6298 section 5.5, RFC 5681 section 3.1
  TcpScript s = TcpScript::established({.cwnd = 8000});
  s.at(0ms).app_writes(8000).expect(segs(1, 8001));
  s.at(200ms).expect(seg(1, 1001));
  EXPECT_EQ(s.conn().cc->ssthresh, 4000u);
  EXPECT_EQ(s.conn().cc->cwnd, 1000u);
  s.at(600ms).expect(seg(1, 1001));
  s.at(1400ms).expect(seg(1, 1001));
  EXPECT_EQ(s.conn().cc->ssthresh, 4000u) << "only the first timeout of a segment";
  EXPECT_EQ(s.counter("tcp4-output/retransmit"), 3u);
  // Slow start through what was lost.
  s.at(1420ms).inject(ack(1001)).expect(segs(1001, 3001));
  s.at(1440ms).inject(ack(3001)).expect(segs(3001, 7001));
  s.at(1460ms).inject(ack(8001)).expect_silence();
  EXPECT_EQ(s.conn().recovery, tcp::Recovery::kOpen);
}

TEST(Rto, FollowsTheEstimator) {  // RFC 6298 section 2, by hand
  TcpScript s = TcpScript::established();
  EXPECT_EQ(s.conn().rtt.srtt(), 20 * kMillisecond);
  EXPECT_EQ(s.conn().rtt.rttvar(), 10 * kMillisecond);
  s.at(0ms).app_writes(1000).expect(seg(1, 1001));
  s.at(100ms).inject(ack(1001)).expect_silence();
  EXPECT_EQ(s.conn().rtt.rttvar(), 27'500'000);  // 3/4 x 10 + 1/4 x |20 - 100|
  EXPECT_EQ(s.conn().rtt.srtt(), 30'000'000);    // 7/8 x 20 + 1/8 x 100
  EXPECT_EQ(s.conn().rtt.rto(), 200'000'000);    // 30 + 4 x 27.5 = 140, at least 200
}

TEST(Rto, RetransmittedSegmentsAreNotTimed) {  // Karn; RFC 6298 section 3
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(1000).expect(seg(1, 1001));
  s.at(200ms).expect(seg(1, 1001));
  s.at(210ms).inject(ack(1001)).expect_silence();
  EXPECT_EQ(s.conn().rtt.srtt(), 20 * kMillisecond);
}

TEST(Rto, TimestampsTimeRetransmissionsToo) {  // RFC 7323 section 4
  TcpScript s = TcpScript::established({.mss = 1012, .timestamps = true});
  s.at(0ms).app_writes(1000).expect(seg(1, 1001));
  s.at(200ms).expect(seg(1, 1001));
  s.at(280ms).inject(ack(1001)).expect_silence();
  EXPECT_EQ(s.conn().rtt.srtt(), 27'500'000);  // 7/8 x 20 + 1/8 x 80
}

TEST(Rto, IsRestartedByAcknowledgementsOfNewData) {  // RFC 6298 section 5.3
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(2000).expect(segs(1, 2001));
  s.at(150ms).inject(ack(1001)).expect_silence();
  const TimeNs rto = s.conn().rtt.rto();
  s.by(150ms + std::chrono::nanoseconds(rto + kTimerTick)).expect(seg(1001, 2001));
}

TEST(Rto, GivesUpAfterR2) {  // RFC 9293 section 3.8.3
  TcpScript s = TcpScript::established({.config = "max-retransmits 3"});
  s.at(0ms).app_writes(10).expect(seg(1, 11));
  s.at(200ms).expect(seg(1, 11));
  s.at(600ms).expect(seg(1, 11));
  s.at(1400ms).expect(seg(1, 11));
  s.at(3000ms).expect(rst_ack(11));
  EXPECT_EQ(s.session().reset, ResetReason::kTimedOut);
  s.expect_all_gone();
}

TEST(Rto, UserTimeoutEndsItEarlier) {  // RFC 5482
  TcpScript s =
      TcpScript::established({.socket = {.nodelay = true, .user_timeout = 500 * kMillisecond}});
  s.at(0ms).app_writes(10).expect(seg(1, 11));
  s.at(200ms).expect(seg(1, 11));
  s.at(500ms).expect(rst_ack(11));
  EXPECT_EQ(s.session().reset, ResetReason::kTimedOut);
}

TEST(Rto, FinIsRetransmitted) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_closes().expect(fin(1));
  s.at(200ms).expect(fin(1));
  s.at(220ms).inject(ack(2)).expect_silence();
  EXPECT_EQ(s.conn().state, tcp::State::kFinWait2);
}

TEST(Rto, TailAndFinGoTogether) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(500).app_closes();
  s.expect(seg(1, 501)).expect(fin(501));
  s.at(200ms).expect(seg(1, 501).fin());
  s.at(220ms).inject(ack(502)).expect_silence();
}

TEST(Rto, NoBuffersIsNotTheEnd) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(1000).expect(seg(1, 1001));
  s.host().allocs_left = 0;
  s.at(200ms).expect_silence();
  EXPECT_EQ(s.worker().stats.no_buffer, 1u);
  s.host().allocs_left = ~0u;
  s.at(600ms).expect(seg(1, 1001));
}

// Karn's algorithm (RFC 6298 section 5.7, RFC 9293 section 3.8.1). The round trip is longer than
// the timeout, and there are no timestamps to tell so: only what is sent once can be timed, and it
// is sent once only while the timeout stays backed off.
TEST(Rto, StaysBackedOffUntilSomethingSentOnceIsTimed) {
  TcpScript s = TcpScript::established();
  s.at(0ms).app_writes(1000).expect(seg(1, 1001));
  s.at(200ms).expect(seg(1, 1001));
  s.at(600ms).expect(seg(1, 1001));
  s.at(700ms).inject(ack(1001)).expect_silence();  // a round trip of 700 ms
  s.app_writes(1000).expect(seg(1001, 2001));
  s.at(1400ms).inject(ack(2001)).expect_silence();  // 200 ms x 4 have not passed
  EXPECT_EQ(s.conn().backoff, 0u);
  EXPECT_EQ(s.conn().rtt.srtt(), 105 * kMillisecond);  // 7/8 x 20 + 1/8 x 700
}

TEST(Rto, ProgressBeginsR2Again) {  // RFC 9293 section 3.8.3: R2 counts one segment's
  TcpScript s = TcpScript::established({.config = "max-retransmits 3"});
  s.at(0ms).app_writes(3000).expect(segs(1, 3001));
  s.at(200ms).expect(seg(1, 1001));
  s.at(600ms).expect(seg(1, 1001));
  s.at(1400ms).expect(seg(1, 1001));
  s.at(1420ms).inject(ack(1001)).expect(segs(1001, 3001));
  s.by(5s).take_sent();
  EXPECT_FALSE(s.session().reset);
}

TEST(Rto, LossOfAnotherSegmentReducesAgain) {  // RFC 5681 section 3.1: once for a segment
  TcpScript s = TcpScript::established({.cwnd = 16'000});
  s.at(0ms).app_writes(16'000).expect(segs(1, 16'001));
  s.at(200ms).expect(seg(1, 1001));
  EXPECT_EQ(s.conn().cc->ssthresh, 8000u);
  s.at(220ms).inject(ack(8001)).take_sent();
  s.by(5s).take_sent();  // and 8001, which had not been retransmitted by the timer
  EXPECT_EQ(s.conn().cc->ssthresh, 4000u);
}

TEST(Rto, PeerThatShrinksItsWindowToNothingIsNotGivenUp) {  // RFC 9293 section 3.8.6.1
  TcpScript s = TcpScript::established({.config = "max-retransmits 3"});
  s.at(0ms).app_writes(2000).expect(segs(1, 2001));
  for (int i = 1; i < 120; ++i) {
    s.by(std::chrono::seconds(i)).take_sent();
    s.inject(ack(1).win(0)).take_sent();
  }
  EXPECT_FALSE(s.session().reset);
}

TEST(Sack, FirstBlockAfterATimeoutResendsNothingTwice) {  // HighRxt of RFC 6675 section 2
  TcpScript s = TcpScript::established({.cwnd = 8000});
  s.at(0ms).app_writes(8000).expect(segs(1, 8001));
  s.at(200ms).expect(seg(1, 1001));
  s.at(220ms).inject(ack(1001)).expect(segs(1001, 3001));
  // 2001 has arrived, 1001 is still on its way: the window of 2000 has room for one more.
  s.at(240ms).inject(ack(1001).sack(2001, 3001)).expect(seg(3001, 4001));
}

TEST(FastRetransmit, LimitedTransmitDoesNotRaiseSsthresh) {  // RFC 5681 section 3.2 step 2
  for (const bool sack : {false, true}) {
    TcpScript s = TcpScript::established({.sack = sack, .cwnd = 8000});
    s.at(0ms).app_writes(12'000).expect(segs(1, 8001));
    auto dup = [&](uint32_t to) { return sack ? ack(1).sack(1001, to) : ack(1); };
    s.at(20ms).inject(dup(2001)).expect(seg(8001, 9001));
    s.at(21ms).inject(dup(3001)).expect(seg(9001, 10'001));
    s.at(22ms).inject(dup(4001)).expect(seg(1, 1001));
    EXPECT_EQ(s.conn().cc->ssthresh, 4000u);  // half of 8000, not of 10000
  }
}

}  // namespace
}  // namespace loom::script
