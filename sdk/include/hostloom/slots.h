// Storage for many objects of one kind on one worker: slots with stable addresses, found by index.
// It grows by a block of slots at a time, whose pages the kernel gives when a slot is first used,
// so that growing is one short system call however large the pool is; the pages of blocks that
// have become empty go back, but for a few. Blocks beyond the first 4 MB share huge pages, where
// the system gives them (madvise(2)): what is looked at among very many objects lies far apart, and
// with small pages each look would miss the TLB. Once a block of a huge page has gone back, the
// others of it have small pages, until all have gone back.
//
// What a free slot holds: zeros, until it is first taken (and again after its block's pages went
// back); later whatever its last user left, but for the 32-bit member that kLink names, which is
// this class's. So an index that was handed out once may be looked at for ever.
//
// Threads: one at a time. Cost of take() and give(): a few instructions, and once in kPerBlock
// times a system call.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

namespace loom {

template <class T, uint32_t T::*kLink, uint32_t kPerBlock>
class SlotBlocks {
 public:
  static constexpr uint32_t kNone = ~0u;

  explicit SlotBlocks(uint32_t limit = kNone) noexcept : limit_(limit) {}
  ~SlotBlocks() {
    for (std::size_t i = 0; i < std::min<std::size_t>(blocks_.size(), kSingle); ++i)
      munmap(blocks_[i].slots, kBytes);
    for (const Extent& e : extents_) munmap(e.at, kExtent);
  }
  SlotBlocks(const SlotBlocks&) = delete;
  SlotBlocks& operator=(const SlotBlocks&) = delete;

  // The index of a free slot; kNone: at the limit, or no memory. Slots of one block follow each
  // other.
  uint32_t take() noexcept {
    if (with_room_ == kNone && !grow()) return kNone;
    Block& b = blocks_[with_room_];
    const bool is_warm = b.fresh != 0;
    uint32_t slot = b.free;
    if (slot != kNone)
      std::memcpy(&b.free, link(b, slot), sizeof b.free);
    else
      slot = b.fresh++;
    if (!is_warm && with_room_ >= kSingle) ++extent_of(with_room_).present;
    if (b.used++ == 0 && is_warm) --n_warm_;
    const uint32_t index = with_room_ * kPerBlock + slot;
    if (!has_room(b, with_room_)) unlink(with_room_);
    return index;
  }
  // True: the pages of the block have gone back, and its slots are zero.
  bool give(uint32_t index) noexcept {
    const uint32_t i = index / kPerBlock, slot = index % kPerBlock;
    Block& b = blocks_[i];
    if (!has_room(b, i)) push_front(i);
    std::memcpy(link(b, slot), &b.free, sizeof b.free);
    b.free = slot;
    if (--b.used != 0) return false;
    if (n_warm_ < kept_) {
      ++n_warm_;
      return false;
    }
    // Emptied, it is the last one to be taken from.
    if (i < kSingle)
      (void)madvise(b.slots, kBytes, MADV_DONTNEED);
    else
      give_pages(i);
    b.free = kNone;
    b.fresh = 0;
    unlink(i);
    push_back(i);
    return true;
  }

  T& at(uint32_t index) noexcept {  // below end()
    return *std::launder(reinterpret_cast<T*>(blocks_[index / kPerBlock].slots +
                                              std::size_t{index % kPerBlock} * sizeof(T)));
  }
  const T& at(uint32_t index) const noexcept { return const_cast<SlotBlocks*>(this)->at(index); }
  uint32_t end() const noexcept { return static_cast<uint32_t>(blocks_.size()) * kPerBlock; }

  // Addresses for at least n slots, so that nothing is asked of the kernel until more are in use;
  // with `touch` the pages, too. False: no memory, or beyond the limit.
  bool reserve(uint32_t n, bool touch) noexcept {
    while (end() < std::min(n, limit_))
      if (!grow()) return false;
    if (touch)
      for (const Block& b : blocks_)
        for (std::size_t at = 0; at < kBytes; at += kPage)
          *reinterpret_cast<volatile std::byte*>(b.slots + at) = b.slots[at];
    kept_ = std::max<std::size_t>(kept_, blocks_.size());
    return n <= limit_ && end() >= n;
  }

 private:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kBytes = (sizeof(T) * kPerBlock + kPage - 1) & ~(kPage - 1);
  static_assert(alignof(T) <= kPage);
  static constexpr std::size_t kExtent = 2 << 20;  // a huge page
  static constexpr uint32_t kPerExtent = kExtent / kBytes;
  static constexpr uint32_t kSingle = 2 * kPerExtent;  // the first blocks: each has its own pages
  static_assert(kPerExtent > 0);

  struct Block {
    std::byte* slots = nullptr;
    uint32_t free = kNone;  // list through kLink
    uint32_t fresh = 0;     // slots from here on were never taken
    uint32_t used = 0;
    uint32_t next = kNone, prev = kNone;  // blocks with room
  };
  // Where kPerExtent blocks lie, of the last one perhaps fewer so far.
  struct Extent {
    std::byte* at = nullptr;
    uint32_t present = 0;  // blocks that have been used and have their pages
    bool is_huge = true;   // none of them has gone back
  };

  void* link(const Block& b, uint32_t slot) const noexcept {
    T* object = reinterpret_cast<T*>(b.slots + std::size_t{slot} * sizeof(T));
    return &(object->*kLink);
  }
  // Slots of block i, which are fewer in the last one before the limit.
  uint32_t slots_of(uint32_t i) const noexcept {
    return std::min(kPerBlock, limit_ - i * kPerBlock);
  }
  bool has_room(const Block& b, uint32_t i) const noexcept {
    return b.free != kNone || b.fresh < slots_of(i);
  }
  Extent& extent_of(uint32_t i) noexcept { return extents_[(i - kSingle) / kPerExtent]; }

  static std::byte* map(std::size_t bytes) noexcept {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : static_cast<std::byte*>(p);
  }
  static std::byte* map_block() noexcept {
    std::byte* p = map(kBytes);
    if (p) (void)madvise(p, kBytes, MADV_NOHUGEPAGE);  // one touched slot must not cost 2 MB
    return p;
  }
  static std::byte* map_extent() noexcept {
    std::byte* p = map(2 * kExtent);
    if (!p) return nullptr;
    const std::size_t before = -reinterpret_cast<uintptr_t>(p) % kExtent;
    if (before != 0) munmap(p, before);
    munmap(p + before + kExtent, kExtent - before);
    (void)madvise(p + before, kExtent, MADV_HUGEPAGE);
    return p + before;
  }
  // Of block i, beyond kSingle, and of what a huge page has brought for blocks never used. The
  // kernel must not gather the others to a huge page again, which would bring back what went.
  void give_pages(uint32_t i) noexcept {
    Extent& e = extent_of(i);
    const uint32_t first = i - (i - kSingle) % kPerExtent;
    const bool is_last = --e.present == 0;
    if (is_last || e.is_huge)
      (void)madvise(e.at, kExtent, is_last ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    if (is_last) {
      (void)madvise(e.at, kExtent, MADV_DONTNEED);
    } else {
      for (uint32_t j = first; e.is_huge && j < first + kPerExtent; ++j)
        if (j >= blocks_.size() || blocks_[j].fresh == 0)
          (void)madvise(e.at + (j - first) * kBytes, kBytes, MADV_DONTNEED);
      (void)madvise(blocks_[i].slots, kBytes, MADV_DONTNEED);
    }
    e.is_huge = is_last;
  }
  bool grow() noexcept {
    if (end() >= limit_) return false;
    const auto i = static_cast<uint32_t>(blocks_.size());
    const bool is_single = i < kSingle;
    const uint32_t in_extent = is_single ? 0 : (i - kSingle) % kPerExtent;
    std::byte* at = nullptr;
    if (in_extent != 0)
      at = extents_.back().at + in_extent * kBytes;
    else
      at = is_single ? map_block() : map_extent();
    if (!at) return false;
    try {
      blocks_.push_back({.slots = at});
      if (!is_single && in_extent == 0) extents_.push_back({.at = at});
    } catch (const std::bad_alloc&) {
      blocks_.resize(i);
      if (in_extent == 0) munmap(at, is_single ? kBytes : kExtent);
      return false;
    }
    push_back(i);
    return true;
  }
  void push_front(uint32_t i) noexcept {
    Block& b = blocks_[i];
    b.prev = kNone;
    b.next = with_room_;
    (with_room_ == kNone ? last_ : blocks_[with_room_].prev) = i;
    with_room_ = i;
  }
  void push_back(uint32_t i) noexcept {
    Block& b = blocks_[i];
    b.next = kNone;
    b.prev = last_;
    (last_ == kNone ? with_room_ : blocks_[last_].next) = i;
    last_ = i;
  }
  void unlink(uint32_t i) noexcept {
    Block& b = blocks_[i];
    (b.prev == kNone ? with_room_ : blocks_[b.prev].next) = b.next;
    (b.next == kNone ? last_ : blocks_[b.next].prev) = b.prev;
  }

  std::vector<Block> blocks_;
  std::vector<Extent> extents_;  // of blocks from kSingle on
  uint32_t with_room_ = kNone, last_ = kNone;
  uint32_t limit_;
  // Empty blocks that have been used and still have their pages, and how many of them may, so that
  // few objects that come and go ask nothing of the kernel.
  std::size_t n_warm_ = 0, kept_ = 4;
};

}  // namespace loom
