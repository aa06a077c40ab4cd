// The daemon's allocator for one application: fifo chunks (4 KB to 4 MB) and small shared objects
// (SessionShared, ListenerShared, MqShared), carved from daemon-arena segments. Everything it knows
// about its memory is private to the daemon; nothing the application writes there is read back.
//
// How: each segment is cut into 4 MB spans, each span is a buddy system of 4 KB pages. In front of
// it sits a short LIFO list per chunk size, so that a freed chunk is the next one used while it is
// still in the cache, and neither split nor merged. Objects up to 1 KB come from 64 KB slabs, one
// object size each, lowest address first; larger ones are chunks.
//
// Threads: any daemon worker; one spin lock, held for tens of instructions, never over a system
// call. Cost: BM_DaemonArenaChunk. Memory of spans that have become free goes back to the kernel in
// give_back(), which the owner calls at leisure.
#pragma once
#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "svm/segment.h"

namespace loom::svm {

// A chunk: index of the segment in the arena and page in the segment. 0 = none.
using ChunkId = uint32_t;

// Test and set lock for sections of a few dozen instructions.
class SpinLock {
 public:
  void lock() noexcept;
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

class DaemonArena {
 public:
  struct Options {
    uint32_t reserve_spans = 4;  // free 4 MB spans that give_back() leaves resident
  };
  struct Stats {
    uint64_t chunk_bytes;    // allocated as chunks, headers included; large objects too
    uint64_t object_bytes;   // allocated as small objects
    uint64_t segment_bytes;  // address space of all segments
    uint64_t allocations, failures;
  };
  struct Object {
    std::byte* ptr = nullptr;  // zeroed, 64-byte aligned; nullptr = no memory
    Ref ref = 0;
  };

  DaemonArena() : DaemonArena(Options{}) {}
  explicit DaemonArena(Options options) : options_(options) {}
  ~DaemonArena();
  DaemonArena(const DaemonArena&) = delete;
  DaemonArena& operator=(const DaemonArena&) = delete;

  // Takes a kDaemonArena segment over, until the arena is destroyed. nullptr: there are
  // kMaxSegments already, or the segment is larger than 64 GB. Control thread; workers go on.
  Segment* add_segment(std::unique_ptr<Segment> segment);
  uint32_t n_segments() const noexcept { return n_segments_.load(std::memory_order_acquire); }
  Segment& segment(uint32_t i) const noexcept { return *regions_[i]->segment; }

  // A chunk of 1 << log2_size bytes (12..22), contents undefined; 0 = no memory, add a segment.
  ChunkId alloc_chunk(uint32_t log2_size) noexcept;
  void free_chunk(ChunkId chunk) noexcept;

  // A zeroed object of up to 4 MB. free_object takes the Ref that alloc_object returned.
  Object alloc_object(uint64_t bytes) noexcept;
  void free_object(Ref ref) noexcept;

  // What a fifo keeps about its chunks, beyond the application's reach. Owner's thread only.
  ChunkId next(ChunkId c) const noexcept { return page_of(c).next; }
  void set_next(ChunkId c, ChunkId next) noexcept { page_of(c).next = next; }
  uint32_t start(ChunkId c) const noexcept { return page_of(c).start; }
  void set_start(ChunkId c, uint32_t start) noexcept { page_of(c).start = start; }
  uint32_t log2_size(ChunkId c) const noexcept { return kMinChunkLog2 + page_of(c).order; }
  std::byte* base(ChunkId c) const noexcept {
    return regions_[c >> kPageBits]->segment->base() + page_offset(c);
  }
  Ref ref(ChunkId c) const noexcept {
    return make_ref(regions_[c >> kPageBits]->segment->id(), page_offset(c));
  }

  // 4 MB spans of which nothing is in use: what can be allocated before a segment has to be added.
  // Any thread, no lock.
  uint32_t free_spans() const noexcept { return free_spans_.load(std::memory_order_relaxed); }

  // Whether give_back() has something to do. Any thread, no lock.
  bool wants_give_back() const noexcept {
    return warm_spans_.load(std::memory_order_relaxed) > options_.reserve_spans;
  }
  // Returns the memory of free spans beyond the reserve to the kernel; bytes returned. When `all`,
  // empties the LIFO lists first, keeps no reserve, and of spans in use gives the free blocks of
  // 16 KB and more, which somebody who allocates meanwhile may find missing: for who has rested.
  // System calls: control thread, or an idle worker.
  uint64_t give_back(bool all = false) noexcept;

  Stats stats() const noexcept;

  static constexpr uint32_t kMaxSegments = 256;

 private:
  static constexpr uint32_t kPageBits = 24;  // of a ChunkId; pages of 4 KB, so 64 GB a segment
  static constexpr uint32_t kTopOrder = kChunkClasses - 1;
  static constexpr uint32_t kSpanPages = 1u << kTopOrder;
  static constexpr uint32_t kSlabOrder = 4;            // 64 KB
  static constexpr uint32_t kLeastGivenBackOrder = 2;  // 16 KB
  static constexpr uint32_t kSlabBytes = 1u << (kMinChunkLog2 + kSlabOrder);
  static constexpr uint32_t kMaxSmall = 1024;  // largest object of a slab

  enum class State : uint8_t { kInside, kUsed, kFree, kFreeCold, kCached, kSlab };
  struct Page {         // of a block's first page; the others stay kInside
    uint32_t next = 0;  // owner's list while used; free list otherwise
    uint32_t start = 0;
    uint32_t prev = 0;  // free list; slab: index in slabs_
    uint8_t order = 0;
    State state = State::kInside;
  };
  struct Slab {
    ChunkId chunk = 0;
    uint32_t object_size = 0, n_used = 0, capacity = 0;
    int32_t next = -1, prev = -1;        // slabs of this size with room
    std::array<uint64_t, 16> used_bits;  // 64 KB / 64
  };
  struct Region {
    std::unique_ptr<Segment> segment;
    Page* pages;  // mmap'ed zeros: metadata costs memory only for pages in use
    uint32_t n_pages;
    uint32_t fresh_page = 0;  // first page of the spans that were never used
  };

  static uint64_t page_offset(ChunkId c) noexcept {
    return static_cast<uint64_t>(c & ((1u << kPageBits) - 1)) << kMinChunkLog2;
  }
  Page& page_of(ChunkId c) const noexcept {
    return regions_[c >> kPageBits]->pages[c & ((1u << kPageBits) - 1)];
  }

  // All below: under lock_.
  ChunkId take(uint32_t order) noexcept;
  void put(ChunkId c) noexcept;
  ChunkId buddy_alloc(uint32_t order) noexcept;
  void buddy_free(ChunkId c, uint32_t order) noexcept;
  void push_free(ChunkId c, uint32_t order, State state) noexcept;
  void unlink_free(ChunkId c) noexcept;
  bool open_span() noexcept;
  uint64_t give_back_blocks() noexcept;
  void forget_inside(
      ChunkId span) const noexcept;  // of a span taken out of the lists; without lock_
  void count_spans(int32_t n) noexcept {
    free_spans_.store(free_spans() + static_cast<uint32_t>(n), std::memory_order_relaxed);
  }
  void flush_cached() noexcept;
  Object small_alloc(uint32_t size) noexcept;
  void small_free(ChunkId slab_chunk, uint64_t offset_in_slab) noexcept;
  int32_t new_slab(uint32_t object_size) noexcept;
  void slab_link(int32_t i) noexcept;
  void slab_unlink(int32_t i) noexcept;

  const Options options_;
  mutable SpinLock lock_;
  std::array<std::unique_ptr<Region>, kMaxSegments> regions_;
  std::atomic<uint32_t> n_segments_{0};
  std::array<ChunkId, kChunkClasses> cached_{};  // LIFO, linked by Page::next
  std::array<uint32_t, kChunkClasses> n_cached_{};
  std::array<ChunkId, kChunkClasses> free_{};  // buddy system; top order: resident spans
  ChunkId cold_ = 0;                           // free spans without memory behind them
  std::atomic<uint32_t> warm_spans_{0};        // length of free_[kTopOrder]
  std::atomic<uint32_t> free_spans_{0};        // those, the cold ones, and the ones never used
  std::deque<Slab> slabs_;                     // grows without moving what is there
  std::vector<int32_t> unused_slabs_;
  std::array<int32_t, kMaxSmall / 64> slabs_with_room_ = [] {
    std::array<int32_t, kMaxSmall / 64> a;
    a.fill(-1);
    return a;
  }();
  uint64_t chunk_bytes_ = 0, object_bytes_ = 0, allocations_ = 0, failures_ = 0;
};

}  // namespace loom::svm
