// Packets that go from one worker to another: in virtual time with the test as both workers, and
// with threads.
#include <atomic>

#include "test_graph.h"

namespace loom {
namespace {

struct HandoffTest : testing::Test {
  VirtualClock clock;
  std::unique_ptr<Engine> engine = make_engine(clock, 3);
  Seen seen_by[3];
  NodeId sink =
      must(engine->add_node({.name = "sink", .run = sink_node<0>, .counters = kSinkCounters}));

  HandoffTest() {
    must(engine->build());
    for (uint32_t i = 0; i < 3; ++i) engine->worker(i).plugin_data[0] = &seen_by[i];
  }
  void hand_off_numbers(uint32_t from, uint32_t to, uint32_t first, uint32_t n) {
    Worker& w = engine->worker(from);
    for (uint32_t i = 0; i < n; ++i) {
      Buffer* b = numbered_packet(w, first + i);
      w.hand_off(to, sink, {&b, 1});
    }
  }
  uint64_t count(const std::string& counter) {
    return engine->stats().counter("worker-handoff", counter);
  }
};

TEST_F(HandoffTest, PacketsArriveInTheReceiversNextRound) {
  hand_off_numbers(0, 1, 0, 3);
  engine->step(1);
  EXPECT_TRUE(seen_by[1].numbers.empty());  // the sender's round has not ended
  engine->step(0);
  engine->step(2);
  EXPECT_TRUE(seen_by[2].numbers.empty());
  EXPECT_EQ(engine->step(1), 6u);  // found, and handled
  EXPECT_THAT(seen_by[1].numbers, testing::ElementsAre(0, 1, 2));
  EXPECT_EQ(count("handed-off"), 3u);
  EXPECT_EQ(buffers_in_use(*engine), 0u);
}

TEST_F(HandoffTest, ToItselfIsAnOrdinaryPacket) {
  hand_off_numbers(2, 2, 0, 2);
  engine->step(2);
  EXPECT_THAT(seen_by[2].numbers, testing::ElementsAre(0, 1));
  EXPECT_EQ(count("handed-off"), 0u);
}

TEST_F(HandoffTest, AFullRingMakesPacketsWaitAndKeepsTheirOrder) {
  const uint32_t n = 2 * Handoff::kRing + 10;
  hand_off_numbers(0, 1, 0, n);
  EXPECT_EQ(count("waited"), n - Handoff::kRing);
  EXPECT_NE(engine->step(0), 0u);  // it must not fall asleep
  hand_off_numbers(0, 1, n, 1);    // behind those that wait
  for (int round = 0; round < 3; ++round) {
    engine->step(1);
    engine->step(0);
  }
  engine->step(1);
  ASSERT_EQ(seen_by[1].numbers.size(), n + 1);
  EXPECT_TRUE(std::is_sorted(seen_by[1].numbers.begin(), seen_by[1].numbers.end()));
  EXPECT_EQ(engine->step(0), 0u);
  EXPECT_EQ(buffers_in_use(*engine), 0u);
}

// What an application's bytes stay alive for is counted by the worker that made the segment.
struct Owner : ExternalOwner {
  int released = 0;
  uint32_t released_on = ~0u;
  Owner() {
    release = [](Worker& w, ExternalOwner& o, uint32_t) noexcept {
      ++static_cast<Owner&>(o).released;
      static_cast<Owner&>(o).released_on = w.index;
    };
  }
};

Buffer* foreign_packet(Worker& w, Owner& owner) {  // with the number 7
  static constexpr uint32_t kNumber = 7;
  Buffer* b = w.alloc();
  b->next = w.alloc_external(std::as_bytes(std::span(&kNumber, 1)), &owner, 0);
  b->rest_len = 4;
  return b;
}

TEST_F(HandoffTest, WhatRefersToForeignBytesIsCopied) {
  Worker& w = engine->worker(1);
  Owner owner;
  Buffer* b = foreign_packet(w, owner);
  w.hand_off(0, sink, {&b, 1});
  EXPECT_EQ(owner.released, 1);
  EXPECT_EQ(owner.released_on, 1u);
  engine->step(1);
  engine->step(0);
  EXPECT_THAT(seen_by[0].numbers, testing::ElementsAre(7));
  EXPECT_EQ(count("copied"), 1u);
  EXPECT_EQ(buffers_in_use(*engine), 0u);
}

TEST_F(HandoffTest, WithoutABufferForTheCopyThePacketIsDroppedAndCounted) {
  Worker& w = engine->worker(1);
  Owner owner;
  Buffer* b = foreign_packet(w, owner);
  std::vector<Buffer*> rest;
  while (Buffer* more = w.alloc()) rest.push_back(more);
  w.hand_off(0, sink, {&b, 1});
  EXPECT_EQ(owner.released, 1);
  w.free(rest);
  engine->step(1);
  engine->step(0);
  EXPECT_TRUE(seen_by[0].numbers.empty());
  EXPECT_EQ(count("no-buffers"), 1u);
  EXPECT_EQ(buffers_in_use(*engine), 0u);
}

TEST_F(HandoffTest, AMarkedPacketIsTracedWhereItArrives) {
  const NodeId over = must(engine->add_node(
      {.name = "over", .run = [](Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
         w.hand_off(1, Engine::of(w).find_node("sink"), in);
         (void)rt;
       }}));
  must(engine->trace().add("over", 1));
  send_numbers(engine->worker(0), over, 2);
  engine->step(0);
  engine->step(1);
  const auto packets = engine->trace().packets(10);
  ASSERT_EQ(packets.size(), 2u);  // one on each worker
  EXPECT_EQ(packets[1].worker, 1u);
  ASSERT_EQ(packets[1].visits.size(), 1u);
  EXPECT_EQ(packets[1].visits[0].node, "sink");
}

TEST_F(HandoffTest, WhatIsOnItsWayAtTheEndIsFreed) {
  must(engine->start());
  engine->run_on_worker(0, [&](Worker&) { hand_off_numbers(0, 1, 0, 3 * Handoff::kRing); });
  engine->stop();
  EXPECT_EQ(buffers_in_use(*engine), 0u);
}

// Real threads. Each worker sends what it gets to the next, `hops` times in all; they fall asleep
// in between all the time, so a wake-up that gets lost hangs the test.
struct Relay {
  std::atomic<uint64_t> hops_left{0};
  Event done;
};
void relay_node(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  Relay& r = *static_cast<Relay*>(w.plugin_data[0]);
  for (Buffer* b : in) {
    if (r.hops_left.fetch_sub(1) == 1) r.done.set();
    uint32_t hops = number_of(*b);
    if (hops == 0) {
      w.free(b);
      continue;
    }
    --hops;
    std::memcpy(b->data, &hops, 4);
    w.hand_off((w.index + 1) % Engine::of(w).n_workers(), rt.id, {&b, 1});
  }
}

TEST(HandoffThreads, NothingIsLostAndNoWakeUpIsMissed) {
  for (const uint32_t packets : {1u, 64u, 1500u}) {
    auto engine = make_engine({.n_workers = 4, .spin_rounds = 1});
    Relay relay;
    const NodeId node = must(engine->add_node({.name = "relay", .run = relay_node}));
    for (uint32_t i = 0; i < 4; ++i) engine->worker(i).plugin_data[0] = &relay;
    must(engine->build());
    must(engine->start());
    const uint32_t hops = 12'000 / packets;
    relay.hops_left = uint64_t{packets} * (hops + 1);
    engine->run_on_worker(0, [&](Worker& w) {
      for (uint32_t i = 0; i < packets; ++i) w.enqueue_to_node(node, numbered_packet(w, hops));
    });
    relay.done.wait();
    engine->stop();
    EXPECT_EQ(buffers_in_use(*engine), 0u);
  }
}

}  // namespace
}  // namespace loom
