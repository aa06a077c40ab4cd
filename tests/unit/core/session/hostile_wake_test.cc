// What wakes an application, and what it wakes the daemon with, in the hands of a hostile one: the
// daemon's thread never waits for it.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include <csignal>

#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

// Ends, by a signal, a system call that waits, and remembers that it had to.
class Watchdog {
 public:
  Watchdog() {
    has_bitten = 0;
    struct sigaction a {};
    a.sa_handler = [](int) { has_bitten = 1; };  // no SA_RESTART
    sigaction(SIGALRM, &a, &before_);
    const itimerval every{{1, 0}, {20, 0}};  // far more than what it watches takes
    setitimer(ITIMER_REAL, &every, nullptr);
  }
  ~Watchdog() {
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &before_, nullptr);
  }
  static inline volatile sig_atomic_t has_bitten = 0;

 private:
  struct sigaction before_ {};
};

void fill(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  const uint64_t nearly_all = 0xfffffffffffffffe;
  (void)!::write(fd, &nearly_all, sizeof nearly_all);
  ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

// A pipe, by its reading end.
void fill_pipe(int reader) {
  const int fd = ::open(("/proc/self/fd/" + std::to_string(reader)).c_str(), O_WRONLY | O_NONBLOCK);
  ASSERT_GE(fd, 0);
  const std::string much(1 << 16, 'x');
  while (::write(fd, much.data(), much.size()) > 0) {}
  EXPECT_EQ(errno, EAGAIN);
  ::close(fd);
}

struct HostileWake : testing::Test {
  SessionBed bed;
  TestApp good{bed}, bad{bed};

  // A session of `app` with itself.
  std::pair<std::unique_ptr<TestApp::Connection>, std::unique_ptr<TestApp::Connection>> open(
      TestApp& app, uint16_t port) {
    EXPECT_EQ(app.listen(port).status, 0);
    auto c = app.connect(port);
    return {std::move(c), app.accept()};
  }
};

TEST_F(HostileWake, WhatWakesAnApplicationNeverMakesTheDaemonWait) {
  auto [a, b] = open(good, 80);
  auto [c, s] = open(bad, 81);
  ASSERT_TRUE(a && b && c && s);
  const Watchdog watchdog;
  fill_pipe(bad.eventfd);
  ::fcntl(bad.eventfd, F_SETFL, 0);
  for (int i = 0; i < 3; ++i) {
    bad.events.shared()->sleeping.store(1);
    s->rx.arm(s->rx.refresh());
    bad.write(*c, "wake up");
    EXPECT_EQ(bad.events.shared()->sleeping.load(), 0u);
    EXPECT_EQ(bad.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, s->handle);
  }
  good.write(*a, "still here");
  EXPECT_EQ(good.read(*b), "still here");
  EXPECT_FALSE(Watchdog::has_bitten);
}

TEST_F(HostileWake, WhatWakesTheDaemonNeverMakesItWait) {
  auto [a, b] = open(good, 80);
  const Watchdog watchdog;
  fill(bad.wake_fds[0]);
  bed.pump();
  // The application reads it between the worker's look and its read.
  struct Thief {
    int fd;
    bool is_done = false;
  } thief{bad.wake_fds[0]};
  const int first = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ASSERT_TRUE(bed.engine->watch_fd(
      0, first,
      [](Worker&, int fd, void* self) noexcept {
        eventfd_t n;
        auto& t = *static_cast<Thief*>(self);
        t.is_done = ::eventfd_read(fd, &n) == 0 && ::eventfd_read(t.fd, &n) == 0;
      },
      &thief));
  for (int i = 0; i < 1000 && !thief.is_done; ++i) {
    (void)::eventfd_write(first, 1);  // so it is found before the other
    (void)::eventfd_write(bad.wake_fds[0], 1);
    bed.pump();
  }
  EXPECT_TRUE(thief.is_done);
  bed.engine->unwatch_fd(0, first);
  ::close(first);
  good.write(*a, "still here");
  EXPECT_EQ(good.read(*b), "still here");
  EXPECT_FALSE(Watchdog::has_bitten);
}

TEST_F(HostileWake, AReaderThatNeverReadsCostsOnePipe) {
  auto [c, s] = open(bad, 81);
  for (int i = 0; i < 70'000; ++i) {  // more than a pipe holds
    bad.events.shared()->sleeping.store(1);
    s->rx.arm(s->rx.refresh());
    (void)c->tx.enqueue(svm::bytes_of("x", 1));
    (void)bad.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0});
    while (bed.engine->step() != 0) {}
    svm::MqEvent e;
    while (bad.events.pop(e)) {}
    (void)bad.read(*s);
  }
  EXPECT_EQ(bed.counter("app-violation"), 0u);
}

}  // namespace
}  // namespace loom::test
