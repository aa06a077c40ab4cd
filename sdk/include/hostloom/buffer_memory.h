// For drivers whose library describes packets in its own words, or whose device reads and writes
// only memory that it has been told of: the memory of the buffer pools, and an area of the driver's
// own in front of each buffer, so that a packet is the same bytes for both and is copied for
// neither.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <hostloom/status.h>

namespace loom {

constexpr uint32_t kMostBufferFront = 1024;

// One pool: buffer i begins at memory + front + i * stride, and its area `front` bytes earlier.
// Pools are numbered from 0 (Buffer::pool), one a NUMA node.
struct BufferPoolInfo {
  std::span<std::byte> memory{};
  std::size_t stride = 0;  // bytes from one buffer to the next
  uint32_t n_buffers = 0;  // all of them, in use or not
  uint32_t data_size = 0;  // bytes of a buffer after its headroom
  uint32_t front = 0;      // bytes before each buffer that are a driver's
  int numa_node = -1;      // -1: any
  uint64_t page_size = 0;  // bytes
};

// What a driver asks for. Plain data; copied.
struct BufferPlacement {
  uint32_t struct_size = sizeof(BufferPlacement);
  uint32_t front = 0;  // bytes before each buffer: whole cache lines, kMostBufferFront at most
  void* context = nullptr;
  // The memory of a pool: `size` bytes at least, at a cache line's beginning, mapped until the
  // process ends. Sets page_size, too. Null: the core's own memory will do.
  Status (*provide)(void* context, uint32_t pool, std::size_t size, int numa_node,
                    std::span<std::byte>* out, uint64_t* page_size, std::string* message) = nullptr;
};

}  // namespace loom
