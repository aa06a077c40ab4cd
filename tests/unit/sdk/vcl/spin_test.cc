// Looking for a moment before a sleep (vcl/spin.h). Where it has to find something it looks for a
// minute here, so that a sleep would be a mistake and no matter of time.
#include "vcl/spin.h"

#include <sys/eventfd.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
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
  const auto find = [&] {
    g.rang();
    g.satisfied();
    EXPECT_TRUE(g.wants());
  };
  while (!g.wants()) {}
  find();
  EXPECT_GT(skipped_after_a_miss(), 1000);
  for (int i = 0; i < 10; ++i) find();
  EXPECT_EQ(skipped_after_a_miss(), 1);
}

TEST(SpinGauge, WhatRangForNothingIsAMiss) {
  SpinGauge g;
  g.satisfied();  // by what was there without a look
  EXPECT_TRUE(g.wants());
  g.rang();
  g.unsatisfied();
  EXPECT_FALSE(g.wants()) << "the same wait";
  g.satisfied();
  EXPECT_FALSE(g.wants());
  EXPECT_TRUE(g.wants());
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

// A handler without SA_RESTART, which counts.
struct Interrupted {
  explicit Interrupted(int signal) : signal_(signal) {
    n = 0;
    struct sigaction a {};
    a.sa_handler = [](int) { ++n; };
    sigaction(signal_, &a, &before_);
  }
  ~Interrupted() { sigaction(signal_, &before_, nullptr); }
  Interrupted(const Interrupted&) = delete;
  Interrupted& operator=(const Interrupted&) = delete;
  static inline std::atomic<int> n{0};

 private:
  int signal_;
  struct sigaction before_;
};

struct Spin : DatagramLinks {
  void adjust(Config& config) override {
    config.spin = look;
    config.spin_unheld = 0;  // when a signal comes is not for the test to say
  }
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
  // From another thread, once this one looks or sleeps.
  template <class F>
  void once_awaited(F f) {
    other = std::thread([this, f, &waiter = ThreadWaiter::current()] {
      const auto is_waiting = [&] {
        const std::lock_guard lock(worker->mutex());
        return waiter.is_waiting();
      };
      while (!is_waiting()) std::this_thread::yield();
      f();
    });
  }
  static bool wants() { return ThreadWaiter::current().gauge().wants(); }
  // What each of the calls that wait gives for the session and a descriptor of the kernel's.
  std::vector<std::pair<const char*, std::function<int()>>> waits(Session& s, int fd,
                                                                  const sigset_t* mask) {
    return {{"poll",
             [this, &s, fd, mask] {
               WaitEntry entry{&s, POLLIN, 0};
               pollfd kernel[2] = {{fd, POLLIN, 0}, {}};
               return wait_many(*worker, {&entry, 1}, kernel, fd >= 0, 60 * kSecond, mask);
             }},
            {"epoll", [this, &s, fd, mask] {
               const int epfd = fd >= 0 ? ::epoll_create1(0) : -1;
               EpollSet* set = worker->new_epoll_set(epfd);
               epoll_event e{};
               e.events = EPOLLIN;
               EXPECT_EQ(set->add(1, s, e), 0);
               if (fd >= 0) {
                 EXPECT_EQ(::epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e), 0);
                 set->note_kernel_fds();
                 // A set looks at its kernel side in every other wait.
                 EXPECT_EQ(set->wait(&e, 1, 0, nullptr), 1);
               }
               const int n = set->wait(&e, 1, 60 * kSecond, mask);
               EXPECT_EQ(set->remove(1, s), 0);
               set->unref();
               if (epfd >= 0) ::close(epfd);
               return n;
             }}};
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

// Each miss counts, so that a peer who rings on and on is soon left to the kernel.
TEST_F(Spin, WhoRingsForNothingIsNotLookedFor) {
  Session& s = connect();
  s.set_nonblocking(false);
  before_sleep = [this] {
    if (sleeps++ == 0) pair().send_datagram("answer");
  };
  for (int i = 0; i < 7; ++i) {
    sleeps = 0;
    // Also while nobody waits: a wait that does not look is over before somebody has seen it.
    other = std::thread([this, &p = pair()] {
      while (sleeps == 0) {
        p.ring();
        std::this_thread::yield();
      }
    });
    EXPECT_EQ(receive(s).bytes, "answer");
    EXPECT_GE(sleeps.load(), 1);
    other.join();
  }
  ThreadWaiter::current().gauge().missed();
  int n_skipped = 0;
  while (!wants()) ++n_skipped;
  EXPECT_GE(n_skipped, 15);
}

// A signal that only the mask lets in would wait as long as the look does.
TEST_F(Spin, ACallWithAMaskSleepsAtOnce) {
  Session& s = connect();
  const Interrupted usr1(SIGUSR1);
  sigset_t blocked, none;
  sigemptyset(&none);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  for (const auto& [name, wait] : waits(s, -1, &none)) {
    sleeps = 0;
    EXPECT_EQ(raise(SIGUSR1), 0);
    EXPECT_EQ(wait(), -EINTR) << name;
    EXPECT_EQ(sleeps.load(), 1) << name;
    EXPECT_TRUE(wants()) << name << ": it has looked";
  }
  pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  EXPECT_EQ(usr1.n.load(), 2);
}

TEST_F(Spin, WhatTheKernelHasIsSeenBefore) {
  Session& s = connect();
  const int fd = ::eventfd(1, EFD_NONBLOCK);  // readable
  for (const auto& [name, wait] : waits(s, fd, nullptr)) {
    EXPECT_EQ(wait(), 1) << name;
    EXPECT_TRUE(wants()) << name << ": it has looked";
  }
  ::close(fd);
}

// For longer than the whole test may take.
struct LongSpin : Spin {
  LongSpin() { look = 3600 * kSecond; }
};

TEST_F(LongSpin, TheDeadlineHolds) {
  Session& s = connect();
  s.set_nonblocking(false);
  s.rcv_timeout = kMillisecond;
  do {  // until one of them has come to look in that time
    EXPECT_EQ(receive(s).n, -EAGAIN);
  } while (wants());
}

// The child has the session, and nothing of the look; the parent's goes on.
TEST_F(Spin, AForkMeanwhileLeavesBothAsTheyShouldBe) {
  Session& s = connect();
  s.set_nonblocking(false);
  const long owners = worker->attachment_locked().use_count();
  auto& p = pair();  // which the child could not ask for: the daemon's thread is not in it
  sleeps = 0;
  int status = -1;
  once_awaited([&] {
    const pid_t child = fork();
    if (child == 0) {
      ::alarm(60);
      if (worker->attachment_locked().use_count() != owners) _exit(1);
      if (send(s, "question") != 8) _exit(2);
      p.send_datagram("for the child");
      if (receive(s).bytes != "for the child") _exit(3);
      s.rcv_timeout = kMillisecond;
      do {  // until it has come to look in that time
        if (receive(s).n != -EAGAIN) _exit(4);
      } while (wants());
      _exit(0);
    }
    (void)waitpid(child, &status, 0);
    p.shared->ends[0].owner.store(0);  // as the daemon says when one has ended
    pair().send_datagram("answer");
  });
  EXPECT_EQ(receive(s).bytes, "answer");
  EXPECT_EQ(sleeps.load(), 0);
  other.join();
  EXPECT_EQ(status, 0);
  EXPECT_EQ(pair().sent().size(), 1u);
}

// A short look: what comes in it, or in the sleep behind it, interrupts that.
struct ShortSpin : Spin {
  ShortSpin() { look = kSecond / 5; }
};

TEST_F(ShortSpin, ASignalMeanwhileInterrupts) {
  Session& s = connect();
  s.set_nonblocking(false);
  const Interrupted usr1(SIGUSR1);
  const pthread_t self = pthread_self();
  const auto expect_interrupt = [&](const char* name, const std::function<ssize_t()>& call) {
    ThreadWaiter::current().gauge() = {};
    const int before = usr1.n;
    sleeps = 0;
    once_awaited([self] { pthread_kill(self, SIGUSR1); });
    EXPECT_EQ(call(), -EINTR) << name;
    EXPECT_EQ(usr1.n.load(), before + 1) << name;
    EXPECT_EQ(sleeps.load(), 1) << name;
    other.join();
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    EXPECT_EQ(sigismember(&mask, SIGUSR1), 0) << name;
  };
  s.rcv_timeout = 30 * kSecond;
  expect_interrupt("recv", [&] { return receive(s).n; });
  for (const auto& [name, wait] : waits(s, -1, nullptr)) expect_interrupt(name, wait);
}

// With an answer beside it the call returns that, and the handler has run by then.
TEST_F(Spin, ASignalBesideAnAnswerIsHandledInTheCall) {
  Session& s = connect();
  s.set_nonblocking(false);
  const Interrupted usr1(SIGUSR1);
  const pthread_t self = pthread_self();
  once_awaited([this, self] {
    pthread_kill(self, SIGUSR1);
    pair().send_datagram("answer");
  });
  EXPECT_EQ(receive(s).bytes, "answer");
  EXPECT_EQ(usr1.n.load(), 1);
}

struct OneCore : Spin {
  OneCore() { n_cores = 1; }
  ~OneCore() override { n_cores = 2; }
};

// The peer cannot answer while we look.
TEST_F(OneCore, NobodyLooks) {
  Session& s = connect();
  s.set_nonblocking(false);
  sleeps = 0;
  before_sleep = [this] {
    if (sleeps++ == 0) pair().send_datagram("answer");
  };
  EXPECT_EQ(receive(s).bytes, "answer");
  EXPECT_EQ(sleeps.load(), 1);
}

struct NoSpin : Spin {
  NoSpin() { look = 0; }
};

TEST_F(NoSpin, IsAsked) {
  Session& s = connect();
  s.set_nonblocking(false);
  sleeps = 0;
  before_sleep = [this] {
    if (sleeps++ == 0) pair().send_datagram("answer");
  };
  EXPECT_EQ(receive(s).bytes, "answer");
  EXPECT_EQ(sleeps.load(), 1);
}

}  // namespace
}  // namespace loom::vcl
