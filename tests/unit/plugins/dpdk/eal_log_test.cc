// DPDK's log, written by several threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_log.h>

#include <latch>
#include <thread>

#include "harness.h"

namespace loom::dpdk {
namespace {

void log_error(const std::string& text) {
  rte_log(RTE_LOG_ERR, RTE_LOGTYPE_EAL, "%s\n", text.c_str());
}

class EalLogTest : public ::testing::Test {
 protected:
  Harness& h = Harness::get();  // whose EAL logs
};

TEST_F(EalLogTest, AnErrorIsItsThreads) {
  const EalLog::Errors mine;
  EXPECT_EQ(mine.last(), "");
  std::thread([] {
    const EalLog::Errors theirs;
    log_error("of another device");
    EXPECT_EQ(theirs.last(), "of another device");
  }).join();
  EXPECT_EQ(mine.last(), "");
  log_error("of this one");
  std::thread([] { log_error("of a thread that asks for none"); }).join();
  EXPECT_EQ(mine.last(), "of this one");
  rte_log(RTE_LOG_WARNING, RTE_LOGTYPE_EAL, "no error\n");
  EXPECT_EQ(mine.last(), "of this one");
  ASSERT_TRUE(h.news());
  for (const char* line : {"of another device", "of this one", "of a thread that asks for none"})
    EXPECT_THAT(h.log, ::testing::Contains(line));
}

TEST_F(EalLogTest, AMessageIsWrittenByItsThreadInOnePiece) {
  constexpr int kMany = 5000;
  std::latch both(2);
  const auto log_some = [&](char who) {
    const EalLog::Errors mine;
    both.arrive_and_wait();
    for (int i = 0; i < kMany; ++i) {
      const std::string line = who + std::string(200, who) + std::to_string(i);
      log_error(line);
      if (mine.last() != line) return false;
    }
    return true;
  };
  bool is_right = false;
  std::thread other([&] { is_right = log_some('b'); });
  EXPECT_TRUE(log_some('a'));
  other.join();
  EXPECT_TRUE(is_right);
  ASSERT_TRUE(h.news());
}

// A message that does not end its line ends it all the same: the next may be another thread's.
TEST_F(EalLogTest, AMessageIsALine) {
  const EalLog::Errors mine;
  rte_log(RTE_LOG_ERR, RTE_LOGTYPE_EAL, "no end");
  rte_log(RTE_LOG_ERR, RTE_LOGTYPE_EAL, "\ntwo\nlines\n");
  EXPECT_EQ(mine.last(), "lines");
  ASSERT_TRUE(h.news());
  for (const char* line : {"no end", "two", "lines"}) EXPECT_THAT(h.log, ::testing::Contains(line));
}

}  // namespace
}  // namespace loom::dpdk
