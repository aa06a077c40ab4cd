#include "svm/app_arena.h"

#include "svm/bytes.h"

namespace loom::svm {
namespace {

// Word of a free list: how often it was popped (24 bits), offset / 64 of the first chunk (40).
constexpr unsigned kTagShift = 40;
constexpr uint64_t kPlaceMask = (1ull << kTagShift) - 1;
constexpr uint64_t place_offset(uint64_t word) { return (word & kPlaceMask) << 6; }
constexpr uint64_t place_of(uint64_t offset) { return offset >> 6; }

constexpr uint64_t kPage = 4096;
constexpr uint32_t kGivenBack = 1;  // ChunkHeader::start of a free chunk without memory behind it
constexpr uint32_t kFirstGivenBackClass = 2;  // 16 KB
constexpr uint32_t kGiveBackBatch = 32;       // chunks lost at most if we die in give_back

}  // namespace

bool AppArena::add_segment(const Segment& segment) noexcept {
  const uint32_t n = n_segments_.load(std::memory_order_relaxed);
  if (n == kMaxSegments || segment.kind() != SegmentKind::kAppArena) return false;
  segments_[n] = &segment;
  n_segments_.store(n + 1, std::memory_order_release);
  return true;
}

Ref AppArena::pop(const Segment& s, uint32_t size_class) noexcept {
  auto& list = s.header().free_list[size_class];
  uint64_t word = list.load(std::memory_order_acquire);
  while (true) {
    const uint64_t offset = place_offset(word);
    if (offset == 0 || !s.contains(offset, 1ull << (kMinChunkLog2 + size_class))) return 0;
    auto& chunk = *reinterpret_cast<ChunkHeader*>(s.ptr(offset));
    // Another process may pop and use the chunk right now; then the tag has changed, and what was
    // read here is not used.
    const uint64_t next = place_of(ref_offset(chunk.next.load(std::memory_order_relaxed)));
    const uint64_t tag = (word >> kTagShift) + 1;
    if (list.compare_exchange_weak(word, tag << kTagShift | next, std::memory_order_acq_rel,
                                   std::memory_order_acquire)) {
      write_once(chunk.log2_size, kMinChunkLog2 + size_class);
      chunk.next.store(0, std::memory_order_relaxed);
      return make_ref(s.id(), offset);
    }
  }
}

Ref AppArena::carve(const Segment& s, uint32_t size_class) noexcept {
  const uint64_t size = 1ull << (kMinChunkLog2 + size_class);
  auto& bump = s.header().bump;
  uint64_t at = bump.load(std::memory_order_relaxed);
  do {
    if (at % kPage != 0 || !s.contains(at, size)) return 0;
  } while (!bump.compare_exchange_weak(at, at + size, std::memory_order_relaxed));
  auto& chunk = *reinterpret_cast<ChunkHeader*>(s.ptr(at));
  write_once(chunk.log2_size, kMinChunkLog2 + size_class);
  chunk.next.store(0, std::memory_order_relaxed);
  return make_ref(s.id(), at);
}

void AppArena::push(SegmentHeader& h, uint32_t size_class, Ref ref, ChunkHeader& chunk) noexcept {
  auto& list = h.free_list[size_class];
  uint64_t word = list.load(std::memory_order_relaxed);
  do {
    chunk.next.store(make_ref(ref_segment(ref), place_offset(word)), std::memory_order_relaxed);
  } while (!list.compare_exchange_weak(word, (word & ~kPlaceMask) | place_of(ref_offset(ref)),
                                       std::memory_order_release, std::memory_order_relaxed));
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
  if (!chunk) return;
  const uint32_t log2 = read_once(chunk->log2_size);
  if (log2 < kMinChunkLog2 || log2 > kMaxChunkLog2 || !table_.resolve(ref, 1ull << log2)) return;
  write_once(chunk->start, 0u);
  auto* header =
      reinterpret_cast<SegmentHeader*>(reinterpret_cast<std::byte*>(chunk) - ref_offset(ref));
  push(*header, log2 - kMinChunkLog2, ref, *chunk);
}

uint64_t AppArena::give_back() noexcept {
  uint64_t given = 0;
  const uint32_t n = n_segments_.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < n; ++i) {
    const Segment& s = *segments_[i];
    for (uint32_t c = kFirstGivenBackClass; c < kChunkClasses; ++c) {
      const uint64_t size = 1ull << (kMinChunkLog2 + c);
      Ref batch[kGiveBackBatch];
      uint32_t k = 0;
      while (k < kGiveBackBatch && (batch[k] = pop(s, c)) != 0) {
        auto& chunk = *reinterpret_cast<ChunkHeader*>(s.ptr(ref_offset(batch[k])));
        if (read_once(chunk.start) != kGivenBack) {
          s.give_back(ref_offset(batch[k]) + kPage, size - kPage);
          write_once(chunk.start, kGivenBack);
          given += size - kPage;
        }
        ++k;
      }
      while (k-- > 0)
        push(s.header(), c, batch[k], *reinterpret_cast<ChunkHeader*>(s.ptr(ref_offset(batch[k]))));
    }
  }
  return given;
}

uint64_t AppArena::carved_bytes() const noexcept {
  uint64_t sum = 0;
  const uint32_t n = n_segments_.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < n; ++i)
    sum += segments_[i]->header().bump.load(std::memory_order_relaxed) - kSegmentDataOffset;
  return sum;
}

}  // namespace loom::svm
