// The bodies of Bihash; included by bihash.h only.
#pragma once
#include "hash/bihash.h"

namespace loom {

template <std::size_t KeyBytes>
Result<std::unique_ptr<Bihash<KeyBytes>>> Bihash<KeyBytes>::create(const BihashOptions& options) {
  if (options.buckets == 0 || options.buckets > (std::size_t{1} << 32))
    return error(Status::kInvalid, std::to_string(options.buckets) + " buckets, not 1 to 2^32");
  const std::size_t n = std::bit_ceil(options.buckets);
  std::unique_ptr<Bihash> table(new (std::nothrow) Bihash);
  if (!table) return error(Status::kNoMemory, "no memory for a hash table");
  // Anonymous pages read as zero, and a zero word is an empty bucket.
  void* p =
      mmap(nullptr, n * sizeof(uint64_t), PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | (options.touch ? MAP_POPULATE : MAP_NORESERVE), -1, 0);
  if (p == MAP_FAILED)
    return error(Status::kNoMemory, "no memory for " + std::to_string(n) + " buckets");
  table->buckets_ = static_cast<std::atomic<uint64_t>*>(p);
  table->bucket_mask_ = n - 1;
  table->secret_ = options.seed ? HashSecret::from_seed(options.seed) : HashSecret::random();
  if (auto r = table->arena_.reserve(sizeof(Page), options.max_bytes); !r) return r.error();
  return table;
}

template <std::size_t KeyBytes>
void Bihash<KeyBytes>::prefetch_page(uint64_t hash) const noexcept {
  const Word w{bucket(hash).load(std::memory_order_acquire)};
  if (w.is_empty()) return;
  const auto* at =
      reinterpret_cast<const std::byte*>(page(w.block(), first_page(hash, w.log2_pages())));
  __builtin_prefetch(at);
  __builtin_prefetch(at + kCacheLine);
}

template <std::size_t KeyBytes>
auto Bihash<KeyBytes>::search(Word w, const Key& key, uint64_t hash) const noexcept -> Slot* {
  const uint8_t tag = tag_of(hash);
  if (w.is_linear()) [[unlikely]] {
    for (std::size_t i = 0; i < w.pages(); ++i)
      if (Slot* s = page(w.block(), i)->find(key, tag)) return s;
    return nullptr;
  }
  const std::size_t first = first_page(hash, w.log2_pages());
  if (Slot* s = page(w.block(), first)->find(key, tag)) return s;
  const std::size_t second = second_page(hash, w.log2_pages());
  return second == first ? nullptr : page(w.block(), second)->find(key, tag);
}

template <std::size_t KeyBytes>
bool Bihash<KeyBytes>::find_with_hash(const Key& key, uint64_t hash,
                                      uint64_t& value) const noexcept {
  const std::atomic<uint64_t>& word = bucket(hash);
  Word w{word.load(std::memory_order_acquire)};
  for (;;) {
    bool found = false;
    uint64_t v = 0;
    if (!w.is_empty()) {
      if (const Slot* s = search(w, key, hash)) {
        v = s->value.load(std::memory_order_acquire);
        found = true;
      }
    }
    const Word again{word.load(std::memory_order_acquire)};
    if (w.same(again)) [[likely]] {
      if (found) value = v;
      return found;
    }
    w = again;
  }
}

template <std::size_t KeyBytes>
BucketWord Bihash<KeyBytes>::lock(std::atomic<uint64_t>& bucket) noexcept {
  SpinWait wait;
  uint64_t w = bucket.load(std::memory_order_relaxed);
  while ((w & Word::kLock) ||
         !bucket.compare_exchange_weak(w, w | Word::kLock, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
    wait.pause();
    w = bucket.load(std::memory_order_relaxed);
  }
  return {w};
}

template <std::size_t KeyBytes>
Status Bihash<KeyBytes>::put(const Key& key, uint64_t value, bool overwrite) noexcept {
  const uint64_t h = hash(key);
  std::atomic<uint64_t>& word = bucket(h);
  const Word w = lock(word);
  if (!w.is_empty()) {
    if (Slot* s = search(w, key, h)) {
      if (overwrite) s->value.store(value, std::memory_order_release);
      unlock(word, w);
      return overwrite ? Status::kOk : Status::kExists;
    }
    if (place(w, key, h, value)) {
      unlock(word, w);
      size_.fetch_add(1, std::memory_order_relaxed);
      return Status::kOk;
    }
  }
  const Word grown = grow(w, key, h, value);
  unlock(word, grown);
  if (grown.same(w)) return Status::kNoMemory;
  if (!w.is_empty()) arena_.free(w.block(), w.log2_pages());
  size_.fetch_add(1, std::memory_order_relaxed);
  return Status::kOk;
}

template <std::size_t KeyBytes>
Status Bihash<KeyBytes>::del(const Key& key) noexcept {
  const uint64_t h = hash(key);
  std::atomic<uint64_t>& word = bucket(h);
  const Word w = lock(word);
  const Slot* s = w.is_empty() ? nullptr : search(w, key, h);
  if (!s) {
    unlock(word, w);
    return Status::kNotFound;
  }
  Page* pages = page(w.block(), 0);
  const auto offset = reinterpret_cast<const std::byte*>(s) - reinterpret_cast<std::byte*>(pages);
  pages[static_cast<std::size_t>(offset) / sizeof(Page)].erase(s);
  const bool is_last =
      std::all_of(pages, pages + w.pages(), [](const Page& p) { return p.used() == 0; });
  unlock(word, is_last ? w.next(0, 0, false) : w.next());
  if (is_last) arena_.free(w.block(), w.log2_pages());
  size_.fetch_sub(1, std::memory_order_relaxed);
  return Status::kOk;
}

// A word that leads to a larger copy of the bucket with the key in it, or `old` when there is no
// memory or the limits of a bucket are reached. The old block is still the caller's.
template <std::size_t KeyBytes>
BucketWord Bihash<KeyBytes>::grow(Word old, const Key& key, uint64_t hash,
                                  uint64_t value) noexcept {
  const auto attempt = [&](unsigned log2, bool linear) -> Word {
    const uint32_t block = arena_.alloc(log2);
    if (!block) return old;
    const Word target = old.next(block, log2, linear);
    if (fill(target, old, key, hash, value)) return target;
    arena_.free(block, log2);
    return old;
  };
  const unsigned first = old.is_empty() ? 0 : old.log2_pages() + 1;
  for (unsigned log2 = first; log2 < first + 3 && log2 <= kMaxLog2Pages; ++log2)
    if (const Word w = attempt(log2, false); !w.same(old)) return w;
  return first <= kMaxLinearLog2 ? attempt(first, true) : old;
}

// Copies all of `old` and the new key into the pages of `target`; false when they do not fit.
template <std::size_t KeyBytes>
bool Bihash<KeyBytes>::fill(Word target, Word old, const Key& key, uint64_t hash,
                            uint64_t value) noexcept {
  for (std::size_t i = 0; i < target.pages(); ++i) page(target.block(), i)->clear();
  if (!old.is_empty()) {
    for (std::size_t i = 0; i < old.pages(); ++i) {
      const Page* p = page(old.block(), i);
      for (uint64_t used = p->used(); used; used &= used - 1) {
        const Slot& s = p->slots[Page::slot_of(used)];
        const Key k = s.read_key();
        if (!place(target, k, this->hash(k), s.value.load(std::memory_order_relaxed))) return false;
      }
    }
  }
  return place(target, key, hash, value);
}

template <std::size_t KeyBytes>
bool Bihash<KeyBytes>::place(Word target, const Key& key, uint64_t hash, uint64_t value) noexcept {
  if (target.is_linear()) {
    Page* p = page(target.block(), 0);
    return std::any_of(p, p + target.pages(),
                       [&](Page& q) { return q.insert(key, tag_of(hash), value); });
  }
  Page* one = page(target.block(), first_page(hash, target.log2_pages()));
  Page* other = page(target.block(), second_page(hash, target.log2_pages()));
  if (std::popcount(other->used()) < std::popcount(one->used())) std::swap(one, other);
  return one->insert(key, tag_of(hash), value);
}

template <std::size_t KeyBytes>
template <class Fn>
void Bihash<KeyBytes>::for_each(Fn&& fn) const {
  std::vector<std::pair<Key, uint64_t>> copy;
  for (std::size_t b = 0; b <= bucket_mask_; ++b) {
    Word w{buckets_[b].load(std::memory_order_acquire)};
    while (!w.is_empty()) {
      copy.clear();
      for (std::size_t i = 0; i < w.pages(); ++i) {
        const Page* p = page(w.block(), i);
        for (uint64_t used = p->used(); used; used &= used - 1) {
          const Slot& s = p->slots[Page::slot_of(used)];
          copy.emplace_back(s.read_key(), s.value.load(std::memory_order_acquire));
        }
      }
      const Word again{buckets_[b].load(std::memory_order_acquire)};
      if (w.same(again)) {
        for (const auto& [key, value] : copy) fn(key, value);
        break;
      }
      w = again;
    }
  }
}

template <std::size_t KeyBytes>
std::size_t Bihash<KeyBytes>::linear_buckets() const noexcept {
  return static_cast<std::size_t>(std::count_if(
      buckets_, buckets_ + bucket_mask_ + 1,
      [](const auto& b) { return Word{b.load(std::memory_order_relaxed)}.is_linear(); }));
}

}  // namespace loom
