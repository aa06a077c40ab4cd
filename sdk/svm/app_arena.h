// The application's allocator of fifo chunks in its app-arena segments. Its state lies in the
// segment header and is shared by all processes of the application: lock-free, so that a process
// that dies in the middle blocks nobody (at worst the one chunk in its hands is lost).
//
// How: two free lists (LIFO, tagged against ABA) per chunk size, of chunks with memory behind them
// and without, and a bump pointer; a chunk keeps its size for good. The links lie beside the chunks
// (first_chunk_offset). A segment of a cut-through session is shared with another application, so
// what is read from shared memory is bounded here too: corruption can cost data, never a wild
// access.
//
// Of a fifo that has ended all chunks come at once, as a list of any length that an application has
// made: free_fifo puts it aside in constant time, as it runs on a worker of the daemon's, and
// whoever wants chunks takes it apart.
//
// Threads: alloc and free from any thread of any process; add_segment from one at a time.
#pragma once
#include <array>
#include <atomic>

#include "svm/segment.h"

namespace loom::svm {

class AppArena {
 public:
  static constexpr uint32_t kMaxSegments = 64;

  // `table` resolves the arena's own segments; it must outlive the arena.
  explicit AppArena(const SegmentTable& table) noexcept : table_(table) {}

  // A kAppArena segment that is in the table already. Not owned. False: kMaxSegments reached.
  bool add_segment(const Segment& segment) noexcept;

  // A chunk with at least 1 << log2_size bytes, or, when memory is short, any smaller one; its
  // header's next is 0 and its log2_size is set. 0 = no memory at all: ask for another segment.
  Ref alloc(uint32_t log2_size) noexcept;
  // Of this arena's segments, or of any other app arena in the table.
  void free(Ref chunk) noexcept;
  // The chunk and all that its header and theirs lead to. Neither followed nor checked here, so in
  // constant time; a `first` that can be no chunk is let lie.
  void free_fifo(Ref first) noexcept;

  // Returns the memory of free chunks to the kernel, with a system call for each. Bytes returned.
  // Others may allocate and free meanwhile. For idle moments.
  uint64_t give_back() noexcept;

  // Bytes ever carved from the segments; what is not in a fifo lies in the free lists.
  uint64_t carved_bytes() const noexcept;
  const SegmentTable& table() const noexcept { return table_; }

 private:
  using List = std::atomic<uint64_t>;
  // Offset of a chunk that is the caller's now; 0 = there is none.
  static uint64_t take(const Segment& s, List& list, uint64_t size) noexcept;
  static void push(std::byte* base, List& list, uint64_t offset) noexcept;
  static Ref ready(const Segment& s, uint64_t offset, uint32_t size_class) noexcept;
  Ref pop(const Segment& s, uint32_t size_class) noexcept;
  Ref carve(const Segment& s, uint32_t size_class) noexcept;
  // Frees up to `most` chunks of ended fifos; how many.
  uint32_t take_apart(uint32_t most) noexcept;

  const SegmentTable& table_;
  std::array<const Segment*, kMaxSegments> segments_{};
  std::atomic<uint32_t> n_segments_{0};
};

}  // namespace loom::svm
