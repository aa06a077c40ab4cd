#include "udp/config.h"

#include <gtest/gtest.h>

#include <sstream>

namespace loom::udp {
namespace {

Result<void> apply(Config& c, const std::string& words) {
  ConfigNode stanza;
  stanza.word = "udp";
  std::istringstream in(words);
  for (std::string w; in >> w;) {
    ConfigNode n;
    n.word = w;
    n.file = "startup.conf";
    n.line = 7;
    stanza.children.push_back(n);
  }
  return apply_config(&c, stanza);
}

TEST(UdpConfig, EveryKeyIsTaken) {
  Config c;
  ASSERT_TRUE(apply(c, "no-csum-offload max-connections 100"));
  EXPECT_FALSE(c.csum_offload);
  EXPECT_EQ(c.max_connections, 100u);
}

TEST(UdpConfig, WhatIsWrongIsNamed) {
  Config c;
  const auto unknown = apply(c, "max-conections 100");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("max-conections"), std::string::npos);
  const auto few = apply(c, "max-connections 3");
  ASSERT_FALSE(few);
  EXPECT_NE(few.error().message.find('3'), std::string::npos);
}

}  // namespace
}  // namespace loom::udp
