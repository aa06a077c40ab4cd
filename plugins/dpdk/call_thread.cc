#include "call_thread.h"

#include <hostloom/check.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "eal.h"

namespace loom::dpdk {

struct CallThread::State {
  enum class Step { kIdle, kBegun, kOver, kEnd };
  std::function<void()> on_over;
  std::mutex lock;  // guards what follows
  std::condition_variable changed;
  Step step = Step::kIdle;
  bool is_left = false;  // nobody waits for the call any more
  std::function<void()> call;

  void set(Step next) {
    {
      const std::lock_guard hold(lock);
      step = next;
    }
    changed.notify_all();
  }

  void run() {
    std::unique_lock hold(lock);
    while (true) {
      changed.wait(hold, [&] { return step == Step::kBegun || step == Step::kEnd; });
      if (step == Step::kEnd) return;
      const auto made = std::exchange(call, nullptr);
      hold.unlock();
      made();
      hold.lock();
      if (is_left) return;
      step = Step::kOver;
      changed.notify_all();
      hold.unlock();
      on_over();
      hold.lock();
    }
  }
};

CallThread::CallThread(std::function<void()> on_over) : state_(std::make_shared<State>()) {
  state_->on_over = std::move(on_over);
  const SignalsBlocked blocked;
  std::thread([state = state_] { state->run(); }).detach();
}

CallThread::~CallThread() {
  const std::lock_guard hold(state_->lock);
  state_->is_left = state_->step == State::Step::kBegun;
  if (!state_->is_left) state_->step = State::Step::kEnd;
  state_->changed.notify_all();
}

void CallThread::begin(std::function<void()> call) {
  {
    const std::lock_guard hold(state_->lock);
    LOOM_CHECK(state_->step == State::Step::kIdle);
    state_->call = std::move(call);
    state_->step = State::Step::kBegun;
  }
  state_->changed.notify_all();
}

bool CallThread::is_over() const {
  const std::lock_guard hold(state_->lock);
  return state_->step == State::Step::kOver;
}

bool CallThread::is_over_by(Clock::time_point end) const {
  std::unique_lock hold(state_->lock);
  return state_->changed.wait_until(hold, end, [&] { return state_->step == State::Step::kOver; });
}

void CallThread::take() { state_->set(State::Step::kIdle); }

}  // namespace loom::dpdk
