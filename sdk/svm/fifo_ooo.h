// Bytes of a fifo that arrived before their predecessors: a bounded, sorted list of ranges beyond
// tail. Exists only while there are such bytes; lists are reused through a short per-thread list,
// so that a lossy path does not go to the heap each time.
//
// Cursors are compared by their distance from tail, so they may wrap. Thread: the producer's.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "svm/daemon_arena.h"

namespace loom::svm {

// [start, end), relative to tail.
struct OooRange {
  uint32_t start, end;
  friend constexpr bool operator==(const OooRange&, const OooRange&) = default;
};

class OooList {
 public:
  static constexpr uint32_t kMaxRanges = 64;

  static OooList* make() noexcept;  // nullptr: no memory
  static void destroy(OooList* list) noexcept;

  // Whether insert([start, end)) would find room: it merges, or the list is not full.
  bool accepts(uint32_t tail, uint32_t start, uint32_t end) const noexcept;
  // Cursor values. Merges with what it overlaps or touches. Only after accepts().
  void insert(uint32_t tail, uint32_t start, uint32_t end) noexcept;
  // In-order bytes now reach `upto`: removes the ranges that it touches or covers, and returns
  // where the in-order bytes end then.
  uint32_t absorb(uint32_t tail, uint32_t upto) noexcept;
  // Relative to tail, most recently changed first.
  uint32_t recent(uint32_t tail, std::span<OooRange> out) const noexcept;

  bool empty() const noexcept { return n_ == 0; }
  uint32_t size() const noexcept { return n_; }
  uint32_t bytes() const noexcept { return bytes_; }

  // Where the last out-of-order write ended up; the next is often behind it. The chunk is alive as
  // long as it starts at or behind the end of the tail chunk.
  ChunkId hint_chunk = 0;
  uint32_t hint_start = 0;
  // The producer's last chunk, and the cursor value behind its last byte.
  ChunkId last_chunk = 0;
  uint32_t last_end = 0;

 private:
  struct Spare;
  struct Range {
    uint32_t start, end;  // cursor values
    uint32_t stamp;       // grows with each change
  };
  uint32_t n_ = 0, bytes_ = 0, stamp_ = 0;
  std::array<Range, kMaxRanges> ranges_;  // sorted by distance from tail
  OooList* next_free_ = nullptr;
};

}  // namespace loom::svm
