// Links of datagram sessions that several processes share.
#include <linux/futex.h>
#include <sys/syscall.h>

#include <climits>
#include <fstream>
#include <thread>

#include "links_bed.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

// Processes that share a session by fork() share its links: here the test is the other one.
struct SharedLinks : DatagramLinks {
  Session* s = nullptr;
  svm::AppFifoConsumer other;

  void share() {
    s = &connect();
    auto& p = pair();
    p.line->holders.fetch_or(1ull << 7);
    other = svm::AppFifoConsumer(p.to_app(), p.table, FakeDaemon::Pair::kFifo);
  }
  std::string take() {
    DatagramHeader h;
    if (other.refresh() < sizeof h) return "";
    other.dequeue(std::as_writable_bytes(std::span(&h, 1)));
    std::string text(h.length, 0);
    other.dequeue(std::as_writable_bytes(std::span(text)));
    return text;
  }
  void expect_done(uint64_t n) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (daemon->events(svm::ToDaemon::kLinkDone) < n && std::chrono::steady_clock::now() < until)
      std::this_thread::yield();
    (void)daemon->n_sessions();
    EXPECT_EQ(daemon->events(svm::ToDaemon::kLinkDone), n);
  }
};

TEST_F(SharedLinks, TheOneThatReadsTheLastLetsGoForAll) {
  share();
  for (const char* text : {"one", "two", "three"}) pair().send_datagram(text);
  EXPECT_EQ(receive(*s).bytes, "one");
  pair().end_link(1);
  EXPECT_EQ(s->unread(), 3u);  // it has seen the end
  EXPECT_EQ(take(), "two");
  EXPECT_EQ(receive(*s).bytes, "three");
  expect_done(1);
  EXPECT_EQ(pair().slot().let_go.load(), 1u);
  EXPECT_EQ(pair().links->let_go_version.load(), 1u);
}

TEST_F(SharedLinks, NobodyTouchesALinkThatAnotherHasLetGoOf) {
  share();
  pair().send_datagram("one");
  pair().end_link(1);
  EXPECT_EQ(s->unread(), 3u);
  EXPECT_EQ(take(), "one");
  pair().slot().let_go.store(1);
  pair().links->let_go_version.fetch_add(1);
  // Its memory is another link's by now.
  std::memset(static_cast<void*>(&pair().to_app()), 0, sizeof(svm::FifoShared));
  svm::init_fifo(pair().to_app());
  pair().send_datagram("no");
  pair().to_app().consumer.armed.store(0);
  pair().shared->ends[0].owner.store(33);
  EXPECT_EQ(s->poll(POLLIN | kPollOnlyLook, true), 0u);
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  EXPECT_EQ(s->poll(POLLIN, true), 0u);
  EXPECT_EQ(s->unread(), 0u);
  EXPECT_EQ(pair().to_app().consumer.armed.load(), 0u);
  EXPECT_EQ(pair().shared->ends[0].owner.load(), 33u);
  other = svm::AppFifoConsumer(pair().to_app(), pair().table, FakeDaemon::Pair::kFifo);
  EXPECT_EQ(take(), "no");
}

// It was found to be broken while it was open: once it has ended, somebody says so again.
TEST_F(SharedLinks, ABrokenOneIsLetGoOfOnceItHasEnded) {
  share();
  pair().send(std::string(10, 'x'));  // no whole header
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  expect_done(1);
  pair().end_link(1);
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  expect_done(2);
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  expect_done(2);
}

// Whoever is forked before the daemon has freed it might be able to open it.
TEST_F(SharedLinks, WhatTheOnlyHolderCannotOpenIsLetGoOfForThoseToCome) {
  s = &connect();
  pair().slot(1).block = 0;  // leads nowhere, as for who has no descriptors
  pair().set_link(1, svm::kLinkOpen, 1);
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  expect_done(1);
  EXPECT_EQ(pair().slot(1).let_go.load(), 1u);
  EXPECT_EQ(pair().links->let_go_version.load(), 1u);
  // There is one by now: the daemon has only ended the link, and is told again.
  pair().line->holders.fetch_or(1ull << 7);
  pair().set_link(1, svm::kLinkEnded, 1);
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  expect_done(2);
  pair().line->holders.fetch_and(~(1ull << 7));
  pair().set_link(2, svm::kLinkEnded, 1);
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  expect_done(3);
  EXPECT_EQ(pair().slot(1).let_go.load(), 2u);
  EXPECT_EQ(pair().links->let_go_version.load(), 2u);
}

// Others may be able to: it only ends, and is let go of once nobody else is left.
TEST_F(SharedLinks, WhatOneOfSeveralCannotOpenIsNotLetGoOf) {
  share();
  pair().slot(1).block = 0;
  pair().set_link(1, svm::kLinkOpen, 1);
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  expect_done(1);
  pair().set_link(1, svm::kLinkEnded, 1);
  EXPECT_EQ(receive(*s).n, -EAGAIN);
  expect_done(1);
  EXPECT_EQ(pair().slot(1).let_go.load(), 0u);
  EXPECT_EQ(pair().links->let_go_version.load(), 0u);
}

// One process closes what it shares, and finds the lock taken by another, whose part is the test's.
struct WhoLetsGo : SharedLinks {
  static constexpr uint64_t kOther = 1ull << 7;
  std::atomic<pid_t> tid{0};
  std::atomic<bool> has_closed{false};
  std::thread closer;

  std::atomic<uint32_t>& lock() { return pair().line->lock; }
  // For the lock, by whose value it is known: it maps the memory elsewhere than the test.
  bool is_waiting() {
    std::ifstream f("/proc/self/task/" + std::to_string(tid.load()) + "/syscall");
    long number = -1;
    std::string word, op, value;
    f >> number >> word >> op >> value;
    return number == SYS_futex && std::strtoul(value.c_str(), nullptr, 16) == lock().load();
  }
  // Returns once it waits for the lock, or has not.
  void close_while_locked() {
    lock().store(static_cast<uint32_t>(getppid()));  // any process that lives
    closer = std::thread([this] {
      tid.store(gettid());
      s->unref();
      has_closed.store(true);
    });
    sessions.clear();
    while (tid.load() == 0 || (!has_closed.load() && !is_waiting())) std::this_thread::yield();
    EXPECT_FALSE(has_closed.load());
  }
  void unlock() {
    lock().store(0);
    syscall(SYS_futex, &lock(), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
    closer.join();
    (void)daemon->n_sessions();
  }
};

TEST_F(WhoLetsGo, HandsItOnUnderTheLock) {
  share();
  ASSERT_EQ(pair().line->owner.load(), 0u);
  close_while_locked();
  EXPECT_EQ(pair().line->holders.load(), kOther | 1);
  EXPECT_EQ(pair().line->owner.load(), 0u);
  unlock();
  EXPECT_EQ(pair().line->holders.load(), kOther);
  EXPECT_EQ(pair().line->owner.load(), 7u);
  EXPECT_EQ(pair().shared->ends[0].owner.load(), 7u);
  EXPECT_EQ(lock().load(), 0u);
}

// The other one finds a link to be of no use, and its memory is another link's at once.
TEST_F(WhoLetsGo, LeavesALinkAloneThatTheOtherHasLetGoOfMeanwhile) {
  share();
  close_while_locked();
  pair().shared->ends[0].owner.store(33);
  pair().slot().let_go.store(1);
  pair().links->let_go_version.fetch_add(1);
  unlock();
  EXPECT_EQ(pair().line->owner.load(), 7u);
  EXPECT_EQ(pair().shared->ends[0].owner.load(), 33u);
}

// The other one has let go but for the lock, which is in memory that ends with the last one.
TEST_F(WhoLetsGo, AsTheLastWaitsForTheLastButOne) {
  share();
  pair().line->holders.fetch_and(~kOther);
  close_while_locked();
  EXPECT_EQ(daemon->events(svm::ToDaemon::kClose), 0u);
  unlock();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (daemon->events(svm::ToDaemon::kClose) == 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  EXPECT_EQ(daemon->events(svm::ToDaemon::kClose), 1u);
}

}  // namespace
}  // namespace loom::vcl
