// A fifo producer's list of chunks, in the two forms it has.
//
// DaemonChunks: links and sizes are the arena's private metadata; the header in shared memory is
// written for the consumer and never read back. AppChunks: the header is all there is, so that
// every process of the application finds it; it is checked before use, as a cut-through peer may
// have written it. Threads: the producer's.
#pragma once
#include "svm/app_arena.h"
#include "svm/bytes.h"
#include "svm/daemon_arena.h"

namespace loom::svm {

// A chunk as the producer sees it. data == nullptr: what the shared memory says is contradictory.
struct ChunkView {
  std::byte* data = nullptr;
  uint32_t start = 0, end = 0;  // cursor values of its bytes
};

// Where a producer gets its chunks from, and where it keeps what it believes about them.
class DaemonChunks {
 public:
  using Handle = ChunkId;
  using Arena = DaemonArena;
  explicit DaemonChunks(DaemonArena* arena = nullptr) noexcept : arena_(arena) {}
  Handle alloc(uint32_t log2_size, uint32_t start) noexcept;  // smaller if need be; 0 = none
  void free(Handle h) noexcept { arena_->free_chunk(h); }
  void link(Handle from, Handle to) noexcept;
  Handle next(Handle h) const noexcept { return arena_->next(h); }
  ChunkView view(Handle h) const noexcept {
    const uint32_t start = arena_->start(h);
    return {arena_->base(h) + sizeof(ChunkHeader), start,
            start + chunk_capacity(arena_->log2_size(h))};
  }
  Ref ref(Handle h) const noexcept { return arena_->ref(h); }

 private:
  DaemonArena* arena_;
};

class AppChunks {
 public:
  using Handle = Ref;
  using Arena = AppArena;
  explicit AppChunks(AppArena* arena = nullptr) noexcept : arena_(arena) {}
  Handle alloc(uint32_t log2_size, uint32_t start) noexcept;
  void free(Handle h) noexcept { arena_->free(h); }
  void free_fifo(Handle first) noexcept { arena_->free_fifo(first); }
  void link(Handle from, Handle to) noexcept;
  Handle next(Handle h) const noexcept;
  ChunkView view(Handle h) const noexcept;
  Ref ref(Handle h) const noexcept { return h; }

 private:
  AppArena* arena_;
};

}  // namespace loom::svm
