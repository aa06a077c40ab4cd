#include "vcl/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace loom::vcl {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string failure(const std::string& text) {
  Config c;
  const auto done = parse_config("vcl.conf", text, c);
  return done ? "accepted" : done.error().message;
}

TEST(VclConfig, ReadsEveryKindOfValue) {
  Config c;
  const auto done = parse_config("vcl.conf",
                                 "# a comment\n"
                                 "vcl {\n"
                                 "  heapsize 64M\n  max-workers 4\n"
                                 "  app-socket-api /tmp/x.sock # trailing\n"
                                 "  rx-fifo-size 4000000\n  tx-fifo-size 64k\n"
                                 "  segment-size 512M add-segment-size 1g\n"
                                 "  session-timeout 1.5 spin-us 20\n"
                                 "  app-scope-local\n  use-mq-eventfd\n"
                                 "  namespace-id blue namespace-secret 1234\n"
                                 "  event-queue-size 4096 uid 1000 gid 1000\n"
                                 "}\n",
                                 c);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(c.max_workers, 4u);
  EXPECT_EQ(c.app_socket, "/tmp/x.sock");
  EXPECT_EQ(c.rx_fifo_size, 4'000'000u);
  EXPECT_EQ(c.tx_fifo_size, 65'536u);
  EXPECT_EQ(c.segment_size, 512ull << 20);
  EXPECT_EQ(c.add_segment_size, 1ull << 30);
  EXPECT_DOUBLE_EQ(c.session_timeout, 1.5);
  EXPECT_EQ(c.spin, 20 * kMicrosecond);
  EXPECT_TRUE(c.scope_local);
  EXPECT_FALSE(c.scope_global);
  EXPECT_EQ(c.namespace_id, "blue");
  EXPECT_EQ(c.namespace_secret, 1234u);
  EXPECT_EQ(c.event_queue_size, 4096u);
}

TEST(VclConfig, DefaultsAreTheDocumentedOnes) {
  const Config c;
  EXPECT_EQ(c.app_socket, "/run/hostloom/app_ns_sockets/default");
  EXPECT_EQ(c.max_workers, 16u);
  EXPECT_EQ(c.segment_size, 0u);  // the daemon's
  EXPECT_EQ(c.add_segment_size, 0u);
  EXPECT_EQ(c.rx_fifo_size, 0u);
  EXPECT_EQ(c.tx_fifo_size, 0u);
  EXPECT_EQ(c.event_queue_size, 0u);
  EXPECT_EQ(c.session_timeout, 600);
  EXPECT_EQ(c.spin, 50 * kMicrosecond);
}

TEST(VclConfig, AnUnknownKeyIsNamedWithItsLineAndTheNearestOne) {
  EXPECT_THAT(failure("vcl {\n heapsize 1m\n rx-fifo-siz 4k\n}"),
              AllOf(HasSubstr("vcl.conf:3"), HasSubstr("'rx-fifo-siz'"),
                    HasSubstr("did you mean 'rx-fifo-size'")));
}

TEST(VclConfig, RefusesWhatItCannotRead) {
  EXPECT_THAT(failure("vcl { rx-fifo-size 12q }"), HasSubstr("12q"));
  EXPECT_THAT(failure("vcl { rx-fifo-size }"), HasSubstr("needs a value"));
  EXPECT_THAT(failure("vcl {\n app-scope-local\n"), HasSubstr("never closed"));
  EXPECT_THAT(failure("}"), HasSubstr("'}' without '{'"));
  EXPECT_THAT(failure("tcp { }"), HasSubstr("'tcp'"));
  EXPECT_THAT(failure("vcl { max-workers 65 }"), HasSubstr("max-workers 65"));
  EXPECT_THAT(failure("vcl { session-timeout soon }"), HasSubstr("soon"));
  EXPECT_THAT(failure("vcl { spin-us 1001 }"), HasSubstr("spin-us 1001"));
}

TEST(VclConfig, TheEnvironmentOverridesTheFile) {
  const struct Env {
    Env() {
      setenv("VCL_APP_NAMESPACE_ID", "green", 1);
      setenv("VCL_APP_NAMESPACE_SECRET", "77", 1);
      setenv("VCL_VPP_SAPI_SOCKET", "/tmp/other.sock", 1);
      setenv("VCL_APP_SCOPE_GLOBAL", "1", 1);
    }
    ~Env() {
      for (const char* name : {"VCL_APP_NAMESPACE_ID", "VCL_APP_NAMESPACE_SECRET",
                               "VCL_VPP_SAPI_SOCKET", "VCL_APP_SCOPE_GLOBAL"})
        unsetenv(name);
    }
  } env;
  Config c;
  ASSERT_TRUE(parse_config("f", "vcl { namespace-id blue }", c));
  ASSERT_TRUE(apply_environment(c));
  EXPECT_EQ(c.namespace_id, "green");
  EXPECT_EQ(c.namespace_secret, 77u);
  EXPECT_EQ(c.app_socket, "/tmp/other.sock");
  EXPECT_TRUE(c.scope_global);
  setenv("VCL_APP_NAMESPACE_SECRET", "x", 1);
  const auto wrong = apply_environment(c);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("VCL_APP_NAMESPACE_SECRET=x"));
}

TEST(VclConfig, AFileThatWasAskedForMustExist) {
  setenv("VCL_CONFIG", "/nonexistent/vcl.conf", 1);
  const auto c = load_config();
  unsetenv("VCL_CONFIG");
  ASSERT_FALSE(c);
  EXPECT_THAT(c.error().message, HasSubstr("/nonexistent/vcl.conf"));
}

}  // namespace
}  // namespace loom::vcl
