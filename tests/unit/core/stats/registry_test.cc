// What plugins may register, and what is refused with a reason.
#include "stats/stats_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loom {
namespace {

using testing::HasSubstr;

constexpr StatInfo kStats[] = {{"one", StatKind::kCounter}, {"two", StatKind::kGauge}};
void read_nothing(void*, uint32_t, std::span<uint64_t>) noexcept {}
StatSet good() { return {.prefix = "/sys/x", .stats = kStats, .read = read_nothing}; }

TEST(StatsRegistry, SetsComeAndGoWithTheirPlugin) {
  StatsRegistry r;
  ASSERT_TRUE(r.add(good(), "a"));
  StatSet other = good();
  other.prefix = "/sys/y";
  ASSERT_TRUE(r.add(other, "b"));
  EXPECT_EQ(r.add(good(), "b").error().code, Status::kExists);
  r.remove_of("a");
  ASSERT_EQ(r.sets().size(), 1u);
  EXPECT_STREQ(r.sets()[0].set.prefix, "/sys/y");
  EXPECT_TRUE(r.add(good(), "c"));
  EXPECT_NE(r.sets()[0].id, r.sets()[1].id);
}

TEST(StatsRegistry, DescriptionsThatCannotBeAreRefused) {
  StatsRegistry r;
  const auto refusal = [&](auto change) {
    StatSet s = good();
    change(s);
    const auto done = r.add(s, "p");
    EXPECT_FALSE(done);
    return done ? std::string() : done.error().message;
  };
  EXPECT_THAT(refusal([](StatSet& s) { s.struct_size = 8; }), HasSubstr("8 bytes"));
  EXPECT_THAT(refusal([](StatSet& s) { s.prefix = nullptr; }), HasSubstr("prefix ''"));
  EXPECT_THAT(refusal([](StatSet& s) { s.prefix = "sys/x"; }), HasSubstr("'sys/x'"));
  EXPECT_THAT(refusal([](StatSet& s) { s.prefix = "/sys/x/"; }), HasSubstr("'/sys/x/'"));
  EXPECT_THAT(refusal([](StatSet& s) { s.read = nullptr; }), HasSubstr("no function"));
  EXPECT_THAT(refusal([](StatSet& s) { s.stats = {}; }), HasSubstr("0 statistics"));
  static constexpr StatInfo kBad[] = {{"has blank", StatKind::kCounter}};
  EXPECT_THAT(refusal([](StatSet& s) { s.stats = kBad; }), HasSubstr("'has blank'"));
  static constexpr StatInfo kNull[] = {{nullptr, StatKind::kCounter}};
  EXPECT_THAT(refusal([](StatSet& s) { s.stats = kNull; }), HasSubstr("''"));
  EXPECT_TRUE(r.sets().empty());
}

}  // namespace
}  // namespace loom
