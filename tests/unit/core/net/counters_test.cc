// No counter of the IP layer without a test: judged when all tests have run.
#include <gtest/gtest.h>

#include "counter_coverage.h"

namespace loom {
namespace {

// Each counter was fed; each that says that something is wrong was also looked at by name. A run of
// some of the tests only (--gtest_filter, shards) proves nothing and is not judged.
class EveryCounterHasATest : public ::testing::Environment {
 public:
  void TearDown() override {
    const auto& all = *::testing::UnitTest::GetInstance();
    if (all.test_to_run_count() != all.total_test_count()) return;
    EXPECT_FALSE(counter_coverage().empty());
    for (const auto& [name, use] : counter_coverage()) {
      EXPECT_TRUE(use.is_fed) << name << ": no test makes it count";
      if (use.severity != Severity::kInfo) {
        EXPECT_TRUE(use.is_read) << name << ": no test looks at it";
      }
    }
  }
};

[[maybe_unused]] ::testing::Environment* const kEnvironment =
    ::testing::AddGlobalTestEnvironment(new EveryCounterHasATest);

}  // namespace
}  // namespace loom
