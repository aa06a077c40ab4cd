#include "plugin/plugin_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/parser.h"

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<PluginConfig> parse(const std::string& text) {
  auto file = parse_config("plugins { " + text + " }", "startup.conf");
  if (!file) return file.error();
  return parse_plugin_config(file->children.at(0));
}

TEST(PluginConfig, ReadsPathsAndChoices) {
  const auto c = parse(
      "path /a:/b path /c plugin default { disable } plugin tap.so { enable } "
      "plugin tcp { required } plugin dpdk { disable }");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_THAT(c->paths, ElementsAre("/a", "/b", "/c"));
  EXPECT_EQ(c->choice_for("tap"), PluginChoice::kEnable);
  EXPECT_EQ(c->choice_for("tcp"), PluginChoice::kRequired);
  EXPECT_EQ(c->choice_for("dpdk"), PluginChoice::kDisable);
  EXPECT_EQ(c->choice_for("anything"), PluginChoice::kDisable);
}

TEST(PluginConfig, TheLastWordAboutAPluginCounts) {
  const auto c = parse("plugin tap { disable } plugin tap.so { enable }");
  ASSERT_TRUE(c);
  EXPECT_EQ(c->choice_for("tap"), PluginChoice::kEnable);
}

TEST(PluginConfig, ErrorsNameLineAndNearestWord) {
  EXPECT_THAT(
      parse("pluggin tap { enable }").error().message,
      HasSubstr("startup.conf:1: unknown key 'pluggin' in 'plugins'; did you mean 'plugin'"));
  EXPECT_THAT(parse("plugin tap { enabel }").error().message, HasSubstr("did you mean 'enable'"));
  EXPECT_THAT(parse("plugin tap").error().message, HasSubstr("{ required }"));
  EXPECT_THAT(parse("plugin tap { enable disable }").error().message,
              HasSubstr("needs { enable }"));
  EXPECT_THAT(parse("plugin default { required }").error().message, HasSubstr("by its name"));
  EXPECT_THAT(parse("path").error().message, HasSubstr("'path' needs a value"));
}

}  // namespace
}  // namespace loom
