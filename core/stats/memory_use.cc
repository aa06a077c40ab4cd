#include "stats/memory_use.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "graph/engine.h"
#include "stats/segment_heap.h"

namespace loom {

MemoryUse main_heap_use() {
  const struct mallinfo2 m = ::mallinfo2();
  return {.total = m.arena + m.hblkhd,
          .used = m.uordblks + m.hblkhd,
          .free = m.fordblks,
          .used_mmap = m.hblkhd,
          .free_chunks = m.ordblks,
          .releasable = m.keepcost};
}

MemoryUse segment_use(const SegmentHeap& heap) {
  return {.total = heap.total(), .used = heap.used(), .free = heap.total() - heap.used()};
}

MemoryUse process_use() {
  // proc(5): total size and resident pages come first.
  unsigned long long total = 0, resident = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(f, "%llu %llu", &total, &resident) != 2) total = resident = 0;
    std::fclose(f);
  }
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return {.total = total * page,
          .used = resident * page,
          .free = total > resident ? (total - resident) * page : 0};
}

MemoryUse buffer_use(Engine& engine, const BufferPool& pool) {
  const auto s = pool.stats();
  uint64_t free = s.free;
  for (uint32_t w = 0; w < engine.n_workers(); ++w)
    if (&engine.pool_of(w) == &pool) free += engine.stats().worker(w).cached_buffers;
  free = std::min<uint64_t>(free, s.total);
  return {.total = s.total * pool.stride(),
          .used = (s.total - free) * pool.stride(),
          .free = free * pool.stride()};
}

}  // namespace loom
