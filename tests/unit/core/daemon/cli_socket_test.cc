#include "daemon/cli_socket.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "cli/tree.h"
#include "daemon/event_loop.h"

namespace loom {
namespace {

Result<void> say(Host&, void*, CliArgs& args, CliReply& reply) {
  reply.line("said " + std::string(args.next()));
  return {};
}
constexpr CliCommand kSay{.path = "say", .run = say};

// Everything that the server sends for `input`, up to the end of the conversation.
std::string talk(const std::string& path, std::string_view input) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  EXPECT_EQ(::send(fd, input.data(), input.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(input.size()));
  ::shutdown(fd, SHUT_WR);
  std::string out;
  char block[4096];
  for (ssize_t n; (n = ::recv(fd, block, sizeof block, 0)) > 0;)
    out.append(block, static_cast<std::size_t>(n));
  ::close(fd);
  return out;
}

TEST(CliSocket, AnswersLineByLineUntilTheEnd) {
  char name[] = "/tmp/hostloom-cli-XXXXXX";
  const std::string dir = ::mkdtemp(name), path = dir + "/cli.sock";
  {
    EventLoop loop;
    CliTree tree;
    Host host;
    ASSERT_TRUE(tree.add(kSay));
    CliSocket socket(loop.io(), tree, host);
    ASSERT_TRUE(socket.listen(path, {}));
    std::thread client([&] {
      EXPECT_EQ(talk(path, "say a\r\nsay b\nxyz\nquit\nsay c\n"),
                "hostloom# said a\nhostloom# said b\nhostloom# error: unknown word 'xyz' at "
                "position 1\nhostloom# ");
      EXPECT_EQ(talk(path, "say a"), "hostloom# ");  // a line without an end is none
      EXPECT_EQ(talk(path, std::string(kMaxCliLine + 100, 'x')).substr(0, 10), "hostloom# ");
      loop.post([](void* l) { static_cast<EventLoop*>(l)->stop(); }, &loop);
    });
    loop.run();
    client.join();
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  ::rmdir(dir.c_str());
}

}  // namespace
}  // namespace loom
