// NewReno against RFC 5681.
#include "cc-newreno/newreno.h"

#include <gtest/gtest.h>

#include "cc_state.h"

namespace loom {
namespace {
const CcOps& kOps = newreno::kOps;

TEST(NewReno, SlowStartGrowsByWhatIsAcknowledged) {  // section 3.1, equation (2); RFC 3465, L = 2
  CcState s = cc_state(4000);
  kOps.on_ack(s, ack_sample(1000));
  EXPECT_EQ(s.cwnd, 5000u);
  kOps.on_ack(s, ack_sample(2000));
  EXPECT_EQ(s.cwnd, 7000u);
  kOps.on_ack(s, ack_sample(9000));
  EXPECT_EQ(s.cwnd, 9000u);
}

TEST(NewReno, SlowStartStopsAtSsthresh) {
  CcState s = cc_state(4000, 4500);
  kOps.on_ack(s, ack_sample(2000));
  EXPECT_EQ(s.cwnd, 4500u);
}

TEST(NewReno, CongestionAvoidanceAddsOneSegmentARoundTrip) {  // section 3.1
  CcState s = cc_state(10'000, 5000);
  for (int i = 0; i < 9; ++i) kOps.on_ack(s, ack_sample(1000));
  EXPECT_EQ(s.cwnd, 10'000u);
  kOps.on_ack(s, ack_sample(1000));
  EXPECT_EQ(s.cwnd, 11'000u);
}

TEST(NewReno, LossHalvesWhatIsInFlight) {  // equation (4)
  CcState s = cc_state(20'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 12'000, .is_timeout = false});
  EXPECT_EQ(s.ssthresh, 6000u);
  EXPECT_EQ(s.cwnd, 6000u);
  kOps.on_congestion(s, {.now = 0, .in_flight = 3000, .is_timeout = true});
  EXPECT_EQ(s.ssthresh, 2000u) << "at least two segments";
  EXPECT_EQ(s.cwnd, 1000u) << "loss window";
}

TEST(NewReno, UnusedWindowAndRecoveryEarnNothing) {
  CcState s = cc_state(10'000);
  kOps.on_ack(s, ack_sample(1000, 0, /*limited=*/false));
  AckSample a = ack_sample(1000);
  a.in_recovery = true;
  kOps.on_ack(s, a);
  EXPECT_EQ(s.cwnd, 10'000u);
}

TEST(NewReno, SpuriousEventIsUndone) {
  CcState s = cc_state(20'000, 30'000);
  kOps.on_congestion(s, {.now = 0, .in_flight = 12'000, .is_timeout = true});
  kOps.on_undo(s);
  EXPECT_EQ(s.cwnd, 20'000u);
  EXPECT_EQ(s.ssthresh, 30'000u);
}

}  // namespace
}  // namespace loom
