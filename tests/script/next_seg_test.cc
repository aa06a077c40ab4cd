// What is sent in fast recovery when nothing is known to be lost and nothing new is left to say:
// rules 3 and 4 of RFC 6675's NextSeg, with Proportional Rate Reduction (RFC 6937) for how much.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

// Ten segments, a window of ten. The first is lost, three are SACKed at once: recovery begins.
//   ssthresh = 10000 / 2; pipe = 10000 - 3000 SACKed - 1000 lost = 6000
//   PRR: ceil(3000 x 5000 / 10000) = 1500 may be sent: one segment.
TcpScript in_recovery(ScriptOptions options = {}) {
  options.cwnd = 10'000;
  TcpScript s = TcpScript::established(options);
  s.at(0ms).app_writes(10'000).expect(segs(1, 10'001));
  s.at(20ms).inject(ack(1).sack(1001, 4001)).expect(seg(1, 1001));
  EXPECT_EQ(s.conn().cc->ssthresh, 5000u);
  return s;
}

TEST(NextSeg, HoleThatIsNotLostByCountIsFilledWhenNothingNewWaits) {  // rule 3
  TcpScript s = in_recovery();
  // 8001 is missing too, but a single segment above it is not DupThresh.
  //   pipe = 1000 (first segment, again) + 1000 (8001, not lost) = 2000, below ssthresh
  //   slow start reduction bound: min(5000 - 2000, max(8000 - 1000, 5000) + 1000) = 3000
  s.at(21ms).inject(ack(1).sack(9001, 10'001).sack(1001, 8001)).expect(seg(8001, 9001));
  EXPECT_EQ(s.conn().high_rxt.raw() - s.conn().iss.raw(), 9001u);
  // Nor is it rescued: it has just been sent.
  s.expect_silence();
  s.at(41ms).inject(ack(8001).sack(9001, 10'001)).expect_silence();
  s.at(42ms).inject(ack(10'001)).expect_silence();
  EXPECT_EQ(s.conn().recovery, tcp::Recovery::kOpen);
  EXPECT_EQ(s.worker().stats.timeouts, 0u);
}

TEST(NextSeg, NewDataComesBeforeThatHole) {  // rule 2
  TcpScript s = in_recovery();
  s.app_writes(2000).expect_silence();  // 500 bytes of cwnd are left, no segment
  // As above, 3000 may be sent: two new segments, and then the hole.
  s.at(21ms)
      .inject(ack(1).sack(9001, 10'001).sack(1001, 8001))
      .expect(segs(10'001, 12'001))
      .expect(seg(8001, 9001));
}

TEST(NextSeg, HoleIsFilledWhenThePeersWindowTakesNothingNew) {  // rule 2's second condition
  TcpScript s = in_recovery({.window = 10'000});
  s.app_writes(2000).expect_silence();
  s.at(21ms).inject(ack(1).sack(9001, 10'001).sack(1001, 8001)).expect(seg(8001, 9001));
}

TEST(NextSeg, LostTailIsRescuedOnceInARecovery) {  // rule 4
  TcpScript s = in_recovery();  // 8001 and 9001 are lost as well: no SACK will ever say so
  //   pipe = 10000 - 5000 - 1000 + 1000 = 5000 = ssthresh: nothing
  s.at(21ms).inject(ack(1).sack(1001, 6001)).expect_silence();
  //   pipe = 3000; min(5000 - 3000, max(7000 - 1000, 2000) + 1000) = 2000, but one segment only
  s.at(22ms).inject(ack(1).sack(1001, 8001)).expect(seg(9001, 10'001));
  EXPECT_EQ(s.conn().high_rxt.raw() - s.conn().iss.raw(), 1001u) << "HighRxt is not updated";
  EXPECT_TRUE(s.conn().has(tcp::kRescued));
  s.at(40ms).inject(ack(8001)).expect_silence();
  // The rescued one arrives and uncovers the hole before it, which rule 3 fills: no timeout.
  s.at(42ms).inject(ack(8001).sack(9001, 10'001)).expect(seg(8001, 9001));
  s.at(62ms).inject(ack(10'001)).expect_silence();
  EXPECT_EQ(s.worker().stats.timeouts, 0u);
  EXPECT_EQ(s.counter("tcp4-output/fast-retransmit"), 3u);
  EXPECT_EQ(s.conn().cc->cwnd, 5000u);
}

TEST(NextSeg, EachRecoveryMayRescue) {
  TcpScript s = in_recovery();
  s.at(22ms).inject(ack(1).sack(1001, 8001)).expect(seg(9001, 10'001));
  s.at(42ms).inject(ack(10'001)).expect_silence();
  EXPECT_EQ(s.conn().recovery, tcp::Recovery::kOpen);
  // Five segments, the first and the last are lost. ssthresh = 2500.
  //   pipe = 5000 - 3000 - 1000 = 1000; min(2500 - 1000, 3000 + 1000) = 1500: the first
  //   then nothing is left for a second segment: 1500 - 1000 = 500
  s.app_writes(5000).expect(segs(10'001, 15'001));
  s.at(62ms).inject(ack(10'001).sack(11'001, 14'001)).expect(seg(10'001, 11'001));
  EXPECT_FALSE(s.conn().has(tcp::kRescued));
  //   the first arrives: pipe = 1000; min(2500 - 1000, max(4000 - 1000, 1000) + 1000) = 1500
  s.at(82ms).inject(ack(14'001)).expect(seg(14'001, 15'001));
  s.at(102ms).inject(ack(15'001)).expect_silence();
  EXPECT_EQ(s.worker().stats.timeouts, 0u);
}

TEST(NextSeg, RescueTakesTheFinAlong) {
  TcpScript s = TcpScript::established({.cwnd = 10'000});
  s.at(0ms).app_writes(5000).expect(segs(1, 5001));
  s.app_closes().expect(fin(5001));
  // FlightSize 5001: ssthresh = 2500. pipe = 5001 - 3000 - 1000 = 1001.
  //   min(2500 - 1001, 3000 + 1000) = 1499: one segment
  s.at(20ms).inject(ack(1).sack(1001, 4001)).expect(seg(1, 1001));
  //   pipe = 1001; min(1499, max(4000 - 1000, 1000) + 1000) = 1499: one segment, its last byte FIN
  s.at(40ms).inject(ack(4001)).expect(seg(4002, 5001).fin());
  s.at(60ms).inject(ack(5002)).expect_silence();
  EXPECT_EQ(s.conn().state, tcp::State::kFinWait2);
}

TEST(NextSeg, WithoutSackThereIsNothingToGoBy) {
  TcpScript s = TcpScript::established({.sack = false, .cwnd = 10'000});
  s.at(0ms).app_writes(6000).expect(segs(1, 6001));
  for (int i = 0; i < 2; ++i) s.at(20ms + i * 1ms).inject(ack(1)).expect_silence();
  s.at(22ms).inject(ack(1)).expect(seg(1, 1001));
  for (int i = 0; i < 2; ++i) s.at(23ms + i * 1ms).inject(ack(1)).expect_silence();
}

}  // namespace
}  // namespace loom::script
