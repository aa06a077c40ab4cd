// A worker that has a buffer pool and nothing else, for tests of code that allocates and frees.
#pragma once
#include "buffer/pool.h"

namespace loom {

inline std::unique_ptr<BufferPool> make_pool(uint32_t n, uint32_t data_size = 2048,
                                             uint16_t index = 0) {
  auto pool = BufferPool::create({.buffers_per_numa = n, .data_size = data_size}, index);
  LOOM_CHECK(pool.has_value());
  return *std::move(pool);
}

struct PoolWorker : Worker {
  explicit PoolWorker(BufferPool& p) {
    impl = &p;
    ops = &kOps;
  }
  static BufferPool& pool(Worker& w) { return *static_cast<BufferPool*>(w.impl); }
  static inline const WorkerOps kOps = [] {
    WorkerOps o{};
    o.struct_size = sizeof o;
    o.alloc = [](Worker& w, std::span<Buffer*> out) noexcept { return pool(w).alloc(w, out); };
    o.free = [](Worker& w, std::span<Buffer* const> in) noexcept { pool(w).free(w, in); };
    o.alloc_external = [](Worker& w, std::span<const std::byte> bytes, ExternalOwner* owner,
                          uint32_t token) noexcept {
      return pool(w).alloc_external(w, bytes, owner, token);
    };
    return o;
  }();
};

// Buffers that are neither on the free list nor in one of the caches.
template <class... W>
uint32_t in_use(const BufferPool& pool, const W&... workers) {
  return pool.stats().total - pool.stats().free - (workers.cache.n + ... + 0u);
}

}  // namespace loom
