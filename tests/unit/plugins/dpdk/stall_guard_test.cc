// What net_af_packet and net_af_xdp call in place of poll and send: who is asked, and how often.
#include "stall_guard.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include <hostloom/unique_fd.h>

namespace loom::dpdk {
namespace {

class StallGuardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> pair;
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    near_ = UniqueFd(pair[0]);
    far_ = UniqueFd(pair[1]);
  }
  ssize_t send() { return stall_guard::send(near_.get(), "x", 1, MSG_DONTWAIT); }
  void fill() {
    while (::send(near_.get(), "x", 1, MSG_DONTWAIT) == 1)
      ;
    ASSERT_EQ(errno, EAGAIN);
  }
  void drain() {
    char c;
    while (::recv(far_.get(), &c, 1, MSG_DONTWAIT) == 1)
      ;
  }
  UniqueFd near_, far_;
};

TEST_F(StallGuardTest, APollSaysWhatThereIsAndDoesNotWait) {
  pollfd p{.fd = far_.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(stall_guard::poll(&p, 1, -1), 0);  // for ever, if it waited
  ASSERT_EQ(send(), 1);
  EXPECT_EQ(stall_guard::poll(&p, 1, 1000), 1);
  EXPECT_EQ(p.revents, POLLIN);
}

// The driver's loop ends at whatever is no error: this one is, after so many turns, none any more.
TEST_F(StallGuardTest, WhoIsToComeAgainComesSoOftenOnly) {
  fill();
  for (int burst = 0; burst < 3; ++burst) {
    for (uint32_t turn = 1; turn < stall_guard::kMostTurns; ++turn) {
      ASSERT_EQ(send(), -1) << turn;
      ASSERT_EQ(errno, EAGAIN);
    }
    ASSERT_EQ(send(), 0);
  }
}

TEST_F(StallGuardTest, WhatIsSentBeginsAnew) {
  fill();
  EXPECT_EQ(send(), -1);
  drain();
  EXPECT_EQ(send(), 1);
  fill();
  for (uint32_t turn = 1; turn < stall_guard::kMostTurns; ++turn) ASSERT_EQ(send(), -1) << turn;
  EXPECT_EQ(send(), 0);
}

TEST_F(StallGuardTest, AnotherErrorIsTheCallers) {
  near_ = UniqueFd();
  for (uint32_t turn = 0; turn < 2 * stall_guard::kMostTurns; ++turn) {
    ASSERT_EQ(send(), -1);
    ASSERT_EQ(errno, EBADF);
  }
}

}  // namespace
}  // namespace loom::dpdk
