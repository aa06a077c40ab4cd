// Places in the statistics segment: blocks of a power of two bytes, taken from its end, given back
// to lists by size. What it knows is in the daemon's own memory; the segment holds no bookkeeping.
// Control thread.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace loom {

class SegmentHeap {
 public:
  // Bytes [begin, end) of the segment; begin is a multiple of 64.
  SegmentHeap(uint64_t begin, uint64_t end) : begin_(begin), next_(begin), end_(end) {}

  static uint64_t block_size(uint64_t bytes) noexcept;  // what alloc(bytes) takes
  // Offset of a block, a multiple of 32; empty when there is no room. Its bytes are as they were.
  std::optional<uint64_t> alloc(uint64_t bytes);
  // A block of alloc(bytes).
  void free(uint64_t offset, uint64_t bytes);
  uint64_t total() const noexcept { return end_ - begin_; }
  uint64_t used() const noexcept { return used_; }  // bytes of the blocks in use

 private:
  static constexpr uint64_t kLeast = 32;
  uint64_t begin_, next_, end_;
  uint64_t used_ = 0;
  std::array<std::vector<uint64_t>, 64> free_;  // by binary logarithm of the size
};

}  // namespace loom
