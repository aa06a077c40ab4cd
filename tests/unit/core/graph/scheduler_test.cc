// Real threads: falling asleep, waking by post, fd, timer and hook, the barrier, grace periods.
// Nothing here waits for a time to pass; every wait is for a condition.
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <thread>

#include "scheduler_bed.h"

namespace loom {
namespace {

TEST_F(SchedulerTest, IdleWorkersSleepAndMakeNoRounds) {
  start({.n_workers = 2});
  wait_until_asleep(0);
  wait_until_asleep(1);
  const auto rounds = engine->stats().worker(0).rounds;
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  EXPECT_EQ(engine->stats().worker(0).rounds, rounds);
}

TEST_F(SchedulerTest, ASleepThatGoesOnIsCounted) {
  static std::atomic<TimeNs> now;
  now = kSecond;
  start({.clock = [](void*) noexcept { return now.load(); }});
  wait_until_asleep();
  EXPECT_EQ(engine->stats().worker(0).asleep, 0);
  now += 5 * kSecond;
  EXPECT_EQ(engine->stats().worker(0).asleep, 5 * kSecond);
  engine->run_on_worker(0, [](Worker&) {});  // once, not once more when it ends
  wait_until_asleep();
  EXPECT_EQ(engine->stats().worker(0).asleep, 5 * kSecond);
}

// Plugins free what theirs are in, and the core stops its own later: both are in one list.
TEST_F(SchedulerTest, WhenItHasStoppedTimersMayGoInAnyOrder) {
  start();
  auto first = std::make_unique<Timer>(), second = std::make_unique<Timer>();
  for (Timer* t : {first.get(), second.get()}) {
    t->fired = [](Worker&, Timer&) noexcept {};
    engine->run_on_worker(
        0, [t, when = engine->clock_now() + 100 * kSecond](Worker& w) { w.timer_start(*t, when); });
  }
  engine->stop();
  first.reset();
  EXPECT_FALSE(second->is_running());
  engine->run_on_worker(0, [&](Worker& w) { w.timer_stop(*second); });
}

TEST_F(SchedulerTest, PollModeNeverSleeps) {
  start({.poll_mode = true});
  while (engine->stats().worker(0).rounds < 10'000) std::this_thread::yield();
  EXPECT_EQ(engine->stats().worker(0).sleeps, 0u);
  EXPECT_FALSE(engine->stats().worker(0).is_asleep);
}

TEST_F(SchedulerTest, APostWakesASleepingWorker) {
  start();
  wait_until_asleep();
  Event ran;
  engine->post(0, [&](Worker& w) {
    EXPECT_EQ(w.index, 0u);
    ran.set();
  });
  ran.wait();
}

TEST_F(SchedulerTest, PostsOfOneThreadRunInOrder) {
  start();
  std::vector<int> order;
  for (int i = 0; i < 1000; ++i) engine->post(0, [&order, i](Worker&) { order.push_back(i); });
  engine->run_on_worker(0, [&](Worker&) {
    ASSERT_EQ(order.size(), 1000u);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  });
}

// In one order with closures.
TEST_F(SchedulerTest, PostsMayWaitInTheirCallersMemory) {
  struct Call : WorkerPost {
    std::vector<int>* order = nullptr;
    int number = 0;
  };
  start({.spin_rounds = 1});
  std::vector<int> order;
  std::vector<Call> calls(500);
  for (int i = 0; i < 1000; i += 2) {
    Call& c = calls[static_cast<std::size_t>(i / 2)];
    c.fn = [](Worker&, WorkerPost& p) noexcept {
      static_cast<Call&>(p).order->push_back(static_cast<Call&>(p).number);
    };
    c.order = &order;
    c.number = i;
    engine->post(0, c);
    engine->post(0, [&order, i](Worker&) { order.push_back(i + 1); });
  }
  engine->run_on_worker(0, [&](Worker&) {
    ASSERT_EQ(order.size(), 1000u);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  });
}

TEST_F(SchedulerTest, APostInItsCallersMemoryWakesASleepingWorkerAndMayBePostedAgain) {
  struct Call : WorkerPost {
    Event ran;
    int left = 3;
  } call;
  call.fn = [](Worker& w, WorkerPost& p) noexcept {
    auto& self = static_cast<Call&>(p);
    if (--self.left != 0) return Engine::of(w).post(w.index, self);
    self.ran.set();
  };
  start();
  wait_until_asleep();
  engine->post(0, call);
  call.ran.wait();
}

// What was posted when the engine goes: what is its own is freed, what is not is left alone.
TEST_F(SchedulerTest, PostsThatNobodyRanAreTheirCallers) {
  engine = make_engine({});
  const auto witness = std::make_shared<int>(0);
  WorkerPost call{.fn = [](Worker&, WorkerPost&) noexcept { ADD_FAILURE() << "it ran"; }};
  engine->post(0, [witness](Worker&) {});
  engine->post(0, call);
  engine.reset();
  EXPECT_EQ(witness.use_count(), 1);
}

// Each producer posts, waits until that has run, and posts again: as the worker keeps falling
// asleep in between, a wake-up that gets lost hangs the test.
TEST_F(SchedulerTest, NoWakeUpIsLost) {
  start({.spin_rounds = 1});
  std::atomic<int> done{0};
  std::vector<std::thread> producers;
  for (int p = 0; p < 2; ++p) {
    producers.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        Event ran;
        engine->post(0, [&](Worker&) { ran.set(); });
        ran.wait();
      }
      ++done;
    });
  }
  for (auto& t : producers) t.join();
  EXPECT_EQ(done, 2);
  EXPECT_GT(engine->stats().worker(0).sleeps, 0u);
}

TEST_F(SchedulerTest, AReadableFdWakesASleepingWorker) {
  start();
  const int fd = eventfd(0, EFD_NONBLOCK);
  Event called;
  must(engine->watch_fd(0, fd, count_one, &called));
  for (int i = 0; i < 100; ++i) {
    wait_until_asleep();
    ASSERT_EQ(eventfd_write(fd, 1), 0);
    called.wait();
  }
  engine->unwatch_fd(0, fd);
  close(fd);
}

TEST_F(SchedulerTest, FdsAreLookedAtWhileTheWorkerDoesNotSleep) {
  start({.poll_mode = true});
  struct Chain {
    int second = eventfd(1, 0);
    Event called;
  } chain;
  const int first = eventfd(1, 0);
  must(engine->watch_fd(
      0, first,
      [](Worker& w, int fd, void* context) noexcept {
        Engine::of(w).unwatch_fd(0, fd);  // callbacks may remove, themselves too, and add
        const auto on_second = [](Worker& worker, int readable, void* c) noexcept {
          Engine::of(worker).unwatch_fd(0, readable);
          static_cast<Chain*>(c)->called.set();
        };
        auto& c = *static_cast<Chain*>(context);
        must(Engine::of(w).watch_fd(0, c.second, on_second, &c));
        c.called.set();
      },
      &chain));
  chain.called.wait();
  chain.called.wait();
  engine->stop();
  close(first);
  close(chain.second);
}

TEST_F(SchedulerTest, AnUnwatchedFdIsNotCalledAgain) {
  start();
  const int fd = eventfd(0, 0);
  std::atomic<int> calls{0};
  const auto count = [](Worker&, int, void* n) noexcept { ++*static_cast<std::atomic<int>*>(n); };
  must(engine->watch_fd(0, fd, count, &calls));
  EXPECT_EQ(engine->watch_fd(0, fd, count, &calls).error().code, Status::kExists);
  ASSERT_EQ(eventfd_write(fd, 1), 0);
  while (calls == 0) std::this_thread::yield();
  engine->unwatch_fd(0, fd);
  const int before = calls;
  for (int i = 0; i < 100; ++i) engine->run_on_worker(0, [](Worker&) {});
  EXPECT_EQ(calls, before);
  must(engine->watch_fd(0, fd, count, &calls));  // still readable
  while (calls == before) std::this_thread::yield();
  engine->unwatch_fd(0, fd);
  close(fd);
  EXPECT_EQ(engine->watch_fd(0, fd, count, &calls).error().code, Status::kIo);
  EXPECT_EQ(engine->watch_fd(0, -1, count, &calls).error().code, Status::kInvalid);
}

struct TimerProbe {
  Timer timer;
  TimeNs deadline = 0, fired_at = 0;
  Event fired;
};

TEST_F(SchedulerTest, ATimerEndsTheSleepAndIsNeverEarly) {
  start();
  TimerProbe probe;
  probe.timer.fired = [](Worker& w, Timer& t) noexcept {
    auto& p = LOOM_TIMER_OWNER(TimerProbe, timer, t);
    p.fired_at = w.now;
    p.fired.set();
  };
  for (const TimeNs delay : {50 * kMicrosecond, 700 * kMicrosecond, 30 * kMillisecond}) {
    wait_until_asleep();
    engine->run_on_worker(0, [&](Worker& w) {
      probe.deadline = w.now + delay;
      w.timer_start(probe.timer, probe.deadline);
    });
    probe.fired.wait();
    EXPECT_GE(probe.fired_at, probe.deadline);
  }
}

// A queue of our own with a "sleeping" flag, as the session layer has: no message is left lying.
struct HookedQueue {
  std::atomic<uint32_t> written{0}, sleeping{0};
  uint32_t consumed = 0;  // worker's
  std::atomic<uint32_t> consumed_seen{0};
  std::atomic<uint32_t> vetoes{0};
  std::atomic<int> nested{0};
  int fd = eventfd(0, EFD_NONBLOCK);
};

void poll_queue(Worker& w, NodeRuntime&, std::span<Buffer* const>) noexcept {
  auto& q = *static_cast<HookedQueue*>(w.plugin_data[0]);
  const uint32_t now = q.written.load();
  w.work += now - q.consumed;
  q.consumed = now;
  q.consumed_seen.store(now);
}

TEST_F(SchedulerTest, SleepHooksVetoWhenWorkArrivesAtTheLastMoment) {
  HookedQueue q;
  engine = make_engine({.spin_rounds = 1});
  engine->worker(0).plugin_data[0] = &q;
  must(engine->add_node({.name = "queue", .run = poll_queue, .kind = NodeKind::kInput}));
  must(engine->build());
  engine->add_sleep_hook({.before =
                              [](Worker&, void* c) noexcept {
                                auto& queue = *static_cast<HookedQueue*>(c);
                                queue.sleeping.store(1);
                                if (queue.written.load() == queue.consumed) {
                                  ++queue.nested;
                                  return true;
                                }
                                queue.sleeping.store(0);
                                ++queue.vetoes;
                                return false;
                              },
                          .after =
                              [](Worker&, void* c) noexcept {
                                auto& queue = *static_cast<HookedQueue*>(c);
                                --queue.nested;
                                queue.sleeping.store(0);
                              },
                          .context = &q});
  must(engine->watch_fd(
      0, q.fd,
      [](Worker&, int fd, void*) noexcept {
        uint64_t n;
        (void)!read(fd, &n, sizeof n);
      },
      nullptr));
  must(engine->start());
  for (uint32_t i = 1; i <= 5000; ++i) {
    q.written.store(i);
    if (q.sleeping.load()) {
      ASSERT_EQ(eventfd_write(q.fd, 1), 0);
    }
    while (q.consumed_seen.load() != i) std::this_thread::yield();
  }
  engine->stop();
  EXPECT_EQ(q.nested, 0);  // each sleep was followed by its after
  close(q.fd);
}

TEST_F(SchedulerTest, RunOnWorkerWaitsAndWorksFromTheWorkerItself) {
  start({.n_workers = 2});
  int order = 0;
  engine->run_on_worker(1, [&](Worker& w) {
    EXPECT_EQ(w.index, 1u);
    engine->run_on_worker(1, [&](Worker&) { order = 1; });
    order *= 10;
  });
  EXPECT_EQ(order, 10);
}

TEST_F(SchedulerTest, NoWorkerRunsInsideTheBarrier) {
  engine = make_engine({.n_workers = 3, .poll_mode = true});
  std::atomic<uint64_t> inputs{0};
  for (uint32_t i = 0; i < 3; ++i) engine->worker(i).plugin_data[0] = &inputs;
  must(engine->add_node({.name = "count",
                         .run =
                             [](Worker& w, NodeRuntime&, std::span<Buffer* const>) noexcept {
                               ++*static_cast<std::atomic<uint64_t>*>(w.plugin_data[0]);
                             },
                         .kind = NodeKind::kInput}));
  must(engine->build());
  must(engine->start());
  for (int i = 0; i < 200; ++i) {
    engine->with_barrier([&] {
      const uint64_t before = inputs;
      engine->with_barrier([&] { engine->run_on_worker(2, [](Worker& w) { w.work = 0; }); });
      EXPECT_EQ(inputs, before);
    });
  }
  const uint64_t before = inputs;
  while (inputs == before) std::this_thread::yield();  // and they go on
  engine->stop();
}

TEST_F(SchedulerTest, GraphsGrowWhileWorkersRun) {
  start({.n_workers = 2});
  Seen sinks[2];
  for (uint32_t i = 0; i < 2; ++i)
    engine->run_on_worker(i, [&](Worker& w) { w.plugin_data[1] = &sinks[i]; });
  for (int i = 0; i < 20; ++i) {
    static char names[20][16];
    std::snprintf(names[i], sizeof names[i], "late-%d", i);
    const NodeId id = must(engine->add_node(
        {.name = names[i], .run = sink_node<1>, .counters = kSinkCounters, .next = {"drop"}}));
    for (uint32_t n = 0; n < 2; ++n) engine->post(n, [id](Worker& w) { send_numbers(w, id, 10); });
    while (engine->stats().counter(id, 0) != 20) std::this_thread::yield();
  }
  must(engine->build());
  engine->stop();
}

// Control replaces an object that workers read every round, and frees the old one after a grace
// period: under ASan and TSan a period that ends early is a use after free.
TEST_F(SchedulerTest, GracePeriodsEndAfterTheLastReader) {
  struct Shared {
    std::atomic<int*> current;
    std::atomic<uint64_t> reads{0};
  } shared{.current = new int(0)};
  engine = make_engine({.n_workers = 2, .spin_rounds = 2});
  for (uint32_t i = 0; i < 2; ++i) engine->worker(i).plugin_data[0] = &shared;
  must(engine->add_node({.name = "reader",
                         .run =
                             [](Worker& w, NodeRuntime&, std::span<Buffer* const>) noexcept {
                               auto& s = *static_cast<Shared*>(w.plugin_data[0]);
                               const int* at = s.current.load(std::memory_order_acquire);
                               for (int i = 0; i < 50; ++i) LOOM_CHECK(*at >= 0);
                               ++s.reads;
                             },
                         .kind = NodeKind::kInput}));
  must(engine->build());
  must(engine->start());
  std::atomic<int> freed{0};
  for (int i = 1; i <= 500; ++i) {
    int* old = shared.current.exchange(new int(i));
    engine->after_grace([old, &freed] {
      *old = -1;
      delete old;
      ++freed;
    });
    engine->post(0, [](Worker&) {});  // keeps the workers between sleeping and waking
    if (i % 50 == 0) engine->run_on_worker(1, [](Worker&) {});
  }
  engine->stop();
  engine->step();  // there is no executor: the control queue runs here
  EXPECT_EQ(freed, 500);
  EXPECT_GT(shared.reads, 0u);
  delete shared.current.load();
}

TEST_F(SchedulerTest, ControlExecutorGetsWhatWorkersPost) {
  engine = make_engine();
  must(engine->build());
  struct Control {
    std::mutex lock;
    std::condition_variable changed;
    std::vector<std::pair<void (*)(void*), void*>> queue;
  } control;
  engine->set_control_executor(
      [](void* context, void (*fn)(void*), void* arg) {
        auto& c = *static_cast<Control*>(context);
        const std::lock_guard hold(c.lock);
        c.queue.emplace_back(fn, arg);
        c.changed.notify_one();
      },
      &control);
  must(engine->start());
  bool ran = false;
  engine->post(0, [&](Worker&) { engine->post_to_control([&] { ran = true; }); });
  std::unique_lock hold(control.lock);
  control.changed.wait(hold, [&] { return !control.queue.empty(); });
  EXPECT_FALSE(ran);
  control.queue[0].first(control.queue[0].second);
  EXPECT_TRUE(ran);
}

TEST_F(SchedulerTest, StopRunsWhatWasPostedAndFreesWhatIsUnderWay) {
  start();
  bool ran = false;
  engine->post(0, [&](Worker& w) {
    send_numbers(w, Engine::of(w).drop_node(), 5);
    Engine::of(w).post(0, [&](Worker&) { ran = true; });
  });
  engine->stop();
  EXPECT_TRUE(ran);
  EXPECT_EQ(buffers_in_use(*engine), 0u);
  must(engine->start());  // and again
  engine->run_on_worker(0, [](Worker&) {});
}

TEST_F(SchedulerTest, WorkersAreNamedAndPinned) {
  start({.n_workers = 1, .corelist = {0}});
  engine->run_on_worker(0, [](Worker&) {
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof name);
    EXPECT_STREQ(name, "loom-w0");
    cpu_set_t cores;
    ASSERT_EQ(pthread_getaffinity_np(pthread_self(), sizeof cores, &cores), 0);
    EXPECT_EQ(CPU_COUNT(&cores), 1);
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    EXPECT_EQ(sigismember(&blocked, SIGTERM), 1);
  });
}

}  // namespace
}  // namespace loom
