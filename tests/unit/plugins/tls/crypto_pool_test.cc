// The pool by itself: what is submitted runs and comes back to its worker, what is cancelled comes
// back without having run.
#include "crypto_pool.h"

#include <gtest/gtest.h>

#include <signal.h>

#include <deque>
#include <latch>
#include <memory>

namespace loom::tls {
namespace {

// A worker that is the test's own thread.
struct PostBed {
  PostBed() {
    ops.struct_size = sizeof ops;
    ops.post_to_worker = [](Host& h, uint32_t worker, WorkerPost& p) noexcept {
      auto& bed = *static_cast<PostBed*>(h.impl);
      const std::lock_guard lock(bed.mutex);
      bed.posted.push_back({&p, worker});
      bed.changed.notify_all();
    };
    host.ops = &ops;
    host.impl = this;
  }
  // Waits for one and calls it.
  void step() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return !posted.empty(); });
    const Posted p = posted.front();
    posted.pop_front();
    lock.unlock();
    EXPECT_EQ(p.worker, 3u);
    p.post->fn(worker, *p.post);
  }
  struct Posted {
    WorkerPost* post;
    uint32_t worker;
  };
  HostOps ops{};
  Host host;
  Worker worker;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Posted> posted;
};

struct Count : CryptoPool::Job {
  Count() {
    worker = 3;
    run = [](Job& j) noexcept { ++static_cast<Count&>(j).ran; };
    fn = [](Worker&, WorkerPost& p) noexcept {
      ++static_cast<Count&>(static_cast<Job&>(p)).came_back;
    };
  }
  int ran = 0, came_back = 0;  // plain: whose it is may look
};

struct Waiting : Count {
  Waiting() {
    run = [](Job& j) noexcept {
      auto& b = static_cast<Waiting&>(static_cast<Count&>(j));
      ++b.ran;
      b.begun.count_down();
      b.may_end.wait();
    };
  }
  std::latch begun{1}, may_end{1};
};

TEST(CryptoPool, JobsComeBackToTheirWorkerAsOftenAsTheyAreSubmitted) {
  PostBed bed;
  std::deque<Count> jobs(50);
  CryptoPool pool(bed.host);
  ASSERT_TRUE(pool.start(2));
  constexpr int kRounds = 40;
  for (Count& j : jobs) pool.submit(j);
  for (int round = 1; round <= kRounds; ++round) {
    for (std::size_t i = 0; i < jobs.size(); ++i) bed.step();
    for (Count& j : jobs) {
      EXPECT_EQ(j.came_back, round);
      if (round != kRounds) pool.submit(j);
    }
  }
  for (const Count& j : jobs) {
    EXPECT_EQ(j.ran, kRounds);
    EXPECT_EQ(j.came_back, kRounds);
  }
}

TEST(CryptoPool, WhatHasNotBegunIsTakenBackAndTheRestIsWaitedFor) {
  PostBed bed;
  Waiting blocked;
  Count first, second, third;
  auto pool = std::make_unique<CryptoPool>(bed.host);
  ASSERT_TRUE(pool->start(1));
  pool->submit(blocked);
  blocked.begun.wait();
  for (Count* j : {&first, &second, &third}) pool->submit(*j);
  EXPECT_FALSE(pool->cancel(blocked)) << "it runs";
  EXPECT_TRUE(pool->cancel(second));
  EXPECT_FALSE(pool->cancel(second));
  EXPECT_TRUE(pool->cancel(third));
  for (int i = 0; i < 2; ++i) bed.step();
  EXPECT_EQ(second.came_back + third.came_back, 2);
  pool->submit(third);
  blocked.may_end.count_down();
  for (int i = 0; i < 3; ++i) bed.step();
  EXPECT_EQ(first.came_back + blocked.came_back, 2);
  EXPECT_EQ(third.came_back, 2);
  EXPECT_EQ(second.ran, 0);
  EXPECT_EQ(third.ran, 1);
  pool.reset();
  EXPECT_TRUE(bed.posted.empty());
}

TEST(CryptoPool, StopWaitsForWhatRunsAndHasPostedIt) {
  PostBed bed;
  Waiting blocked;
  CryptoPool pool(bed.host);
  ASSERT_TRUE(pool.start(2));
  pool.submit(blocked);
  blocked.begun.wait();
  std::thread releases([&] { blocked.may_end.count_down(); });
  pool.stop();
  releases.join();
  ASSERT_EQ(bed.posted.size(), 1u);
  bed.step();
  EXPECT_EQ(blocked.came_back, 1);
}

TEST(CryptoPool, SignalsAreNotForItsThreads) {
  PostBed bed;
  struct Mask : Count {
    Mask() {
      run = [](Job& j) noexcept {
        auto& self = static_cast<Mask&>(static_cast<Count&>(j));
        pthread_sigmask(SIG_SETMASK, nullptr, &self.mask);
      };
    }
    sigset_t mask;
  } job;
  CryptoPool pool(bed.host);
  ASSERT_TRUE(pool.start(1));
  pool.submit(job);
  bed.step();
  EXPECT_EQ(sigismember(&job.mask, SIGTERM), 1);
  EXPECT_EQ(sigismember(&job.mask, SIGHUP), 1);
}

// They may be started after the control thread has been put on a core of its own.
TEST(CryptoPool, ItsThreadsRunWhereItWasMade) {
  PostBed bed;
  struct Cores : Count {
    Cores() {
      run = [](Job& j) noexcept {
        auto& self = static_cast<Cores&>(static_cast<Count&>(j));
        pthread_getaffinity_np(pthread_self(), sizeof self.cores, &self.cores);
      };
    }
    cpu_set_t cores;
  } job;
  cpu_set_t before, one;
  pthread_getaffinity_np(pthread_self(), sizeof before, &before);
  CryptoPool pool(bed.host);
  EXPECT_FALSE(pool.is_running());
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(pthread_setaffinity_np(pthread_self(), sizeof one, &one), 0);
  const auto started = pool.start(1);
  pthread_setaffinity_np(pthread_self(), sizeof before, &before);
  ASSERT_TRUE(started);
  EXPECT_TRUE(pool.is_running());
  pool.submit(job);
  bed.step();
  EXPECT_TRUE(CPU_EQUAL(&job.cores, &before));
}

// As `taskset` does, or a container.
TEST(CryptoPool, CoresAreThoseThatItMayRunOn) {
  cpu_set_t before, one;
  pthread_getaffinity_np(pthread_self(), sizeof before, &before);
  EXPECT_EQ(n_cores(), static_cast<uint32_t>(CPU_COUNT(&before)));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(pthread_setaffinity_np(pthread_self(), sizeof one, &one), 0);
  const uint32_t n = n_cores();
  pthread_setaffinity_np(pthread_self(), sizeof before, &before);
  EXPECT_EQ(n, 1u);
}

}  // namespace
}  // namespace loom::tls
