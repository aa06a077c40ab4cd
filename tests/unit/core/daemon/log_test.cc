#include "daemon/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "daemon/log_api.h"
#include "logging.api.h"
#include "tests/unit/core/api/direct_client.h"

namespace loom {
namespace {

std::string content(const std::string& path) {
  std::stringstream s;
  s << std::ifstream(path).rdbuf();
  return s.str();
}

TEST(DaemonLog, LinesGoToTheFileAtOnceAndStayInMemory) {
  const std::string path = "/tmp/hostloom-log-" + std::to_string(::getpid());
  DaemonLog log;
  ASSERT_TRUE(log.open_file(path));
  log.write(LogLevel::kDebug, "tap", "below the level");
  log.write(LogLevel::kWarn, "tap", "two\nlines\x1b[0m");
  log.write(LogLevel::kNotice, "hostloom", "ready");
  const std::string text = content(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_NE(text.find(" warn   tap: two?lines?[0m\n"), text.npos);
  EXPECT_TRUE(text.ends_with("notice hostloom: ready\n"));
  ASSERT_EQ(log.lines().size(), 2u);
  EXPECT_EQ(log.lines()[1].text, "ready");
  ::unlink(path.c_str());
}

TEST(DaemonLog, MemoryIsBounded) {
  DaemonLog log;
  ASSERT_TRUE(log.open_file("/dev/null"));
  for (std::size_t i = 0; i < DaemonLog::kKept + 10; ++i)
    log.write(LogLevel::kInfo, "t", std::to_string(i));
  ASSERT_EQ(log.lines().size(), DaemonLog::kKept);
  EXPECT_EQ(log.lines().front().text, "10");
}

TEST(DaemonLog, AFileThatCannotBeOpenedIsAnErrorAndAFullDiskIsNot) {
  DaemonLog log;
  const auto r = log.open_file("/dev/null/x.log");
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().message.find("/dev/null/x.log"), std::string::npos);
  ASSERT_TRUE(log.open_file("/dev/full"));
  log.write(LogLevel::kError, "t", "lost");
  EXPECT_EQ(log.lines().size(), 1u);
}

TEST(DaemonLog, ItsLevelIsReadAndSetOverTheApi) {
  DaemonLog log;
  ASSERT_TRUE(log.open_file("/dev/null"));
  ApiRegistry registry;
  ASSERT_TRUE(add_log_api(registry, log));
  test::DirectClient client(registry);
  const auto set = [&](api::LogLevel level) {
    return client.call<api::LogLevelSetReply>(api::LogLevelSet{.level = level}).retval;
  };
  EXPECT_EQ(client.call<api::LogLevelGetReply>(api::LogLevelGet{}).level,
            api::LogLevel::kVpeApiLogLevelInfo);
  log.write(LogLevel::kDebug, "t", "not yet");
  EXPECT_EQ(set(api::LogLevel::kVpeApiLogLevelDebug), 0);
  log.write(LogLevel::kDebug, "t", "now");
  EXPECT_EQ(set(api::LogLevel::kVpeApiLogLevelWarning), 0);
  log.write(LogLevel::kNotice, "t", "no more");
  ASSERT_EQ(log.lines().size(), 1u);
  EXPECT_EQ(log.lines()[0].text, "now");
  for (const auto none : {api::LogLevel::kVpeApiLogLevelEmerg,
                          api::LogLevel::kVpeApiLogLevelDisabled, static_cast<api::LogLevel>(77)})
    EXPECT_EQ(set(none), kApiInvalidValue);
  EXPECT_EQ(client.call<api::LogLevelGetReply>(api::LogLevelGet{}).level,
            api::LogLevel::kVpeApiLogLevelWarning);
}

}  // namespace
}  // namespace loom
