// What the daemon's memory goes to, for /mem and `show memory`.
#pragma once
#include <cstdint>

namespace loom {

class BufferPool;
class Engine;
class SegmentHeap;

struct MemoryUse {
  uint64_t total = 0, used = 0, free = 0;  // bytes
  // Of a malloc heap only: bytes in mappings of their own, free chunks, bytes at its top that could
  // go back to the system.
  uint64_t used_mmap = 0, free_chunks = 0, releasable = 0;
};

MemoryUse main_heap_use();  // malloc's
MemoryUse segment_use(const SegmentHeap&);
// Address space of the process; used: resident, free: not resident. Zeros without /proc.
MemoryUse process_use();

// The pool's buffers; free: on its list or in workers' caches. They are not read at one instant.
MemoryUse buffer_use(Engine&, const BufferPool&);

}  // namespace loom
