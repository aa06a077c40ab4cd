#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "cli/syntax.h"
#include "cli/tree.h"

namespace loom {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> next(std::string_view syntax, std::string_view typed) {
  return expected_words(syntax, *split_cli_line(typed)).next;
}
bool may_end(std::string_view syntax, std::string_view typed) {
  return expected_words(syntax, *split_cli_line(typed)).may_end;
}

TEST(Syntax, WordsAndPlaceholdersInOrder) {
  EXPECT_THAT(next("NAME up|down", ""), ElementsAre("NAME"));
  EXPECT_THAT(next("NAME up|down", "tap0"), ElementsAre("up", "down"));
  EXPECT_THAT(next("NAME up|down", "tap0 up"), IsEmpty());
  EXPECT_TRUE(may_end("NAME up|down", "tap0 up"));
  EXPECT_FALSE(may_end("NAME up|down", "tap0"));
  EXPECT_FALSE(may_end("NAME up|down", "tap0 sideways"));
}

TEST(Syntax, WhatMayBeLeftOutComesInAnyOrderAndOnce) {
  constexpr auto kSyntax = "[rx] [tx] [max N] | off | status";
  EXPECT_THAT(next(kSyntax, ""), ElementsAre("rx", "tx", "max", "off", "status"));
  EXPECT_THAT(next(kSyntax, "tx"), ElementsAre("rx", "max"));
  EXPECT_THAT(next(kSyntax, "tx max"), ElementsAre("N"));
  EXPECT_THAT(next(kSyntax, "tx max 5 rx"), IsEmpty());
  EXPECT_TRUE(may_end(kSyntax, "tx max 5 rx"));
  EXPECT_FALSE(may_end(kSyntax, "tx max"));
  EXPECT_THAT(next("[verbose [1|2]]", "verbose"), ElementsAre("1", "2"));
  EXPECT_THAT(next("[del] NAME", ""), ElementsAre("del", "NAME"));
}

TEST(Syntax, AlternativesThatBeginAlike) {
  constexpr auto kSyntax = "PREFIX via ADDRESS [NAME] | PREFIX via NAME | PREFIX drop, [table N]";
  EXPECT_THAT(next(kSyntax, ""), ElementsAre("PREFIX"));
  EXPECT_THAT(next(kSyntax, "::/0"), ElementsAre("via", "drop"));
  EXPECT_THAT(next(kSyntax, "::/0 via"), ElementsAre("ADDRESS", "NAME"));
  EXPECT_THAT(next(kSyntax, "::/0 drop table"), ElementsAre("N"));
  EXPECT_THAT(next("{a|b} x ...", "b x 1 2"), IsEmpty());
  EXPECT_TRUE(may_end("{a|b} x ...", "b x 1 2"));
}

TEST(Syntax, OddOnesEndAndAreNotExpensive) {
  for (const char* odd : {"", "[", "]", "|", "a|", "|a", "[[[", "a ] b", "{", "[]", "[] []", ", ,"})
    (void)expected_words(odd, *split_cli_line("a b c"));
  std::string many, words;
  for (int i = 0; i < 40; ++i) many += "[A] [B] ", words += "x ";
  const auto before = std::chrono::steady_clock::now();
  (void)expected_words(many, *split_cli_line(words));
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
}

Result<void> nothing(Host&, void*, CliArgs&, CliReply&) { return {}; }

class Complete : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& c : kCommands) ASSERT_TRUE(tree.add(c));
    tree.add_values("INTERFACE", [] { return std::vector<std::string>{"loop0", "tap0", "tap1"}; });
  }
  // What may stand at '^' in the line, or at its end; values in <>.
  std::vector<std::string> words(std::string line) {
    auto at = line.find('^');
    if (at == line.npos)
      at = line.size();
    else
      line.erase(at, 1);
    const auto found = tree.complete(line, at);
    if (!found) return {"error: " + found.error().message};
    last = *found;
    std::vector<std::string> all;
    for (const auto& c : last.candidates) all.push_back(c.is_value ? "<" + c.word + ">" : c.word);
    return all;
  }
  const CliCommand kCommands[5] = {
      {.path = "show session", .syntax = "[verbose [1|2]]", .help = "Sessions.", .run = nothing},
      {.path = "show session rules", .help = "Rules.", .run = nothing},
      {.path = "show version", .help = "What runs.", .run = nothing},
      {.path = "set interface state",
       .syntax = "INTERFACE up|down",
       .help = "Lets.",
       .run = nothing},
      {.path = "ping", .syntax = "ADDRESS [count N]", .help = "Pings.", .run = nothing}};
  CliTree tree;
  CliCompletion last;
};

TEST_F(Complete, WordsOfThePath) {
  EXPECT_THAT(words(""), ElementsAre("ping", "set", "show", "json", "help"));
  EXPECT_THAT(words("s"), ElementsAre("set", "show"));
  EXPECT_EQ(last.start, 0u);
  EXPECT_THAT(words("sh "), ElementsAre("session", "version"));
  EXPECT_EQ(last.candidates[1].help, "What runs.");
  EXPECT_THAT(words("set "), ElementsAre("interface"));
  EXPECT_EQ(last.candidates[0].help, "state");  // what comes behind it
  EXPECT_THAT(words("  sh   ver"), ElementsAre("version"));
  EXPECT_EQ(last.start, 7u);
  EXPECT_THAT(words("json s"), ElementsAre("set", "show"));
  EXPECT_THAT(words("json help sh s"), ElementsAre("session"));
  EXPECT_THAT(words("help "), ElementsAre("ping", "set", "show"));
  EXPECT_THAT(words("show verx"), IsEmpty());
}

TEST_F(Complete, WhatIsBehindTheCursorDoesNotCount) {
  EXPECT_THAT(words("sh^ session"), ElementsAre("show"));
  EXPECT_THAT(words("show ^session"), ElementsAre("session", "version"));
  EXPECT_FALSE(tree.complete("show", 5));
}

TEST_F(Complete, ArgumentsFromTheSyntax) {
  EXPECT_THAT(words("show session "), ElementsAre("rules", "verbose"));
  EXPECT_TRUE(last.is_whole);
  EXPECT_EQ(last.usage, "show session [verbose [1|2]]");
  EXPECT_EQ(last.help, "Sessions.");
  EXPECT_THAT(words("show session verbose "), ElementsAre("1", "2"));
  EXPECT_THAT(words("show session verbose 2 "), IsEmpty());
  EXPECT_TRUE(last.is_whole);
  EXPECT_THAT(words("ping "), ElementsAre("<ADDRESS>"));
  EXPECT_FALSE(last.is_whole);
  EXPECT_THAT(words("ping 10.0"), ElementsAre("<ADDRESS>"));
  EXPECT_THAT(words("ping 10.0.0.1 c"), ElementsAre("count"));
  EXPECT_THAT(words("help ping "), IsEmpty());
}

TEST_F(Complete, NamesOfWhatIsThere) {
  EXPECT_THAT(words("set int state "), ElementsAre("loop0", "tap0", "tap1"));
  EXPECT_EQ(last.candidates[0].help, "INTERFACE");
  EXPECT_THAT(words("set int state t"), ElementsAre("tap0", "tap1"));
  EXPECT_THAT(words("set int state tap0 u"), ElementsAre("up"));
}

TEST_F(Complete, WordsThatAreWrongAreNamed) {
  EXPECT_THAT(words("show vresion x"), ElementsAre(AllOf(HasSubstr("error: unknown word 'vresion'"),
                                                         HasSubstr("did you mean 'version'?"))));
  EXPECT_THAT(words("s x"), ElementsAre("error: 's' at position 1 is ambiguous: set show"));
  EXPECT_THAT(words("show \"ses"), ElementsAre(HasSubstr("is not closed")));
  EXPECT_THAT(words("show \"session\""), IsEmpty());
  EXPECT_THAT(words("show \"session\" "), ElementsAre("rules", "verbose"));
  EXPECT_THAT(words("show # s"), IsEmpty());
  EXPECT_THAT(words("show # "), IsEmpty());
  EXPECT_THAT(words("#"), IsEmpty());
}

}  // namespace
}  // namespace loom
