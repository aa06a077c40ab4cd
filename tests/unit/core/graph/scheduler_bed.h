// Workers that run in threads of their own.
#pragma once
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "test_graph.h"

namespace loom {

struct SchedulerTest : testing::Test {
  std::unique_ptr<Engine> engine;
  void start(EngineConfig config = {}) {
    engine = make_engine(std::move(config));
    must(engine->build());
    must(engine->start());
  }
  void wait_until_asleep(uint32_t worker = 0) {
    while (!engine->stats().worker(worker).is_asleep) std::this_thread::yield();
  }
  // Reads an eventfd, and tells `event`.
  static void count_one(Worker&, int readable, void* event) noexcept {
    uint64_t n;
    EXPECT_EQ(read(readable, &n, sizeof n), 8);
    static_cast<Event*>(event)->set();
  }
};

}  // namespace loom
