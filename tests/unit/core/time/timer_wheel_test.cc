// The timer wheel, one promise a test. Virtual time throughout.
#include "time/timer_wheel.h"

#include <gtest/gtest.h>
#include <hostloom/worker.h>

#include <functional>
#include <memory>
#include <vector>

namespace loom {
namespace {

constexpr TimeNs kTick = kTimerTick;
constexpr std::size_t kAll = SIZE_MAX / TimerWheel::kCascadesPerExpiration;

// A timer that calls a lambda.
struct Alarm {
  Timer timer;
  std::function<void(Worker&, Alarm&)> action;
  int fired = 0;

  explicit Alarm(std::function<void(Worker&, Alarm&)> a = {}) : action(std::move(a)) {
    timer.fired = [](Worker& w, Timer& t) noexcept {
      Alarm& self = LOOM_TIMER_OWNER(Alarm, timer, t);
      ++self.fired;
      if (self.action) self.action(w, self);
    };
  }
};

class TimerWheelTest : public testing::Test {
 public:
  // Moves the clock and returns how many fired.
  std::size_t go_to(TimeNs now, std::size_t most = kAll) {
    worker.now = now;
    return wheel.advance(worker, now, most);
  }
  Worker worker;
  TimerWheel wheel{0};
};

TEST_F(TimerWheelTest, FiresAtTheFirstTickAtOrAfterTheDeadlineAndNeverEarly) {
  Alarm on_tick, between;
  wheel.start(on_tick.timer, 5 * kTick);
  wheel.start(between.timer, 5 * kTick + 1);
  go_to(5 * kTick - 1);
  EXPECT_EQ(on_tick.fired, 0);
  go_to(5 * kTick);
  EXPECT_EQ(on_tick.fired, 1);
  EXPECT_EQ(between.fired, 0);
  go_to(6 * kTick - 1);
  EXPECT_EQ(between.fired, 0);
  go_to(6 * kTick);
  EXPECT_EQ(between.fired, 1);
  EXPECT_EQ(wheel.size(), 0u);
  go_to(1000 * kTick);
  EXPECT_EQ(on_tick.fired, 1);
}

TEST_F(TimerWheelTest, FiresOnTimeAtEveryLevelAndBeyond) {
  std::vector<std::unique_ptr<Alarm>> alarms;
  std::vector<TimeNs> deadlines;
  for (unsigned bits = 0; bits < 40; ++bits)
    for (const int64_t off : {-1, 0, 1}) {
      const int64_t ticks = (int64_t{1} << bits) + off;
      if (ticks <= 0) continue;
      deadlines.push_back(ticks * kTick);
      const TimeNs due = deadlines.back();
      alarms.push_back(
          std::make_unique<Alarm>([due](Worker& w, Alarm&) { EXPECT_EQ(w.now, due); }));
      wheel.start(alarms.back()->timer, due);
    }
  // As the scheduler does: sleep until the wheel says, then advance.
  int rounds = 0;
  while (const auto next = wheel.next_deadline()) {
    ASSERT_GE(*next, worker.now);
    go_to(*next);
    ++rounds;
  }
  for (const auto& a : alarms) EXPECT_EQ(a->fired, 1);
  EXPECT_LE(rounds, static_cast<int>(alarms.size()) * 8);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST_F(TimerWheelTest, NextDeadlineOfAnEmptyWheelIsNever) {
  EXPECT_FALSE(wheel.next_deadline());
  Alarm a;
  wheel.start(a.timer, kSecond);
  EXPECT_TRUE(wheel.next_deadline());
  wheel.stop(a.timer);
  EXPECT_FALSE(wheel.next_deadline());
}

TEST_F(TimerWheelTest, AnIdleWheelWithOneFarTimerWakesAtMostOncePerLevel) {
  Alarm keepalive;
  wheel.start(keepalive.timer, 2 * 3600 * kSecond + 17 * kTick);
  int wakeups = 0;
  while (!keepalive.fired) {
    go_to(*wheel.next_deadline());
    ++wakeups;
  }
  EXPECT_LE(wakeups, 4);
  EXPECT_EQ(worker.now, 2 * 3600 * kSecond + 17 * kTick);
}

TEST_F(TimerWheelTest, RestartMovesARunningTimerBothWays) {
  Alarm a;
  wheel.start(a.timer, 10 * kTick);
  wheel.start(a.timer, 100'000 * kTick);
  EXPECT_EQ(wheel.size(), 1u);
  go_to(99'999 * kTick);
  EXPECT_EQ(a.fired, 0);
  wheel.start(a.timer, 200'000 * kTick);
  wheel.start(a.timer, 100'001 * kTick);
  go_to(100'001 * kTick);
  EXPECT_EQ(a.fired, 1);
}

TEST_F(TimerWheelTest, StopKeepsATimerFromFiringAndMayBeRepeated) {
  Alarm a;
  wheel.stop(a.timer);
  wheel.start(a.timer, 300 * kTick);
  go_to(280 * kTick);  // cascaded once
  wheel.stop(a.timer);
  wheel.stop(a.timer);
  EXPECT_FALSE(a.timer.is_running());
  go_to(kSecond);
  EXPECT_EQ(a.fired, 0);
}

// At every level, parked, and left over by a bounded advance(): those that have gone are not
// touched.
TEST_F(TimerWheelTest, WhenAllAreStoppedTheirMemoryMayGoInAnyOrder) {
  constexpr TimeNs kWhen[] = {kTick,          100 * kTick,        300 * kTick,
                              70'000 * kTick, 20'000'000 * kTick, 5'000'000'000 * kTick};
  std::vector<std::unique_ptr<Alarm>> gone, kept;
  for (const TimeNs when : kWhen)
    for (auto* some : {&gone, &kept, &gone}) {
      some->push_back(std::make_unique<Alarm>());
      wheel.start(some->back()->timer, when);
    }
  EXPECT_EQ(go_to(kTick, 1), 1u);
  wheel.stop_all();
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_FALSE(wheel.next_deadline());
  gone.clear();
  for (const auto& a : kept) {
    EXPECT_FALSE(a->timer.is_running());
    wheel.stop(a->timer);
    wheel.start(a->timer, 200 * kTick);  // it goes on
  }
  EXPECT_EQ(go_to(200 * kTick), kept.size());
}

TEST_F(TimerWheelTest, ACallbackSeesItsTimerStopped) {
  Alarm a([this](Worker&, Alarm& self) {
    EXPECT_FALSE(self.timer.is_running());
    wheel.stop(self.timer);
  });
  wheel.start(a.timer, kTick);
  EXPECT_EQ(go_to(kTick), 1u);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST_F(TimerWheelTest, ACallbackMayStopAllOthersOfItsSlot) {
  std::vector<std::unique_ptr<Alarm>> alarms;
  const auto stop_the_rest = [&](Worker&, Alarm& self) {
    for (auto& o : alarms)
      if (o.get() != &self) wheel.stop(o->timer);
  };
  for (int i = 0; i < 5; ++i) {
    alarms.push_back(std::make_unique<Alarm>(stop_the_rest));
    wheel.start(alarms.back()->timer, 3 * kTick);
  }
  EXPECT_EQ(go_to(10 * kTick), 1u);
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_FALSE(wheel.next_deadline());
}

TEST_F(TimerWheelTest, ACallbackMayPushANeighbourOfItsSlotBack) {
  Alarm victim;
  Alarm pusher([&](Worker&, Alarm&) { wheel.start(victim.timer, 50 * kTick); });
  wheel.start(pusher.timer, 3 * kTick);
  wheel.start(victim.timer, 3 * kTick);
  EXPECT_EQ(go_to(3 * kTick), 1u);
  EXPECT_EQ(victim.fired, 0);
  EXPECT_EQ(go_to(50 * kTick), 1u);
  EXPECT_EQ(victim.fired, 1);
}

TEST_F(TimerWheelTest, ACallbackMayFreeItsTimer) {
  auto* a = new Alarm([](Worker&, Alarm& self) {
    auto keep = std::move(self.action);  // the lambda outlives the object that held it
    delete &self;
  });
  Alarm after;
  wheel.start(a->timer, kTick);
  wheel.start(after.timer, kTick);
  EXPECT_EQ(go_to(kTick), 2u);
  EXPECT_EQ(after.fired, 1);
}

// A timer that starts itself for "now" or for the past runs once per advance, not for ever.
TEST_F(TimerWheelTest, StartingForNowInACallbackMeansTheNextTick) {
  for (const TimeNs back : {TimeNs{0}, 100 * kTick}) {
    Alarm a([&](Worker& w, Alarm& self) { wheel.start(self.timer, w.now - back); });
    const TimeNs base = worker.now;
    wheel.start(a.timer, base + kTick);
    EXPECT_EQ(go_to(base + 500 * kTick), 1u);  // also after a jump
    EXPECT_EQ(go_to(base + 500 * kTick), 0u);
    EXPECT_EQ(wheel.next_deadline(), base + 501 * kTick);
    EXPECT_EQ(go_to(base + 501 * kTick), 1u);
    wheel.stop(a.timer);
  }
}

TEST_F(TimerWheelTest, AdvanceBoundsItsWorkAndContinues) {
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (int i = 0; i < 1000; ++i) {
    alarms.push_back(std::make_unique<Alarm>());
    wheel.start(alarms.back()->timer, (1 + i % 7) * kTick);
  }
  std::size_t fired = 0;
  for (int call = 0; call < 10; ++call) {
    EXPECT_EQ(go_to(kSecond, 100), 100u);
    fired += 100;
    EXPECT_EQ(wheel.size(), 1000 - fired);
    if (fired < 1000) {
      EXPECT_LE(wheel.next_deadline(), worker.now);  // the caller must not sleep
    }
  }
  EXPECT_FALSE(wheel.next_deadline());
  EXPECT_EQ(go_to(kSecond, 100), 0u);
}

TEST_F(TimerWheelTest, ACrowdInOneFarSlotIsCascadedInPieces) {
  constexpr std::size_t kCrowd = 10'000;
  std::vector<Alarm> alarms(kCrowd);
  for (std::size_t i = 0; i < kCrowd; ++i)
    wheel.start(alarms[i].timer, static_cast<TimeNs>(512 + i % 256) * kTick);
  int calls = 0;
  std::size_t fired = 0;
  while (wheel.next_deadline() <= 512 * kTick) {
    fired += go_to(512 * kTick, 10);
    ++calls;
    EXPECT_LE(fired, 10u * static_cast<std::size_t>(calls));
  }
  EXPECT_GE(calls, static_cast<int>(kCrowd / (10 * TimerWheel::kCascadesPerExpiration)));
  EXPECT_EQ(fired, kCrowd / 256 + (kCrowd % 256 != 0));  // those of tick 512
  go_to(kSecond);
  for (const auto& a : alarms) ASSERT_EQ(a.fired, 1);
}

// 24 hours are 864 million ticks: walking over those of a thousand days would take an hour.
TEST_F(TimerWheelTest, AJumpOfADayCostsOnlyTheTimersItPasses) {
  std::vector<TimeNs> order;
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (const TimeNs due : {3600 * kSecond, kSecond, 20 * 3600 * kSecond, kMillisecond}) {
    alarms.push_back(std::make_unique<Alarm>([&, due](Worker&, Alarm&) { order.push_back(due); }));
    wheel.start(alarms.back()->timer, due);
  }
  const auto before = std::chrono::steady_clock::now();
  for (int day = 1; day <= 1000; ++day) go_to(day * (24 * 3600 * kSecond));
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_LT(took, std::chrono::seconds(60));
  EXPECT_EQ(order,
            (std::vector<TimeNs>{kMillisecond, kSecond, 3600 * kSecond, 20 * 3600 * kSecond}));
}

TEST_F(TimerWheelTest, StartsFromAClockThatIsNotZero) {
  const TimeNs boot = 123'456'789'012'345;
  TimerWheel late(boot);
  Alarm a;
  late.start(a.timer, boot + kSecond);
  late.advance(worker, boot + kSecond - kTick, kAll);
  EXPECT_EQ(a.fired, 0);
  late.advance(worker, boot + kSecond + kTick, kAll);
  EXPECT_EQ(a.fired, 1);
}

TEST_F(TimerWheelTest, ExtremeDeadlinesAreSafe) {
  Alarm never, negative;
  wheel.start(never.timer, INT64_MAX);
  wheel.start(negative.timer, INT64_MIN);
  EXPECT_EQ(go_to(kTick), 1u);
  EXPECT_EQ(negative.fired, 1);
  go_to(INT64_MAX / 2);
  EXPECT_EQ(never.fired, 0);
  EXPECT_TRUE(wheel.next_deadline());
  wheel.stop(never.timer);
  EXPECT_FALSE(wheel.next_deadline());
}

TEST_F(TimerWheelTest, AClockThatGoesBackChangesNothing) {
  Alarm a;
  wheel.start(a.timer, 20 * kTick);
  go_to(10 * kTick);
  EXPECT_EQ(go_to(5 * kTick), 0u);
  EXPECT_EQ(go_to(19 * kTick), 0u);
  EXPECT_EQ(go_to(20 * kTick), 1u);
}

}  // namespace
}  // namespace loom
