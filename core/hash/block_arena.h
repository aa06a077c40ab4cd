// Type-stable memory for tables that are read without locks: blocks of 2^k equal units inside one
// reserved range of addresses.
//
// The range is reserved at start and committed in growing steps as blocks are handed out, so that a
// large limit costs nothing until it is used. A freed block goes to a free list of its size and is
// handed out again, but never leaves the range: a reader that still holds its number reads stale or
// foreign bytes, never an unmapped page, and finds out by re-reading the word that led it there.
//
// Of a large arena the next pages can be fetched before somebody needs them, as a huge page takes
// the kernel long: fetch_ahead().
//
// Threads: alloc and free from any thread (a spin lock held for a few instructions, or for one
// mprotect when the range grows); at() from any thread, without a lock. Units: `offset` counts
// units; 0 is never handed out and means "no block".
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <hostloom/status.h>

#include "hash/spin_lock.h"

namespace loom {

class BlockArena {
 public:
  static constexpr unsigned kMaxLog2 = 12;

  BlockArena() = default;
  ~BlockArena();
  BlockArena(const BlockArena&) = delete;
  BlockArena& operator=(const BlockArena&) = delete;

  // unit_bytes: a power of two, 64 to 4096. max_bytes: the most the arena may ever commit.
  Result<void> reserve(std::size_t unit_bytes, std::size_t max_bytes);

  // The first unit of a block of 2^log2 units, or 0 when the limit (or the system's) is reached.
  // The block's bytes are whatever its last user left.
  uint32_t alloc(unsigned log2) noexcept;
  // log2 as it was allocated. The block's first eight bytes are overwritten.
  void free(uint32_t offset, unsigned log2) noexcept;
  // When no block is in use, the memory of all goes back to the kernel: a reader that still holds
  // the number of one reads zeros. Bytes returned. From one thread at a time, at leisure; others go
  // on meanwhile, and wait only when all that is left is the huge page that the kernel is taking.
  std::size_t give_back() noexcept;

  // Whether fetch_ahead() has something to do. Any thread, no lock.
  bool wants_fetch() const noexcept { return wants_fetch_.load(std::memory_order_relaxed); }
  // Has memory behind what will be handed out next. From the thread that gives back; others go on
  // meanwhile.
  void fetch_ahead() noexcept;

  void* at(uint32_t offset) const noexcept { return base_ + offset * unit_bytes_; }
  std::size_t committed_bytes() const noexcept {
    return committed_.load(std::memory_order_relaxed) * unit_bytes_;
  }

 private:
  bool commit(std::size_t end) noexcept;
  uint32_t hand_out(std::size_t units) noexcept;
  std::size_t give_range() noexcept;
  uint32_t find(unsigned log2) noexcept;
  uint32_t pop(unsigned log2) noexcept;
  void push(uint32_t offset, unsigned log2) noexcept;
  uint32_t split_larger(unsigned log2) noexcept;
  std::atomic<uint64_t>& link(uint32_t offset) const noexcept {
    return *static_cast<std::atomic<uint64_t>*>(at(offset));
  }

  // Constant after reserve().
  std::byte* base_ = nullptr;
  std::size_t unit_bytes_ = 0;
  std::size_t limit_ = 0;  // units
  // Guarded by lock_.
  SpinLock lock_;
  std::size_t next_ = 1;                   // first unit never handed out
  std::size_t again_ = 0, again_end_ = 0;  // units below next_ that are as if never handed out
  std::size_t given_ = 0, given_end_ = 0;  // while memory is given back: the same, without memory
  bool is_giving_ = false;                 // units between again_end_ and given_
  std::size_t live_ = 0;                   // blocks in use
  bool is_touched_ = false;                // since give_back
  std::atomic<std::size_t> committed_{0};  // units that may be touched; read without the lock
  std::size_t step_ = 0;                   // bytes to commit next time
  std::size_t fetched_ = 0;                // bytes that fetch_ahead has gone through
  std::atomic<bool> wants_fetch_{false};   // read without the lock
  uint32_t free_[kMaxLog2 + 1] = {};       // heads of the free lists
};

}  // namespace loom
