// The timer wheel against a std::multimap of deadlines: random starts, stops, restarts (also from
// callbacks) and clock steps of every size; and several wheels on threads of their own, which the
// thread sanitizer watches for state they should not share.
#include <gtest/gtest.h>
#include <hostloom/worker.h>

#include <map>
#include <random>
#include <thread>
#include <vector>

#include "time/timer_wheel.h"

namespace loom {
namespace {

class Simulation {
 public:
  Simulation(uint64_t seed, std::size_t n_timers)
      : rng_(seed), now_(random_time()), wheel_(now_), timers_(n_timers) {
    worker_.impl = this;
    for (auto& t : timers_) {
      t.timer.fired = [](Worker& w, Timer& timer) noexcept {
        static_cast<Simulation*>(w.impl)->on_fired(LOOM_TIMER_OWNER(Modelled, timer, timer));
      };
    }
  }

  void step() {
    for (auto n = rng_() % 20; n-- > 0;) {
      Modelled& t = timers_[rng_() % timers_.size()];
      rng_() % 4 ? start(t) : stop(t);
    }
    ASSERT_EQ(wheel_.size(), model_.size());
    check_next_deadline();
    now_ += static_cast<TimeNs>(rng_() % (uint64_t{1} << (rng_() % 50)));  // up to 13 days
    const uint64_t now_tick = static_cast<uint64_t>(now_ / kTimerTick);
    last_tick_ = 0;
    const std::size_t most = rng_() % 8 == 0 ? 1 + rng_() % 3 : kUnbounded;
    const std::size_t before = n_fired_;
    const std::size_t n = wheel_.advance(worker_, now_, most);
    ASSERT_EQ(n, n_fired_ - before);
    ASSERT_LE(n, most);
    // What is still due was left because of the bound, and the wheel says so.
    if (!model_.empty() && model_.begin()->first <= now_tick) {
      ASSERT_NE(most, kUnbounded);
      ASSERT_LE(wheel_.next_deadline(), now_);
    }
  }

  std::size_t n_fired() const { return n_fired_; }

 private:
  struct Modelled {
    Timer timer;
    std::multimap<uint64_t, Modelled*>::iterator at;
  };
  static constexpr std::size_t kUnbounded = 1u << 30;

  TimeNs random_time() { return static_cast<TimeNs>(rng_() >> (3 + rng_() % 40)); }

  void start(Modelled& t) {
    const TimeNs deadline =
        now_ - 1000 * kTimerTick + static_cast<TimeNs>(rng_() % (uint64_t{1} << (rng_() % 52)));
    stop_in_model(t);
    wheel_.start(t.timer, deadline);
    // The model's own idea of the tick: rounded up, and after the latest clock the wheel has seen.
    const uint64_t rounded = deadline <= 0 ? 0
                                           : (static_cast<uint64_t>(deadline) + kTimerTick - 1) /
                                                 static_cast<uint64_t>(kTimerTick);
    const uint64_t tick = std::max(rounded, static_cast<uint64_t>(now_ / kTimerTick) + 1);
    ASSERT_EQ(t.timer.deadline_tick, tick);
    t.at = model_.emplace(tick, &t);
  }

  void stop(Modelled& t) {
    stop_in_model(t);
    wheel_.stop(t.timer);
    ASSERT_FALSE(t.timer.is_running());
  }

  void stop_in_model(Modelled& t) {
    if (t.timer.is_running()) model_.erase(t.at);
  }

  void on_fired(Modelled& t) {
    ++n_fired_;
    ASSERT_FALSE(model_.empty());
    ASSERT_EQ(t.at->first, model_.begin()->first) << "not the earliest of the running timers";
    ASSERT_LE(t.at->first, static_cast<uint64_t>(now_ / kTimerTick)) << "early";
    ASSERT_GE(t.at->first, last_tick_) << "out of order";
    last_tick_ = t.at->first;
    model_.erase(t.at);
    switch (rng_() % 4) {
      case 0:
        return start(t);
      case 1:
        return start(timers_[rng_() % timers_.size()]);
      case 2:
        return stop(timers_[rng_() % timers_.size()]);
    }
  }

  void check_next_deadline() {
    const auto next = wheel_.next_deadline();
    ASSERT_EQ(next.has_value(), !model_.empty());
    if (next) {
      ASSERT_LE(*next, static_cast<TimeNs>(model_.begin()->first) * kTimerTick) << "late";
    }
  }

  std::mt19937_64 rng_;
  TimeNs now_;
  Worker worker_;
  TimerWheel wheel_;
  std::vector<Modelled> timers_;
  std::multimap<uint64_t, Modelled*> model_;
  uint64_t last_tick_ = 0;
  std::size_t n_fired_ = 0;
};

void simulate(uint64_t seed, int steps) {
  Simulation s(seed, 1 + seed % 200);
  for (int i = 0; i < steps; ++i) {
    s.step();
    if (testing::Test::HasFatalFailure()) {
      ADD_FAILURE() << "seed " << seed << ", step " << i;
      return;
    }
  }
  EXPECT_GT(s.n_fired(), 0u);
}

TEST(TimerWheelModel, AgreesWithAMultimapForManySeeds) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    simulate(seed, 2000);
    if (HasFatalFailure()) return;
  }
}

TEST(TimerWheelModel, WheelsOnDifferentThreadsShareNothing) {
  std::vector<std::thread> workers;
  for (uint64_t w = 0; w < 4; ++w)
    workers.emplace_back([w] {
      for (uint64_t seed = 100 + w; seed < 120; seed += 4) simulate(seed, 1000);
    });
  for (auto& t : workers) t.join();
}

}  // namespace
}  // namespace loom
