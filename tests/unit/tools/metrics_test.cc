// Names, labels and shape of the exposition format.
#include "metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loom {
namespace {

using stats::EntryType;
using testing::HasSubstr;
using testing::Not;

StatsValue scalar(std::string name, uint64_t v) {
  StatsValue s;
  s.name = std::move(name);
  s.type = EntryType::kScalar;
  s.scalar = v;
  return s;
}
StatsValue simple(std::string name, std::vector<std::vector<uint64_t>> rows, bool link = false) {
  StatsValue s;
  s.name = std::move(name);
  s.type = EntryType::kSimple;
  s.is_symlink = link;
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

TEST(Metrics, NodesInterfacesAndWorkersAreLabels) {
  StatsValue rx;
  rx.name = "/if/rx";
  rx.type = EntryType::kCombined;
  rx.combined = {{{1, 100}, {2, 200}}, {{3, 300}, {4, 400}}};
  const std::vector<StatsValue> all{simple("/sys/node/calls", {{5, 6}, {7, 8}}),
                                    names("/sys/node/names", {"ip4-input", "drop"}),
                                    rx,
                                    simple("/if/drops", {{0, 9}, {0, 0}}),
                                    simple("/if/rx-error", {{0, 1}, {0, 0}}),
                                    names("/if/names", {"deleted", "tap0"}),
                                    simple("/err/ip4-input/bad-length", {{3}, {4}}, true)};
  const std::string text = prometheus_text(all);
  EXPECT_THAT(text, HasSubstr("# TYPE hostloom_node_calls_total counter\n"
                              "hostloom_node_calls_total{node=\"ip4-input\",worker=\"0\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("hostloom_node_calls_total{node=\"drop\",worker=\"1\"} 8\n"));
  EXPECT_THAT(
      text, HasSubstr("hostloom_interface_rx_bytes_total{interface=\"tap0\",worker=\"1\"} 400\n"));
  EXPECT_THAT(text,
              HasSubstr("hostloom_interface_drops_total{interface=\"tap0\",worker=\"0\"} 9\n"));
  EXPECT_THAT(text,
              HasSubstr("hostloom_interface_rx_errors_total{interface=\"tap0\",worker=\"0\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("deleted")));
  EXPECT_THAT(text,
              HasSubstr("hostloom_node_counter_total{node=\"ip4-input\",counter=\"bad-length\","
                        "worker=\"1\"} 4\n"));
}

TEST(Metrics, GaugesCountersAndUnits) {
  const std::vector<StatsValue> all{scalar("/sys/heartbeat", 12),
                                    scalar("/sys/tcp/time-wait", 3),
                                    simple("/sys/tcp/active-opens", {{4}, {5}}),
                                    simple("/sys/asleep_ns_per_worker", {{1'500'000'000}}),
                                    simple("/sys/loops_per_worker", {{20}}),
                                    simple("/sys/session/sessions_per_worker", {{2, 1}}),
                                    simple("/mem/main heap/used", {{4096}}, true),
                                    scalar("/buffer-pools/default-numa-0/cached", 7)};
  const std::string text = prometheus_text(all);
  for (const char* line :
       {"hostloom_up 1\n", "# TYPE hostloom_stats_updates_total counter\n",
        "# TYPE hostloom_tcp_time_wait gauge\nhostloom_tcp_time_wait 3\n",
        "# TYPE hostloom_tcp_active_opens_total counter\n",
        "hostloom_tcp_active_opens_total{worker=\"1\"} 5\n",
        "hostloom_worker_asleep_seconds_total{worker=\"0\"} 1.500000000\n",
        "# TYPE hostloom_worker_loops gauge\n", "hostloom_sessions{worker=\"1\"} 1\n",
        "hostloom_memory_used_bytes{heap=\"main heap\"} 4096\n",
        "hostloom_buffers_cached{pool=\"default-numa-0\"} 7\n"})
    EXPECT_THAT(text, HasSubstr(line));
}

TEST(Metrics, WhatADaemonMayCallItsThingsCannotBreakALine) {
  const std::vector<StatsValue> all{simple("/if/drops", {{1}}),
                                    names("/if/names", {"a\"b\\c\nd\x01\xff"}),
                                    simple("/sys/{odd} name\n", {{2}})};
  const std::string text = prometheus_text(all);
  EXPECT_THAT(text, HasSubstr("interface=\"a\\\"b\\\\c_d__\",worker=\"0\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nhostloom__odd__name__total{worker=\"0\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("# HELP hostloom__odd__name__total Statistic /sys/{odd} name_.\n"));
}

TEST(Metrics, NoDaemonIsDown) { EXPECT_THAT(prometheus_down(), HasSubstr("\nhostloom_up 0\n")); }

}  // namespace
}  // namespace loom
