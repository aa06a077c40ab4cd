// The list that may become as long as there are sessions: nothing in it moves, and pages that it
// does not need any more go back.
#include "session/reserved_list.h"

#include <gtest/gtest.h>

#include <vector>

namespace loom::session {
namespace {

std::size_t resident(ReservedList<uint64_t>& list, std::size_t n) {
  std::vector<unsigned char> pages(n * sizeof(uint64_t) / 4096);
  EXPECT_EQ(mincore(&list[0], pages.size() * 4096, pages.data()), 0);
  std::size_t found = 0;
  for (const unsigned char p : pages) found += p & 1;
  return found;
}

TEST(ReservedList, GrowsInPlaceAndGivesBackWhatItDoesNotNeed) {
  constexpr std::size_t kMany = 1 << 20;
  ReservedList<uint64_t> list;
  ASSERT_TRUE(list.has_memory());
  EXPECT_TRUE(list.empty());
  ASSERT_TRUE(list.push_back(0));
  const uint64_t* first = &list[0];
  for (int turn = 0; turn < 3; ++turn) {
    for (uint64_t i = list.size(); i < kMany; ++i) ASSERT_TRUE(list.push_back(i));
    EXPECT_EQ(&list[0], first);
    EXPECT_EQ(resident(list, kMany), kMany * 8 / 4096);
    while (list.size() > kMany / 10) {
      ASSERT_EQ(list.back(), list.size() - 1);
      list.pop_back();
    }
    for (uint64_t i = 0; i < list.size(); ++i) ASSERT_EQ(list[i], i);
    EXPECT_LT(resident(list, kMany), kMany * 8 / 4096 / 2);
  }
  while (!list.empty()) {
    ASSERT_EQ(list.back(), list.size() - 1);
    list.pop_back();
  }
  EXPECT_LE(resident(list, kMany), 16u);
}

}  // namespace
}  // namespace loom::session
