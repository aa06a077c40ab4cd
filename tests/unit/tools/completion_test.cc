#include "completion.h"

#include <gtest/gtest.h>

namespace loomctl {
namespace {

TEST(Completion, TabAddsWhatAllHaveInCommon) {
  EXPECT_EQ(insertion({{"session", ""}, {"segment-manager", ""}}, "s"), "e");
  EXPECT_EQ(insertion({{"session", ""}, {"segment-manager", ""}}, "se"), "");
  EXPECT_EQ(insertion({{"session", ""}}, "se"), "ssion ");
  EXPECT_EQ(insertion({{"session", ""}}, "session"), " ");
  EXPECT_EQ(insertion({}, "x"), "");
}

TEST(Completion, ValuesAreNotInserted) {
  EXPECT_EQ(insertion({{"ADDRESS", "", true}}, ""), "");
  EXPECT_EQ(insertion({{"ADDRESS", "", true}}, "10.0"), "");
  EXPECT_EQ(insertion({{"del", ""}, {"NAME", "", true}}, ""), "");  // either may be meant
  EXPECT_EQ(insertion({{"del", ""}, {"NAME", "", true}}, "d"), "el ");
}

TEST(Completion, AListFitsTheTerminal) {
  const std::vector<Candidate> all = {
      {"session", "Sessions and more."}, {"x", "X."}, {"N", "", true}};
  EXPECT_EQ(listing(all, 80, 10, false), "  session  Sessions and more.\n  x        X.\n  N\n");
  EXPECT_EQ(listing(all, 16, 10, false), "  session  Sessi\n  x        X.\n  N\n");
  EXPECT_EQ(listing(all, 5, 10, false), "  session\n  x      \n  N\n");
  EXPECT_EQ(listing(all, 20, 2, false), "  session  x\n  N\n");
  EXPECT_EQ(listing({{"x", "X."}}, 80, 10, true), "  \x1b[1mx\x1b[0m  X.\n");
}

}  // namespace
}  // namespace loomctl
