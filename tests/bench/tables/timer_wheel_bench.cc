// The timer wheel under TCP's habits: most timers are started and stopped again, few ever fire.
#include <benchmark/benchmark.h>
#include <hostloom/worker.h>

#include <random>
#include <vector>

#include "time/timer_wheel.h"

namespace loom {
namespace {

// Retransmission timers: started a round-trip or so ahead, stopped by the acknowledgement, in a
// wheel in which range(0) other connections' timers run.
void BM_TimerStartStop(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  TimerWheel wheel(0);
  std::vector<Timer> timers(n);
  std::mt19937_64 rng(1);
  for (auto& t : timers) {
    t.fired = [](Worker&, Timer&) noexcept {};
    wheel.start(t, static_cast<TimeNs>(rng() % (60 * kSecond)));
  }
  Timer rto{.fired = timers[0].fired};
  TimeNs delay = 0;
  for (auto _ : state) {
    delay = (delay + 7 * kMillisecond) % kSecond;
    wheel.start(rto, 200 * kMillisecond + delay);
    wheel.stop(rto);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TimerStartStop)->Arg(1)->Arg(1 << 10)->Arg(1 << 20);

struct Pacer {
  Timer timer;
  TimeNs interval;
};

// One tick of a wheel in which range(0) timers restart themselves every 1 to 200 ms. The items are
// expirations, so the time per item is what one firing and restart costs with its share of
// cascades.
void BM_TimerTick(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  TimerWheel wheel(0);
  Worker worker;
  worker.impl = &wheel;
  std::vector<Pacer> pacers(n);
  std::mt19937_64 rng(1);
  for (auto& p : pacers) {
    p.interval = kMillisecond + static_cast<TimeNs>(rng() % (199 * kMillisecond));
    p.timer.fired = [](Worker& w, Timer& t) noexcept {
      auto& self = LOOM_TIMER_OWNER(Pacer, timer, t);
      static_cast<TimerWheel*>(w.impl)->start(t, w.now + self.interval);
    };
    wheel.start(p.timer, static_cast<TimeNs>(rng() % (200 * kMillisecond)));
  }
  std::size_t fired = 0;
  for (auto _ : state) {
    worker.now += kTimerTick;
    fired += wheel.advance(worker, worker.now, 1u << 20);
  }
  state.SetItemsProcessed(static_cast<int64_t>(fired));
}
BENCHMARK(BM_TimerTick)->Arg(0)->Arg(1 << 10)->Arg(1 << 16)->Arg(1 << 20);

// What an idle worker asks before it sleeps.
void BM_TimerNextDeadline(benchmark::State& state) {
  TimerWheel wheel(0);
  Timer t{.fired = [](Worker&, Timer&) noexcept {}};
  wheel.start(t, 2 * 3600 * kSecond);
  for (auto _ : state) benchmark::DoNotOptimize(wheel.next_deadline());
}
BENCHMARK(BM_TimerNextDeadline);

}  // namespace
}  // namespace loom
