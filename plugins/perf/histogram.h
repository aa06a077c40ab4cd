// Times, or any numbers, counted in buckets of which each is narrow for what it holds: log-linear,
// 64 buckets for each doubling. A fixed size, no allocation, a few instructions for each number.
//
// A quantile that it tells is never below the exact one (nearest rank), and above it by less than
// 1/64 of it. Least and most are exact. Numbers from 2^42 on (73 minutes, in nanoseconds) share the
// last bucket; a quantile there is the most.
//
// One writer; read when it has stopped.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace loom::perf {

class Histogram {
 public:
  void add(uint64_t value) noexcept {
    ++buckets_[bucket_of(value)];
    ++count_;
    least_ = std::min(least_, value);
    most_ = std::max(most_, value);
  }

  void merge(const Histogram& other) noexcept {
    for (std::size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    least_ = std::min(least_, other.least_);
    most_ = std::max(most_, other.most_);
  }

  uint64_t count() const noexcept { return count_; }
  uint64_t least() const noexcept { return count_ == 0 ? 0 : least_; }  // 0 without any
  uint64_t most() const noexcept { return most_; }

  // The smallest number that at least `part` of `whole` are not above: quantile(999, 1000) is
  // p99.9. 0 without any. part: from 0 to whole, which is at most 100,000.
  uint64_t quantile(uint32_t part, uint32_t whole) const noexcept {
    const uint64_t rank = std::max<uint64_t>(
        1, count_ / whole * part + (count_ % whole * part + whole - 1) / whole);  // rounded up
    uint64_t so_far = 0;
    for (std::size_t i = 0; i < kBuckets - 1; ++i) {
      so_far += buckets_[i];
      if (so_far >= rank) return std::min(last_of(i), most_);
    }
    return most_;
  }

 private:
  static constexpr unsigned kBits = 6, kMostBits = 42;
  static constexpr std::size_t kEach = 1u << kBits;  // buckets for a doubling
  static constexpr std::size_t kBuckets = (kMostBits - kBits + 1) * kEach;

  // Below kEach each number has its own; above, a number's highest kBits + 1 bits choose.
  static constexpr std::size_t bucket_of(uint64_t value) noexcept {
    const auto bits = static_cast<unsigned>(std::bit_width(value));
    if (bits <= kBits) return value;
    if (bits > kMostBits) return kBuckets - 1;
    const unsigned shift = bits - kBits - 1;
    return shift * kEach + static_cast<std::size_t>(value >> shift);
  }
  // The largest number in a bucket.
  static constexpr uint64_t last_of(std::size_t bucket) noexcept {
    if (bucket < kEach) return bucket;
    const std::size_t shift = bucket / kEach - 1;
    return ((uint64_t{kEach + bucket % kEach} + 1) << shift) - 1;
  }

  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0, least_ = ~uint64_t{0}, most_ = 0;
};

}  // namespace loom::perf
