#include "cli/tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <hostloom/host.h>
#include <nlohmann/json.hpp>

namespace loom {
namespace {

// Answers with its context and the arguments it was left.
Result<void> echo(Host&, void* context, CliArgs& args, CliReply& reply) {
  std::string text = static_cast<const char*>(context);
  while (!args.done()) (text += '|') += args.next();
  reply.line(text);
  return {};
}
Result<void> take_number(Host&, void*, CliArgs& args, CliReply& reply) {
  const auto n = args.number("mtu", 68, 9216);
  if (!n) return n.error();
  if (!args.done()) return args.unknown();
  reply.field("mtu", std::to_string(*n));
  return {};
}

CliCommand command(const char* path) {
  return {.path = path,
          .syntax = "[x]",
          .help = "Echoes.",
          .context = const_cast<char*>(path),
          .run = echo};
}

struct CliTreeTest : testing::Test {
  const CliCommand commands[7] = {
      command("show version"),
      command("show session"),
      command("show session rules"),
      command("show segment-manager"),
      command("set interface state"),
      command("show errors"),
      {.path = "set interface mtu", .syntax = "N", .help = "Sets.", .run = take_number}};
  CliTree tree;
  Host host;

  void SetUp() override {
    for (const auto& c : commands) ASSERT_TRUE(tree.add(c));
  }
  std::string run(std::string_view line) { return tree.run(host, line).text; }
  Status status(std::string_view line) { return tree.run(host, line).status; }
};

TEST_F(CliTreeTest, WholeWordsFindTheCommandAndTheRestAreArguments) {
  EXPECT_EQ(run("show version"), "show version\n");
  EXPECT_EQ(run("  set   interface\tstate tap0 up # comment"), "set interface state|tap0|up\n");
  EXPECT_EQ(run("show version \"a b\" c"), "show version|a b|c\n");
}

TEST_F(CliTreeTest, ACommandKnowsWhetherAProgramAsks) {
  static const CliCommand asks = {
      .path = "who asks",
      .syntax = "",
      .help = "Says who.",
      .run = [](Host&, void*, CliArgs&, CliReply& reply) -> Result<void> {
        reply.field("by", reply.is_json() ? "program" : "people");
        return {};
      }};
  ASSERT_TRUE(tree.add(asks));
  EXPECT_EQ(run("who asks"), "by  people\n");
  EXPECT_EQ(nlohmann::json::parse(run("json who asks"))["by"], "program");
}

TEST_F(CliTreeTest, ACommandMayAnswerLaterToOneWhoCanWait) {
  static std::shared_ptr<CliLater> under_way;
  const CliCommand slow{.path = "slow",
                        .syntax = "",
                        .help = "",
                        .run = [](Host&, void*, CliArgs&, CliReply& reply) -> Result<void> {
                          under_way = reply.later();
                          if (!under_way) reply.line("cannot wait");
                          return {};
                        }};
  ASSERT_TRUE(tree.add(slow));
  EXPECT_EQ(run("slow"), "cannot wait\n");
  std::vector<CliOutcome> got;
  const auto done = [&](CliOutcome o) { got.push_back(std::move(o)); };
  tree.run(host, "json slow", done);
  EXPECT_TRUE(got.empty());
  under_way->reply().field("result", "7");
  under_way->finish();
  under_way->finish(error(Status::kIo, "twice"));
  under_way.reset();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(nlohmann::json::parse(got[0].text)["result"], 7);
  tree.run(host, "slow", done);
  under_way.reset();  // given up
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[1].status, Status::kClosed);
  tree.run(host, "show version", done);  // everything else answers at once
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[2].text, "show version\n");
  tree.run(host, "nonsense", done);
  EXPECT_EQ(got[3].status, Status::kNotFound);
}

TEST_F(CliTreeTest, UniquePrefixesAreEnough) {
  EXPECT_EQ(run("sh ver"), "show version\n");
  EXPECT_EQ(run("se i s tap0"), "set interface state|tap0\n");
  EXPECT_EQ(run("sh ses ru"), "show session rules\n");
}

TEST_F(CliTreeTest, AmbiguousPrefixesListTheCandidates) {
  EXPECT_EQ(run("s version"), "'s' at position 1 is ambiguous: set show\n");
  EXPECT_EQ(run("show se"), "'se' at position 2 is ambiguous: segment-manager session\n");
  EXPECT_EQ(status("show se"), Status::kInvalid);
}

TEST_F(CliTreeTest, ACommandThatIsAlsoAPathTakesItsArguments) {
  EXPECT_EQ(run("show session"), "show session\n");
  EXPECT_EQ(run("show session verbose 2"), "show session|verbose|2\n");
  EXPECT_EQ(run("show session rules x"), "show session rules|x\n");
}

TEST_F(CliTreeTest, UnknownWordsGivePositionAndNearestName) {
  EXPECT_EQ(run("show verison"), "unknown word 'verison' at position 2; did you mean 'version'?\n");
  EXPECT_EQ(run("xyzzy"), "unknown word 'xyzzy' at position 1\n");
  EXPECT_EQ(run("\"\""), "unknown word '' at position 1\n");
  EXPECT_EQ(status("xyzzy"), Status::kNotFound);
}

TEST_F(CliTreeTest, IncompleteCommandsSayWhatCanFollow) {
  EXPECT_EQ(run("set interface"), "incomplete command; next: mtu state\n");
}

TEST_F(CliTreeTest, ArgumentErrorsNameWordAndPosition) {
  EXPECT_EQ(run("set interface mtu 1500"), "mtu  1500\n");
  EXPECT_EQ(run("set interface mtu"), "missing mtu at the end\n");
  EXPECT_EQ(run("set interface mtu 12"),
            "mtu '12' at position 4 is not a number from 68 to 9216\n");
  EXPECT_EQ(run("set interface mtu 1500 x"), "unknown word 'x' at position 5\n");
  EXPECT_EQ(run("json set interface mtu 1500 x"), "unknown word 'x' at position 6\n");
}

TEST_F(CliTreeTest, EmptyLinesAndCommentsDoNothing) {
  EXPECT_EQ(run(""), "");
  EXPECT_EQ(run("  # show version"), "");
  EXPECT_EQ(status("#"), Status::kOk);
}

TEST_F(CliTreeTest, JsonInFrontAsksForJson) {
  const auto json = nlohmann::json::parse(run("json set interface mtu 1500"));
  EXPECT_EQ(json, nlohmann::json({{"mtu", 1500}}));
  EXPECT_EQ(run("json"), "a command is missing after 'json'\n");
}

TEST_F(CliTreeTest, HelpAndQuestionMarkListWhatIsThere) {
  const std::string all = run("help");
  EXPECT_THAT(all, testing::HasSubstr("show version"));
  EXPECT_THAT(all, testing::HasSubstr("set interface mtu"));
  EXPECT_EQ(run("?"), all);
  EXPECT_EQ(run("help set interface mtu"),
            "command            arguments  help\n"
            "set interface mtu  N          Sets.\n");
  EXPECT_EQ(run("set int mtu ?"), run("help set interface mtu"));
  EXPECT_THAT(run("show ?"), testing::Not(testing::HasSubstr("set")));
  EXPECT_EQ(run("help nothing"), "unknown word 'nothing' at position 2\n");
  const auto json = nlohmann::json::parse(run("json help show session"));
  EXPECT_EQ(json["commands"].size(), 2u);
}

TEST_F(CliTreeTest, PathsAreUnique) {
  EXPECT_EQ(tree.add(commands[0]).error().message, "command 'show version' is taken");
  const CliCommand no_run{.path = "x"};
  EXPECT_EQ(tree.add(no_run).error().code, Status::kInvalid);
  const CliCommand empty{.path = "  ", .run = echo};
  EXPECT_EQ(tree.add(empty).error().code, Status::kInvalid);
}

TEST_F(CliTreeTest, QuotesAndLengthAreChecked) {
  EXPECT_EQ(run("show \"version"), "the quote at position 2 is not closed\n");
  EXPECT_EQ(status(std::string(kMaxCliLine + 1, 'x')), Status::kInvalid);
}

TEST_F(CliTreeTest, ScriptsStopAtTheFirstErrorAndNameItsLine) {
  std::string out;
  EXPECT_TRUE(tree.run_script(host, "# setup\n\nshow version\r\nshow errors a", "s", out));
  EXPECT_EQ(out, "show version\nshow errors|a\n");
  out.clear();
  const auto r = tree.run_script(host, "show version\n\nshow verison\nshow errors\n", "s.cli", out);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().message,
            "s.cli:3: unknown word 'verison' at position 2; did you mean 'version'?");
  EXPECT_EQ(out, "show version\n");
  EXPECT_EQ(tree.run_file(host, "/nonexistent/x", out).error().message,
            "/nonexistent/x: No such file or directory");
}

TEST_F(CliTreeTest, ACommandOfAScriptGoesOnWhileABraceIsOpen) {
  std::string out;
  EXPECT_TRUE(tree.run_script(host,
                              "show errors {  # one } in a comment\n"
                              "  a { b\n"
                              "  } \"{\"\n"
                              "}\n"
                              "show version\n",
                              "s", out));
  EXPECT_EQ(out, "show errors|{|a|{|b|}|{|}\nshow version\n");
  out.clear();
  const auto r = tree.run_script(host, "show errors {\n}\n\nshow verison\n", "s.cli", out);
  EXPECT_EQ(r.error().message.substr(0, 8), "s.cli:4:");
  out.clear();
  EXPECT_TRUE(tree.run_script(host, "show errors }\nshow errors {\nend", "s", out));
  EXPECT_EQ(out, "show errors|}\nshow errors|{|end\n");
}

}  // namespace
}  // namespace loom
