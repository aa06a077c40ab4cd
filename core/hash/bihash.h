// Bihash<KeyBytes>: a bounded-index hash from fixed-size keys to 64-bit values, shared by threads.
//
// Readers never wait, whatever writers do; they retry only if a deletion or a growth of the same
// bucket completed while they looked. Writers lock one bucket. Memory comes from one reserved range
// and is committed as it is needed, so an empty table of a million buckets costs a few pages.
//
//   bucket word   | block offset 32 | generation 25 | log2 pages 5 | linear 1 | lock 1 |
//   block         2^log2 pages; a key is in one of the two pages that its hash names (the emptier
//                 one when it was added, which fills pages evenly), or, in a linear bucket, in any
//   page          one tag byte per slot (0 = empty, else 0x80 | 7 hash bits), then the slots
//
// How a reader stays right without a lock. It reads the bucket word, the page, and the word again;
// the result counts only if the two words agree (the lock bit aside). Therefore:
//   1. A slot is published by storing its tag (release) after its key and value; adding a key
//      invalidates no reader, and one that missed it looked earlier.
//   2. A value is overwritten by one 8-byte store.
//   3. Deleting a key, and moving the bucket to another block, change the generation before the
//      slot or the block can be used for anything else. All stores to blocks are releases and all
//      loads are acquires (plain moves on x86), so a reader that saw any byte of a reuse also sees
//      the new word and retries.
//   4. Blocks are type-stable (block_arena.h): following a stale word is harmless.
// A reader would be fooled only if it slept through exactly 2^25 deletions of one bucket that
// ended with the same block.
//
// Growth: a key whose two pages are full doubles its bucket's pages, up to three times in a row; if
// the keys still crowd together, the bucket of doubled size is searched linearly until a later
// growth spreads it. Linear buckets end at 2^kMaxLinearLog2 pages and hashed ones at
// 2^kMaxLog2Pages, so every operation is bounded; beyond, and when memory is used up, adding
// returns kNoMemory and changes nothing. A bucket gives its block back when its last key goes.
//
//   cost  BM_BihashFindHit, BM_BihashFindBatch, BM_BihashAddDel
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <vector>

#include <hostloom/status.h>
#include <hostloom/types.h>

#include "hash/bihash_layout.h"
#include "hash/block_arena.h"
#include "hash/keyed_hash.h"

namespace loom {

struct BihashOptions {
  std::size_t buckets = 1024;  // rounded up to a power of two; expected keys / 4 is good
  std::size_t max_bytes = std::size_t{1} << 30;  // most memory for pages; reserved, not committed
  uint64_t seed = 0;                             // 0: from the kernel. Anything else is for tests.
  bool touch = false;  // the buckets take their memory at once, and no look at one faults
};

template <std::size_t KeyBytes>
class Bihash {
  static_assert(KeyBytes == 8 || KeyBytes == 16 || KeyBytes == 24 || KeyBytes == 40 ||
                KeyBytes == 48);
  using Page = BihashPage<KeyBytes>;
  using Slot = typename Page::Slot;
  using Word = BucketWord;

 public:
  using Key = std::array<uint64_t, KeyBytes / 8>;
  static constexpr unsigned kMaxLog2Pages = BlockArena::kMaxLog2;
  static constexpr unsigned kMaxLinearLog2 = 6;

  static Result<std::unique_ptr<Bihash>> create(const BihashOptions& options);
  ~Bihash() {  // no reader or writer may be left
    if (buckets_) munmap(buckets_, (bucket_mask_ + 1) * sizeof(*buckets_));
  }
  Bihash(const Bihash&) = delete;
  Bihash& operator=(const Bihash&) = delete;

  // The key as the table sees it. T must have no padding: its bytes are the key.
  template <class T>
  static Key key_of(const T& value) noexcept {
    static_assert(std::has_unique_object_representations_v<T>, "padding would be hashed");
    return std::bit_cast<Key>(value);
  }

  // Reading, from any thread, never waiting. For a batch: hash all keys, prefetch_bucket each,
  // prefetch_page each, then find_with_hash.
  uint64_t hash(const Key& key) const noexcept { return keyed_hash(key, secret_); }
  void prefetch_bucket(uint64_t hash) const noexcept { __builtin_prefetch(&bucket(hash)); }
  void prefetch_page(uint64_t hash) const noexcept;
  bool find_with_hash(const Key& key, uint64_t hash, uint64_t& value) const noexcept;
  bool find(const Key& key, uint64_t& value) const noexcept {
    return find_with_hash(key, hash(key), value);
  }
  std::optional<uint64_t> find(const Key& key) const noexcept {
    uint64_t value;
    return find(key, value) ? std::optional(value) : std::nullopt;
  }

  // Writing, from any thread; waits for other writers of the same bucket.
  // Inserts or overwrites. kNoMemory: nothing changed.
  Status add(const Key& key, uint64_t value) noexcept { return put(key, value, true); }
  // kExists: the key was there and keeps its value. kNoMemory: nothing changed.
  Status add_if_absent(const Key& key, uint64_t value) noexcept { return put(key, value, false); }
  // kNotFound: there was no such key.
  Status del(const Key& key) noexcept;

  // Calls fn(const Key&, uint64_t value) for the keys of the table, holding no lock, so that fn may
  // change the table. A key present from beginning to end is seen exactly once; one added or
  // deleted meanwhile may or may not be. Allocates: for the control thread.
  template <class Fn>
  void for_each(Fn&& fn) const;

  std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  std::size_t buckets() const noexcept { return bucket_mask_ + 1; }
  std::size_t committed_bytes() const noexcept { return arena_.committed_bytes(); }
  // Of an empty table, the memory of its pages goes back to the kernel; bytes. Control thread.
  std::size_t give_back() noexcept { return arena_.give_back(); }
  // See BlockArena.
  bool wants_fetch() const noexcept { return arena_.wants_fetch(); }
  void fetch_ahead() noexcept { arena_.fetch_ahead(); }
  // Buckets that are searched linearly; more than a few means a table far too small.
  std::size_t linear_buckets() const noexcept;

 private:
  Bihash() = default;

  std::atomic<uint64_t>& bucket(uint64_t hash) const noexcept {
    return buckets_[hash & bucket_mask_];
  }
  Page* page(uint32_t block, std::size_t i) const noexcept {
    return static_cast<Page*>(arena_.at(block)) + i;
  }
  // Where the key is among the pages of `w`, which is not empty; nullptr when it is in none.
  Slot* search(Word w, const Key& key, uint64_t hash) const noexcept;
  static Word lock(std::atomic<uint64_t>& bucket) noexcept;
  static void unlock(std::atomic<uint64_t>& bucket, Word w) noexcept {
    bucket.store(w.raw, std::memory_order_release);
  }
  Status put(const Key& key, uint64_t value, bool overwrite) noexcept;
  Word grow(Word old, const Key& key, uint64_t hash, uint64_t value) noexcept;
  bool fill(Word target, Word old, const Key& key, uint64_t hash, uint64_t value) noexcept;
  bool place(Word target, const Key& key, uint64_t hash, uint64_t value) noexcept;

  // Constant after create().
  std::atomic<uint64_t>* buckets_ = nullptr;
  uint64_t bucket_mask_ = 0;
  HashSecret secret_;
  // Changing.
  BlockArena arena_;
  alignas(kCacheLine) std::atomic<std::size_t> size_{0};
};

}  // namespace loom

#include "hash/bihash_impl.h"
