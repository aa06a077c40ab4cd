// The session layer on workers in threads, over a transport whose segments go from session to
// session (wire_transport.h). The control thread is the test's own: it does what it is asked for
// when it likes.
#pragma once
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <utility>

#include <gtest/gtest.h>

#include "graph/engine.h"
#include "session/session_layer.h"
#include "tests/unit/core/session/wire_transport.h"

namespace loom::test {

class ControlQueue {
 public:
  // Any thread. `self`: the queue. As Engine::set_control_executor wants it.
  static void post(void* self, void (*fn)(void*), void* arg) {
    auto& q = *static_cast<ControlQueue*>(self);
    const std::lock_guard hold(q.lock_);
    q.todo_.push_back({fn, arg});
    q.changed_.notify_all();
  }
  // Runs one; waits for it when `wait`. False: there was none.
  bool run_one(bool wait) {
    std::unique_lock hold(lock_);
    if (wait) changed_.wait(hold, [&] { return !todo_.empty(); });
    if (todo_.empty()) return false;
    const auto [fn, arg] = todo_.front();
    todo_.pop_front();
    hold.unlock();
    fn(arg);
    return true;
  }
  void run_all() {
    while (run_one(false)) {}
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::pair<void (*)(void*), void*>> todo_;
};

class WorkersBed {
 protected:
  explicit WorkersBed(uint32_t workers, bool spread_flows = false) : n_workers(workers) {
    char name[] = "/tmp/hostloom-workers-test-XXXXXX";
    dir_ = mkdtemp(name);
    EngineConfig e;
    e.n_workers = n_workers;
    e.buffers.buffers_per_numa = 1u << 14;
    engine = std::move(Engine::create(e)).value();
    engine->set_control_executor(ControlQueue::post, &control);
    wire = std::make_unique<WireTransport>(*engine);
    wire->id = transports_.add(wire->ops()).value();
    layer = std::make_unique<SessionLayer>(
        SessionConfig{.runtime_dir = dir_, .spread_flows = spread_flows}, *engine, transports_);
    EXPECT_TRUE(layer->build());
    EXPECT_TRUE(engine->build());
    EXPECT_TRUE(engine->start());
    SessionLayer::ControlLoop loop;
    loop.watch_fd = [](int, std::function<void()>) { return uint64_t{1}; };
    loop.unwatch_fd = [](uint64_t) {};
    loop.after = [](double, std::function<void()>) { return uint64_t{1}; };
    EXPECT_TRUE(layer->start(std::move(loop)));
  }
  ~WorkersBed() {
    layer->stop();
    engine->stop();
    control.run_all();
    layer.reset();
    wire.reset();
    engine.reset();
    std::filesystem::remove_all(dir_);
  }

  const uint32_t n_workers;
  ControlQueue control;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<WireTransport> wire;
  std::unique_ptr<SessionLayer> layer;

 private:
  std::string dir_;
  TransportRegistry transports_;
};

}  // namespace loom::test
