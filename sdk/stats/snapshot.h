// Bounded access to a mapped statistics segment that its writer may change, or fill with anything,
// at any time. Private to sdk/stats/.
#pragma once
#include <cstring>
#include <optional>

#include "stats/stats_reader.h"

namespace loom {

// Reads while the directory has one epoch. Every length is read once, and what all answers of one
// snapshot may copy is bounded, so that a directory whose entries all lead to the same long vector
// cannot exhaust the reader's memory.
struct StatsReader::Snapshot {
  const std::byte* memory;
  uint64_t size;
  uint64_t base = 0;
  uint64_t bytes_left = 0;  // that may still be copied

  stats::SegmentHeader header() const {
    // The mapping is as long as the header at least.
    const auto* h = reinterpret_cast<const stats::SegmentHeader*>(memory);
    const auto load = [](const uint64_t& v) { return __atomic_load_n(&v, __ATOMIC_ACQUIRE); };
    return {load(h->version),     load(h->base),      load(h->epoch),
            load(h->in_progress), load(h->directory), load(h->errors)};
  }

  // A vector in the segment, within its bounds.
  struct View {
    uint64_t offset = 0;
    uint32_t length = 0;
  };
  // Empty when it does not lie in the segment; of no elements for a null pointer.
  std::optional<View> vector(uint64_t pointer, std::size_t element) const {
    if (pointer == 0) return View{};
    const uint64_t offset = pointer - base;  // wraps for a pointer below base, and is too large
    if (offset < sizeof(stats::SegmentHeader) + sizeof(stats::VectorHeader) || offset > size ||
        offset % alignof(uint32_t) != 0)
      return std::nullopt;
    const uint32_t length = __atomic_load_n(
        reinterpret_cast<const uint32_t*>(memory + offset - sizeof(stats::VectorHeader)),
        __ATOMIC_RELAXED);
    if (length > (size - offset) / element) return std::nullopt;
    return View{offset, length};
  }
  // Element i of a view; i is below its length.
  template <class T>
  T at(const View& v, uint32_t i) const {
    T value;
    copy(&value, v.offset + uint64_t{i} * sizeof(T), sizeof(T));
    return value;
  }
  // Word by word where it is aligned, so that a number is never half of the old and half of the
  // new.
  void copy(void* to, uint64_t offset, std::size_t bytes) const {
    const std::byte* from = memory + offset;
    if (offset % sizeof(uint64_t) != 0 || bytes % sizeof(uint64_t) != 0) {
      std::memcpy(to, from, bytes);
      return;
    }
    for (std::size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
      const uint64_t word =
          __atomic_load_n(reinterpret_cast<const uint64_t*>(from + i), __ATOMIC_RELAXED);
      std::memcpy(static_cast<std::byte*>(to) + i, &word, sizeof word);
    }
  }
  bool spend(uint64_t bytes) {
    if (bytes > bytes_left) return false;
    bytes_left -= bytes;
    return true;
  }
};

}  // namespace loom
