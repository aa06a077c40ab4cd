// Nodes, frames, arcs and counters, in virtual time.
#include <numeric>

#include "test_graph.h"

namespace loom {
namespace {

const NodeInfo kScatter{.name = "scatter", .run = scatter_node<0>, .next = {"a", "b", "drop"}};
const NodeInfo kA{.name = "a", .run = sink_node<1>, .counters = kSinkCounters};
const NodeInfo kB{.name = "b", .run = sink_node<2>, .counters = kSinkCounters};

struct GraphTest : testing::Test {
  VirtualClock clock;
  std::unique_ptr<Engine> engine = make_engine(clock);
  Worker& w = engine->worker(0);
  Seen scatter, a, b;
  GraphTest() {
    w.plugin_data[0] = &scatter;
    w.plugin_data[1] = &a;
    w.plugin_data[2] = &b;
  }
  NodeId build() {
    const NodeId id = must(engine->add_node(kScatter));
    must(engine->add_node(kA));
    must(engine->add_node(kB));
    must(engine->build());
    return id;
  }
};

TEST_F(GraphTest, PacketsGoWhereTheNodeSaysInTheirOrder) {
  const NodeId scatter_id = build();
  scatter.verdicts = {0, 1, 1, 0, 2};
  send_numbers(w, scatter_id, 10);
  EXPECT_GT(engine->step(), 0u);
  EXPECT_THAT(a.numbers, testing::ElementsAre(0, 3, 5, 8));
  EXPECT_THAT(b.numbers, testing::ElementsAre(1, 2, 6, 7));
  EXPECT_EQ(engine->stats().counter("drop", "dropped"), 2u);
  EXPECT_EQ(buffers_in_use(*engine), 0u);
  EXPECT_EQ(engine->step(), 0u);  // nothing is left
}

TEST_F(GraphTest, FramesHoldAtMost256Packets) {
  const NodeId scatter_id = build();
  scatter.verdicts = {0};
  send_numbers(w, scatter_id, 1000);
  engine->step();
  EXPECT_THAT(a.frame_sizes, testing::ElementsAre(256, 256, 256, 232));
  std::vector<uint32_t> all(1000);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(a.numbers, all);
}

TEST_F(GraphTest, PacketsForOneNodeShareAFrame) {
  const NodeId scatter_id = build();
  scatter.verdicts = {0, 1};
  send_numbers(w, scatter_id, 100);
  engine->step();
  EXPECT_THAT(a.frame_sizes, testing::ElementsAre(50));
  EXPECT_THAT(b.frame_sizes, testing::ElementsAre(50));
}

TEST_F(GraphTest, CallsAndPacketsAreCountedPerNode) {
  const NodeId scatter_id = build();
  scatter.verdicts = {0, 0, 1};
  send_numbers(w, scatter_id, 300);
  engine->step();
  const auto stats = engine->stats().nodes(0);
  EXPECT_EQ(stats[scatter_id].calls, 2u);
  EXPECT_EQ(stats[scatter_id].packets, 300u);
  EXPECT_GT(stats[scatter_id].clocks, 0u);
  EXPECT_EQ(stats[engine->find_node("a")].packets, 200u);
  EXPECT_EQ(engine->stats().counter("a", "taken") + engine->stats().counter("b", "taken"), 300u);

  engine->stats().clear_runtime();
  engine->stats().clear_counters();
  EXPECT_EQ(engine->stats().nodes(0)[scatter_id].packets, 0u);
  for (const auto& c : engine->stats().counters()) EXPECT_EQ(c.value, 0u);
  EXPECT_EQ(engine->stats().counter("a", "taken"), 200u);  // by name: since the start
}

TEST_F(GraphTest, ArcsCanBeAddedAtRunTime) {
  const NodeId scatter_id = build();
  const NodeId late =
      must(engine->add_node({.name = "late", .run = sink_node<2>, .counters = kSinkCounters}));
  const uint16_t next = must(engine->add_next(scatter_id, late));
  EXPECT_EQ(next, 3);
  EXPECT_EQ(must(engine->add_next(scatter_id, late)), next);
  scatter.verdicts = {next};
  send_numbers(w, scatter_id, 5);
  engine->step();
  EXPECT_EQ(engine->stats().counter("late", "taken"), 5u);
}

TEST_F(GraphTest, BuildNamesTheNodeAndTheArcThatLeadsNowhere) {
  must(engine->add_node(kScatter));
  must(engine->add_node(kA));
  const auto built = engine->build();
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, Status::kNotFound);
  EXPECT_EQ(built.error().message, "node 'scatter': next node 1, 'b', does not exist");
  must(engine->add_node(kB));
  must(engine->build());
}

TEST_F(GraphTest, NodesAddedLaterMayReferToEachOther) {
  build();
  const NodeId first =
      must(engine->add_node({.name = "x", .run = scatter_node<0>, .next = {"y", "a"}}));
  scatter.verdicts = {0};
  send_numbers(w, first, 3);
  engine->step();
  EXPECT_EQ(engine->stats().counter("drop", "dropped"), 3u);  // "y" does not exist yet
  EXPECT_FALSE(engine->build());
  must(engine->add_node({.name = "y", .run = sink_node<2>, .counters = kSinkCounters}));
  must(engine->build());
  send_numbers(w, first, 3);
  engine->step();
  EXPECT_EQ(engine->stats().counter("y", "taken"), 3u);
}

TEST_F(GraphTest, NodesThatAreOnlyNamesTakeNoPackets) {
  must(engine->add_node({.name = "tap-input"}));
  must(engine->add_node({.name = "x", .run = scatter_node<0>, .next = {"tap-input"}}));
  const auto built = engine->build();
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, Status::kInvalid);
  EXPECT_FALSE(engine->add_next(engine->find_node("x"), engine->find_node("tap-input")));
}

TEST_F(GraphTest, NamesAreUniqueAndStructsAreChecked) {
  build();
  EXPECT_EQ(engine->add_node(kA).error().code, Status::kExists);
  EXPECT_EQ(engine->add_node({.struct_size = 8, .name = "short"}).error().code, Status::kInvalid);
  EXPECT_EQ(engine->add_node({.name = ""}).error().code, Status::kInvalid);
  EXPECT_EQ(engine->find_node("short"), kNoNode);
}

void produce_one(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  LOOM_CHECK(in.empty());
  Buffer* b = numbered_packet(w, 77);
  rt.enqueue_all({&b, 1}, 0);
}

TEST_F(GraphTest, InputNodesRunOncePerRound) {
  must(engine->add_node(kA));
  must(engine->add_node(
      {.name = "input", .run = produce_one, .kind = NodeKind::kInput, .next = {"a"}}));
  must(engine->build());
  for (int i = 0; i < 3; ++i) engine->step();
  EXPECT_THAT(a.numbers, testing::ElementsAre(77, 77, 77));
}

// Sends what it gets to itself.
void circle(Worker&, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  rt.enqueue_all(in, 0);
}

TEST_F(GraphTest, PacketsThatGoInCirclesStopNeitherTimersNorPosts) {
  const NodeId id = must(engine->add_node({.name = "circle", .run = circle, .next = {"circle"}}));
  must(engine->build());
  send_numbers(w, id, 1);
  Timer timer;
  timer.fired = [](Worker& worker, Timer&) noexcept { worker.plugin_data[5] = &worker; };
  w.timer_start(timer, clock.now + kMillisecond);
  bool posted = false;
  engine->post(0, [&](Worker&) { posted = true; });
  clock.now += 2 * kMillisecond;
  engine->step();
  EXPECT_TRUE(posted);
  EXPECT_EQ(w.plugin_data[5], &w);
  EXPECT_EQ(buffers_in_use(*engine), 1u);
}

TEST_F(GraphTest, TimersFireInVirtualTimeAndTheirPacketsLeaveInTheSameRound) {
  build();
  struct Sender {
    Timer timer;
    NodeId to;
  } sender{.timer = {}, .to = engine->find_node("a")};
  sender.timer.fired = [](Worker& worker, Timer& t) noexcept {
    send_numbers(worker, LOOM_TIMER_OWNER(Sender, timer, t).to, 2);
  };
  w.timer_start(sender.timer, clock.now + 10 * kMillisecond);
  ASSERT_TRUE(engine->next_deadline(0).has_value());
  EXPECT_LE(*engine->next_deadline(0), clock.now + 10 * kMillisecond + kTimerTick);
  clock.now += 9 * kMillisecond;
  engine->step();
  EXPECT_TRUE(a.numbers.empty());
  clock.now += 2 * kMillisecond;
  engine->step();
  EXPECT_THAT(a.numbers, testing::ElementsAre(0, 1));
  EXPECT_FALSE(sender.timer.is_running());
}

TEST_F(GraphTest, StepRunsWhatIsPostedToTheControlThread) {
  build();
  int ran = 0;
  w.post_to_control([](void* n) { ++*static_cast<int*>(n); }, &ran);
  engine->after_grace([&] { ran += 10; });
  EXPECT_EQ(ran, 0);
  engine->step();
  EXPECT_EQ(ran, 11);
}

TEST_F(GraphTest, EnginesAreIndependent) {
  const NodeId id = build();
  auto other = make_engine(clock);
  EXPECT_EQ(other->find_node("a"), kNoNode);
  scatter.verdicts = {0};
  send_numbers(w, id, 1);
  other->step();
  EXPECT_TRUE(a.numbers.empty());
  EXPECT_NE(w.random(), other->worker(0).random());
}

TEST_F(GraphTest, DriverWorkIsShownUnderTheDriversNode) {
  const NodeId name = must(engine->add_node({.name = "tap-input"}));
  build();
  Engine::add_runtime(w, name, 32, 1000);
  EXPECT_EQ(engine->stats().nodes(0)[name].packets, 32u);
  EXPECT_EQ(engine->stats().nodes(0)[name].calls, 1u);
}

TEST(EngineConfigTest, RefusesValuesOutOfItsDomain) {
  EXPECT_EQ(Engine::create({.n_workers = 0}).error().code, Status::kInvalid);
  EXPECT_EQ(Engine::create({.n_workers = 2, .corelist = {0}}).error().code, Status::kInvalid);
  EXPECT_THAT(Engine::create({.n_workers = 1, .corelist = {99'999}}).error().message,
              testing::HasSubstr("99999"));
}

}  // namespace
}  // namespace loom
