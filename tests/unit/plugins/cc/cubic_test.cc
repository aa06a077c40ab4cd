// CUBIC against numbers worked out from RFC 9438's equations.
#include "cc-cubic/cubic.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cc_state.h"

namespace loom {
namespace {
const CcOps& kOps = cubic::kOps;

// Acknowledges a window a round trip of `rtt`, in segments, from `from` until `to`.
void run(CcState& s, TimeNs from, TimeNs to, TimeNs rtt) {
  for (TimeNs now = from; now < to;) {
    const uint32_t acks = s.cwnd / 1000;
    for (uint32_t i = 0; i < acks && now < to; ++i, now += rtt / acks) {
      AckSample a = ack_sample(1000, now);
      a.srtt = rtt;
      kOps.on_ack(s, a);
    }
  }
}

TEST(Cubic, DecreasesToSevenTenths) {  // section 4.6
  CcState s = cc_state(100'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 100'000, .is_timeout = false});
  EXPECT_EQ(s.ssthresh, 70'000u);
  EXPECT_EQ(s.cwnd, 70'000u);
}

TEST(Cubic, ReturnsToThePlateauAfterK) {  // equation (2): K = cbrt((100 - 70) / 0.4) = 4.217 s
  CcState s = cc_state(100'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 100'000, .is_timeout = false});
  const TimeNs k = from_seconds(std::cbrt(30 / 0.4));
  const TimeNs rtt = 200 * kMillisecond;  // long: the Reno-friendly region stays below
  run(s, kSecond, kSecond + k / 2, rtt);
  // W(K/2) = 100 - 0.4 x (K/2)^3 = 96.25 segments; the target looks one round trip ahead.
  EXPECT_NEAR(s.cwnd, 96'250, 1500);
  run(s, kSecond + k / 2, kSecond + k, rtt);
  EXPECT_NEAR(s.cwnd, 100'000, 500);
  run(s, kSecond + k, kSecond + 2 * k, rtt);  // convex: W(2K) = 130
  EXPECT_NEAR(s.cwnd, 130'000, 4000);
}

TEST(Cubic, IsNoSlowerThanRenoOnShortPaths) {  // section 4.3, alpha = 0.529
  CcState s = cc_state(20'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 20'000, .is_timeout = false});
  const TimeNs rtt = 10 * kMillisecond;
  run(s, kSecond, kSecond + 10 * rtt, rtt);
  EXPECT_NEAR(s.cwnd, 14'000 + 10 * 529, 600);
}

TEST(Cubic, ConvergesFastWhenThePlateauFalls) {  // section 4.7: w_max = cwnd x 0.85
  CcState s = cc_state(100'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 100'000, .is_timeout = false});
  kOps.on_congestion(s, {.now = 0, .in_flight = 70'000, .is_timeout = false});
  EXPECT_EQ(s.cwnd, 49'000u);
  const TimeNs rtt = 200 * kMillisecond;
  const TimeNs k = from_seconds(std::cbrt((59.5 - 49.0) / 0.4));
  run(s, kSecond, kSecond + k, rtt);
  EXPECT_NEAR(s.cwnd, 59'500, 700);
}

TEST(Cubic, TimeoutForgetsThePlateau) {  // section 4.8
  CcState s = cc_state(50'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 50'000, .is_timeout = true});
  EXPECT_EQ(s.cwnd, 1000u);
  EXPECT_EQ(s.ssthresh, 35'000u);
}

TEST(Cubic, GrowsByAtMostHalfARoundTrip) {  // section 4.2: target <= 1.5 cwnd
  CcState s = cc_state(10'000, 5000);
  AckSample a = ack_sample(1000, kSecond);
  kOps.on_ack(s, a);  // begins the epoch
  a.now += 100 * kSecond;
  const uint32_t before = s.cwnd;
  kOps.on_ack(s, a);
  EXPECT_LE(s.cwnd - before, 1000 / 2u + 1);
}

TEST(Cubic, KeepsFractionsNearThePlateau) {  // growth below a byte an ACK must add up
  CcState s = cc_state(2'000'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 2'000'000, .is_timeout = false});
  const TimeNs k = from_seconds(std::cbrt(600 / 0.4));
  run(s, kSecond, kSecond + k, 100 * kMillisecond);
  EXPECT_NEAR(s.cwnd, 2'000'000, 10'000);
}

TEST(Cubic, UnusedWindowEarnsNothing) {  // section 5.8
  CcState s = cc_state(10'000, 5000);
  kOps.on_ack(s, ack_sample(1000, kSecond, /*limited=*/false));
  EXPECT_EQ(s.cwnd, 10'000u);
}

TEST(Cubic, TimeOfAnUnusedWindowIsLeftOut) {  // section 4.2: t excludes it
  CcState s = cc_state(100'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 100'000, .is_timeout = false});
  const TimeNs rtt = 200 * kMillisecond;
  run(s, kSecond, 3 * kSecond, rtt);
  CcState busy = s;
  AckSample a = ack_sample(1000, 3 * kSecond);
  a.cwnd_limited = false;
  kOps.on_ack(s, a);
  run(busy, 3 * kSecond, 4 * kSecond, rtt);
  run(s, 63 * kSecond, 64 * kSecond, rtt);
  EXPECT_NEAR(s.cwnd, busy.cwnd, 10);
}

TEST(Cubic, IdleConnectionBeginsAnotherStage) {  // section 4.2, RFC 5681 section 4.1
  CcState s = cc_state(100'000);
  s.initial_cwnd = 10'000;
  kOps.on_congestion(s, {.now = 0, .in_flight = 100'000, .is_timeout = false});
  const TimeNs rtt = 200 * kMillisecond;
  run(s, kSecond, 2 * kSecond, rtt);
  ASSERT_TRUE(kOps.on_idle);
  kOps.on_idle(s, 60 * kSecond);
  EXPECT_EQ(s.cwnd, 10'000u);
  EXPECT_EQ(s.ssthresh, 70'000u);
  s.cwnd = 70'000;  // slow start has ended
  run(s, 62 * kSecond, 62 * kSecond + rtt, rtt);
  // A new stage begins 30 segments below the plateau: K = 4.217 s. The curve is looked up one round
  // trip ahead: from W(0.2) = 100 - 0.4 x 4.017^3 = 74.1 to W(0.4) = 77.8 within the first, and a
  // window of acknowledgements goes 1 - 1/e of the way there: 73.9.
  EXPECT_NEAR(s.cwnd, 73'900, 700);
}

TEST(Cubic, SpuriousEventIsUndone) {  // section 4.9
  CcState s = cc_state(80'000, 90'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 80'000, .is_timeout = true});
  kOps.on_undo(s);
  EXPECT_EQ(s.cwnd, 80'000u);
  EXPECT_EQ(s.ssthresh, 90'000u);
}

}  // namespace
}  // namespace loom
