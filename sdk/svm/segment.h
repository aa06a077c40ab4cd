// Segments: shared memory as a memfd (sealed: nobody can resize it under a mapping) or, for
// in-process applications and tests, memory without a file.
//
// Ownership: Segment unmaps and closes in its destructor; whoever holds pointers or zero-copy views
// into it must be gone by then. Threads: a Segment is immutable once made.
#pragma once
#include <atomic>
#include <memory>

#include <hostloom/status.h>

#include "svm/layout.h"

namespace loom::svm {

class Segment {
 public:
  // Daemon: a new memfd of `size` bytes (rounded up to 4 KB) with an id that no other living
  // segment of this process has. Memory is only reserved; pages come when they are touched.
  static Result<std::unique_ptr<Segment>> create(uint64_t size, SegmentKind kind);
  // The same without a file: fd() is -1, and but for children of fork() no process has it.
  static Result<std::unique_ptr<Segment>> create_anonymous(uint64_t size, SegmentKind kind);
  // The same for this process alone. Of small pages: with huge ones a look at one of a million
  // sessions would be cheaper, but the kernel stops whoever touches the first of one until it has
  // put 2 MB together, for tens of milliseconds (tests/bench/sessions).
  static Result<std::unique_ptr<Segment>> create_private(uint64_t size, SegmentKind kind);
  // Application: maps what the daemon passed; takes `fd` over, also on failure. The file and its
  // header must agree with the announced id, kind and size.
  static Result<std::unique_ptr<Segment>> map(int fd, uint32_t id, SegmentKind kind, uint64_t size);

  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // Private copies: the header in the segment is writable by the application.
  uint32_t id() const noexcept { return id_; }
  SegmentKind kind() const noexcept { return kind_; }
  uint64_t size() const noexcept { return size_; }
  int fd() const noexcept { return fd_; }
  std::byte* base() const noexcept { return base_; }
  SegmentHeader& header() const noexcept { return *reinterpret_cast<SegmentHeader*>(base_); }

  // Whether [offset, offset + len) lies behind the header page and within the segment.
  bool contains(uint64_t offset, uint64_t len) const noexcept {
    return offset >= kSegmentDataOffset && offset <= size_ && len <= size_ - offset;
  }
  std::byte* ptr(uint64_t offset) const noexcept { return base_ + offset; }
  Ref ref(const void* p) const noexcept {
    return make_ref(id_, static_cast<uint64_t>(static_cast<const std::byte*>(p) - base_));
  }
  // Gives the pages of [offset, offset + len) back to the kernel; they read as zeros afterwards.
  // Both must be multiples of 4 KB.
  void give_back(uint64_t offset, uint64_t len) const noexcept;

 private:
  enum class Memory : uint8_t { kFile, kAnonymous, kPrivate };

  Segment(std::byte* base, uint64_t size, uint32_t id, SegmentKind kind, int fd, bool owns_id,
          Memory memory)
      : base_(base),
        size_(size),
        id_(id),
        kind_(kind),
        fd_(fd),
        owns_id_(owns_id),
        memory_(memory) {}
  static Result<std::unique_ptr<Segment>> make(uint64_t size, SegmentKind kind, Memory memory);

  std::byte* base_;
  uint64_t size_;
  uint32_t id_;
  SegmentKind kind_;
  int fd_;
  bool owns_id_;  // made here, so the id is ours to give back
  Memory memory_;
};

// Segments by id, for following a Ref. The daemon keeps one per application, with only the app
// arenas of that application in it: a hostile Ref can reach nothing else. An application keeps one
// for all it has mapped. Does not own the segments.
// Threads: resolve from any; add and remove by one thread at a time; a segment is removed only when
// nobody resolves into it any more.
class SegmentTable {
 public:
  // Called when resolve meets an unknown id. An application fetches and adds the segment here
  // (kGetSegment) and returns whether it did; the daemon has no loader.
  using Loader = bool (*)(void* context, uint32_t segment_id);

  explicit SegmentTable(uint32_t capacity = 64);  // rounded up to a power of two

  // False: full, or the id is there already.
  bool add(const Segment& segment) noexcept;
  void remove(uint32_t id) noexcept;
  void set_loader(Loader loader, void* context) noexcept {
    loader_ = loader;
    loader_context_ = context;
  }

  // Address of `len` bytes at `ref`, or nullptr unless the segment is known, the offset is a
  // multiple of 64 behind the header page, and all of it lies inside.
  std::byte* resolve(Ref ref, uint64_t len) const noexcept {
    const uint64_t offset = ref_offset(ref);
    const Entry* e = find(ref_segment(ref));
    if (!e) [[unlikely]]
      e = load(ref_segment(ref));
    if (!e || offset % 64 != 0 || offset < kSegmentDataOffset || offset > e->size ||
        len > e->size - offset) [[unlikely]]
      return nullptr;
    return e->base + offset;
  }
  template <class T>
  T* resolve_as(Ref ref, uint64_t extra_bytes = 0) const noexcept {
    return reinterpret_cast<T*>(resolve(ref, sizeof(T) + extra_bytes));
  }

 private:
  struct Entry {
    std::atomic<uint32_t> id{0};  // 0 = never used, ends a probe; kRemoved = skip
    std::byte* base = nullptr;
    uint64_t size = 0;
  };
  static constexpr uint32_t kRemoved = ~0u;

  const Entry* find(uint32_t id) const noexcept {
    if (id == 0) return nullptr;
    for (uint32_t i = 0; i <= mask_; ++i) {
      const Entry& e = entries_[(id + i) & mask_];
      const uint32_t found = e.id.load(std::memory_order_acquire);
      if (found == id) return &e;
      if (found == 0) return nullptr;
    }
    return nullptr;
  }
  const Entry* load(uint32_t id) const noexcept;

  uint32_t mask_;
  std::unique_ptr<Entry[]> entries_;
  Loader loader_ = nullptr;
  void* loader_context_ = nullptr;
};

}  // namespace loom::svm
