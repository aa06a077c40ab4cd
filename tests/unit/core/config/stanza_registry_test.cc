#include "config/stanza_registry.h"

#include <gtest/gtest.h>

#include "config/parser.h"

namespace loom {
namespace {

// Notes what it is handed; refuses the word "bad".
Result<void> note(void* context, const ConfigNode& stanza) {
  auto& seen = *static_cast<std::string*>(context);
  for (const auto& word : stanza.children) {
    if (word.word == "bad") return word.fail("refused");
    seen += stanza.word + "." + word.word + " ";
  }
  return {};
}

struct StanzaRegistryTest : testing::Test {
  std::string seen;
  ConfigStanza tcp{.name = "tcp", .context = &seen, .apply = note};
  ConfigStanza tls{.name = "tls", .context = &seen, .apply = note};
  StanzaRegistry registry;

  void SetUp() override {
    ASSERT_TRUE(registry.add(tcp));
    ASSERT_TRUE(registry.add(tls));
  }
  std::string checked(const char* text) {
    const auto r = registry.check(*parse_config(text, "f"));
    return r ? "" : r.error().message;
  }
};

TEST_F(StanzaRegistryTest, NamesAreUniqueAndNotTheCores) {
  EXPECT_EQ(registry.add(tcp).error().message, "stanza 'tcp' is taken");
  const ConfigStanza unix_{.name = "unix", .context = &seen, .apply = note};
  EXPECT_EQ(registry.add(unix_).error().code, Status::kExists);
  const ConfigStanza no_reader{.name = "x"};
  EXPECT_EQ(registry.add(no_reader).error().code, Status::kInvalid);
}

TEST_F(StanzaRegistryTest, EveryStanzaNeedsAReader) {
  EXPECT_EQ(checked("unix { } tcp { } session { }"), "");
  EXPECT_EQ(checked("unix { }\nsesion { }"),
            "f:2: unknown stanza 'sesion'; did you mean 'session'?");
  EXPECT_EQ(checked("\n\ntcpp { }"), "f:3: unknown stanza 'tcpp'; did you mean 'tcp'?");
  EXPECT_EQ(checked("dpdk { }"), "f:1: unknown stanza 'dpdk'; is the plugin that reads it loaded?");
  EXPECT_EQ(checked("unix nodaemon"), "f:1: 'unix' needs a block: { ... }");
}

TEST_F(StanzaRegistryTest, StanzasAreAppliedInTheFilesOrderAndEachTime) {
  const auto file = parse_config("tls { a } unix { nodaemon } tcp { b } tls { c }", "f");
  ASSERT_TRUE(registry.apply(*file));
  EXPECT_EQ(seen, "tls.a tcp.b tls.c ");
}

TEST_F(StanzaRegistryTest, ARefusedWordEndsIt) {
  const auto r = registry.apply(*parse_config("tcp { a }\ntls { bad }\ntcp { b }", "f"));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().message, "f:2: refused");
  EXPECT_EQ(seen, "tcp.a ");
}

}  // namespace
}  // namespace loom
