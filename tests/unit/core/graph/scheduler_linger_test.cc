// Workers that look on before they sleep (graph/linger.h), with real threads. Nothing here waits
// for a time to pass: the clock stands still until it is moved.
#include <atomic>

#include "scheduler_bed.h"

namespace loom {
namespace {

// A clock that stands still: it would look on for ever.
std::atomic<TimeNs> still;
TimeNs still_clock(void*) noexcept { return still.load(); }

TEST_F(SchedulerTest, AWorkerThatIsAloneFindsWhatComesWithoutASleep) {
  still = kSecond;
  start({.clock = still_clock, .spin_time = kSecond});
  const int fd = eventfd(0, EFD_NONBLOCK);
  Event called;
  must(engine->watch_fd(0, fd, count_one, &called));
  const auto wait_until_it_looks_on = [&] {
    const auto rounds = engine->stats().worker(0).rounds;
    while (engine->stats().worker(0).rounds < rounds + 20 && !engine->stats().worker(0).is_asleep)
      std::this_thread::yield();
  };
  for (int i = 0; i < 100; ++i) {
    wait_until_it_looks_on();
    ASSERT_EQ(eventfd_write(fd, 1), 0);
    called.wait();
  }
  wait_until_it_looks_on();
  EXPECT_EQ(engine->stats().worker(0).sleeps, 0u);
  still += kSecond;
  wait_until_asleep();
  EXPECT_EQ(engine->stats().worker(0).looked_on, kSecond);
  engine->unwatch_fd(0, fd);
  close(fd);
}

TEST_F(SchedulerTest, AWorkerIsNotInTheWayOfAnApplicationThatIsAwake) {
  still = kSecond;
  engine = make_engine({.clock = still_clock, .spin_time = kSecond});
  static std::atomic<bool> is_awake;
  is_awake = false;
  engine->add_sleep_hook({.is_alone = [](Worker&, void*) noexcept { return !is_awake; }});
  must(engine->build());
  must(engine->start());
  while (engine->stats().worker(0).rounds < 1000 && !engine->stats().worker(0).is_asleep)
    std::this_thread::yield();
  EXPECT_EQ(engine->stats().worker(0).sleeps, 0u);
  is_awake = true;
  wait_until_asleep();
}

}  // namespace
}  // namespace loom
