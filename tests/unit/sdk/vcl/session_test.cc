// Sessions as the preload library uses them, against a daemon in this process.
#include "vcl/session.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

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
