// The command "ping": who can wait is answered when it is over, and nobody is held up meanwhile.
#include <deque>

#include "cli/tree.h"
#include "net/cli/net_commands.h"
#include "net_host.h"

namespace loom {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class PingCommand : public testing::Test {
 protected:
  PingCommand() {
    host.know(wire, "10.0.0.1");
    for (CliCommand c : ip_commands()) {
      c.context = host.net.get();
      commands.push_back(c);
      must(cli.add(commands.back()));
    }
  }
  void run(std::string_view line) {
    cli.run(nobody, line, [this](CliOutcome o) { answers.push_back(std::move(o)); });
    host.run();
  }
  void answer_all() {
    for (const auto& f : wire.take_sent()) {
      const Bytes p = part(f.bytes, 14);
      host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                                  make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2", .ttl = 61},
                                           make_icmp4(0, 0, get32(p, 24), part(p, 28)))));
    }
    host.run();
  }
  NetHost host;
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
  CliTree cli;
  std::deque<CliCommand> commands;  // the tree points into it
  Host nobody;
  std::vector<CliOutcome> answers;
};

TEST_F(PingCommand, AnswersWhenItIsOver) {
  run("ping 10.0.0.1 count 2 interval 10");
  answer_all();
  EXPECT_THAT(answers, IsEmpty());
  run("show ip fib");  // the control thread is free
  EXPECT_THAT(answers, SizeIs(1));
  host.pass(10 * kSecond);
  answer_all();
  ASSERT_THAT(answers, SizeIs(2));
  EXPECT_EQ(answers[1].status, Status::kOk);
  EXPECT_THAT(answers[1].text, HasSubstr("64 bytes from 10.0.0.1: icmp_seq=2 ttl=61 time=0.0000"));
  EXPECT_THAT(answers[1].text, HasSubstr("Statistics: 2 sent, 2 received, 0% packet loss"));
}

TEST_F(PingCommand, SaysWhatWasLost) {
  run("ping 10.0.0.1 count 4 interval 0.1");
  answer_all();
  host.pass(2 * kSecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_THAT(answers[0].text, HasSubstr("4 sent, 1 received, 75% packet loss"));
}

TEST_F(PingCommand, WithoutAWayItFailsAtOnce) {
  run("ping 172.16.0.1 count 6 interval 10");
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].status, Status::kUnreachable);
  EXPECT_THAT(answers[0].text, HasSubstr("no way to 172.16.0.1"));
}

TEST_F(PingCommand, RefusalsComeAtOnce) {
  for (const char* line :
       {"ping", "ping nowhere", "ping 10.0.0.1 count 1001", "ping 10.0.0.1 x",
        "ping 10.0.0.1 interval 61", "ping 10.0.0.1 count 61", "ping 10.0.0.1 table 9"}) {
    answers.clear();
    run(line);
    ASSERT_THAT(answers, SizeIs(1)) << line;
    EXPECT_NE(answers[0].status, Status::kOk) << line;
  }
  EXPECT_THAT(wire.take_sent(), IsEmpty());
}

TEST_F(PingCommand, AScriptGoesOn) {
  EXPECT_THAT(cli.run(nobody, "ping 10.0.0.1 count 1").text, HasSubstr("nobody waits"));
  host.run();
  EXPECT_THAT(wire.take_sent(), SizeIs(1));
  EXPECT_EQ(cli.run(nobody, "ping 10.0.0.1 table 9").status, Status::kNotFound);
}

TEST_F(PingCommand, AHostThatGoesSaysThatItWasGivenUp) {
  run("ping 10.0.0.1 count 2 interval 10");
  host.net->state().ping_runs.cancel();
  host.run();
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(answers[0].status, Status::kClosed);
}

}  // namespace
}  // namespace loom
