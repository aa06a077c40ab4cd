// What wakes an application, and what it wakes the daemon with, in the hands of a hostile one: the
// daemon's thread never waits for it.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <chrono>
#include <csignal>
#include <future>
#include <thread>

#include "tests/unit/core/session/raw_attach.h"
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
    go_on();
  }
  // Begins anew: what has been watched has gone on.
  void go_on() const {
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

// Memory that nobody fills before fill() is called: the kernel, too, waits for it, holding whatever
// it holds where it copies to there.
class MissingPage {
 public:
  MissingPage() : fd_(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))) {
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register r{};
    page_ = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    r.range = {reinterpret_cast<uintptr_t>(page_), kSize};
    r.mode = UFFDIO_REGISTER_MODE_MISSING;
    works =
        fd_ >= 0 && ::ioctl(fd_, UFFDIO_API, &api) == 0 && ::ioctl(fd_, UFFDIO_REGISTER, &r) == 0;
  }
  ~MissingPage() {
    ::munmap(page_, kSize);
    if (fd_ >= 0) ::close(fd_);
  }
  void* data() const { return page_; }
  void wait_for_fault() const {
    pollfd p{fd_, POLLIN, 0};
    while (::poll(&p, 1, -1) != 1) {}
  }
  void fill() const {
    uffdio_zeropage z{};
    z.range = {reinterpret_cast<uintptr_t>(page_), kSize};
    (void)::ioctl(fd_, UFFDIO_ZEROPAGE, &z);
  }
  bool works = false;  // it takes a privilege

 private:
  static constexpr std::size_t kSize = 4096;
  int fd_;
  void* page_;
};

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
  ::fcntl(bad.eventfd, F_SETFL, 0);
  for (int i = 0; i < 1000; ++i) {  // more than it takes
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

// Who reads what wakes him into memory that does not come stays in the middle of it.
TEST_F(HostileWake, WhoDoesNotFinishReadingKeepsNobody) {
  auto [c, s] = open(bad, 81);
  const auto ring = [&] {
    bad.events.shared()->sleeping.store(1);
    s->rx.arm(s->rx.refresh());
    bad.write(*c, "wake up");
    EXPECT_EQ(bad.events.shared()->sleeping.load(), 0u);
    EXPECT_EQ(bad.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, s->handle);
  };
  const MissingPage page;
  if (!page.works) GTEST_SKIP() << "userfaultfd is root's here (vm.unprivileged_userfaultfd)";
  ring();
  std::thread reader([&] { EXPECT_EQ(::read(bad.eventfd, page.data(), 1), 1); });
  page.wait_for_fault();
  std::promise<void> rung;
  std::thread rescue([&page, is_rung = rung.get_future()] {
    EXPECT_EQ(is_rung.wait_for(std::chrono::seconds(20)), std::future_status::ready);
    page.fill();
  });
  ring();
  rung.set_value();
  reader.join();
  rescue.join();
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

TEST_F(HostileWake, AReaderThatNeverReadsCostsOneQueue) {
  auto [c, s] = open(bad, 81);
  const std::size_t before = open_descriptors();
  const Watchdog watchdog;
  for (int i = 0; i < 70'000; ++i) {  // more than it holds
    if (i % 1000 == 0) watchdog.go_on();
    bad.events.shared()->sleeping.store(1);
    s->rx.arm(s->rx.refresh());
    (void)c->tx.enqueue(svm::bytes_of("x", 1));
    (void)bad.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0});
    while (bed.engine->step() != 0) {}
    ASSERT_EQ(bad.events.shared()->sleeping.load(), 0u) << "it was not woken";
    ASSERT_EQ(bad.expect<svm::SessionEvent>(svm::ToApp::kRx).handle, s->handle);
    ASSERT_EQ(bad.read(*s), "x");
  }
  EXPECT_EQ(bed.counter("app-violation"), 0u);
  EXPECT_EQ(open_descriptors(), before);
  int rings = 0;
  for (char c; ::recv(bad.eventfd, &c, 1, MSG_DONTWAIT) == 1;) ++rings;
  EXPECT_GE(rings, 1);
  EXPECT_LT(rings, 60'000);
  EXPECT_FALSE(Watchdog::has_bitten);
}

}  // namespace
}  // namespace loom::test
