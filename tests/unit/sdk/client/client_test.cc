// The client against listeners that are absent, silent or talk nonsense. Calls that succeed are
// tested with the server, in tests/unit/core/api.
#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace loom {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

// Accepts one connection, reads the greeting, answers with fixed bytes, and closes or waits.
class FakeServer {
 public:
  FakeServer(std::vector<uint8_t> answer, bool close_after) {
    char name[] = "/tmp/hostloom-client-XXXXXX";
    dir_ = ::mkdtemp(name);
    path = dir_ + "/api.sock";
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::memcpy(a.sun_path, path.data(), path.size());
    fd_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    EXPECT_EQ(::listen(fd_, 1), 0);
    thread_ = std::thread([this, answer = std::move(answer), close_after] {
      const int client = ::accept(fd_, nullptr, nullptr);
      uint8_t greeting[16 + 70];
      EXPECT_EQ(::recv(client, greeting, sizeof greeting, MSG_WAITALL), ssize_t{sizeof greeting});
      if (!answer.empty()) ::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
      uint8_t more;
      if (!close_after) ::recv(client, &more, 1, MSG_WAITALL);  // until the client gives up
      ::close(client);
    });
  }
  ~FakeServer() {
    thread_.join();
    ::close(fd_);
    ::unlink(path.c_str());
    ::rmdir(dir_.c_str());
  }
  std::string path;

 private:
  std::string dir_;
  int fd_ = -1;
  std::thread thread_;
};

std::vector<uint8_t> framed(std::vector<uint8_t> message) {
  std::vector<uint8_t> b(16);
  b[11] = static_cast<uint8_t>(message.size());
  b.insert(b.end(), message.begin(), message.end());
  return b;
}

TEST(Client, NamesTheSocketWhenNothingListens) {
  const auto c = Client::connect("/tmp/hostloom-none/api.sock");
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().code, Status::kNotConnected);
  EXPECT_EQ(c.error().message,
            "nothing listens at /tmp/hostloom-none/api.sock (No such file or directory); is "
            "hostloom running?");
  EXPECT_EQ(Client::connect("").error().code, Status::kInvalid);
  EXPECT_EQ(Client::connect(std::string(200, 'x')).error().code, Status::kInvalid);
}

TEST(Client, ASilentServerTimesOut) {
  FakeServer server({}, false);
  const auto start = std::chrono::steady_clock::now();
  const auto c = Client::connect(server.path, {.timeout = 50ms});
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().code, Status::kTimedOut);
  EXPECT_THAT(c.error().message, HasSubstr("no answer within 50 ms"));
  EXPECT_GE(std::chrono::steady_clock::now() - start, 50ms);
}

TEST(Client, AServerThatAcceptsNobodyTimesOut) {
  char name[] = "/tmp/hostloom-client-XXXXXX";
  const std::string dir = ::mkdtemp(name), path = dir + "/api.sock";
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path.data(), path.size());
  const auto* const where = reinterpret_cast<const sockaddr*>(&a);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(listener, where, sizeof a), 0);
  ASSERT_EQ(::listen(listener, 0), 0);
  std::vector<int> waiting;  // connections that fill the backlog
  do waiting.push_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
  while (::connect(waiting.back(), where, sizeof a) == 0);
  EXPECT_EQ(errno, EAGAIN);
  const auto c = Client::connect(path, {.timeout = 50ms});
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().code, Status::kTimedOut) << c.error().message;
  EXPECT_THAT(c.error().message, HasSubstr(path + ": no answer within 50 ms"));
  for (const int fd : waiting) ::close(fd);
  ::close(listener);
  ::unlink(path.c_str());
  ::rmdir(dir.c_str());
}

TEST(Client, AServerThatHangsUpIsNoticed) {
  FakeServer server({}, true);
  EXPECT_EQ(Client::connect(server.path).error().code, Status::kClosed);
}

TEST(Client, OtherProtocolsAreToldApart) {
  {
    FakeServer server(framed({0, 99, 1, 2}), true);
    const auto c = Client::connect(server.path);
    EXPECT_THAT(c.error().message, HasSubstr("does not speak the binary API"));
  }
  {  // a table that promises more entries than there are
    FakeServer server(framed({0, 16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff}),
                      true);
    EXPECT_EQ(Client::connect(server.path).error().code, Status::kMalformed);
  }
  {  // a length of 4 GB
    std::vector<uint8_t> b(16);
    b[8] = b[9] = b[10] = b[11] = 0xff;
    FakeServer server(b, true);
    EXPECT_EQ(Client::connect(server.path).error().code, Status::kMalformed);
  }
}

TEST(Client, AMessageThatTheDaemonLacksIsAnErrorOfTheCall) {
  FakeServer server(framed({0, 16, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0}), true);
  auto c = Client::connect(server.path);
  ASSERT_TRUE(c) << c.error().message;
  const auto r = c->cli("show version");
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Status::kUnsupported);
  EXPECT_THAT(r.error().message, HasSubstr("the daemon has no message cli_inband_f8377302"));
}

}  // namespace
}  // namespace loom
