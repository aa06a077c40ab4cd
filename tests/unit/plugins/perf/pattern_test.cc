#include "pattern.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace loom::perf {
namespace {

std::vector<std::byte> stream(uint64_t from, std::size_t n) {
  std::vector<std::byte> bytes;
  while (bytes.size() < n) {
    const auto part = pattern(from + bytes.size(), n - bytes.size());
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  return bytes;
}

TEST(Pattern, BeginsWithTheMark) {
  const auto bytes = stream(0, kMarkSize);
  EXPECT_EQ(std::memcmp(bytes.data(), kEchoMark, kMarkSize), 0);
  EXPECT_NE(std::memcmp(stream(kMarkSize, kMarkSize).data(), kEchoMark, kMarkSize), 0);
}

TEST(Pattern, AnyPartIsKnownByItsPosition) {
  const auto bytes = stream(0, 3 * kPeriod);
  for (const std::size_t at : {std::size_t{0}, std::size_t{1}, kPeriod - 1, kPeriod, kPeriod + 17})
    for (const std::size_t n : {std::size_t{1}, std::size_t{1000}, kMostAtOnce, kPeriod + 5})
      EXPECT_TRUE(matches(at, std::span(bytes).subspan(at, n))) << at << ' ' << n;
  EXPECT_TRUE(matches(uint64_t{kPeriod} << 30, std::span(bytes).first(100)));  // it repeats
  EXPECT_TRUE(matches(7, {}));
}

TEST(Pattern, AShiftOrAChangedByteIsSeen) {
  auto bytes = stream(1000, 2 * kMostAtOnce);
  EXPECT_FALSE(matches(1001, bytes));
  EXPECT_FALSE(matches(1000 + 65536, bytes));  // as a ring of 64 KB would shift it
  bytes.back() ^= std::byte{1};
  EXPECT_FALSE(matches(1000, bytes));
  EXPECT_TRUE(matches(1000, std::span(bytes).first(bytes.size() - 1)));
}

}  // namespace
}  // namespace loom::perf
