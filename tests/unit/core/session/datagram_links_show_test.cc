// What an operator sees of links between datagram sessions.
#include <arpa/inet.h>
#include <gmock/gmock.h>

#include "tests/unit/core/session/command_line.h"
#include "tests/unit/core/session/datagram_links_bed.h"

namespace loom::test {
namespace {

using namespace links;
using testing::HasSubstr;
using testing::Not;

TEST_F(DatagramLinksTest, EachLinkIsShownWithWhatItsReaderHasLeft) {
  CommandLine commands(*bed.layer);
  Socket s = bind(server, 53), c = connect(client, 53);
  const auto shown = [&] { return commands.run("show session verbose 2 app server"); };
  const std::string peer = "    10.0.0.7:" + std::to_string(ntohs(c.local.port));
  EXPECT_THAT(shown(), HasSubstr("cut-through with 1 peers, dropped 0\n" + peer +
                                 " open, unread 0, not rung for more\n"));
  Link from = map(c), to = map(s);
  EXPECT_TRUE(to.rx.arm(0));
  EXPECT_THAT(shown(), HasSubstr(peer + " open, unread 0, rung for more\n"));
  from.send("question");
  EXPECT_TRUE(from.tx.should_notify());
  EXPECT_THAT(shown(), HasSubstr(peer + " open, unread 72, not rung for more\n"));
  EXPECT_THAT(commands.run("show session verbose 2 app client"),
              HasSubstr("    10.0.0.1:53 open, unread 0, "));
  client.close(*c.own);
  EXPECT_THAT(shown(), HasSubstr(peer + " ended, unread 72, "));
  EXPECT_EQ(to.take(), "question");
  done(s);
  EXPECT_THAT(shown(), Not(HasSubstr("cut-through")));
}

// Each link has two ends, and a session at most 64.
TEST_F(DatagramLinksTest, NoAnswerHasMoreThanAThousandLinesOfLinks) {
  constexpr int kServers = 8;
  CommandLine commands(*bed.layer);
  std::vector<Socket> sockets;
  for (uint16_t port = 53; port < 53 + kServers; ++port) {
    sockets.push_back(bind(server, port));
    for (uint32_t i = 0; i < svm::kMaxDatagramLinks; ++i) {
      sockets.push_back(connect(client, port));
      forget_events(server);
    }
  }
  ASSERT_EQ(links(), kServers * svm::kMaxDatagramLinks);
  const auto count = [](const std::string& in, const std::string& what) {
    std::size_t n = 0;
    for (auto at = in.find(what); at != in.npos; at = in.find(what, at + 1)) ++n;
    return n;
  };
  const std::string all = commands.run("show session verbose 2");
  EXPECT_EQ(count(all, " open, unread "), 1000u);
  EXPECT_EQ(count(all, "links not shown: 1\n"), 24u);
  EXPECT_EQ(count(all, "cut-through with "), kServers * (svm::kMaxDatagramLinks + 1));
  const std::string of_servers = commands.run("show session verbose 2 app server");
  EXPECT_EQ(count(of_servers, " open, unread "), kServers * svm::kMaxDatagramLinks);
  EXPECT_THAT(of_servers, Not(HasSubstr("not shown")));
}

}  // namespace
}  // namespace loom::test
