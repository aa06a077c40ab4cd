// The packet buffers of one NUMA node: a fixed number, in one piece of shared memory.
//
// Each buffer is its header (hostloom/buffer.h), kHeadroom bytes and data_size bytes; in front of
// the header a driver may have asked for an area of its own (hostloom/buffer_memory.h). Free
// buffers lie either in a worker's cache, which only that worker touches, or on the pool's free
// list, whose lock is taken once for half a cache of buffers. The pool never grows: a worker that
// finds it empty gets nullptr and pushes back. Threads: alloc and free on the worker given;
// everything else on any thread.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <hostloom/buffer.h>
#include <hostloom/buffer_memory.h>
#include <hostloom/status.h>
#include <hostloom/worker.h>

#include "buffer/memory.h"

namespace loom {

struct BufferConfig {
  uint32_t buffers_per_numa = 16'384;
  uint32_t data_size = kDefaultDataSize;  // bytes after the headroom; rounded up to a cache line
  uint64_t page_size = 0;                 // bytes; 0 = the largest that the machine has free
};

class BufferPool {
 public:
  // Buffers moved between a worker's cache and the free list at a time.
  static constexpr uint32_t kBatch = kBufferCacheSize / 2;

  struct Stats {
    uint32_t total = 0, free = 0;  // free: on the pool's list, not counting what workers cache
    uint32_t data_size = 0;
    int numa_node = -1;
    uint64_t page_size = 0;
    uint64_t exhausted = 0;  // allocations that got fewer buffers than they asked for
  };

  // numa_node -1: wherever the kernel likes. Errors: kInvalid, sizes out of range; kNoMemory, with
  // the bytes that were asked for.
  static Result<std::unique_ptr<BufferPool>> create(const BufferConfig&, uint16_t pool_index = 0,
                                                    int numa_node = -1);

  // Fills `out` with empty buffers, the worker's cache first; returns how many there were.
  uint32_t alloc(Worker&, std::span<Buffer*> out) noexcept;
  // A descriptor for bytes elsewhere; nullptr when there is no buffer, and then the owner is not
  // told.
  Buffer* alloc_external(Worker&, std::span<const std::byte>, ExternalOwner*,
                         uint32_t token) noexcept;
  // Frees whole chains, of whichever pool they are; tells the owners of external segments.
  void free(Worker&, std::span<Buffer* const> chains) noexcept;
  // Gives all that the worker has cached back to the pool. The worker does not run any more, or it
  // is the caller.
  void flush_cache(Worker&) noexcept;

  // The same buffers in other memory: vacate, then move_to. Every buffer is on the pool's list, and
  // none is asked for in between: no worker has run. vacate gives the memory back, so that whoever
  // provides the next finds the huge pages free. Errors: kInUse, a buffer is not on the list.
  Result<void> vacate();
  // Lays the buffers out, with `front` bytes (a multiple of a cache line) before each, in memory of
  // bytes_with(front) bytes at least, whose content is lost. Errors: kInvalid; kInUse, the pool was
  // not vacated.
  Result<void> move_to(SharedMemory, uint32_t front);
  std::size_t bytes_with(uint32_t front) const noexcept { return n_ * stride_with(front); }

  // Any thread: as alloc and free, without a worker's cache. give() takes segments of this pool,
  // each for itself, that refer to no memory outside it.
  uint32_t take(std::span<Buffer*> out) noexcept;
  void give(std::span<Buffer* const>) noexcept;

  // All pools of the daemon by pool index, this one among them: where foreign buffers go back to.
  // Before any worker runs; the array outlives the pool.
  void set_peers(std::span<BufferPool* const> peers) noexcept { peers_ = peers; }

  Stats stats() const noexcept;
  uint16_t index() const noexcept { return index_; }
  uint32_t data_size() const noexcept { return data_size_; }
  // The memory behind the buffers, for drivers that register it with a device.
  const SharedMemory& memory() const noexcept { return memory_; }
  std::size_t stride() const noexcept { return stride_; }  // bytes from one buffer to the next
  BufferPoolInfo info() const noexcept;
  // True when b is one of this pool's buffers.
  bool owns(const Buffer* b) const noexcept;

 private:
  BufferPool(SharedMemory, uint32_t n, uint32_t data_size, uint16_t index, int numa_node);
  std::size_t stride_with(uint32_t front) const noexcept {
    return front + sizeof(Buffer) + kHeadroom + data_size_;
  }
  void lay_out();
  uint32_t refill(Worker&, uint32_t wanted) noexcept;
  void put(Worker&, Buffer*) noexcept;
  void give_back(std::span<Buffer* const>) noexcept;

  SharedMemory memory_;
  uint32_t front_ = 0;  // bytes before each buffer
  std::size_t stride_;
  uint32_t n_;
  uint32_t data_size_;
  uint16_t index_;
  int numa_node_;
  std::span<BufferPool* const> peers_;

  mutable std::mutex lock_;    // guards what follows
  std::vector<Buffer*> free_;  // a stack: what was used last is warm
  uint64_t exhausted_ = 0;
};

}  // namespace loom
