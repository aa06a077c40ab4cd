// The two things a Bihash keeps in shared memory: the bucket word and the page. See bihash.h for
// what their bits mean and why the memory orders suffice.
#pragma once
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <hostloom/types.h>

namespace loom {

// Which bits of a hash pick what. Bucket: the low ones. Pages: bits 32 to 43 and 44 to 55. Tag: the
// top seven. They do not overlap, or keys of one page would share their tag.
constexpr std::size_t first_page(uint64_t hash, unsigned log2_pages) noexcept {
  return (hash >> 32) & ((std::size_t{1} << log2_pages) - 1);
}
constexpr std::size_t second_page(uint64_t hash, unsigned log2_pages) noexcept {
  return (hash >> 44) & ((std::size_t{1} << log2_pages) - 1);
}
constexpr uint8_t tag_of(uint64_t hash) noexcept { return static_cast<uint8_t>(hash >> 57) | 0x80; }

struct BucketWord {
  uint64_t raw = 0;

  static constexpr uint64_t kLock = 1, kLinear = 2;
  static constexpr unsigned kLog2Shift = 2, kGenerationShift = 7, kBlockShift = 32;
  static constexpr uint64_t kGenerationMask = (1u << 25) - 1;

  constexpr bool is_locked() const noexcept { return raw & kLock; }
  constexpr bool is_linear() const noexcept { return raw & kLinear; }
  constexpr bool is_empty() const noexcept { return block() == 0; }
  constexpr unsigned log2_pages() const noexcept { return (raw >> kLog2Shift) & 31; }
  constexpr std::size_t pages() const noexcept { return std::size_t{1} << log2_pages(); }
  constexpr uint32_t block() const noexcept { return static_cast<uint32_t>(raw >> kBlockShift); }

  // The word that follows this one, unlocked and with the next generation.
  constexpr BucketWord next(uint32_t block, unsigned log2, bool linear) const noexcept {
    const uint64_t generation = ((raw >> kGenerationShift) + 1) & kGenerationMask;
    return {uint64_t{block} << kBlockShift | generation << kGenerationShift |
            uint64_t{log2} << kLog2Shift | (linear ? kLinear : 0)};
  }
  constexpr BucketWord next() const noexcept { return next(block(), log2_pages(), is_linear()); }
  // Says the same to a reader.
  constexpr bool same(BucketWord o) const noexcept { return ((raw ^ o.raw) & ~kLock) == 0; }
};

template <std::size_t KeyBytes>
struct alignas(KeyBytes <= 16 ? 2 * kCacheLine : 4 * kCacheLine) BihashPage {
  using Key = std::array<uint64_t, KeyBytes / 8>;

  struct Slot {
    std::array<std::atomic<uint64_t>, KeyBytes / 8> key;
    std::atomic<uint64_t> value;

    bool holds(const Key& k) const noexcept {
      for (std::size_t i = 0; i < k.size(); ++i)
        if (key[i].load(std::memory_order_acquire) != k[i]) return false;
      return true;
    }
    Key read_key() const noexcept {
      Key k;
      for (std::size_t i = 0; i < k.size(); ++i) k[i] = key[i].load(std::memory_order_acquire);
      return k;
    }
  };

  // Two cache lines hold 7 slots of 8-byte or 5 of 16-byte keys; four hold 7, 5 or 4 of the longer.
  static constexpr std::size_t kBytes = KeyBytes <= 16 ? 2 * kCacheLine : 4 * kCacheLine;
  static constexpr std::size_t kRoom = (kBytes - 8) / sizeof(Slot);
  static constexpr std::size_t kSlots = kRoom < 7 ? kRoom : 7;  // one tag byte each, the last spare
  static constexpr uint64_t kEveryByte = 0x0101010101010101ull;
  static constexpr uint64_t kTagBits = (kEveryByte << 7) & ((1ull << (8 * kSlots)) - 1);

  std::atomic<uint64_t> tags;  // byte i is slot i's
  Slot slots[kSlots];

  // One bit (the top one of its byte) for each slot that may hold a key of this tag. A byte of
  // `tags` that is empty is never reported, because a tag's top bit is set; a used one may be
  // reported wrongly and the key comparison sorts it out. Masked to real slots, because the word of
  // a recycled page can be anything.
  static constexpr uint64_t matches(uint64_t tags, uint8_t tag) noexcept {
    const uint64_t x = tags ^ (kEveryByte * tag);
    return (x - kEveryByte) & ~x & kTagBits;
  }
  static constexpr std::size_t slot_of(uint64_t bits) noexcept {
    return static_cast<std::size_t>(std::countr_zero(bits)) / 8;
  }

  // Any thread.
  Slot* find(const Key& key, uint8_t tag) noexcept {
    for (uint64_t m = matches(tags.load(std::memory_order_acquire), tag); m; m &= m - 1) {
      Slot& s = slots[slot_of(m)];
      if (s.holds(key)) return &s;
    }
    return nullptr;
  }

  // The rest is for the holder of the bucket's lock, or the owner of a block not yet published.
  uint64_t used() const noexcept { return tags.load(std::memory_order_acquire) & kTagBits; }
  void clear() noexcept { tags.store(0, std::memory_order_release); }
  bool insert(const Key& key, uint8_t tag, uint64_t value) noexcept {
    const uint64_t t = tags.load(std::memory_order_relaxed);
    const uint64_t empty = ~t & kTagBits;
    if (!empty) return false;
    const std::size_t i = slot_of(empty);
    for (std::size_t w = 0; w < key.size(); ++w)
      slots[i].key[w].store(key[w], std::memory_order_release);
    slots[i].value.store(value, std::memory_order_release);
    tags.store(t | uint64_t{tag} << (8 * i), std::memory_order_release);
    return true;
  }
  void erase(const Slot* s) noexcept {
    const auto i = static_cast<std::size_t>(s - slots);
    const uint64_t t = tags.load(std::memory_order_relaxed);
    tags.store(t & ~(0xffull << (8 * i)), std::memory_order_release);
  }
};
static_assert(sizeof(BihashPage<8>) == 128 && sizeof(BihashPage<16>) == 128);
static_assert(sizeof(BihashPage<24>) == 256 && sizeof(BihashPage<48>) == 256);
static_assert(BihashPage<16>::kSlots == 5 && BihashPage<48>::kSlots == 4);

}  // namespace loom
