// The whole service over a real engine, IP layer and session layer, in virtual time: every subject
// appears under VPP's names, with the numbers that the core counts, and comes and goes with them.
#include "stats/stats_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "cli/tree.h"
#include "graph/engine.h"
#include "net/net.h"
#include "session/session_layer.h"
#include "stats/stats_reader.h"
#include "stats/stats_registry.h"
#include "transport/registry.h"

namespace loom {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

TimeNs g_now = kSecond;
TimeNs test_clock(void*) noexcept { return g_now; }

// Counts in each call what it was told to.
struct Pulse {
  uint64_t packets = 0;
};
Pulse g_pulse;
constexpr CounterInfo kPulseCounters[] = {{"good/one", Severity::kInfo, "x"},
                                          {"bad", Severity::kError, "y"}};
void pulse_run(Worker&, NodeRuntime& rt, std::span<Buffer* const>) noexcept {
  rt.count(1, g_pulse.packets);
}

constexpr StatInfo kPluginStats[] = {{"hits", StatKind::kCounter}, {"open", StatKind::kGauge}};
void read_plugin(void*, uint32_t worker, std::span<uint64_t> out) noexcept {
  out[0] = 100 + worker;
  out[1] = 7;
}

class StatsServiceTest : public ::testing::Test {
 protected:
  StatsServiceTest() {
    g_now = kSecond;
    g_pulse = {};
    engine_ = std::move(*Engine::create(
        {.n_workers = 2, .buffers = {.buffers_per_numa = 512}, .clock = test_clock}));
    net_ = std::move(*Net::create(*engine_));
    sessions_ = std::make_unique<SessionLayer>(SessionConfig{}, *engine_, transports_);
    EXPECT_TRUE(sessions_->build());
    EXPECT_TRUE(engine_->add_node(
        {.name = "pulse", .run = pulse_run, .kind = NodeKind::kInput, .counters = kPulseCounters}));
    EXPECT_TRUE(engine_->build());
  }

  void open(StatsConfig config = {}) {
    service_ = std::make_unique<StatsService>(
        config, StatsService::Parts{*engine_, *net_, *sessions_, registry_});
    const auto ok = service_->open();
    ASSERT_TRUE(ok) << ok.error().message;
  }
  StatsValue read(const std::string& name) {
    auto r = StatsReader::open(::dup(service_->segment()->fd()));
    EXPECT_TRUE(r);
    auto v = r->read(name);
    EXPECT_TRUE(v) << v.error().message;
    return v ? *v : StatsValue{};
  }
  std::vector<std::string> list(const char* glob) {
    auto r = StatsReader::open(::dup(service_->segment()->fd()));
    return *r->list(*StatsFilter::glob(glob));
  }
  void update() {
    g_now += kSecond;
    service_->update();
  }

  TransportRegistry transports_;
  StatsRegistry registry_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Net> net_;
  std::unique_ptr<SessionLayer> sessions_;
  std::unique_ptr<StatsService> service_;
};

TEST_F(StatsServiceTest, NodesAndTheirCountersByWorkerAndName) {
  open();
  g_pulse.packets = 5;
  for (int i = 0; i < 3; ++i) engine_->step(1);
  update();
  const StatsValue calls = read("/nodes/pulse/calls");
  EXPECT_TRUE(calls.is_symlink);
  EXPECT_THAT(calls.simple, ElementsAre(ElementsAre(0), ElementsAre(3)));
  EXPECT_GT(read("/nodes/pulse/clocks").sum(), 0u);
  EXPECT_EQ(read("/nodes/pulse/suspends").sum(), 0u);
  EXPECT_THAT(read("/err/pulse/bad").simple, ElementsAre(ElementsAre(0), ElementsAre(15)));
  EXPECT_EQ(read("/err/pulse/good_one").sum(), 0u);  // '/' would begin another part
  const auto names = read("/sys/node/names").names;
  EXPECT_THAT(names, Contains("pulse"));
  EXPECT_EQ(names.size(), engine_->nodes().size());
  EXPECT_EQ(names.size(), read("/sys/node/vectors").simple[1].size());
}

TEST_F(StatsServiceTest, ANodeThatComesLaterAppears) {
  open();
  update();
  EXPECT_TRUE(list("/nodes/late/*").empty());
  ASSERT_TRUE(engine_->add_node({.name = "late", .run = pulse_run, .counters = kPulseCounters}));
  update();
  EXPECT_EQ(list("/nodes/late/*").size(), 4u);
  EXPECT_EQ(list("/err/late/*").size(), 2u);
}

TEST_F(StatsServiceTest, PerNodeCountersCanBeOff) {
  open({.per_node_counters = false});
  update();
  EXPECT_TRUE(list("/nodes/*").empty());
  EXPECT_TRUE(list("/sys/node/*").empty());
  EXPECT_FALSE(list("/err/*").empty());  // as in VPP
}

TEST_F(StatsServiceTest, InterfacesComeAndGo) {
  open();
  const auto a = *net_->create_loopback();
  const auto b = *net_->create_loopback();
  net_->rx_counters(b, 1)->packets = 3;
  net_->rx_counters(b, 1)->bytes = 300;
  net_->rx_counters(b, 0)->errors = 2;
  update();
  EXPECT_THAT(read("/if/names").names, ElementsAre("loop0", "loop1"));
  EXPECT_EQ(read("/interfaces/loop1/rx").combined[1][0].bytes, 300u);
  EXPECT_EQ(read("/interfaces/loop1/rx-error").sum(), 2u);
  EXPECT_EQ(list("/interfaces/loop0/*").size(), 5u);

  ASSERT_TRUE(net_->delete_loopback(a));
  update();
  EXPECT_THAT(read("/if/names").names, ElementsAre("deleted", "loop1"));
  EXPECT_TRUE(list("/interfaces/loop0/*").empty());
  EXPECT_EQ(read("/interfaces/loop1/rx").combined[1][0].packets, 3u);

  // Another one takes the index between two updates.
  ASSERT_TRUE(net_->delete_loopback(b));
  ASSERT_EQ(*net_->create_loopback(), a);
  update();
  EXPECT_THAT(read("/if/names").names, ElementsAre("loop0", "deleted"));
  EXPECT_EQ(read("/if/rx").sum_combined().packets, 0u);
}

TEST_F(StatsServiceTest, ThePluginsOwnNumbers) {
  open();
  ASSERT_TRUE(
      registry_.add({.prefix = "/sys/x", .stats = kPluginStats, .read = read_plugin}, "x-plugin"));
  update();
  EXPECT_THAT(read("/sys/x/hits").simple, ElementsAre(ElementsAre(100), ElementsAre(101)));
  EXPECT_EQ(read("/sys/x/open").scalar, 14u);
  registry_.remove_of("x-plugin");
  update();
  EXPECT_TRUE(list("/sys/x/*").empty());
}

TEST_F(StatsServiceTest, TheSystemsNumbers) {
  open();
  const uint64_t beats = read("/sys/heartbeat").scalar;
  const uint64_t epoch = service_->segment()->epoch();
  g_pulse.packets = 0;
  for (int i = 0; i < 40; ++i) engine_->step(0);
  g_now += kSecond;  // the update comes 2 s after the one before
  update();
  EXPECT_EQ(read("/sys/heartbeat").scalar, beats + 1);
  EXPECT_EQ(service_->segment()->epoch(), epoch);  // numbers only
  EXPECT_EQ(read("/sys/num_worker_threads").scalar, 2u);
  EXPECT_EQ(read("/sys/last_update").scalar, 2u);
  EXPECT_EQ(read("/sys/last_update_ns").scalar, static_cast<uint64_t>(g_now));
  EXPECT_THAT(read("/sys/loops_per_worker").simple, ElementsAre(ElementsAre(20, 0)));
  EXPECT_THAT(read("/sys/rounds_per_worker").simple, ElementsAre(ElementsAre(40, 0)));
  EXPECT_EQ(read("/sys/session/sessions_total").scalar, 0u);
  EXPECT_THAT(read("/sys/session/sessions_per_worker").simple, ElementsAre(ElementsAre(0, 0)));
  const uint64_t total = read("/buffer-pools/default-numa-0/available").scalar +
                         read("/buffer-pools/default-numa-0/cached").scalar +
                         read("/buffer-pools/default-numa-0/used").scalar;
  EXPECT_EQ(total, 512u);
  EXPECT_GT(read("/mem/process/used").sum(), 0u);
  EXPECT_EQ(read("/mem/stat segment/used").sum() + read("/mem/stat segment/free").sum(),
            read("/mem/stat segment/total").sum());
}

TEST_F(StatsServiceTest, ASegmentThatIsTooSmallSaysSoAndKeepsWhatFits) {
  std::vector<std::string> log;
  open({.size = 1u << 20});
  std::vector<std::function<void()>> due;
  const std::string path = testing::TempDir() + "small-stats.sock";
  ASSERT_TRUE(service_->start(
      {.watch_fd = [](int, std::function<void()>) { return uint64_t{1}; },
       .unwatch_fd = [](uint64_t) {},
       .after = [&](double, std::function<void()> fn) { return due.push_back(fn), uint64_t{1}; },
       .log = [&](LogLevel, const std::string& text) { log.push_back(text); }},
      path, std::nullopt));
  while (log.empty() && net_->create_loopback()) update();
  ASSERT_EQ(log.size(), 1u);
  EXPECT_THAT(log[0], HasSubstr("no room"));
  EXPECT_THAT(log[0], HasSubstr("statseg { size }"));
  update();
  EXPECT_EQ(log.size(), 1u);  // once
  EXPECT_EQ(list("/interfaces/loop0/*").size(), 5u);
  EXPECT_EQ(read("/sys/heartbeat").scalar, service_->updates());
}

TEST_F(StatsServiceTest, TheSocketHandsOverTheSegment) {
  open();
  std::function<void()> on_accept, due;
  double interval = 0;
  const std::string path = testing::TempDir() + "stats.sock";
  const auto started = service_->start(
      {.watch_fd = [&](int, std::function<void()> fn) { return on_accept = fn, uint64_t{1}; },
       .unwatch_fd = [](uint64_t) {},
       .after =
           [&](double s, std::function<void()> fn) {
             interval = s;
             due = std::move(fn);
             return uint64_t{1};
           },
       .log = nullptr},
      path, std::nullopt);
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_EQ(interval, 1.0);
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0660u);

  // The reader waits in connect(), so the daemon's side needs a thread of its own.
  auto reader = StatsReader::connect(path, std::chrono::milliseconds(1));
  EXPECT_EQ(reader.error().code, Status::kTimedOut);  // nobody answers
  std::jthread daemon([&](std::stop_token stop) {
    while (!stop.stop_requested()) on_accept();
  });
  reader = StatsReader::connect(path);
  ASSERT_TRUE(reader) << reader.error().message;
  const uint64_t beat = *reader->heartbeat();
  daemon = {};
  const auto tick = std::exchange(due, nullptr);
  tick();
  EXPECT_EQ(*reader->heartbeat(), beat + 1);

  service_->stop();
  EXPECT_FALSE(std::filesystem::exists(path));
  const auto last = std::exchange(due, nullptr);
  last();  // what was due at the stop does nothing
  EXPECT_EQ(*reader->heartbeat(), beat + 1);
  EXPECT_EQ(StatsReader::connect(path).error().code, Status::kNotConnected);
}

}  // namespace
}  // namespace loom
