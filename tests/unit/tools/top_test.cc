// Rates of `loomctl top` from two readings.
#include "top_sample.h"
#include "top_sessions.h"

#include <gtest/gtest.h>

namespace loomctl {
namespace {

using loom::StatsValue;
using loom::stats::EntryType;

StatsValue scalar(std::string name, uint64_t v) {
  StatsValue s;
  s.name = std::move(name);
  s.type = EntryType::kScalar;
  s.scalar = v;
  return s;
}
StatsValue simple(std::string name, std::vector<std::vector<uint64_t>> rows) {
  StatsValue s;
  s.name = std::move(name);
  s.type = EntryType::kSimple;
  s.simple = std::move(rows);
  return s;
}
StatsValue names(std::string name, std::vector<std::string> list) {
  StatsValue s;
  s.name = std::move(name);
  s.type = EntryType::kNames;
  s.names = std::move(list);
  return s;
}

// After t seconds, with everything grown in proportion.
TopSample after(uint64_t t) {
  StatsValue rx;
  rx.name = "/if/rx";
  rx.type = EntryType::kCombined;
  rx.combined = {{{9, 9}, {100 * t, 1000 * t}}, {{9, 9}, {100 * t, 1000 * t}}};
  return top_sample(std::vector<StatsValue>{
      scalar("/sys/heartbeat", t), scalar("/sys/last_update_ns", t * 1'000'000'000),
      names("/sys/node/names", {"cheap", "dear", "idle"}),
      simple("/sys/node/calls", {{t, t, t}, {t, t, t}}),
      simple("/sys/node/vectors", {{10 * t, 5 * t, 0}, {10 * t, 5 * t, 0}}),
      simple("/sys/node/clocks", {{100 * t, 500 * t, t}, {100 * t, 500 * t, t}}),
      names("/if/names", {"deleted", "tap0"}), rx, simple("/if/drops", {{0, 3 * t}, {0, 0}}),
      simple("/sys/rounds_per_worker", {{100 * t, 0}}),
      simple("/sys/busy_rounds_per_worker", {{25 * t, 0}}),
      simple("/sys/asleep_ns_per_worker", {{500'000'000 * t, 0}}),
      simple("/sys/session/sessions_per_worker", {{4, 5}}), scalar("/sys/tcp/connections", 9),
      simple("/sys/tcp/active-opens", {{2 * t}, {4 * t}}),
      simple("/sys/tcp/timeouts", {{1}, {1}})});
}

TEST(Top, RatesByTheDaemonsClock) {
  const TopView v = top_view(after(10), after(12));
  EXPECT_DOUBLE_EQ(v.seconds, 2);
  ASSERT_EQ(v.nodes.size(), 2u);  // idle had no packets
  EXPECT_EQ(v.nodes[0].name, "dear");
  EXPECT_DOUBLE_EQ(v.nodes[0].clocks_per_packet, 100);
  EXPECT_DOUBLE_EQ(v.nodes[0].packets_s, 10);
  EXPECT_DOUBLE_EQ(v.nodes[1].packets_per_call, 10);
  ASSERT_EQ(v.interfaces.size(), 1u);
  EXPECT_DOUBLE_EQ(v.interfaces[0].rx_bits_s, 16'000);
  EXPECT_DOUBLE_EQ(v.interfaces[0].rx_packets_s, 200);
  EXPECT_DOUBLE_EQ(v.interfaces[0].drops_s, 3);
  ASSERT_EQ(v.workers.size(), 2u);
  EXPECT_DOUBLE_EQ(v.workers[0].busy_percent, 25);
  EXPECT_DOUBLE_EQ(v.workers[0].asleep_percent, 50);
  EXPECT_DOUBLE_EQ(v.workers[1].busy_percent, 0);
  EXPECT_EQ(v.workers[1].sessions, 5u);
  EXPECT_EQ(v.gauges.at("tcp/connections"), 9u);
  ASSERT_EQ(v.rates.size(), 1u);  // timeouts stood still
  EXPECT_EQ(v.rates[0].name, "tcp/active-opens");
  EXPECT_DOUBLE_EQ(v.rates[0].per_s, 6);
}

TEST(Top, WhatCameMeanwhileBeganAtZero) {
  TopSample before = after(1);
  before.nodes.clear();
  before.interfaces.clear();
  before.workers.clear();
  const TopView v = top_view(before, after(2));
  EXPECT_DOUBLE_EQ(v.nodes[1].packets_s, 40);
  EXPECT_DOUBLE_EQ(v.interfaces[0].rx_packets_s, 400);
  EXPECT_DOUBLE_EQ(v.workers[0].rounds_s, 200);
}

TEST(Top, NoTimeNoRates) {
  const TopView v = top_view(after(3), after(3));
  EXPECT_TRUE(v.nodes.empty());
  EXPECT_TRUE(v.rates.empty());
}

SessionsSample listing(int seconds, std::map<uint64_t, SessionsSample::Session> sessions) {
  return {std::chrono::steady_clock::time_point(std::chrono::seconds(seconds)),
          std::move(sessions)};
}

TEST(TopSessions, FastestFirstAndOnlyThoseThatMoved) {
  const auto before = listing(1, {{1, {"tcp", "a:1", "b:1", "x", 1000, 0}},
                                  {2, {"tcp", "a:1", "b:2", "x", 500, 500}},
                                  {3, {"tcp", "a:1", "b:3", "x", 7, 7}}});
  const auto now = listing(3, {{1, {"tcp", "a:1", "b:1", "x", 1000, 1000}},
                               {2, {"tcp", "a:1", "b:2", "x", 2500, 1500}},
                               {3, {"tcp", "a:1", "b:3", "x", 7, 7}}});
  const auto rates = session_rates(before, now);
  ASSERT_EQ(rates.size(), 2u);
  EXPECT_EQ(rates[0].handle, 2u);
  EXPECT_EQ(rates[0].rx_bits_s, 8000);
  EXPECT_EQ(rates[0].tx_bits_s, 4000);
  EXPECT_EQ(rates[1].handle, 1u);
  EXPECT_EQ(rates[1].rx_bits_s, 0);
  EXPECT_EQ(rates[1].tx_bits_s, 4000);
}

TEST(TopSessions, WhatCameInBetweenBeganAtZero) {
  const auto before = listing(0, {{1, {"tcp", "a:1", "b:1", "x", 1000, 1000}},
                                  {2, {"tcp", "a:1", "b:2", "x", 1000, 1000}}});
  const auto now =
      listing(1, {{1, {"tcp", "a:1", "b:9", "x", 3000, 1000}},  // the handle is used again
                  {2, {"tcp", "a:1", "b:2", "x", 10, 0}},       // so are both ends
                  {3, {"tcp", "a:1", "b:3", "x", 0, 5}}});
  const auto rates = session_rates(before, now);
  ASSERT_EQ(rates.size(), 3u);
  EXPECT_EQ(rates[0].rx_bits_s, 24000);
  EXPECT_EQ(rates[0].tx_bits_s, 8000);
  EXPECT_EQ(rates[1].rx_bits_s, 80);
  EXPECT_EQ(rates[2].tx_bits_s, 40);
}

TEST(TopSessions, NoTimeNoRates) {
  const auto same = listing(1, {{1, {"tcp", "a:1", "b:1", "x", 1, 1}}});
  EXPECT_TRUE(session_rates(same, same).empty());
}

}  // namespace
}  // namespace loomctl
