#include "daemon/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <thread>

namespace loom {
namespace {

struct EventFd {
  int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ~EventFd() { ::close(fd); }
  void set() const { ASSERT_EQ(::eventfd_write(fd, 1), 0); }
  void clear() const {
    eventfd_t value;
    (void)::eventfd_read(fd, &value);
  }
};

TEST(EventLoop, CallsBackWhileTheFdIsReadable) {
  EventLoop loop;
  EventFd e;
  int calls = 0;
  const uint64_t handle = loop.watch(e.fd, [&] {
    if (++calls == 3) {
      e.clear();
      loop.after(0.01, [&] { loop.stop(); });
    }
  });
  EXPECT_NE(handle, 0u);
  e.set();
  loop.run();
  EXPECT_EQ(calls, 3);  // level-triggered, and silent once it is read
}

TEST(EventLoop, NothingIsCalledAfterUnwatch) {
  EventLoop loop;
  EventFd a, b;
  int calls = 0;
  uint64_t ha = 0, hb = 0;
  // Both are due at once; whichever comes first takes the other and itself away.
  const auto take_away = [&] {
    ++calls;
    loop.unwatch(ha);
    loop.unwatch(hb);
    loop.after(0.01, [&] { loop.stop(); });
  };
  ha = loop.watch(a.fd, take_away);
  hb = loop.watch(b.fd, take_away);
  a.set();
  b.set();
  loop.run();
  EXPECT_EQ(calls, 1);
  loop.unwatch(ha);                                            // again: harmless
  EXPECT_EQ(::fcntl(a.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);  // the fd is still its owner's
}

TEST(EventLoop, AnFdCanBeWatchedAgainAndOutliveTheLoop) {
  EventFd e;
  {
    EventLoop loop;
    loop.unwatch(loop.watch(e.fd, [] { FAIL(); }));
    int calls = 0;
    loop.watch(e.fd, [&] {
      ++calls;
      loop.stop();
    });
    e.set();
    loop.run();
    EXPECT_EQ(calls, 1);
  }
  e.clear();
  e.set();
}

TEST(EventLoop, RunsWhatOtherThreadsPost) {
  EventLoop loop;
  int calls = 0;
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) loop.post([](void* n) { ++*static_cast<int*>(n); }, &calls);
    loop.post([](void* l) { static_cast<EventLoop*>(l)->stop(); }, &loop);
  });
  loop.run();
  other.join();
  EXPECT_EQ(calls, 100);
}

TEST(EventLoop, SignalsAreDelivered) {
  EventLoop loop;
  std::vector<int> seen;
  loop.on_signal([&](int signal) {
    seen.push_back(signal);
    if (seen.size() == 1) ::raise(SIGTERM);
    if (signal == SIGTERM) loop.stop();
  });
  ::raise(SIGHUP);
  loop.run();
  EXPECT_EQ(seen, (std::vector<int>{SIGHUP, SIGTERM}));
}

TEST(EventLoop, WhatIsStillDueAtTheEndIsForgotten) {
  int calls = 0;
  {
    EventLoop loop;
    loop.after(1000, [&] { ++calls; });
    loop.post([](void* n) { ++*static_cast<int*>(n); }, &calls);
  }
  EXPECT_EQ(calls, 0);
}

}  // namespace
}  // namespace loom
