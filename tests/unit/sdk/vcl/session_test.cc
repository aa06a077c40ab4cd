// Sessions as the preload library uses them, against a daemon in this process.
#include "vcl/session.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "fake_daemon.h"
#include "vcl/app_worker.h"
#include "vcl/multi_wait.h"

namespace loom::vcl {
namespace {

using test::FakeDaemon;

class Sessions : public testing::Test {
 protected:
  void SetUp() override {
    Config config;
    config.app_socket = "/tmp/vcl-session-" + std::to_string(getpid()) + ".sock";
    config.rx_fifo_size = config.tx_fifo_size = 64 << 10;
    daemon_ = std::make_unique<FakeDaemon>(config.app_socket);
    worker_ = new AppWorker(config, "session-test");
  }
  void TearDown() override {
    for (Session* s : sessions_) s->unref();
    worker_->leave();
    delete worker_;
  }
  // A connected session whose far end is the test.
  Session& connect() {
    Session* s = worker_->new_session(0, true, false);
    svm::Endpoint e{.is_ip4 = 1, .reserved = 0, .port = 0x0700, .ip = {10, 0, 0, 1}};
    EXPECT_EQ(s->connect(e), 0);
    sessions_.push_back(s);
    return *s;
  }

  std::unique_ptr<FakeDaemon> daemon_;
  AppWorker* worker_ = nullptr;
  std::vector<Session*> sessions_;
};

// A process that lives until it is let go.
class Child {
 public:
  Child() {
    EXPECT_EQ(pipe(ends_), 0);
    pid_ = fork();
    if (pid_ != 0) return;
    close(ends_[1]);
    char byte;
    (void)!read(ends_[0], &byte, 1);
    _exit(0);
  }
  ~Child() {
    close(ends_[0]);
    close(ends_[1]);
    EXPECT_EQ(waitpid(pid_, nullptr, 0), pid_);
  }

 private:
  int ends_[2];
  pid_t pid_;
};

std::atomic<int> asleep;

// Each takes one descriptor, and there are no more.
TEST_F(Sessions, AsManyThreadsSleepAsThereAreDescriptors) {
  Session& s = connect();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const sys::Hooks plain = sys::hooks;
  asleep = 0;
  sys::hooks.epoll_pwait = [](int epfd, epoll_event* events, int n, int timeout,
                              const sigset_t* mask) {
    ++asleep;
    return ::epoll_pwait(epfd, events, n, timeout, mask);
  };
  constexpr int kThreads = 200;
  std::atomic<int> received{0}, failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      char c;
      ++(s.receive(&c, 1, 0) == 1 ? received : failed);
    });
  while (asleep + failed < kThreads) std::this_thread::yield();
  EXPECT_EQ(failed, 0);
  while (received + failed < kThreads) {
    daemon_->inject(0, "x");
    std::this_thread::yield();
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(received, kThreads);
  sys::hooks = plain;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(Sessions, AnEndThatIsBoundIsLetGoByItsLastHolder) {
  const auto bound = [&](uint16_t port) {
    Session* s = worker_->new_session(0, true, false);
    EXPECT_EQ(s->bind({.is_ip4 = 1, .reserved = 0, .port = port, .ip = {}}), 0);
    EXPECT_EQ(s->bind_end(), 0);
    return s;
  };
  // What was said before has come when the next is answered.
  const auto let_go = [&] {
    sessions_.push_back(bound(0));
    return daemon_->events(svm::ToDaemon::kUnlisten);
  };
  Session* first = bound(htons(80));
  EXPECT_EQ(first->state(), Session::State::kIdle);
  std::shared_ptr<BoundEnd> end = first->bound_end();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->number(), 1u);
  first->unref();
  EXPECT_EQ(let_go(), 0u) << "it is held still";
  Session* second = worker_->new_session(0, true, false);
  second->set_bound_end(std::move(end));
  EXPECT_EQ(let_go(), 0u);
  second->unref();
  EXPECT_EQ(let_go(), 1u);
  EXPECT_NE(ntohs(sessions_.back()->local().port), 0) << "one that was chosen";
}

TEST_F(Sessions, APlainWriteReleasesWhatMsgMoreHeld) {
  Session& s = connect();
  EXPECT_EQ(s.send("ab", 2, MSG_MORE), 2);
  EXPECT_EQ(daemon_->sent(0), "");
  EXPECT_EQ(s.send("c", 1, MSG_MORE), 1);
  EXPECT_EQ(daemon_->sent(0), "");
  EXPECT_EQ(s.send("d", 1, 0), 1);
  EXPECT_EQ(daemon_->sent(0), "abcd");
  EXPECT_EQ(s.send("e", 1, MSG_MORE), 1);
  s.push();
  EXPECT_EQ(daemon_->sent(0), "e");
}

TEST_F(Sessions, AFullFifoIsNotHeld) {
  Session& s = connect();
  s.set_nonblocking(true);
  const std::string much(65'500, 'x');
  daemon_->run([&] {  // it takes nothing meanwhile
    EXPECT_EQ(s.send(much.data(), much.size(), MSG_MORE), 65'500);
    EXPECT_EQ(s.send(much.data(), much.size(), MSG_MORE), 36);
    EXPECT_EQ(s.send(much.data(), much.size(), MSG_MORE), -EAGAIN);
  });
  EXPECT_EQ(daemon_->sent(0).size(), 65'536u);
}

// The other holder may sleep already, and relies on the owner's events.
TEST_F(Sessions, WhoClosesItsCopyMakesAnotherHolderTheOwner) {
  Session& s = connect();
  const Child sharer;
  EXPECT_EQ(daemon_->owner(0), 0u);
  sessions_.clear();
  s.unref();
  EXPECT_EQ(daemon_->owner(0), 1u);
  daemon_->run([] {});
  EXPECT_EQ(daemon_->events(svm::ToDaemon::kClaim), 1u);
}

// --- One of several processes is woken for each connection; what it leaves is for the others.

class Acceptors : public Sessions {
 protected:
  void SetUp() override {
    Sessions::SetUp();
    kernel_ = epoll_create1(EPOLL_CLOEXEC);
    set_ = worker_->new_epoll_set(kernel_);
    listener_ = worker_->new_session(0, true, false);
    const svm::Endpoint e{.is_ip4 = 1, .reserved = 0, .port = htons(80), .ip = {10, 0, 0, 1}};
    ASSERT_EQ(listener_->bind(e), 0);
    ASSERT_EQ(listener_->listen(8), 0);
  }
  void TearDown() override {
    if (listener_) listener_->unref();
    set_->unref();
    close(kernel_);
    Sessions::TearDown();
  }
  // Another process that sleeps in accept(), and exits with 0 once it has got a connection.
  pid_t sleeping_acceptor() {
    const pid_t child = fork();
    if (child == 0) {
      alarm(100);
      Session* s = nullptr;
      _exit(listener_->accept(s, false));
    }
    while (daemon_->interested(80) != kChild) std::this_thread::yield();
    return child;
  }
  static int exit_of(pid_t child) {
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
  }
  // This process waits in an epoll set, and is the one that is chosen.
  void be_chosen(uint32_t events = EPOLLIN) {
    epoll_event e{events, {}};
    ASSERT_EQ(set_->add(1, *listener_, e), 0);
    EXPECT_EQ(set_->wait(&e, 1, 0, nullptr), 0);
    ASSERT_EQ(daemon_->interested(80), kSelf | kChild);
    ASSERT_TRUE(daemon_->dial(80));
    ASSERT_EQ(daemon_->interested(80), kChild);
  }

  static constexpr uint64_t kSelf = 1, kChild = 2;
  int kernel_ = -1;
  EpollSet* set_ = nullptr;
  Session* listener_ = nullptr;
};

TEST_F(Acceptors, WhoStopsWatchingPassesTheConnectionOn) {
  const pid_t child = sleeping_acceptor();
  be_chosen();
  ASSERT_EQ(set_->remove(1, *listener_), 0);
  EXPECT_EQ(exit_of(child), 0);
}

TEST_F(Acceptors, WhoClosesTheListenerPassesTheConnectionOn) {
  const pid_t child = sleeping_acceptor();
  be_chosen();
  std::exchange(listener_, nullptr)->unref();
  EXPECT_EQ(exit_of(child), 0);
}

TEST_F(Acceptors, WhoTakesTheConnectionPassesNothingOn) {
  const pid_t child = sleeping_acceptor();
  be_chosen();
  Session* s = nullptr;
  ASSERT_EQ(listener_->accept(s, false), 0);
  s->unref();
  ASSERT_EQ(set_->remove(1, *listener_), 0);
  daemon_->run([] {});
  EXPECT_EQ(daemon_->events(svm::ToDaemon::kAcceptPass), 0u);
  EXPECT_TRUE(daemon_->dial(80));
  EXPECT_EQ(exit_of(child), 0);
}

TEST_F(Acceptors, WhoOnlyLooksIsNotChosen) {
  WaitEntry entry{listener_, POLLIN, 0};
  EXPECT_EQ(wait_many(*worker_, {&entry, 1}, nullptr, 0, 0, nullptr), 0);
  EXPECT_EQ(daemon_->interested(80), 0u);
}

TEST_F(Acceptors, ARegistrationThatHasFiredOnceIsNotChosenAgain) {
  epoll_event e{EPOLLIN | EPOLLET | EPOLLONESHOT, {}}, out{};
  ASSERT_EQ(set_->add(1, *listener_, e), 0);
  EXPECT_EQ(set_->wait(&out, 1, 0, nullptr), 0);
  EXPECT_EQ(daemon_->interested(80), kSelf);
  ASSERT_TRUE(daemon_->dial(80));
  EXPECT_EQ(set_->wait(&out, 1, 20 * kSecond, nullptr), 1);
  EXPECT_EQ(daemon_->interested(80), 0u);
  ASSERT_EQ(set_->modify(1, *listener_, e), 0);
  EXPECT_EQ(set_->wait(&out, 1, 20 * kSecond, nullptr), 1);
}

// sendfile reads a file into the fifo: no other process that shares the session may write
// meanwhile.
TEST_F(Sessions, WhatIsPutStraightIntoTheFifoIsPutUnderTheProcessLock) {
  Session& s = connect();
  const auto fill = [&] {
    int holder = -1;
    const ssize_t n = s.fill(3, 0, [&](std::span<svm::MutableByteView> views) -> ssize_t {
      holder = daemon_->lock_holder(0);
      std::memcpy(views[0].data(), "abc", 3);
      return 3;
    });
    EXPECT_EQ(n, 3);
    return holder;
  };
  EXPECT_EQ(fill(), 0);  // nobody to share it with
  const Child sharer;
  EXPECT_EQ(fill(), getpid());
  EXPECT_EQ(daemon_->lock_holder(0), 0);
  EXPECT_EQ(daemon_->sent(0), "abcabc");
}

}  // namespace
}  // namespace loom::vcl
