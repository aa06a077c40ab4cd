#include "svm/app_arena.h"

#include <algorithm>

#include "svm/bytes.h"

namespace loom::svm {
namespace {

// Word of a free list: how often it was taken from (24 bits), page of the first chunk (40).
constexpr unsigned kTagShift = 40;
constexpr uint64_t kPlaceMask = (1ull << kTagShift) - 1;
constexpr unsigned kPageLog2 = 12;
constexpr uint64_t kPage = 1ull << kPageLog2;
constexpr uint64_t place_offset(uint64_t word) { return (word & kPlaceMask) << kPageLog2; }

constexpr uint64_t kMostGivenBack = 2048;  // chunks in one call
constexpr uint32_t kGiveBackBatch = 32;    // chunks lost at most if we die in give_back
constexpr uint32_t kTakenApart = 64;       // chunks of ended fifos freed by one alloc

// Of the chunk at `offset`, which is in the segment: so is its word.
std::atomic<uint32_t>& link_of(std::byte* base, uint64_t offset) noexcept {
  return *reinterpret_cast<std::atomic<uint32_t>*>(base + kSegmentDataOffset +
                                                   (offset >> kPageLog2) * sizeof(uint32_t));
}

bool holds_chunk(const Segment& s, uint64_t offset, uint64_t size) noexcept {
  return offset >= first_chunk_offset(s.size()) && offset % kPage == 0 && s.contains(offset, size);
}

}  // namespace

bool AppArena::add_segment(const Segment& segment) noexcept {
  const uint32_t n = n_segments_.load(std::memory_order_relaxed);
  if (n == kMaxSegments || segment.kind() != SegmentKind::kAppArena) return false;
  segments_[n] = &segment;
  n_segments_.store(n + 1, std::memory_order_release);
  return true;
}

uint64_t AppArena::take(const Segment& s, List& list, uint64_t size) noexcept {
  uint64_t word = list.load(std::memory_order_acquire);
  while (true) {
    const uint64_t offset = place_offset(word);
    if (offset == 0 || !holds_chunk(s, offset, size)) return 0;
    // Another process may take and free the chunk right now; then the tag has changed, and what was
    // read here is not used.
    const uint64_t next = link_of(s.base(), offset).load(std::memory_order_relaxed);
    const uint64_t tag = (word >> kTagShift) + 1;
    if (list.compare_exchange_weak(word, tag << kTagShift | next, std::memory_order_acq_rel,
                                   std::memory_order_acquire))
      return offset;
  }
}

void AppArena::push(std::byte* base, List& list, uint64_t offset) noexcept {
  uint64_t word = list.load(std::memory_order_relaxed);
  do {
    link_of(base, offset)
        .store(static_cast<uint32_t>(word & kPlaceMask), std::memory_order_relaxed);
  } while (!list.compare_exchange_weak(word, (word & ~kPlaceMask) | offset >> kPageLog2,
                                       std::memory_order_release, std::memory_order_relaxed));
}

Ref AppArena::ready(const Segment& s, uint64_t offset, uint32_t size_class) noexcept {
  auto& chunk = *reinterpret_cast<ChunkHeader*>(s.ptr(offset));
  write_once(chunk.log2_size, kMinChunkLog2 + size_class);
  chunk.next.store(0, std::memory_order_relaxed);
  return make_ref(s.id(), offset);
}

Ref AppArena::pop(const Segment& s, uint32_t size_class) noexcept {
  SegmentHeader& h = s.header();
  const uint64_t size = 1ull << (kMinChunkLog2 + size_class);
  uint64_t at = take(s, h.free_list[size_class], size);
  if (at == 0) at = take(s, h.cold_list[size_class], size);
  return at == 0 ? 0 : ready(s, at, size_class);
}

Ref AppArena::carve(const Segment& s, uint32_t size_class) noexcept {
  const uint64_t size = 1ull << (kMinChunkLog2 + size_class);
  auto& bump = s.header().bump;
  uint64_t word = bump.load(std::memory_order_relaxed), at;
  do {
    at = std::max(word, first_chunk_offset(s.size()));
    if (!holds_chunk(s, at, size)) return 0;
  } while (!bump.compare_exchange_weak(word, at + size, std::memory_order_relaxed));
  return ready(s, at, size_class);
}

Ref AppArena::alloc(uint32_t log2_size) noexcept {
  if (log2_size < kMinChunkLog2) log2_size = kMinChunkLog2;
  if (log2_size > kMaxChunkLog2) log2_size = kMaxChunkLog2;
  const uint32_t wanted = log2_size - kMinChunkLog2;
  const uint32_t n = n_segments_.load(std::memory_order_acquire);
  const auto from_any = [&](auto how, uint32_t size_class) -> Ref {
    for (uint32_t i = 0; i < n; ++i)
      if (const Ref r = (this->*how)(*segments_[i], size_class)) return r;
    return 0;
  };
  if (const Ref r = from_any(&AppArena::pop, wanted)) return r;
  if (take_apart(kTakenApart) != 0)
    if (const Ref r = from_any(&AppArena::pop, wanted)) return r;
  if (const Ref r = from_any(&AppArena::carve, wanted)) return r;
  // Memory is short: a larger chunk whole, or a smaller one.
  for (uint32_t c = wanted + 1; c < kChunkClasses; ++c)
    if (const Ref r = from_any(&AppArena::pop, c)) return r;
  for (uint32_t c = wanted; c-- > 0;) {
    if (const Ref r = from_any(&AppArena::pop, c)) return r;
    if (const Ref r = from_any(&AppArena::carve, c)) return r;
  }
  return 0;
}

void AppArena::free(Ref ref) noexcept {
  auto* chunk = table_.resolve_as<ChunkHeader>(ref);
  const uint64_t offset = ref_offset(ref);
  if (!chunk || offset % kPage != 0) return;
  const uint32_t log2 = read_once(chunk->log2_size);
  if (log2 < kMinChunkLog2 || log2 > kMaxChunkLog2 || !table_.resolve(ref, 1ull << log2)) return;
  std::byte* base = reinterpret_cast<std::byte*>(chunk) - offset;
  push(base, reinterpret_cast<SegmentHeader*>(base)->free_list[log2 - kMinChunkLog2], offset);
}

void AppArena::free_fifo(Ref first) noexcept {
  const uint64_t offset = ref_offset(first);
  std::byte* const chunk = table_.resolve(first, kPage);
  if (!chunk || offset % kPage != 0) return;
  std::byte* const base = chunk - offset;
  push(base, reinterpret_cast<SegmentHeader*>(base)->ended_list, offset);
}

// The rest of a list goes back as a list of its own before its first chunk is freed: dying in
// between loses that one. What a list leads to may be in a segment that this process has not mapped
// yet, and asks for; a list that leads nowhere ends the call, so that it asks in vain once at most.
uint32_t AppArena::take_apart(uint32_t most) noexcept {
  uint32_t freed = 0;
  const uint32_t n = n_segments_.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < n; ++i) {
    const Segment& s = *segments_[i];
    List& ended = s.header().ended_list;
    while (freed < most && (ended.load(std::memory_order_relaxed) & kPlaceMask) != 0) {
      const uint64_t offset = take(s, ended, kPage);
      if (offset == 0) break;
      const auto* header = reinterpret_cast<const ChunkHeader*>(s.ptr(offset));
      const Ref rest = header->next.load(std::memory_order_relaxed);
      const bool leads_on = rest != 0 && table_.resolve(rest, kPage);
      if (leads_on) free_fifo(rest);
      free(make_ref(s.id(), offset));
      ++freed;
      if (rest != 0 && !leads_on) return freed;
    }
  }
  return freed;
}

uint64_t AppArena::give_back() noexcept {
  uint64_t given = 0;
  take_apart(kMostGivenBack);
  // Whoever frees meanwhile, and lists that lead back to themselves, do not keep us for long: the
  // largest chunks first, and what is left over goes next time.
  uint64_t left = kMostGivenBack;
  const uint32_t n = n_segments_.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < n; ++i) {
    const Segment& s = *segments_[i];
    for (uint32_t c = kChunkClasses; c-- != 0;) {
      const uint64_t size = 1ull << (kMinChunkLog2 + c);
      List &warm = s.header().free_list[c], &cold = s.header().cold_list[c];
      uint64_t batch[kGiveBackBatch];
      uint32_t k;
      do {
        k = 0;
        while (k < std::min<uint64_t>(kGiveBackBatch, left) &&
               (batch[k] = take(s, warm, size)) != 0)
          ++k;
        for (uint32_t j = 0; j < k; ++j) {
          s.give_back(batch[j], size);
          push(s.base(), cold, batch[j]);
        }
        given += k * size;
        left -= k;
      } while (k == kGiveBackBatch);
    }
  }
  return given;
}

uint64_t AppArena::carved_bytes() const noexcept {
  uint64_t sum = 0;
  const uint32_t n = n_segments_.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < n; ++i)
    sum += std::max(segments_[i]->header().bump.load(std::memory_order_relaxed),
                    first_chunk_offset(segments_[i]->size())) -
           first_chunk_offset(segments_[i]->size());
  return sum;
}

}  // namespace loom::svm
