// Looking for a moment before a sleep (vcl/spin.h). Where it has to find something it looks for a
// minute here, so that a sleep would be a mistake and no matter of time.
#include "vcl/spin.h"

#include <atomic>
#include <thread>

#include "links_bed.h"
#include "vcl/multi_wait.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

TEST(SpinGauge, WhatFindsNothingIsTriedLessAndLess) {
  SpinGauge g;
  std::vector<int> between;
  for (int skipped = 0; between.size() < 13; ++skipped) {
    if (!g.wants()) continue;
    between.push_back(std::exchange(skipped, 0));
    g.missed();
    EXPECT_FALSE(g.wants()) << "the same wait";
  }
  EXPECT_EQ(between[0], 0);
  EXPECT_LT(between[1], 3);
  EXPECT_GE(between.back(), static_cast<int>(SpinGauge::kMostSkipped));
  EXPECT_LE(between.back(), static_cast<int>(SpinGauge::kMostSkipped) + 2);
  // What finds something once was lucky, and what goes on finding something is believed.
  const auto skipped_after_a_miss = [&] {
    int n = -1;  // the same wait
    for (g.missed(); !g.wants(); ++n) {}
    return n;
  };
  while (!g.wants()) {}
  g.found();
  EXPECT_TRUE(g.wants());
  EXPECT_GT(skipped_after_a_miss(), 1000);
  for (int i = 0; i < 10; ++i) {
    g.found();
    EXPECT_TRUE(g.wants());
  }
  EXPECT_EQ(skipped_after_a_miss(), 1);
}

TEST(SpinGauge, AfterALongSleepTheNextWaitSleepsAtOnce) {
  SpinGauge g;
  for (int i = 0; i < 100; ++i) {
    g.slept(51 * kMicrosecond, 50 * kMicrosecond);
    EXPECT_FALSE(g.wants());
  }
  g.slept(49 * kMicrosecond, 50 * kMicrosecond);
  EXPECT_TRUE(g.wants());
}

struct Spin : DatagramLinks {
  void adjust(Config& config) override { config.spin = look; }
  void SetUp() override {
    DatagramLinks::SetUp();
    before_sleep = [this] { ++sleeps; };
    // A wait for the daemon's answer may have changed its mind.
    ThreadWaiter::current().gauge() = {};
  }
  void TearDown() override {
    if (other.joinable()) other.join();
    DatagramLinks::TearDown();
  }
  // From another thread, once somebody waits for what the peer sends.
  template <class F>
  void once_awaited(F&& f) {
    pair().to_app().consumer.armed.store(0);
    other = std::thread([this, f] {
      while (pair().to_app().consumer.armed.load() == 0) std::this_thread::yield();
      f();
    });
  }
  TimeNs look = 60 * kSecond;
  std::atomic<int> sleeps{0};
  std::thread other;
};

TEST_F(Spin, AnAnswerThatComesMeanwhileCostsNoSleep) {
  Session& s = connect();
  s.set_nonblocking(false);
  sleeps = 0;
  once_awaited([this] { pair().send_datagram("answer"); });
  EXPECT_EQ(receive(s).bytes, "answer");
  EXPECT_EQ(sleeps.load(), 0);
}

TEST_F(Spin, NorDoesOneForAPollOrASet) {
  Session& s = connect();
  sleeps = 0;
  once_awaited([this] { pair().send_datagram("one"); });
  WaitEntry entry{&s, POLLIN, 0};
  EXPECT_EQ(wait_many(*worker, {&entry, 1}, nullptr, 0, 60 * kSecond, nullptr), 1);
  EXPECT_EQ(receive(s).bytes, "one");
  other.join();
  EpollSet* set = worker->new_epoll_set(-1);
  epoll_event e{};
  e.events = EPOLLIN;
  EXPECT_EQ(set->add(1, s, e), 0);
  once_awaited([this] { pair().send_datagram("two"); });
  EXPECT_EQ(set->wait(&e, 1, 60 * kSecond, nullptr), 1);
  EXPECT_EQ(receive(s).bytes, "two");
  EXPECT_EQ(set->remove(1, s), 0);
  set->unref();
  EXPECT_EQ(sleeps.load(), 0);
}

TEST_F(Spin, WhatTheDaemonSaysEndsIt) {
  Session& s = connect();
  s.set_nonblocking(false);
  sleeps = 0;
  once_awaited([this] { inject("by the transport"); });
  EXPECT_EQ(receive(s).bytes, "by the transport");
  EXPECT_EQ(sleeps.load(), 0);
}

// Another thread may take the events, and has nobody to wake then.
TEST_F(Spin, WhatAnotherThreadHasTakenEndsIt) {
  Session& s = connect();
  s.set_nonblocking(false);
  sleeps = 0;
  once_awaited([&] {
    pair().to_app().consumer.armed.store(0);  // so nothing is rung
    pair().send_datagram("quietly");
    const std::lock_guard lock(worker->mutex());
    s.notify();
  });
  EXPECT_EQ(receive(s).bytes, "quietly");
  EXPECT_EQ(sleeps.load(), 0);
}

TEST_F(Spin, TheDeadlineHolds) {
  Session& s = connect();
  s.set_nonblocking(false);
  s.rcv_timeout = kMillisecond;
  EXPECT_EQ(receive(s).n, -EAGAIN);
}

struct NoSpin : Spin {
  NoSpin() { look = 0; }
};

TEST_F(NoSpin, IsAsked) {
  Session& s = connect();
  s.set_nonblocking(false);
  sleeps = 0;
  once_awaited([this] { pair().send_datagram("answer"); });
  before_sleep = [this] {
    ++sleeps;
    if (other.joinable()) other.join();
  };
  EXPECT_EQ(receive(s).bytes, "answer");
  EXPECT_GE(sleeps.load(), 1);
}

}  // namespace
}  // namespace loom::vcl
