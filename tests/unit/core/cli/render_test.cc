#include "cli/render.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace loom {
namespace {

CliReply sample() {
  CliReply r;
  r.field("name", "tap0");
  r.field("mtu", "1500");
  auto& t = r.table("queues", {"queue", "packets", "state"});
  t.rows = {{"0", "12", "polling"}, {"1", "3456", "on"}};
  r.line("done");
  return r;
}

TEST(CliRender, TextIsAlignedAndNumbersStandRight) {
  EXPECT_EQ(render_text(sample()),
            "name  tap0\n"
            "mtu   1500\n"
            "queue  packets  state\n"
            "    0       12  polling\n"
            "    1     3456  on\n"
            "done\n");
}

TEST(CliRender, SeveralTablesGetHeadings) {
  CliReply r;
  r.table("a", {"x"}).rows = {{"1"}};
  r.table("b", {"y"}).rows = {{"z"}};
  EXPECT_EQ(render_text(r), "a\nx\n1\n\nb\ny\nz\n");
}

TEST(CliRender, ShortRowsAreFilled) {
  CliReply r;
  r.table("t", {"a", "b"}).rows = {{"1"}, {}};
  EXPECT_EQ(render_text(r), "a  b\n1\n\n");
  EXPECT_EQ(nlohmann::json::parse(render_json(r))["t"][0]["b"], nullptr);
}

TEST(CliRender, JsonHasFieldsTablesAndLines) {
  const auto j = nlohmann::json::parse(render_json(sample()));
  EXPECT_EQ(j["mtu"], 1500);
  EXPECT_EQ(j["queues"][1]["packets"], 3456);
  EXPECT_EQ(j["queues"][1]["state"], "on");
  EXPECT_EQ(j["lines"], nlohmann::json({"done"}));
}

TEST(CliRender, RepeatedNamesBecomeLists) {
  CliReply r;
  r.field("a", "1");
  r.field("a", "2");
  r.field("a", "007");
  r.table("t", {"x"}).rows = {{"1"}};
  r.table("t", {"x"}).rows = {{"2"}};
  const auto j = nlohmann::json::parse(render_json(r));
  EXPECT_EQ(j["a"], nlohmann::json({1, 2, "007"}));
  EXPECT_EQ(j["t"].size(), 2u);
}

TEST(CliRender, BytesThatAreNotUtf8DoNotBreakJson) {
  CliReply r;
  r.field("n", "a\xff");
  r.line(std::string("\x00\x1b", 2));
  EXPECT_TRUE(nlohmann::json::accept(render_json(r)));
}

TEST(CliRender, AnEmptyReplyIsEmptyTextAndAnEmptyObject) {
  EXPECT_EQ(render_text({}), "");
  EXPECT_EQ(nlohmann::json::parse(render_json({})), nlohmann::json::object());
}

}  // namespace
}  // namespace loom
