// Feature arcs: order, cycles, enabling per interface, nesting of the way back.
#include "test_graph.h"

namespace loom {
namespace {

// The arc of the test; found by the node that begins it.
FeatureArc* arc_of(Worker& w) { return static_cast<FeatureArc*>(w.plugin_data[0]); }

// Begins the arc on the packet's rx interface; even numbers would go to "even", odd ones to "odd".
void start_node(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  std::array<uint16_t, kFrameSize> next;
  for (std::size_t i = 0; i < in.size(); ++i)
    next[i] = arc_of(w)->start(rt, *in[i], in[i]->rx_if, number_of(*in[i]) & 1);
  rt.enqueue(in, next);
}

// Holds packets back until the test lets them go.
std::vector<Buffer*>& held(Worker& w) {
  return *static_cast<std::vector<Buffer*>*>(w.plugin_data[6]);
}
void delay_node(Worker& w, NodeRuntime&, std::span<Buffer* const> in) noexcept {
  held(w).insert(held(w).end(), in.begin(), in.end());
}

struct FeaturesTest : testing::Test {
  VirtualClock clock;
  std::unique_ptr<Engine> engine = make_engine(clock);
  Worker& w = engine->worker(0);
  FeatureArcs& features = engine->features();
  Seen even, odd, f1, f2, f3;
  std::vector<Buffer*> delayed;
  NodeId start = kNoNode;
  FeaturesTest() {
    w.plugin_data[0] = &features.arc("ip4-unicast");
    w.plugin_data[1] = &even;
    w.plugin_data[2] = &odd;
    w.plugin_data[3] = &f1;
    w.plugin_data[4] = &f2;
    w.plugin_data[5] = &f3;
    w.plugin_data[6] = &delayed;
    start = must(engine->add_node({.name = "start", .run = start_node, .next = {"even", "odd"}}));
    must(engine->add_node({.name = "even", .run = sink_node<1>, .counters = kSinkCounters}));
    must(engine->add_node({.name = "odd", .run = sink_node<2>, .counters = kSinkCounters}));
    must(engine->add_node({.name = "f1", .run = feature_node<3>}));
    must(engine->add_node({.name = "f2", .run = feature_node<4>}));
    must(engine->add_node({.name = "f3", .run = feature_node<5>}));
    must(engine->add_node({.name = "delay", .run = delay_node}));
    must(engine->build());
  }
  Result<void> add(const char* node, const char* before = "", const char* after = "") {
    return features.add({.arc = "ip4-unicast", .node = node, .before = before, .after = after});
  }
  Result<void> enable(const char* node, IfIndex i, bool on = true) {
    return features.enable("ip4-unicast", node, i, on);
  }
  void send(uint32_t number, IfIndex rx_if) {
    Buffer* b = numbered_packet(w, number);
    b->rx_if = rx_if;
    w.enqueue_to_node(start, b);
  }
};

TEST_F(FeaturesTest, WithoutFeaturesPacketsGoStraightOn) {
  must(add("f1"));
  send(1, 0);
  send(2, 70'000);
  engine->step();
  EXPECT_THAT(odd.numbers, testing::ElementsAre(1));
  EXPECT_THAT(even.numbers, testing::ElementsAre(2));
  EXPECT_TRUE(f1.numbers.empty());
}

TEST_F(FeaturesTest, EnabledOnOneInterfaceAndBackToWhereEachPacketWasGoing) {
  must(add("f1"));
  must(add("f2", "", "f1"));
  must(enable("f1", 3));
  must(enable("f2", 3));
  for (uint32_t i = 0; i < 4; ++i) send(i, i < 2 ? 3 : 4);
  engine->step();
  EXPECT_THAT(f1.numbers, testing::ElementsAre(0, 1));
  EXPECT_THAT(f2.numbers, testing::ElementsAre(0, 1));
  EXPECT_THAT(even.numbers, testing::UnorderedElementsAre(0, 2));
  EXPECT_THAT(odd.numbers, testing::UnorderedElementsAre(1, 3));
  EXPECT_EQ(buffers_in_use(*engine), 0u);
}

TEST_F(FeaturesTest, OrderIsWhatTheFeaturesDeclare) {
  must(add("f3", "", "f2, f1"));
  must(add("f2", "f3", "nobody"));
  must(add("f1", "f2"));
  EXPECT_THAT(features.order("ip4-unicast"), testing::ElementsAre("f1", "f2", "f3"));
}

TEST_F(FeaturesTest, UnrelatedFeaturesKeepTheOrderOfRegistration) {
  must(add("f2"));
  must(add("f3"));
  must(add("f1"));
  EXPECT_THAT(features.order("ip4-unicast"), testing::ElementsAre("f2", "f3", "f1"));
}

TEST_F(FeaturesTest, CyclesAreRefusedAndTheArcStaysUsable) {
  must(add("f1", "f2"));
  must(add("f2", "f3"));
  const auto cycle = add("f3", "f1");
  ASSERT_FALSE(cycle);
  EXPECT_EQ(cycle.error().code, Status::kInvalid);
  EXPECT_THAT(cycle.error().message, testing::HasSubstr("f3 after f2 after f1 after f3"));
  EXPECT_THAT(features.order("ip4-unicast"), testing::ElementsAre("f1", "f2"));
  EXPECT_FALSE(add("f3", "f3"));
  must(add("f3"));
}

TEST_F(FeaturesTest, DisabledFeaturesSeeNothing) {
  must(add("f1"));
  must(add("f2"));
  must(enable("f1", 0));
  must(enable("f2", 0));
  must(enable("f1", 0));  // twice is once
  must(enable("f1", 0, false));
  send(2, 0);
  engine->step();
  EXPECT_TRUE(f1.numbers.empty());
  EXPECT_THAT(f2.numbers, testing::ElementsAre(2));
  must(enable("f2", 0, false));
  EXPECT_FALSE(features.arc("ip4-unicast").is_enabled(0));
  EXPECT_TRUE(features.enabled().empty());
}

TEST_F(FeaturesTest, AHeldBackPacketFindsItsWayAfterTheArcHasChanged) {
  must(add("delay"));
  must(add("f1", "", "delay"));
  must(enable("delay", 0));
  must(enable("f1", 0));
  send(1, 0);
  engine->step();
  ASSERT_EQ(delayed.size(), 1u);
  must(enable("f1", 0, false));
  must(enable("delay", 0, false));
  w.node_runtime(engine->find_node("delay")).enqueue_all(delayed, kNextFeature);
  engine->step();
  EXPECT_THAT(f1.numbers, testing::ElementsAre(1));  // the list that it began with
  EXPECT_THAT(odd.numbers, testing::ElementsAre(1));
}

TEST_F(FeaturesTest, TogglingForeverUsesNoMoreLists) {
  must(add("f1"));
  for (int i = 0; i < 200'000; ++i) must(enable("f1", 0, i % 2 == 0));
}

TEST_F(FeaturesTest, ForgottenInterfacesStartClean) {
  must(add("f1"));
  must(enable("f1", 2));
  must(enable("f1", 3));
  features.forget_interface(2);
  EXPECT_FALSE(features.arc("ip4-unicast").is_enabled(2));
  EXPECT_TRUE(features.arc("ip4-unicast").is_enabled(3));
}

TEST_F(FeaturesTest, UnknownNamesAreErrors) {
  must(add("f1"));
  EXPECT_EQ(add("f1").error().code, Status::kExists);
  EXPECT_EQ(features.enable("no-arc", "f1", 0, true).error().code, Status::kNotFound);
  EXPECT_EQ(enable("f2", 0).error().code, Status::kNotFound);
  EXPECT_EQ(enable("f1", 1u << 20).error().code, Status::kInvalid);
  must(add("no-node"));
  EXPECT_EQ(enable("no-node", 0).error().code, Status::kNotFound);
  EXPECT_FALSE(features.arc("ip4-unicast").is_enabled(0));
}

}  // namespace
}  // namespace loom
