#include "pattern.h"

#include <algorithm>

namespace loom::perf {
namespace {

constexpr std::size_t kSize = kPeriod + kMostAtOnce;

// Any reproducible bytes without a short period do: a linear congruential generator's upper ones.
const std::byte* table() noexcept {
  static const auto* const bytes = [] {
    auto* t = new std::byte[kSize];
    uint32_t x = 1;
    for (std::size_t i = 0; i < kPeriod; ++i) {
      x = x * 1664525u + 1013904223u;
      t[i] = static_cast<std::byte>(x >> 24);
    }
    std::memcpy(t, kEchoMark, kMarkSize);
    // It goes round, so that any position has kMostAtOnce bytes behind it.
    for (std::size_t i = kPeriod; i < kSize; ++i) t[i] = t[i - kPeriod];
    return t;
  }();
  return bytes;
}

}  // namespace

std::span<const std::byte> pattern(uint64_t position, std::size_t n) noexcept {
  return {table() + position % kPeriod, std::min(n, kMostAtOnce)};
}

bool matches(uint64_t position, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const auto expected = pattern(position, bytes.size());
    if (std::memcmp(expected.data(), bytes.data(), expected.size()) != 0) return false;
    position += expected.size();
    bytes = bytes.subspan(expected.size());
  }
  return true;
}

}  // namespace loom::perf
