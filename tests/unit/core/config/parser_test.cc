#include "config/parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <random>

namespace loom {
namespace {

// The tree as one line: word:line{children}.
std::string shape(const ConfigNode& n) {
  std::string s = n.word.empty() ? "_" : n.word;
  s += ":" + std::to_string(n.line);
  if (!n.has_block) return s;
  s += "{";
  for (const auto& c : n.children) s += (s.back() == '{' ? "" : " ") + shape(c);
  return s + "}";
}

std::string parsed(std::string_view text) {
  const auto root = parse_config(text, "f");
  if (!root) return root.error().message;
  std::string s;
  for (const auto& c : root->children) s += (s.empty() ? "" : " ") + shape(c);
  return s;
}

TEST(ConfigParser, WordsKeepTheirLinesAndBlocksBelongToTheWordBefore) {
  EXPECT_EQ(parsed("unix { nodaemon\n  log /tmp/x }\ntcp\n{ mtu 9000 }"),
            "unix:1{nodaemon:1 log:2 /tmp/x:2} tcp:3{mtu:4 9000:4}");
}

TEST(ConfigParser, BlocksNestAndMayBeBareOrEmpty) {
  EXPECT_EQ(parsed("plugins { plugin default { disable } plugin a.so { enable } }"),
            "plugins:1{plugin:1 default:1{disable:1} plugin:1 a.so:1{enable:1}}");
  EXPECT_EQ(parsed("a { { x } { } }"), "a:1{_:1{x:1} _:1{}}");
  EXPECT_EQ(parsed(""), "");
  EXPECT_EQ(parsed("cpu { }"), "cpu:1{}");
}

TEST(ConfigParser, BracesNeedNoSpaceAroundThem) {
  EXPECT_EQ(parsed("logging{default-log-level debug}x{}"),
            "logging:1{default-log-level:1 debug:1} x:1{}");
}

TEST(ConfigParser, CommentsStartWhereAWordCould) {
  EXPECT_EQ(parsed("# first } line\na { # rest {\n b#c d } #"), "a:2{b#c:3 d:3}");
}

TEST(ConfigParser, QuotesKeepSpacesBracesAndEscapes) {
  EXPECT_EQ(parsed(R"(a { "x y" "{}" "q\"\\ \n" "#" })"), R"(a:1{x y:1 {}:1 q"\ \n:1 #:1})");
}

TEST(ConfigParser, AnUnclosedBlockIsNamedWhereItOpens) {
  EXPECT_EQ(parsed("a {\n b {\n c }\n\n"), "f:1: '{' after 'a' is never closed");
}

TEST(ConfigParser, AnExtraClosingBraceIsNamedWhereItStands) {
  EXPECT_EQ(parsed("a { }\n\n }"), "f:3: '}' without a '{'");
}

TEST(ConfigParser, AQuoteEndsOnItsLine) {
  EXPECT_EQ(parsed("a {\n \"x\n y\" }"), "f:2: a quote is not closed on its line");
  EXPECT_EQ(parsed("a { \"x"), "f:1: a quote is not closed on its line");
}

TEST(ConfigParser, ControlCharactersAreRefused) {
  EXPECT_EQ(parsed(std::string_view("a {\n b\0c }", 10)), "f:2: control character 0x00");
  EXPECT_EQ(parsed("a { \"\x1b[0m\" }"), "f:1: control character 0x1b");
}

TEST(ConfigParser, DepthAndSizeAreBounded) {
  std::string deep;
  for (int i = 0; i <= kMaxConfigDepth; ++i) deep += "a {\n";
  EXPECT_EQ(parsed(deep), "f:33: blocks are nested deeper than 32");
  EXPECT_THAT(parsed(std::string(kMaxConfigBytes + 1, 'x')), testing::HasSubstr("larger than"));
}

TEST(ConfigParser, AMissingFileIsNamed) {
  const auto r = read_config_file("/nonexistent/startup.conf");
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().message, "/nonexistent/startup.conf: No such file or directory");
}

TEST(ConfigParser, RandomTextNeverBreaksIt) {
  std::mt19937 random(7);
  constexpr std::string_view kAlphabet = "{}{} \n\"\\#ab\t\x01";
  int n_good = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text(random() % 24, ' ');
    for (char& c : text) c = kAlphabet[random() % kAlphabet.size()];
    const auto r = parse_config(text, "f");
    if (r)
      ++n_good;
    else
      EXPECT_TRUE(r.error().message.starts_with("f:")) << r.error().message;
  }
  EXPECT_GT(n_good, 100);
}

}  // namespace
}  // namespace loom
