// The peers of a net_virtio_user that listens, played by the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hostloom/unique_fd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <thread>

#include "harness.h"

// What DPDK 22.11's driver leaves of a device whose peer it has refused; to know it by its stack
// that is to be whole.
extern "C" const char* __lsan_default_suppressions() { return "leak:librte_net_virtio.so"; }
extern "C" const char* __asan_default_options() { return "fast_unwind_on_malloc=0"; }

namespace loom::dpdk {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

sockaddr_un address(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  return name;
}

UniqueFd a_socket() { return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

UniqueFd bound(const std::string& path) {
  UniqueFd fd = a_socket();
  const sockaddr_un name = address(path);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  EXPECT_EQ(::listen(fd.get(), 1), 0);
  return fd;
}

UniqueFd peer_at(const std::string& path) {
  UniqueFd fd = a_socket();
  const sockaddr_un name = address(path);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  return fd;
}

// A vhost peer with the protocol features REPLY_ACK and STATUS. What it is told of the driver's
// status it gives back n_true times, and forgets from then on; with that, DPDK's driver refuses it.
// Until it is hung up on.
void play_peer(const UniqueFd& fd, uint32_t n_true) {
  constexpr uint32_t kGetFeatures = 1, kGetVringBase = 11, kGetProtocolFeatures = 15,
                     kSetStatus = 39, kGetStatus = 40, kNeedsReply = 8;
  struct {
    uint32_t request, flags, size;
    std::array<unsigned char, 512> body;
  } m{};
  constexpr std::size_t kHead = 12;
  // VERSION_1, protocol features, checksums of what we receive.
  constexpr uint64_t kOffered = 1ull << 32 | 1ull << 30 | 1ull << 1;
  uint64_t status = 0;
  while (::recv(fd.get(), &m, kHead, MSG_WAITALL) == static_cast<ssize_t>(kHead)) {
    if (m.size > m.body.size()) return;
    if (m.size && ::recv(fd.get(), m.body.data(), m.size, MSG_WAITALL) != ssize_t{m.size}) return;
    if (m.request == kSetStatus) std::memcpy(&status, m.body.data(), sizeof status);
    uint64_t answer = 0;
    if (m.request == kGetVringBase) std::memcpy(&answer, m.body.data(), 4);  // which ring
    if (m.request == kGetFeatures) answer = kOffered;
    if (m.request == kGetProtocolFeatures) answer = 1ull << 16 | 1ull << 3;
    if (m.request == kGetStatus && n_true != 0) {
      --n_true;
      answer = status;
    }
    if (m.request != kGetFeatures && m.request != kGetProtocolFeatures && m.request != kGetStatus &&
        m.request != kGetVringBase && !(m.flags & kNeedsReply))
      continue;
    m.flags = 1 | 4;
    m.size = sizeof answer;
    std::memcpy(m.body.data(), &answer, sizeof answer);
    if (::send(fd.get(), &m, kHead + m.size, MSG_NOSIGNAL) < 0) return;
  }
}

class PeerListenerTest : public ::testing::Test {
 protected:
  void create(const std::string& more) {
    h.devices->create_vdev(trusting("net_virtio_user20,path=" + path + more),
                           [&](Result<IfIndex> r) { made = std::move(r); });
  }
  void give_up() {
    bool is_gone = false;
    ASSERT_TRUE(h.devices->give_up("net_virtio_user20",
                                   [&](const Result<void>& r) { is_gone = r.has_value(); }));
    while (!is_gone) ASSERT_TRUE(h.news());
    EXPECT_NE(::access(path.c_str(), F_OK), 0) << "its socket is left";
  }

  Harness& h = Harness::get();
  const std::string path = ::testing::TempDir() + "hostloom-listener-" + std::to_string(::getpid());
  std::optional<Result<IfIndex>> made;
};

TEST_F(PeerListenerTest, OneThatIsRefusedMakesRoomForTheNext) {
  create(",server=1");
  const auto n_refused = [&] {
    return std::count_if(h.log.begin(), h.log.end(), [](const std::string& line) {
      return line.find("net_virtio_user20 is not there") != line.npos &&
             line.ends_with("; the next peer has its turn");
    });
  };
  for (int i = 0; i < 3; ++i) {
    { const UniqueFd hangs_up_at_once = peer_at(path); }
    while (n_refused() <= i) ASSERT_TRUE(h.news());
  }
  const UniqueFd silent = peer_at(path);
  char greeting;
  ASSERT_EQ(::recv(silent.get(), &greeting, 1, 0), 1);
  EXPECT_EQ(h.devices->making().size(), 1u);
  give_up();
}

// However far it has come with those before it. The harness has one interface: it is lent to this
// device.
TEST_F(PeerListenerTest, WhatOneWasGoodForIsNotTheNextOnes) {
  const InterfaceConfig before = h.interface;
  h.has_interface = false;
  create(",server=1");
  std::size_t n_lines = h.log.size();
  uint32_t n_true = 0;
  std::jthread peer;  // of each turn; it ends when it is hung up on
  const auto is_making = [&] { return !h.devices->making().empty(); };
  for (; is_making(); ++n_true) {
    ASSERT_LT(n_true, 60u);
    peer = std::jthread([this, n_true] { play_peer(peer_at(path), n_true); });
    const auto is_refused = [&] {
      return std::any_of(
          h.log.begin() + static_cast<std::ptrdiff_t>(n_lines), h.log.end(),
          [](const std::string& line) { return line.ends_with("; the next peer has its turn"); });
    };
    bool is_heard = true;
    while (is_heard && is_making() && !is_refused()) is_heard = h.news();
    n_lines = h.log.size();
    ASSERT_TRUE(is_heard);
  }
  const Device& d = *h.devices->all().back();
  ASSERT_EQ(d.name, "net_virtio_user20");
  EXPECT_EQ(d.queues.size(), 1u);
  bool is_gone = false;
  h.devices->remove_vdev(d.index, [&](const Result<void>& r) { is_gone = r.has_value(); });
  while (!is_gone) ASSERT_TRUE(h.news());
  h.interface = before;
  h.has_interface = true;
}

// Each holds it up for one tick of those after which who waits is answered.
TEST_F(PeerListenerTest, WhoWaitsIsAnsweredHoweverManyAreRefused) {
  create(",server=1");
  const auto n_ticks = [&] { return h.devices->making().front()->n_ticks_called; };
  for (uint32_t n = 1; !made && n < 8; ++n) {
    {
      const UniqueFd silent = peer_at(path);
      char greeting;
      ASSERT_EQ(::recv(silent.get(), &greeting, 1, 0), 1);
      for (const uint32_t before = n_ticks(); !made && n_ticks() == before;) ASSERT_TRUE(h.news());
    }
    while (h.devices->making().front()->n_refused < n) ASSERT_TRUE(h.news());
  }
  ASSERT_TRUE(made);
  EXPECT_EQ(made->error().code, Status::kInProgress);
  give_up();
}

TEST_F(PeerListenerTest, OneWhoseDriverRefusesItWaitsForNobody) {
  create(",server=1,no-such-key=1");
  while (!made) ASSERT_TRUE(h.news());
  EXPECT_EQ(made->error().code, Status::kIo);
  EXPECT_TRUE(h.devices->making().empty());
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "its socket is left";
}

TEST_F(PeerListenerTest, ASocketIsTakenOnlyFromNobody) {
  {
    const UniqueFd other = bound(path);
    create(",server=1");
    ASSERT_TRUE(made);
    EXPECT_EQ(made->error().code, Status::kExists);
    EXPECT_THAT(made->error().message, HasSubstr("net_virtio_user20: " + path + ": bind: "));
  }
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);  // as one that was killed leaves it
  create(",server=1");
  const UniqueFd peer = peer_at(path);
  char greeting;
  EXPECT_EQ(::recv(peer.get(), &greeting, 1, 0), 1);
  give_up();
}

TEST_F(PeerListenerTest, ItsPathIsOneOfASocket) {
  h.devices->create_vdev(trusting("net_virtio_user20,path=/" + std::string(108, 'x') + ",server=1"),
                         [&](Result<IfIndex> r) { made = std::move(r); });
  ASSERT_TRUE(made);
  EXPECT_EQ(made->error().code, Status::kInvalid);
  EXPECT_THAT(made->error().message, HasSubstr("a socket's path has 1 to 107 characters"));
}

// Who waits for its peer there would be whoever calls the other device: the control thread.
TEST_F(PeerListenerTest, ItsDeviceIsNoPartOfAnother) {
  for (const char* driver : {"net_virtio_user0", "virtio_user0"}) {
    const auto in_other =
        h.create(*parse_vdev(std::string("net_failsafe0,dev(") + driver + ",path=" + path + ")"));
    ASSERT_FALSE(in_other);
    EXPECT_THAT(in_other.error().message,
                HasSubstr("net_virtio_user is no part of another device here"));
  }
}

TEST(PeerSocket, ItsDriverIsAClient) {
  EXPECT_EQ(as_client("path=/a,server=1,queues=2"), "path=/a,queues=2");
  EXPECT_EQ(as_client("server=0,path=/server=1,server=1"), "path=/server=1");
  EXPECT_EQ(as_client("path=/a"), "path=/a");
  EXPECT_EQ(as_client("server=1"), "");
}

}  // namespace
}  // namespace loom::dpdk
