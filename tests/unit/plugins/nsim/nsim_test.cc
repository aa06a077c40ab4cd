// What the simulated link does to packets, in virtual time.
#include <numeric>

#include "nsim_host.h"

namespace loom::nsim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<uint32_t> from_to(uint32_t first, uint32_t end) {
  std::vector<uint32_t> v(end - first);
  std::iota(v.begin(), v.end(), first);
  return v;
}

TEST(Nsim, PacketsWaitForTheDelayAndKeepTheirOrder) {
  NsimHost n;
  n.set("delay 20 ms bandwidth 1 gbit");
  n.enable();
  n.send(0, 300);  // more than a frame
  n.h.pass(5 * kMillisecond);
  n.send(300, 2);
  n.h.pass(15 * kMillisecond - kTimerTick);
  EXPECT_THAT(n.left(), IsEmpty());
  n.h.pass(2 * kTimerTick);
  EXPECT_EQ(n.left(), from_to(0, 300));
  n.h.pass(5 * kMillisecond);
  EXPECT_EQ(n.left(), from_to(300, 302));
  EXPECT_EQ(n.counter("delayed"), 302u);
}

TEST(Nsim, NoTimerRunsWhileNothingWaits) {
  NsimHost n;
  const auto idle = n.h.engine->next_deadline(0);
  n.set("delay 20 ms bandwidth 1 gbit");
  n.enable();
  n.h.run();
  EXPECT_EQ(n.h.engine->next_deadline(0), idle);
  n.send(0, 1);
  EXPECT_NE(n.h.engine->next_deadline(0), idle);
  EXPECT_EQ(n.h.engine->step(), 0u);  // nor is a packet that waits any work
  n.h.pass(21 * kMillisecond);
  EXPECT_EQ(n.h.engine->next_deadline(0), idle);
}

TEST(Nsim, EnabledByOthersBeforeItIsConfiguredItPassesPacketsOn) {
  NsimHost n;
  must(n.h.host().enable_feature(kArc, kOutputNode.name, n.device->index, true));
  n.send(0, 2);
  EXPECT_THAT(n.left(), SizeIs(2));
}

TEST(Nsim, AnotherInterfaceIsNotDelayed) {
  NsimHost n;
  n.set("delay 20 ms bandwidth 1 gbit");
  FakeDevice& other = n.h.add_device({"10.0.1.1/24"});
  n.h.ok("nsim output-feature enable-disable fake1");
  n.send(0, 3);
  EXPECT_THAT(n.left(), SizeIs(3));
  EXPECT_THAT(other.sent, IsEmpty());
}

TEST(Nsim, MoreThanBandwidthTimesDelayIsLost) {
  NsimHost n;
  n.set("delay 10 ms bandwidth 12 mbit packet-size 1500");  // 15 000 bytes under way: ten packets
  n.enable();
  n.send(0, 12, 1514);
  EXPECT_EQ(n.counter("overflow"), 2u);
  n.h.pass(11 * kMillisecond);
  EXPECT_EQ(n.left(), from_to(0, 10));
  n.send(12, 9, 1514);  // round the ring's end
  n.h.pass(11 * kMillisecond);
  EXPECT_EQ(n.left(), from_to(12, 21));
  EXPECT_EQ(n.counter("overflow"), 2u);
}

TEST(Nsim, APacketThatTheDeviceCutsTakesThePlacesOfItsSegments) {
  NsimHost n;
  n.set("delay 10 ms bandwidth 12 mbit packet-size 1500");
  n.enable();
  n.send(0, 4, 4'500);  // three places each
  EXPECT_EQ(n.counter("delayed"), 3u);
  n.send(4, 2, 64);  // one is left
  EXPECT_EQ(n.counter("delayed"), 4u);
  EXPECT_EQ(n.counter("overflow"), 2u);
  n.h.pass(11 * kMillisecond);
  EXPECT_THAT(n.left(), ElementsAre(0, 1, 2, 4));
  n.send(6, 2, 30'000);  // longer than the link: alone on it
  n.h.pass(11 * kMillisecond);
  EXPECT_THAT(n.left(), ElementsAre(6));
}

TEST(Nsim, APacketTakesASecondPlaceFromOneAndAHalfSizesOn) {
  const auto delayed = [](const std::string& size, uint32_t length) {
    NsimHost n;
    n.set("delay 8 ms bandwidth 3 mbit packet-size " + size);  // 3000 bytes under way
    n.enable();
    n.send(0, 3, length);
    return n.counter("delayed");
  };
  EXPECT_EQ(delayed("1500", 2249), 2u);
  EXPECT_EQ(delayed("1500", 2250), 1u);
  EXPECT_EQ(delayed("1499", 2248), 3u);  // 2.001 places are three
  EXPECT_EQ(delayed("1499", 2249), 1u);  // two places each: one is left
}

TEST(Nsim, LossIsByChanceAndRepeatable) {
  const auto survivors = [](const std::string& words) {
    NsimHost n;
    n.set("delay 1 ms bandwidth 1 gbit " + words);
    n.enable();
    std::vector<uint32_t> all;
    for (uint32_t i = 0; i < 4000; i += 50) {
      n.send(i, 50);
      n.h.pass(2 * kMillisecond);
      const auto some = n.left();
      all.insert(all.end(), some.begin(), some.end());
    }
    EXPECT_EQ(n.counter("delayed"), all.size());
    EXPECT_EQ(n.counter("dropped"), 4000 - all.size());
    EXPECT_EQ(n.h.counter("drop/dropped"), 4000 - all.size());
    return all;
  };
  const auto first = survivors("drop-fraction 0.25 seed 7");
  EXPECT_NEAR(static_cast<double>(first.size()), 3000, 150);  // 5.5 standard deviations of 27.4
  EXPECT_EQ(survivors("packets-per-drop 4 seed 7"), first);
  EXPECT_NE(survivors("drop-fraction 0.25 seed 8"), first);
  EXPECT_THAT(survivors("drop-fraction 1"), IsEmpty());
  EXPECT_THAT(survivors("drop-fraction 0"), SizeIs(4000));
}

TEST(Nsim, ReorderedPacketsOvertakeThoseThatWait) {
  NsimHost n;
  n.set("delay 10 ms bandwidth 1 gbit packets-per-reorder 10 seed 1");
  n.enable();
  n.send(0, 200);
  const auto early = n.left();
  EXPECT_EQ(n.counter("reordered"), early.size());
  EXPECT_NEAR(static_cast<double>(early.size()), 20, 17);
  EXPECT_FALSE(early.empty());
  n.h.pass(11 * kMillisecond);
  auto all = n.left();
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  EXPECT_NE(all, from_to(0, 200));
  all.insert(all.end(), early.begin(), early.end());
  EXPECT_THAT(all, testing::UnorderedElementsAreArray(from_to(0, 200)));
}

TEST(Nsim, WhatWaitsGoesOnWhenItIsConfiguredAnew) {
  NsimHost n;
  n.set("delay 10 s bandwidth 1 mbit");
  n.enable();
  n.send(0, 300);
  n.h.pass(kSecond);
  EXPECT_THAT(n.left(), IsEmpty());
  n.set("delay 1 ms bandwidth 1 gbit");
  EXPECT_EQ(n.left(), from_to(0, 300));
  n.send(300, 1);
  n.h.pass(2 * kMillisecond);
  EXPECT_THAT(n.left(), ElementsAre(300));
}

TEST(Nsim, DisabledWhatWaitsStillTakesItsTime) {
  NsimHost n;
  n.set("delay 10 ms bandwidth 1 gbit");
  n.enable();
  n.send(0, 2);
  n.enable(" disable");
  n.send(2, 1);
  EXPECT_THAT(n.left(), ElementsAre(2));
  n.h.pass(11 * kMillisecond);
  EXPECT_THAT(n.left(), ElementsAre(0, 1));
}

TEST(Nsim, AnInterfaceMayGoWhilePacketsWaitForIt) {
  NsimHost n;
  n.set("delay 10 ms bandwidth 1 gbit");
  n.enable();
  n.send(0, 5);
  (void)n.h.host().remove_interface(n.device->index);
  n.h.pass(11 * kMillisecond);
  EXPECT_EQ(n.h.counter("interface-tx/no-interface"), 5u);
  EXPECT_THAT(n.h.ok("show nsim"), testing::HasSubstr("none"));
}

TEST(Nsim, WhatWaitsIsFreedWhenTheDaemonGoesDown) {  // NetHost looks for leaks
  NsimHost n;
  n.set("delay 10 ms bandwidth 1 gbit");
  n.enable();
  n.send(0, 5);
}

TEST(Nsim, WorkersShareTheBandwidth) {
  NsimHost n(2);
  n.set("delay 10 ms bandwidth 12 mbit packet-size 1500");  // ten places, five a worker
  n.enable();
  n.send(0, 6, 1500, 0);
  n.send(6, 4, 1500, 1);
  EXPECT_EQ(n.counter("overflow"), 1u);
  n.h.pass(11 * kMillisecond);
  EXPECT_THAT(n.left(), testing::UnorderedElementsAre(0, 1, 2, 3, 4, 6, 7, 8, 9));
}

}  // namespace
}  // namespace loom::nsim
