#include "svm/daemon_arena.h"

#include <sched.h>
#include <sys/mman.h>

#include <bit>
#include <cstring>
#include <mutex>

#include <hostloom/check.h>

namespace loom::svm {
namespace {

constexpr uint32_t kCachedBytes = 512 << 10;  // per chunk size, in its LIFO list
constexpr uint32_t kSpinsBeforeYield = 128;   // then the holder was probably preempted

constexpr uint32_t cached_limit(uint32_t order) { return kCachedBytes >> (kMinChunkLog2 + order); }

}  // namespace

void SpinLock::lock() noexcept {
  uint32_t spins = 0;
  while (held_.exchange(true, std::memory_order_acquire)) {
    while (held_.load(std::memory_order_relaxed)) {
      __builtin_ia32_pause();
      if (++spins % kSpinsBeforeYield == 0) sched_yield();
    }
  }
}

DaemonArena::~DaemonArena() {
  for (uint32_t i = 0; i < n_segments(); ++i)
    munmap(regions_[i]->pages, regions_[i]->n_pages * sizeof(Page));
}

Segment* DaemonArena::add_segment(std::unique_ptr<Segment> segment) {
  const uint32_t i = n_segments();
  const uint64_t n_pages = segment->size() >> kMinChunkLog2;
  if (i == kMaxSegments || n_pages > 1u << kPageBits) return nullptr;
  void* pages = mmap(nullptr, n_pages * sizeof(Page), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  auto region = std::make_unique<Region>();
  region->segment = std::move(segment);
  region->pages = static_cast<Page*>(pages);  // zero bytes are a Page's initial state
  region->n_pages = static_cast<uint32_t>(n_pages);
  Segment* added = region->segment.get();
  const std::lock_guard guard(lock_);
  regions_[i] = std::move(region);
  count_spans(static_cast<int32_t>((n_pages + kSpanPages - 1) / kSpanPages));
  n_segments_.store(i + 1, std::memory_order_release);
  return added;
}

// --- Buddy system ---

void DaemonArena::push_free(ChunkId c, uint32_t order, State state) noexcept {
  Page& p = page_of(c);
  ChunkId& list = state == State::kFreeCold ? cold_ : free_[order];
  p.order = static_cast<uint8_t>(order);
  p.state = state;
  p.prev = 0;
  p.next = list;
  if (list) page_of(list).prev = c;
  list = c;
  if (order == kTopOrder) count_spans(+1);
  if (order == kTopOrder && state == State::kFree)
    warm_spans_.store(warm_spans_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void DaemonArena::unlink_free(ChunkId c) noexcept {
  Page& p = page_of(c);
  if (p.next) page_of(p.next).prev = p.prev;
  if (p.prev)
    page_of(p.prev).next = p.next;
  else
    (p.state == State::kFreeCold ? cold_ : free_[p.order]) = p.next;
  if (p.order == kTopOrder) count_spans(-1);
  if (p.order == kTopOrder && p.state == State::kFree)
    warm_spans_.store(warm_spans_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
}

// Puts the next span that was never used into the free lists, as its largest aligned blocks: a span
// that starts with the header page, or ends with the segment, is several. Metadata of a span is not
// touched before, so a large sparse segment costs nothing.
bool DaemonArena::open_span() noexcept {
  for (uint32_t i = 0; i < n_segments_.load(std::memory_order_relaxed); ++i) {
    Region& r = *regions_[i];
    if (r.fresh_page == r.n_pages) continue;
    const uint32_t end = std::min((r.fresh_page & ~(kSpanPages - 1)) + kSpanPages, r.n_pages);
    uint32_t page = r.fresh_page == 0 ? 1 : r.fresh_page;
    r.fresh_page = end;
    count_spans(-1);
    while (page < end) {
      uint32_t order = std::min<uint32_t>(std::countr_zero(page), kTopOrder);
      while (page + (1u << order) > end) --order;
      push_free(i << kPageBits | page, order, order == kTopOrder ? State::kFreeCold : State::kFree);
      page += 1u << order;
    }
    return true;
  }
  return false;
}

ChunkId DaemonArena::buddy_alloc(uint32_t order) noexcept {
  while (true) {
    uint32_t o = order;
    while (o < kTopOrder && !free_[o]) ++o;
    const ChunkId c = free_[o] ? free_[o] : cold_;
    if (!c) {
      if (open_span()) continue;
      return 0;
    }
    unlink_free(c);
    while (o > order) {
      --o;
      push_free(c + (1u << o), o, State::kFree);
    }
    Page& p = page_of(c);
    p.order = static_cast<uint8_t>(order);
    p.state = State::kUsed;
    return c;
  }
}

void DaemonArena::buddy_free(ChunkId c, uint32_t order) noexcept {
  const Region& r = *regions_[c >> kPageBits];
  while (order < kTopOrder) {
    const ChunkId buddy = c ^ (1u << order);
    const uint32_t buddy_page = buddy & ((1u << kPageBits) - 1);
    if (buddy_page + (1u << order) > r.n_pages) break;
    if (page_of(buddy).state != State::kFree || page_of(buddy).order != order) break;
    unlink_free(buddy);
    page_of(std::max(c, buddy)).state = State::kInside;
    c = std::min(c, buddy);
    ++order;
  }
  push_free(c, order, State::kFree);
}

// --- LIFO lists in front ---

ChunkId DaemonArena::take(uint32_t order) noexcept {
  ++allocations_;
  ChunkId c = cached_[order];
  if (c) [[likely]] {
    cached_[order] = page_of(c).next;
    --n_cached_[order];
    page_of(c).state = State::kUsed;
    return c;
  }
  c = buddy_alloc(order);
  if (!c) {
    flush_cached();  // what lies unmerged in the LIFO lists may make up a block
    c = buddy_alloc(order);
  }
  if (!c) ++failures_;
  return c;
}

void DaemonArena::put(ChunkId c) noexcept {
  Page& p = page_of(c);
  const uint32_t order = p.order;
  if (n_cached_[order] >= cached_limit(order)) return buddy_free(c, order);
  p.state = State::kCached;
  p.next = cached_[order];
  cached_[order] = c;
  ++n_cached_[order];
}

void DaemonArena::flush_cached() noexcept {
  for (uint32_t order = 0; order < kChunkClasses; ++order) {
    while (const ChunkId c = cached_[order]) {
      cached_[order] = page_of(c).next;
      buddy_free(c, order);
    }
    n_cached_[order] = 0;
  }
}

ChunkId DaemonArena::alloc_chunk(uint32_t log2_size) noexcept {
  LOOM_CHECK(log2_size >= kMinChunkLog2 && log2_size <= kMaxChunkLog2);
  const std::lock_guard guard(lock_);
  const ChunkId c = take(log2_size - kMinChunkLog2);
  if (!c) return 0;
  page_of(c).next = 0;
  chunk_bytes_ += 1ull << log2_size;
  return c;
}

void DaemonArena::free_chunk(ChunkId c) noexcept {
  const std::lock_guard guard(lock_);
  LOOM_CHECK(page_of(c).state == State::kUsed);
  chunk_bytes_ -= 1ull << (kMinChunkLog2 + page_of(c).order);
  put(c);
}

// --- Small objects ---

void DaemonArena::slab_link(int32_t i) noexcept {
  Slab& s = slabs_[static_cast<size_t>(i)];
  int32_t& list = slabs_with_room_[s.object_size / 64 - 1];
  s.prev = -1;
  s.next = list;
  if (list >= 0) slabs_[static_cast<size_t>(list)].prev = i;
  list = i;
}

void DaemonArena::slab_unlink(int32_t i) noexcept {
  Slab& s = slabs_[static_cast<size_t>(i)];
  if (s.next >= 0) slabs_[static_cast<size_t>(s.next)].prev = s.prev;
  if (s.prev >= 0)
    slabs_[static_cast<size_t>(s.prev)].next = s.next;
  else
    slabs_with_room_[s.object_size / 64 - 1] = s.next;
}

// The one place that may go to the heap under the lock: once per 64 KB of objects.
int32_t DaemonArena::new_slab(uint32_t object_size) noexcept {
  const ChunkId c = take(kSlabOrder);
  if (!c) return -1;
  int32_t i;
  if (unused_slabs_.empty()) {
    i = static_cast<int32_t>(slabs_.size());
    slabs_.emplace_back();
    if (unused_slabs_.capacity() < slabs_.size()) unused_slabs_.reserve(2 * slabs_.size());
  } else {
    i = unused_slabs_.back();
    unused_slabs_.pop_back();
  }
  Slab& s = slabs_[static_cast<size_t>(i)];
  s = Slab{};
  s.chunk = c;
  s.object_size = object_size;
  s.capacity = kSlabBytes / object_size;
  s.used_bits.fill(0);
  page_of(c).state = State::kSlab;
  page_of(c).prev = static_cast<uint32_t>(i);
  slab_link(i);
  return i;
}

DaemonArena::Object DaemonArena::small_alloc(uint32_t size) noexcept {
  int32_t i = slabs_with_room_[size / 64 - 1];
  if (i < 0) i = new_slab(size);
  if (i < 0) return {};
  Slab& s = slabs_[static_cast<size_t>(i)];
  uint32_t word = 0;
  while (s.used_bits[word] == ~0ull) ++word;
  const uint32_t index = word * 64 + static_cast<uint32_t>(std::countr_zero(~s.used_bits[word]));
  s.used_bits[word] |= 1ull << (index % 64);
  if (++s.n_used == s.capacity) slab_unlink(i);
  object_bytes_ += size;
  const uint64_t at = static_cast<uint64_t>(index) * size;
  return {base(s.chunk) + at, ref(s.chunk) + at};
}

void DaemonArena::small_free(ChunkId slab_chunk, uint64_t offset_in_slab) noexcept {
  const auto i = static_cast<int32_t>(page_of(slab_chunk).prev);
  Slab& s = slabs_[static_cast<size_t>(i)];
  const auto index = static_cast<uint32_t>(offset_in_slab / s.object_size);
  const uint64_t bit = 1ull << (index % 64);
  LOOM_CHECK(s.used_bits[index / 64] & bit);
  s.used_bits[index / 64] &= ~bit;
  object_bytes_ -= s.object_size;
  if (s.n_used-- == s.capacity) slab_link(i);
  if (s.n_used != 0) return;
  slab_unlink(i);
  unused_slabs_.push_back(i);
  page_of(s.chunk).state = State::kUsed;
  put(s.chunk);
}

DaemonArena::Object DaemonArena::alloc_object(uint64_t bytes) noexcept {
  if (bytes == 0 || bytes > 1ull << kMaxChunkLog2) return {};
  Object o;
  if (bytes <= kMaxSmall) {
    bytes = (bytes + 63) & ~63ull;
    const std::lock_guard guard(lock_);
    o = small_alloc(static_cast<uint32_t>(bytes));
  }
  if (!o.ptr) {  // large, or no room for another slab
    const auto log2 = static_cast<uint32_t>(std::bit_width(bytes - 1));
    if (const ChunkId c = alloc_chunk(std::max(log2, kMinChunkLog2))) o = {base(c), ref(c)};
  }
  if (o.ptr) std::memset(o.ptr, 0, bytes);
  return o;
}

void DaemonArena::free_object(Ref ref) noexcept {
  uint32_t i = 0;
  while (i < n_segments() && regions_[i]->segment->id() != ref_segment(ref)) ++i;
  LOOM_CHECK(i < n_segments());
  const auto page = static_cast<uint32_t>(ref_offset(ref) >> kMinChunkLog2);
  const ChunkId slab = i << kPageBits | (page & ~((1u << kSlabOrder) - 1));
  {
    const std::lock_guard guard(lock_);
    if (page_of(slab).state == State::kSlab)
      return small_free(slab, ref_offset(ref) - page_offset(slab));
  }
  free_chunk(i << kPageBits | page);
}

// --- Memory back to the kernel ---

uint64_t DaemonArena::give_back(bool all) noexcept {
  const uint32_t keep = all ? 0 : options_.reserve_spans;
  uint64_t given = 0;
  lock_.lock();
  if (all) flush_cached();
  // What was known of slabs: as many as there were at the most.
  std::deque<Slab> slabs;
  std::vector<int32_t> unused_slabs;
  if (all && unused_slabs_.size() == slabs_.size()) {
    slabs.swap(slabs_);
    unused_slabs.swap(unused_slabs_);
  }
  while (warm_spans_.load(std::memory_order_relaxed) > keep) {
    ChunkId c = free_[kTopOrder];
    if (!all)
      while (page_of(c).next) c = page_of(c).next;  // the one that has been free longest
    unlink_free(c);
    page_of(c).state = State::kUsed;  // nobody else's while the lock is open
    lock_.unlock();
    regions_[c >> kPageBits]->segment->give_back(page_offset(c), 1ull << kMaxChunkLog2);
    forget_inside(c);
    given += 1ull << kMaxChunkLog2;
    lock_.lock();
    push_free(c, kTopOrder, State::kFreeCold);
  }
  lock_.unlock();
  return all ? given + give_back_blocks() : given;
}

// What is known of the pages inside a span that is one block: zeros, again without memory.
void DaemonArena::forget_inside(ChunkId span) const noexcept {
  constexpr std::uintptr_t kSystemPage = 4096;
  Page* first = &page_of(span);
  const auto from =
      (reinterpret_cast<std::uintptr_t>(first + 1) + kSystemPage - 1) & ~(kSystemPage - 1);
  const auto to = reinterpret_cast<std::uintptr_t>(first + kSpanPages) & ~(kSystemPage - 1);
  (void)madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

uint64_t DaemonArena::give_back_blocks() noexcept {
  std::array<ChunkId, 256> taken;  // the largest first; what is beyond these stays
  uint32_t n = 0;
  uint64_t given = 0;
  lock_.lock();
  for (uint32_t order = kTopOrder; order-- > kLeastGivenBackOrder;)
    while (free_[order] && n < taken.size()) {
      taken[n++] = free_[order];
      unlink_free(taken[n - 1]);
      page_of(taken[n - 1]).state = State::kUsed;  // nobody else's while the lock is open
    }
  lock_.unlock();
  for (uint32_t i = 0; i < n; ++i) {
    const uint64_t bytes = 1ull << log2_size(taken[i]);
    regions_[taken[i] >> kPageBits]->segment->give_back(page_offset(taken[i]), bytes);
    given += bytes;
  }
  lock_.lock();
  for (uint32_t i = 0; i < n; ++i) buddy_free(taken[i], page_of(taken[i]).order);
  lock_.unlock();
  return given;
}

DaemonArena::Stats DaemonArena::stats() const noexcept {
  const std::lock_guard guard(lock_);
  Stats s{chunk_bytes_, object_bytes_, 0, allocations_, failures_};
  for (uint32_t i = 0; i < n_segments(); ++i) s.segment_bytes += regions_[i]->segment->size();
  return s;
}

}  // namespace loom::svm
