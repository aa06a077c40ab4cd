#include "stats/segment_heap.h"

#include <algorithm>
#include <bit>

namespace loom {

uint64_t SegmentHeap::block_size(uint64_t bytes) noexcept {
  return std::bit_ceil(std::max(bytes, kLeast));
}

std::optional<uint64_t> SegmentHeap::alloc(uint64_t bytes) {
  if (bytes > total()) return std::nullopt;
  const uint64_t size = block_size(bytes);
  auto& list = free_[static_cast<std::size_t>(std::countr_zero(size))];
  uint64_t offset;
  if (!list.empty()) {
    offset = list.back();
    list.pop_back();
  } else {
    if (size > end_ - next_) return std::nullopt;
    offset = next_;
    next_ += size;
  }
  used_ += size;
  return offset;
}

void SegmentHeap::free(uint64_t offset, uint64_t bytes) {
  const uint64_t size = block_size(bytes);
  free_[static_cast<std::size_t>(std::countr_zero(size))].push_back(offset);
  used_ -= size;
}

}  // namespace loom
