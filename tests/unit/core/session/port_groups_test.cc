// Which member of a group a flow leads to where not all of them are wanted.
#include "session/port_groups.h"

#include <gtest/gtest.h>

#include <set>

namespace loom::session {
namespace {

struct Asked {
  std::set<uint64_t> wanted;
  uint32_t n = 0;
};

bool is_wanted(const void* context, uint64_t member) noexcept {
  auto& asked = *static_cast<Asked*>(const_cast<void*>(context));
  ++asked.n;
  return asked.wanted.contains(member);
}

struct Groups : testing::Test {
  static constexpr PortShare kShare{.reuseport = true};
  void make(uint64_t n) {
    ref = groups.create(1, kShare);
    ASSERT_NE(ref, PortGroups::kNone);
    for (uint64_t i = 2; i <= n; ++i) ASSERT_EQ(groups.join(ref, i, kShare), Status::kOk);
  }
  uint64_t pick(uint64_t hash, std::set<uint64_t> wanted) {
    asked = {std::move(wanted)};
    return groups.pick_wanted(ref, hash * 0x9e3779b97f4a7c15, is_wanted, &asked);
  }
  PortGroups groups;
  PortGroups::Ref ref = PortGroups::kNone;
  Asked asked;
};

TEST_F(Groups, AFlowThatNobodyHearsCostsAQuestionOfEachMemberAtMost) {
  for (const uint64_t n : {1, 2, 3, 100}) {
    make(n);
    for (uint64_t hash = 0; hash < 100; ++hash) {
      EXPECT_EQ(pick(hash, {}), 0u);
      EXPECT_LE(asked.n, PortGroups::kProbes + n);
    }
  }
}

TEST_F(Groups, WhoIsWantedIsFoundAmongTheMost) {
  make(PortGroups::kMaxMembers);
  for (uint64_t member = 1; member <= PortGroups::kMaxMembers; ++member)
    ASSERT_EQ(pick(member, {member}), member);
}

TEST_F(Groups, WhoHasLeftIsNotFoundAndTheOthersAre) {
  make(300);
  for (uint64_t gone = 1; gone < 300; gone += 3) EXPECT_FALSE(groups.leave(ref, gone));
  EXPECT_EQ(groups.join(ref, 1000, kShare), Status::kOk);
  for (uint64_t member = 1; member <= 300; ++member)
    ASSERT_EQ(pick(member, {member}), member % 3 == 1 ? 0 : member);
  EXPECT_EQ(pick(7, {1000}), 1000u);
}

TEST_F(Groups, ThoseWhoAreWantedShareWhatComes) {
  make(256);
  std::set<uint64_t> some{1, 2, 3, 200};
  uint32_t n[4] = {};
  for (uint64_t hash = 0; hash < 4000; ++hash) {
    const uint64_t got = pick(hash, some);
    ASSERT_TRUE(some.contains(got));
    ++n[std::distance(some.begin(), some.find(got))];
  }
  for (const uint32_t each : n) EXPECT_GT(each, 500u);
}

}  // namespace
}  // namespace loom::session
