// What hands descriptors to a process.
#include "session/fds.h"

#include <gtest/gtest.h>

#include <array>

namespace loom::session {
namespace {

TEST(PutFds, WritesAllThatTheKernelReads) {
  constexpr std::array<int, 4> kFds = {3, 1000, 5, 7};
  for (std::size_t n = 1; n <= kFds.size(); ++n) {
    const std::span fds = std::span(kFds).first(n);
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof kFds) + 8> control;
    control.fill('x');
    msghdr m{};
    put_fds(m, control, fds);
    ASSERT_EQ(m.msg_control, control.data());
    ASSERT_EQ(m.msg_controllen, CMSG_SPACE(fds.size_bytes()));
    const cmsghdr* const c = CMSG_FIRSTHDR(&m);
    ASSERT_EQ(c->cmsg_len, CMSG_LEN(fds.size_bytes()));
    EXPECT_EQ(c->cmsg_level, SOL_SOCKET);
    EXPECT_EQ(c->cmsg_type, SCM_RIGHTS);
    EXPECT_EQ(std::memcmp(CMSG_DATA(c), kFds.data(), fds.size_bytes()), 0);
    for (std::size_t i = c->cmsg_len; i < m.msg_controllen; ++i) EXPECT_EQ(control[i], 0) << i;
    for (std::size_t i = m.msg_controllen; i < control.size(); ++i) EXPECT_EQ(control[i], 'x');
  }
}

}  // namespace
}  // namespace loom::session
