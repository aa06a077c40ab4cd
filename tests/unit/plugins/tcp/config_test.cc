#include "tcp/config.h"

#include <gtest/gtest.h>

#include <sstream>

namespace loom::tcp {
namespace {

Result<void> apply(Config& c, const std::string& words) {
  ConfigNode stanza;
  stanza.word = "tcp";
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

TEST(Config, EveryKeyIsTaken) {
  Config c;
  ASSERT_TRUE(apply(c,
                    "cc-algo newreno mtu 9000 max-rx-fifo 4m no-tx-pacing no-tso max-gso-size 32k "
                    "no-csum-offload initial-cwnd-multiplier 4 timewait-time 5 finwait2-time 9 "
                    "min-rto-ms 50 no-sack"));
  EXPECT_EQ(c.cc_algo, "newreno");
  EXPECT_EQ(c.mtu, 9000u);
  EXPECT_EQ(c.max_rx_fifo, 4u << 20);
  EXPECT_FALSE(c.pacing || c.gso || c.csum_offload || c.sack);
  EXPECT_EQ(c.max_gso_size, 32u << 10);
  EXPECT_EQ(c.initial_cwnd, 4u);
  EXPECT_EQ(c.timewait_time, 5 * kSecond);
  EXPECT_EQ(c.finwait2_time, 9 * kSecond);
  EXPECT_EQ(c.min_rto, 50 * kMillisecond);
}

TEST(Config, ErrorsNameTheLineAndTheNearestKey) {
  Config c;
  auto r = apply(c, "cc-alog cubic");
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().message.find("startup.conf:7"), std::string::npos);
  EXPECT_NE(r.error().message.find("cc-algo"), std::string::npos);
  EXPECT_FALSE(apply(c, "mtu 40"));
  EXPECT_FALSE(apply(c, "mtu"));
  EXPECT_FALSE(apply(c, "max-delack-ms 501"));
}

}  // namespace
}  // namespace loom::tcp
