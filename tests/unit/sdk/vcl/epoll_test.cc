// Epoll sets of sessions and kernel descriptors, as Linux has them (epoll(7)).
#include "vcl/epoll_set.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "fake_daemon.h"
#include "vcl/app_worker.h"

namespace loom::vcl {
namespace {

using test::FakeDaemon;

class Epoll : public testing::Test {
 protected:
  void SetUp() override {
    Config config;

    config.app_socket = "/tmp/vcl-epoll-" + std::to_string(getpid()) + ".sock";
    config.rx_fifo_size = config.tx_fifo_size = 64 << 10;
    daemon_ = std::make_unique<FakeDaemon>(config.app_socket);
    worker_ = new AppWorker(config, "epoll-test");
    kernel_ = epoll_create1(EPOLL_CLOEXEC);
    set_ = worker_->new_epoll_set(kernel_);
  }
  void TearDown() override {
    for (Session* s : sessions_) s->unref();
    set_->unref();
    close(kernel_);
    worker_->leave();
    delete worker_;
  }
  // A connected session whose far end is the test.
  Session& connect() {
    Session* s = worker_->new_session(0, true, false);
    svm::Endpoint e{.is_ip4 = 1, .reserved = 0, .port = 0x0700, .ip = {10, 0, 0, 1}};
    EXPECT_EQ(s->connect(e), 0);
    s->set_nonblocking(true);
    sessions_.push_back(s);
    return *s;
  }
  int add(Session& s, uint32_t events, int key = 1) {
    epoll_event e{events, {.u64 = static_cast<uint64_t>(key)}};
    return set_->add(key, s, e);
  }
  int modify(Session& s, uint32_t events, int key = 1) {
    epoll_event e{events, {.u64 = static_cast<uint64_t>(key)}};
    return set_->modify(key, s, e);
  }
  // Events of the only ready registration, 0 for none. ms < 0: for ever.
  uint32_t wait(int ms = 0) {
    epoll_event e[4];
    const int n = set_->wait(e, 4, ms * kMillisecond, nullptr);
    EXPECT_LE(n, 1);
    return n == 1 ? e[0].events : 0;
  }
  static void read_all(Session& s) {
    char buf[4096];
    while (s.receive(buf, sizeof buf, 0) > 0) {}
  }

  std::unique_ptr<FakeDaemon> daemon_;
  AppWorker* worker_ = nullptr;
  EpollSet* set_ = nullptr;
  int kernel_ = -1;
  std::vector<Session*> sessions_;
};

// epoll(7): a write of which only a part was taken is enough, EAGAIN need not be seen.
TEST_F(Epoll, AShortWriteIsFollowedByAnEdge) {
  Session& s = connect();
  ASSERT_EQ(add(s, EPOLLOUT | EPOLLET), 0);
  EXPECT_EQ(wait(), EPOLLOUT);
  const std::string much(100'000, 'x');
  daemon_->run([&] {  // it takes nothing meanwhile
    EXPECT_EQ(s.send(much.data(), much.size(), 0), 64 << 10);
    EXPECT_EQ(wait(), 0u);
  });
  EXPECT_EQ(wait(20'000), EPOLLOUT);
}

TEST_F(Epoll, LevelTriggeredComesBackUntilRead) {
  Session& s = connect();
  ASSERT_EQ(add(s, EPOLLIN), 0);
  EXPECT_EQ(wait(), 0u);
  daemon_->inject(0, "abc");
  EXPECT_EQ(wait(20'000), EPOLLIN);
  EXPECT_EQ(wait(), EPOLLIN);
  char c;
  s.receive(&c, 1, 0);
  EXPECT_EQ(wait(), EPOLLIN);
  read_all(s);
  EXPECT_EQ(wait(), 0u);
  daemon_->inject(0, "d");
  EXPECT_EQ(wait(20'000), EPOLLIN);
}

TEST_F(Epoll, EdgeTriggeredComesOncePerArrival) {
  Session& s = connect();
  ASSERT_EQ(add(s, EPOLLIN | EPOLLET), 0);
  daemon_->inject(0, "abc");
  EXPECT_EQ(wait(20'000), EPOLLIN);
  EXPECT_EQ(wait(), 0u);
  daemon_->inject(0, "d");  // unread bytes are there: a new arrival is an edge all the same
  EXPECT_EQ(wait(20'000), EPOLLIN);
  EXPECT_EQ(wait(), 0u);
  read_all(s);
  EXPECT_EQ(wait(), 0u);
  daemon_->inject(0, "e");
  EXPECT_EQ(wait(20'000), EPOLLIN);
}

TEST_F(Epoll, EdgeTriggeredReportsInAndOutTogetherAtFirst) {
  Session& s = connect();
  ASSERT_EQ(add(s, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET), 0);
  EXPECT_EQ(wait(), EPOLLOUT);
  EXPECT_EQ(wait(), 0u);
  daemon_->inject(0, "x");
  EXPECT_EQ(wait(20'000), EPOLLIN | EPOLLOUT);
  daemon_->inject_fin(0);
  EXPECT_EQ(wait(20'000), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
  EXPECT_EQ(wait(), 0u);
}

TEST_F(Epoll, OneShotFiresOnceAndIsRearmedByMod) {
  Session& s = connect();
  ASSERT_EQ(add(s, EPOLLIN | EPOLLONESHOT), 0);
  daemon_->inject(0, "x");
  EXPECT_EQ(wait(20'000), EPOLLIN);
  daemon_->inject(0, "y");
  EXPECT_EQ(wait(20), 0u);
  ASSERT_EQ(modify(s, EPOLLIN | EPOLLONESHOT), 0);
  EXPECT_EQ(wait(), EPOLLIN);
}

TEST_F(Epoll, PeerCloseAndResetLookAsOnLinux) {
  Session& a = connect();
  ASSERT_EQ(add(a, EPOLLIN | EPOLLRDHUP), 0);
  daemon_->inject_fin(0);
  EXPECT_EQ(wait(20'000), EPOLLIN | EPOLLRDHUP);
  a.shutdown(SHUT_WR);
  EXPECT_EQ(wait(20'000), EPOLLIN | EPOLLRDHUP | EPOLLHUP);
  ASSERT_EQ(set_->remove(1, a), 0);

  Session& b = connect();
  ASSERT_EQ(add(b, EPOLLIN | EPOLLOUT | EPOLLRDHUP, 2), 0);
  EXPECT_EQ(wait(), EPOLLOUT);
  daemon_->inject_reset(1, ECONNRESET);
  EXPECT_EQ(wait(20'000), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
  char c;
  EXPECT_EQ(b.receive(&c, 1, 0), -ECONNRESET);
  EXPECT_EQ(wait(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);  // the error was taken
}

TEST_F(Epoll, AResetIsReportedEvenWhenNothingWasAskedFor) {
  Session& s = connect();
  ASSERT_EQ(add(s, 0), 0);
  EXPECT_EQ(wait(), 0u);
  daemon_->inject_reset(0, ECONNRESET);
  EXPECT_EQ(wait(20'000), EPOLLHUP | EPOLLERR);
}

TEST_F(Epoll, RegistrationErrors) {
  Session& s = connect();
  ASSERT_EQ(add(s, EPOLLIN), 0);
  EXPECT_EQ(add(s, EPOLLIN), -EEXIST);
  EXPECT_EQ(add(s, EPOLLIN, 2), 0);  // through another descriptor
  EXPECT_EQ(modify(s, EPOLLIN, 3), -ENOENT);
  EXPECT_EQ(set_->remove(3, s), -ENOENT);
  EXPECT_EQ(set_->remove(2, s), 0);
  epoll_event e{EPOLLIN, {}};
  EXPECT_EQ(set_->add(9, *set_, e), -EINVAL);
  EpollSet* inner = worker_->new_epoll_set(-1);
  EXPECT_EQ(set_->add(9, *inner, e), 0);
  EXPECT_EQ(inner->add(8, *set_, e), -ELOOP);
  inner->unref();
}

TEST_F(Epoll, AClosedSessionLeavesItsSets) {
  Session& s = connect();
  ASSERT_EQ(add(s, EPOLLIN), 0);
  daemon_->inject(0, "x");
  sessions_.pop_back();
  s.unref();
  EXPECT_EQ(wait(20), 0u);
  EXPECT_FALSE(set_->has_sessions());
}

TEST_F(Epoll, ASessionInTwoSetsIsReadyInBoth) {
  Session& s = connect();
  EpollSet* other = worker_->new_epoll_set(-1);
  epoll_event e{EPOLLIN, {.u64 = 7}}, out{};
  ASSERT_EQ(add(s, EPOLLIN), 0);
  ASSERT_EQ(other->add(1, s, e), 0);
  EXPECT_EQ(wait(), 0u);
  EXPECT_EQ(other->wait(&out, 1, 0, nullptr), 0);
  daemon_->inject(0, "x");
  EXPECT_EQ(wait(20'000), EPOLLIN);
  EXPECT_EQ(other->wait(&out, 1, 20 * kSecond, nullptr), 1);
  EXPECT_EQ(uint64_t{out.data.u64}, 7u);
  other->unref();
}

TEST_F(Epoll, ANestedSetIsReadyWhenItsSessionIs) {
  Session& s = connect();
  EpollSet* outer = worker_->new_epoll_set(-1);
  epoll_event e{EPOLLIN, {.u64 = 7}}, out{};
  ASSERT_EQ(add(s, EPOLLIN), 0);
  ASSERT_EQ(outer->add(3, *set_, e), 0);
  EXPECT_EQ(outer->wait(&out, 1, 0, nullptr), 0);
  std::thread waiter([&] { EXPECT_EQ(outer->wait(&out, 1, 20 * kSecond, nullptr), 1); });
  daemon_->inject(0, "x");
  waiter.join();
  EXPECT_EQ(uint64_t{out.data.u64}, 7u);
  EXPECT_EQ(wait(), EPOLLIN);
  outer->unref();
}

TEST_F(Epoll, KernelDescriptorsAndSessionsMix) {
  Session& s = connect();
  ASSERT_EQ(add(s, EPOLLIN), 0);
  const int fd = eventfd(0, EFD_NONBLOCK);
  epoll_event e{EPOLLIN, {.u64 = 99}};
  ASSERT_EQ(epoll_ctl(kernel_, EPOLL_CTL_ADD, fd, &e), 0);
  set_->note_kernel_fds();
  epoll_event out[4];
  EXPECT_EQ(set_->wait(out, 4, 0, nullptr), 0);

  std::atomic<int> n{0};
  std::thread waiter([&] { n = set_->wait(out, 4, 20 * kSecond, nullptr); });
  const uint64_t one = 1;
  ASSERT_EQ(write(fd, &one, sizeof one), 8);
  waiter.join();
  ASSERT_EQ(n, 1);
  EXPECT_EQ(uint64_t{out[0].data.u64}, 99u);

  daemon_->inject(0, "x");
  EXPECT_EQ(set_->wait(out, 4, 0, nullptr), 2);  // both, and the session's is not starved
  close(fd);
}

TEST_F(Epoll, AWaiterInTheKernelLearnsOfTheFirstSession) {
  Session& s = connect();
  daemon_->inject(0, "x");
  std::atomic<int> n{-1};
  epoll_event out{};
  std::thread waiter([&] { n = set_->wait(&out, 1, 20 * kSecond, nullptr); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // most likely in epoll_wait by now
  ASSERT_EQ(add(s, EPOLLIN, 5), 0);
  waiter.join();
  EXPECT_EQ(n, 1);
  EXPECT_EQ(uint64_t{out.data.u64}, 5u);
}

TEST_F(Epoll, ThreadsThatShareASetGetEachEventOnce) {
  constexpr size_t kSessions = 4, kRounds = 300;
  for (size_t i = 0; i < kSessions; ++i)
    ASSERT_EQ(add(connect(), EPOLLIN | EPOLLONESHOT, static_cast<int>(i)), 0);
  std::atomic<size_t> bytes{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      while (bytes < kSessions * kRounds) {
        epoll_event e;
        if (set_->wait(&e, 1, 50 * kMillisecond, nullptr) != 1) continue;
        Session& s = *sessions_[e.data.u64];
        char buf[64];
        const ssize_t n = s.receive(buf, sizeof buf, 0);
        if (n > 0) bytes += static_cast<size_t>(n);
        modify(s, EPOLLIN | EPOLLONESHOT, static_cast<int>(e.data.u64));
      }
    });
  for (size_t r = 0; r < kRounds; ++r)
    for (size_t i = 0; i < kSessions; ++i) daemon_->inject(i, "x");
  for (auto& t : threads) t.join();
  EXPECT_EQ(bytes, kSessions * kRounds);
}

TEST_F(Epoll, ManyReadySessionsAllGetTheirTurn) {
  constexpr size_t kSessions = 10;
  for (size_t i = 0; i < kSessions; ++i) {
    ASSERT_EQ(add(connect(), EPOLLIN, static_cast<int>(i)), 0);
    daemon_->inject(i, "x");
  }
  std::vector<int> seen(kSessions);
  for (int round = 0; round < 10; ++round) {
    epoll_event e[3];
    const int n = set_->wait(e, 3, 0, nullptr);
    ASSERT_EQ(n, 3);
    for (int i = 0; i < n; ++i) ++seen[e[i].data.u64];
  }
  for (const int count : seen) EXPECT_EQ(count, 3);
}

TEST_F(Epoll, ASleepingWaiterUsesNoProcessorTime) {
  ASSERT_EQ(add(connect(), EPOLLIN), 0);
  // What the host of this machine takes counts as the thread's, and is not there each time.
  int64_t least = kSecond;
  for (int i = 0; i < 5 && least >= 10 * kMillisecond; ++i) {
    timespec before, after;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    EXPECT_EQ(wait(300), 0u);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    least = std::min<int64_t>(
        least, (after.tv_sec - before.tv_sec) * kSecond + after.tv_nsec - before.tv_nsec);
  }
  EXPECT_LT(least, 10 * kMillisecond);
}

}  // namespace
}  // namespace loom::vcl
