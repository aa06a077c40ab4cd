// How threads talk to workers and back: posts, synchronous calls, the barrier, grace periods.
#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "graph/worker_state.h"

namespace loom {
namespace {

// Workers park here until the control thread opens it again. Shared by all of them: the last to
// leave may do so after the control thread has gone on.
struct Barrier {
  std::mutex lock;
  std::condition_variable changed;
  std::size_t parked = 0;
  bool open = false;
};

struct GracePeriod {
  Engine& engine;
  std::atomic<std::size_t> missing;
  std::move_only_function<void()> fn;
  void passed() {
    if (missing.fetch_sub(1) == 1) engine.post_to_control(std::move(fn));
  }
};

}  // namespace

bool Engine::is_on_worker(const WorkerState& ws) const noexcept {
  return ws.thread_id.load(std::memory_order_relaxed) == gettid();
}

void Engine::post(uint32_t index, std::move_only_function<void(Worker&)> fn) {
  workers_[index]->post(std::move(fn));
}

void Engine::post(uint32_t index, WorkerPost& post) noexcept { workers_[index]->post(post); }

void Engine::run_on_worker(uint32_t index, const std::function<void(Worker&)>& fn) {
  WorkerState& ws = *workers_[index];
  if (is_on_worker(ws)) return fn(ws.w);
  if (stands_still()) {
    ws.w.now = clock_now();                   // the worker has not read it lately
    if (!running_) (void)ws.posts.run(ws.w);  // what was posted before comes first
    return fn(ws.w);
  }
  std::mutex lock;
  std::condition_variable changed;
  bool done = false;
  ws.post([&](Worker& w) {
    fn(w);
    const std::lock_guard hold(lock);  // held while notifying: the waiter's frame goes away after
    done = true;
    changed.notify_one();
  });
  std::unique_lock hold(lock);
  changed.wait(hold, [&] { return done; });
}

void Engine::with_barrier(const std::function<void()>& fn) {
  if (stands_still()) return fn();
  for (const auto& ws : workers_) LOOM_CHECK(!is_on_worker(*ws));
  const TimeNs asked = clock_now();
  const auto barrier = std::make_shared<Barrier>();
  for (auto& ws : workers_) {
    ws->post([barrier](Worker&) {
      std::unique_lock hold(barrier->lock);
      ++barrier->parked;
      barrier->changed.notify_all();
      barrier->changed.wait(hold, [&] { return barrier->open; });
    });
  }
  std::unique_lock hold(barrier->lock);
  barrier->changed.wait(hold, [&] { return barrier->parked == workers_.size(); });
  hold.unlock();
  const TimeNs begun = clock_now();
  ++barrier_depth_;
  // Also when fn throws (a plugin's may): workers that nobody wakes would be the end of everything.
  auto open = [&](void*) {
    --barrier_depth_;
    hold.lock();
    barrier->open = true;
    barrier->changed.notify_all();
    const TimeNs end = clock_now();
    events_.write(EventLog::kControl, end, EventKind::kBarrier,
                  static_cast<uint32_t>(std::min<TimeNs>((begun - asked) / kMicrosecond, ~0u)),
                  static_cast<uint64_t>(end - begun));
  };
  const std::unique_ptr<void, decltype(open)> at_end(this, open);
  fn();
}

void Engine::after_grace(std::move_only_function<void()> fn) {
  // One more than the workers, for this function: fn runs after it has looked at all of them.
  const auto grace = std::make_shared<GracePeriod>(*this, workers_.size() + 1, std::move(fn));
  for (auto& ws : workers_) {
    if (!running_ || ws->is_asleep())
      grace->passed();
    else
      ws->post([grace](Worker&) { grace->passed(); });
  }
  grace->passed();
}

void Engine::post_to_control(void (*fn)(void*), void* arg) {
  if (executor_) return executor_(executor_context_, fn, arg);
  const std::lock_guard hold(control_lock_);
  control_queue_.emplace_back([fn, arg] { fn(arg); });
}

void Engine::post_to_control(std::move_only_function<void()> fn) {
  if (!executor_) {
    const std::lock_guard hold(control_lock_);
    control_queue_.push_back(std::move(fn));
    return;
  }
  using Fn = std::move_only_function<void()>;
  executor_(
      executor_context_,
      [](void* arg) {
        const std::unique_ptr<Fn> owned(static_cast<Fn*>(arg));
        (*owned)();
      },
      new Fn(std::move(fn)));
}

void Engine::set_control_executor(ControlExecutor executor, void* context) {
  LOOM_CHECK(!running_);
  executor_ = executor;
  executor_context_ = context;
  if (executor_) run_control_queue();
}

void Engine::run_control_queue() {
  std::vector<std::move_only_function<void()>> now;
  {
    const std::lock_guard hold(control_lock_);
    now.swap(control_queue_);
  }
  for (auto& fn : now) fn();
}

Result<void> Engine::watch_fd(uint32_t index, int fd, FdReadable fn, void* context) {
  Result<void> result;
  run_on_worker(index,
                [&](Worker& w) { result = WorkerState::of(w).watches.add(fd, fn, context); });
  return result;
}

void Engine::unwatch_fd(uint32_t index, int fd) {
  run_on_worker(index, [&](Worker& w) { WorkerState::of(w).watches.remove(fd); });
}

}  // namespace loom
