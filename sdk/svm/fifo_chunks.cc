#include "svm/fifo_chunks.h"

namespace loom::svm {

ChunkId DaemonChunks::alloc(uint32_t log2_size, uint32_t start) noexcept {
  ChunkId c = 0;
  while (!(c = arena_->alloc_chunk(log2_size)) && log2_size > kMinChunkLog2) --log2_size;
  if (!c) return 0;
  arena_->set_start(c, start);
  auto* header = reinterpret_cast<ChunkHeader*>(arena_->base(c));
  header->next.store(0, std::memory_order_relaxed);
  write_once(header->start, start);
  write_once(header->log2_size, log2_size);
  return c;
}

void DaemonChunks::link(ChunkId from, ChunkId to) noexcept {
  arena_->set_next(from, to);
  reinterpret_cast<ChunkHeader*>(arena_->base(from))
      ->next.store(arena_->ref(to), std::memory_order_release);
}

Ref AppChunks::alloc(uint32_t log2_size, uint32_t start) noexcept {
  const Ref r = arena_->alloc(log2_size);
  if (r) write_once(arena_->table().resolve_as<ChunkHeader>(r)->start, start);
  return r;
}

void AppChunks::link(Ref from, Ref to) noexcept {
  if (auto* header = arena_->table().resolve_as<ChunkHeader>(from))
    header->next.store(to, std::memory_order_release);
}

Ref AppChunks::next(Ref r) const noexcept {
  const auto* header = arena_->table().resolve_as<const ChunkHeader>(r);
  return header ? header->next.load(std::memory_order_relaxed) : 0;
}

ChunkView AppChunks::view(Ref r) const noexcept {
  auto* header = arena_->table().resolve_as<ChunkHeader>(r);
  if (!header) return {};
  const uint32_t log2 = read_once(header->log2_size), start = read_once(header->start);
  if (log2 < kMinChunkLog2 || log2 > kMaxChunkLog2 || !arena_->table().resolve(r, 1ull << log2))
    return {};
  return {reinterpret_cast<std::byte*>(header + 1), start, start + chunk_capacity(log2)};
}

}  // namespace loom::svm
